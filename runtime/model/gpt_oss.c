/* gpt-oss: a mixture of experts with biases, a clamped SwiGLU, sinks, and a window in every second layer. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX_CHOSEN, .activation = CI_ACTIVATION_SWIGLU_OAI};

static const struct ci_decoder decoder = {.ffn_norm = "post_attention_norm",
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 2,
                                          .sinks = true,
                                          .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {0},
};

const struct ci_family ci_family_gpt_oss = {.architecture = "gpt-oss", .keys = keys, .decoder = &decoder};
