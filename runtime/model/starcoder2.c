/* starcoder2: StarCoder 2: layer norm and a feed-forward without gate, biases everywhere. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true};

static const char *const architectures[] = {"Starcoder2ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("norm_epsilon", "attention.layer_norm_epsilon"),
    CI_FIELD_MUST_BE("hidden_act", "\"gelu_pytorch_tanh\"|\"gelu\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("norm_type", "\"layer_norm\"", "this family has layer norms"),
    CI_FIELD_MUST_BE("mlp_type", "\"default\"", "this family has a feed-forward without gate"),
    CI_FIELD_NO_EFFECT("embedding_dropout"),
    CI_FIELD_NO_EFFECT("residual_dropout"),
    CI_FIELD_NO_EFFECT("activation_function"),
    CI_FIELD_NO_EFFECT("use_bias"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.mlp.c_fc", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.c_proj", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {0},
};

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .tied = true};

const struct ci_family ci_family_starcoder2 = {
    .architecture = "starcoder2", .keys = ci_layer_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
