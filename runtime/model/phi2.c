/* phi2: Phi 1, 1.5 and 2: layer norm, a part of each head rotated, attention and feed-forward side by side, biases. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true, .parallel = true};

static const char *const architectures[] = {"PhiForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("layer_norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_BY_CODE("partial_rotary_factor"),
    CI_FIELD_BY_CODE("rope_parameters.partial_rotary_factor"),
    CI_FIELD_MUST_BE("hidden_act", "\"gelu_new\"|\"gelu_pytorch_tanh\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("qk_layernorm", "false", "queries and keys that are normalised are not supported"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.final_layernorm", "output_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.dense", "blk.*.attn_output", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.fc1", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.fc2", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) { ci_checkpoint_partial(reading, 0.5); }

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_phi2 = {
    .architecture = "phi2", .keys = ci_layer_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
