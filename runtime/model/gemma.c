/* gemma: Gemma: Llama with GeGLU and a scaled embedding. */
#include <math.h>

#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU};

static enum clinfer_status derive(struct ci_model *model) {
    model->hyper.embedding_scale = sqrtf((float)model->hyper.embedding);
    return CLINFER_OK;
}

const struct ci_family ci_family_gemma = {
    .architecture = "gemma", .keys = ci_rms_norm_keys, .decoder = &decoder, .derive = derive};
