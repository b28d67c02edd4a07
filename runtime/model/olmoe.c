/* olmoe: OLMoE: a mixture of experts, queries and keys normalised over all heads. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX};

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_ROWS, .rope = CI_ROPE_HALVES, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {0},
};

const struct ci_family ci_family_olmoe = {.architecture = "olmoe", .keys = keys, .decoder = &decoder};
