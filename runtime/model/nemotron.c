/* nemotron: Nemotron and Minitron: layer norm, a part of each head rotated, a feed-forward of relu^2 without gate. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_RELU_SQUARED, .ungated = true};

static const char *const architectures[] = {"NemotronForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("head_dim", "attention.key_length"),
    CI_FIELD_INTEGER("head_dim", "attention.value_length"),
    CI_FIELD_NUMBER("norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_BY_CODE("partial_rotary_factor"),
    CI_FIELD_BY_CODE("rope_parameters.partial_rotary_factor"),
    CI_FIELD_MUST_BE("hidden_act", "\"relu2\"", "this family computes with relu^2"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.norm.weight", "output_norm.weight", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.input_layernorm.weight", "blk.*.attn_norm.weight", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.post_attention_layernorm.weight", "blk.*.ffn_norm.weight", CI_CHECKPOINT_PLUS_ONE},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_partial(reading, 0.5);
    ci_checkpoint_default_number(reading, "norm_eps", "attention.layer_norm_epsilon", 1e-5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_nemotron = {
    .architecture = "nemotron", .keys = ci_layer_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
