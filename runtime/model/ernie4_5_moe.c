/* ernie4_5-moe: ERNIE 4.5 as a mixture of experts, behind dense layers, of which some are used by every row. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "leading_dense_block_count", .use = CI_KEY_READ},
    {.key = "interleave_moe_layer_step", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_count", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out unused[] = {
    {"blk.*.attn_output.bias", "llama.cpp loads it, but does not add it"},
    {0},
};

const struct ci_family ci_family_ernie4_5_moe = {
    .architecture = "ernie4_5-moe", .keys = keys, .decoder = &decoder, .unused = unused};
