/* seed_oss: Seed-OSS: Llama with RoPE on halves, biases on queries, keys and values. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.ffn_norm = "post_attention_norm", .rope = CI_ROPE_HALVES};

static const char *const architectures[] = {"SeedOssForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NO_EFFECT("attention_out_bias"),
    CI_FIELD_NO_EFFECT("residual_dropout"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_AS_STORED},
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .tensors = tensors};

const struct ci_family ci_family_seed_oss = {
    .architecture = "seed_oss", .keys = ci_rms_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
