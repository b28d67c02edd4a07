/* afmoe: Trinity: dense layers, then experts of which some are used by every row; three of four layers have a window,
 * and only these know positions; a gate behind the attention. */
#include <math.h>

#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .unrotated_every = 4,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .output_gate = true,
                                          .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "leading_dense_block_count", .use = CI_KEY_READ},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {.key = "expert_weights_norm", .use = CI_KEY_READ},
    {.key = "expert_gating_func", .use = CI_KEY_READ},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"blk.*.attn_gate.scale", "llama.cpp loads it, but does not apply it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->embedding_scale = sqrtf((float)h->embedding);
    h->shared_feed_forward = h->shared_experts * h->expert_feed_forward;
    return CLINFER_OK;
}

const struct ci_family ci_family_afmoe = {
    .architecture = "afmoe", .keys = keys, .left_out = left_out, .decoder = &decoder, .derive = derive};
