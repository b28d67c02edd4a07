/* minimax-m2: MiniMax M2: experts whose choice is biased, queries and keys normalised over all heads, a part of each
 * head rotated. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .normalise = true, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_ROWS, .rope = CI_ROPE_HALVES, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length",
     .use = CI_KEY_NO_EFFECT,
     .why = "experts are as wide as feed_forward_length says"},
    {.key = "expert_gating_func", .use = CI_KEY_READ},
    {0},
};

const struct ci_family ci_family_minimax_m2 = {.architecture = "minimax-m2", .keys = keys, .decoder = &decoder};
