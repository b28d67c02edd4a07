/* dbrx: DBRX: experts, layer norms without biases, queries, keys and values within bounds. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true};

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .ffn_norm = "attn_output_norm", .rope = CI_ROPE_HALVES, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.clamp_kqv", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {0},
};

const struct ci_family ci_family_dbrx = {.architecture = "dbrx", .keys = keys, .decoder = &decoder};
