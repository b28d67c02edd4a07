/* mellum: Mellum 2: Qwen3 MoE with windows, in which positions are never stretched. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .scales = true};

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .window_scaling = CI_WINDOW_PLAIN,
                                          .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {0},
};

const struct ci_family ci_family_mellum = {.architecture = "mellum", .keys = keys, .decoder = &decoder};
