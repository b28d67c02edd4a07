/* hunyuan-dense, hunyuan_vl: Hunyuan without experts: Llama with RoPE on halves, whose rotated queries and keys are
 * normalised; and the text of HunyuanOCR, which has sections. */
#include <math.h>

#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .head_norm = CI_HEAD_NORM_HEADS_AFTER_ROPE, .rope = CI_ROPE_HALVES, .rope_factors = true};

static const struct ci_decoder sectioned = {.head_norm = CI_HEAD_NORM_HEADS_AFTER_ROPE,
                                            .rope = CI_ROPE_HALVES,
                                            .sections = CI_SECTIONS_IN_TURN,
                                            .sections_optional = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.scaling.alpha", .use = CI_KEY_USED},
    {.key = "rope.dimension_sections", .use = CI_KEY_NO_EFFECT, .why = "only models that read pictures have sections"},
    {0},
};

static const struct ci_key_rule sectioned_keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.scaling.alpha", .use = CI_KEY_USED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {0},
};

/* A stretched context as a larger base ("NTK-aware"). */
static enum clinfer_status derive(struct ci_model *model) {
    float alpha = 0, width = (float)model->layers[0].head_dim;
    enum clinfer_status status = ci_model_float(model, "rope.scaling.alpha", CI_GGUF_OPTIONAL, &alpha);
    if (alpha > 0) model->hyper.rope_base *= powf(alpha, width / (width - 2));
    return status;
}

const struct ci_family ci_family_hunyuan_dense = {
    .architecture = "hunyuan-dense", .keys = keys, .decoder = &decoder, .derive = derive};

const struct ci_family ci_family_hunyuan_vl = {
    .architecture = "hunyuan_vl", .keys = sectioned_keys, .decoder = &sectioned, .derive = derive};
