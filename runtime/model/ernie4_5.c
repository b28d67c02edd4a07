/* ernie4_5: ERNIE 4.5 without experts, which is Llama. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_NO_EFFECT, .why = "those with experts are of another family"},
    {.key = "expert_used_count", .use = CI_KEY_NO_EFFECT, .why = "those with experts are of another family"},
    {0},
};

static const struct ci_left_out unused[] = {
    {"blk.*.attn_output.bias", "llama.cpp loads it, but does not add it"},
    {0},
};

static const char *const architectures[] = {"Ernie4_5ForCausalLM", "Ernie4_5_ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_MUST_BE("use_bias", "false", "biases are not supported in this family"),
    CI_FIELD_NO_EFFECT("compression_ratio"),
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .tied = true};

const struct ci_family ci_family_ernie4_5 = {
    .architecture = "ernie4_5", .keys = keys, .unused = unused, .decoder = &decoder, .checkpoint = &checkpoint};
