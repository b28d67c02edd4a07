/* hunyuan-moe: Hunyuan A13B: experts, one of which every row uses; rotated queries and keys are normalised. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true};

static const struct ci_decoder decoder = {
    .head_norm = CI_HEAD_NORM_HEADS_AFTER_ROPE, .rope = CI_ROPE_HALVES, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length",
     .use = CI_KEY_NO_EFFECT,
     .why = "experts are as wide as feed_forward_length says"},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_count", .use = CI_KEY_USED},
    {0},
};

const struct ci_family ci_family_hunyuan_moe = {.architecture = "hunyuan-moe", .keys = keys, .decoder = &decoder};
