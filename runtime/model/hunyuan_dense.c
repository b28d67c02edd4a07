/* hunyuan-dense, hunyuan_vl: Hunyuan without experts: Llama with RoPE on halves, whose rotated queries and keys are
 * normalised; and the text of HunyuanOCR, which has sections. */
#include <math.h>

#include "model/checkpoint.h"
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

static const char *const architectures[] = {"HunYuanDenseV1ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("rope_scaling.alpha", "rope.scaling.alpha"),
    CI_FIELD_NUMBER("rope_parameters.alpha", "rope.scaling.alpha"),
    CI_FIELD_MUST_BE("rope_scaling.mscale", "1|1.0", "sines and cosines of that size are not supported"),
    CI_FIELD_MUST_BE("rope_parameters.mscale", "1|1.0", "sines and cosines of that size are not supported"),
    CI_FIELD_MUST_BE("rope_scaling.mscale_all_dim", "0|0.0|1|1.0", "sines and cosines of that size are not supported"),
    CI_FIELD_MUST_BE("rope_parameters.mscale_all_dim", "0|0.0|1|1.0",
                     "sines and cosines of that size are not supported"),
    CI_FIELD_MUST_BE("use_qk_norm", "true", "queries and keys have to be normalised"),
    CI_FIELD_MUST_BE("num_experts", "1", "mixtures of experts are not supported in this family"),
    CI_FIELD_MUST_BE("use_cla", "false", "layers that share keys and values are not supported"),
    CI_FIELD_NO_EFFECT("attention_head_dim"),
    CI_FIELD_NO_EFFECT("cla_share_factor"),
    CI_FIELD_NO_EFFECT("eod_token_id"),
    CI_FIELD_NO_EFFECT("im_end_id"),
    CI_FIELD_NO_EFFECT("im_newline_id"),
    CI_FIELD_NO_EFFECT("im_start_id"),
    CI_FIELD_NO_EFFECT("mask_init_id"),
    CI_FIELD_NO_EFFECT("norm_type"),
    CI_FIELD_NO_EFFECT("org_vocab_size"),
    CI_FIELD_NO_EFFECT("sep_token_id"),
    CI_FIELD_NO_EFFECT("text_end_id"),
    CI_FIELD_NO_EFFECT("text_start_id"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.self_attn.query_layernorm", "blk.*.attn_q_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.key_layernorm", "blk.*.attn_k_norm", CI_CHECKPOINT_AS_STORED},
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .tensors = tensors};

const struct ci_family ci_family_hunyuan_dense = {
    .architecture = "hunyuan-dense", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};

const struct ci_family ci_family_hunyuan_vl = {
    .architecture = "hunyuan_vl", .keys = sectioned_keys, .decoder = &sectioned, .derive = derive};
