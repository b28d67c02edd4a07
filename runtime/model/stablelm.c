/* stablelm: StableLM 2 and StableLM 3B: layer norm, of the heads in the one of 12B too, a part of each head rotated;
 * where the feed-forward has no norm, it stands beside the attention. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .head_norm = CI_HEAD_NORM_EACH, .rope = CI_ROPE_HALVES};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "use_parallel_residual",
     .use = CI_KEY_NO_EFFECT,
     .why = "whether the feed-forward has a norm of its own says it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    model->hyper.parallel_residual = !ci_model_has(model, "blk.0.ffn_norm.weight");
    return CLINFER_OK;
}

static const char *const architectures[] = {"StableLmForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("layer_norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_BY_CODE("partial_rotary_factor"),
    CI_FIELD_BY_CODE("rope_parameters.partial_rotary_factor"),
    CI_FIELD_NO_EFFECT("qk_layernorm"),
    CI_FIELD_NO_EFFECT("use_parallel_residual"),
    CI_FIELD_NO_EFFECT("use_qkv_bias"),
    {0},
};

/* The norms of heads come one by one, as experts do. */
static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.self_attn.q_layernorm.norms.*", "blk.*.attn_q_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.k_layernorm.norms.*", "blk.*.attn_k_norm", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_partial(reading, 0.25);
    ci_checkpoint_default_number(reading, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_stablelm = {
    .architecture = "stablelm", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
