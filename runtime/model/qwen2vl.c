/* qwen2vl: the text of Qwen2-VL and Qwen2.5-VL: Qwen2 with multi-section RoPE. llama.cpp computes with an epsilon of 0,
 * whatever the file says, and writes that into files that it makes; we take the file's. */
#include <math.h>

#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .sections = CI_SECTIONS_IN_TURN};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_USED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out unused[] = {
    {"output.bias", "llama.cpp loads it, but does not add it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    float *eps = &model->hyper.eps;
    enum clinfer_status status = ci_model_float(model, "attention.layer_norm_rms_epsilon", CI_GGUF_OPTIONAL, eps);
    if (status == CLINFER_OK && !(*eps >= 0 && isfinite(*eps)))
        status = ci_fail(CLINFER_BAD_FILE, "%s: qwen2vl.attention.layer_norm_rms_epsilon: %g: must be positive, or 0",
                         ci_gguf_path(model->gguf), (double)*eps);
    return status;
}

static const char *const architectures[] = {"Qwen2VLForConditionalGeneration", "Qwen2_5_VLForConditionalGeneration",
                                            NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELDS_OF_SECTIONS,
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) { ci_checkpoint_sections(reading); }

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .derive = derive_checkpoint};

const struct ci_family ci_family_qwen2vl = {.architecture = "qwen2vl",
                                            .keys = keys,
                                            .unused = unused,
                                            .decoder = &decoder,
                                            .derive = derive,
                                            .checkpoint = &checkpoint};
