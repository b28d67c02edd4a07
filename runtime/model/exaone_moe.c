/* exaone-moe: K-EXAONE: three of four layers have a window, and only these know positions; behind a dense layer come
 * experts, of which some are used by every row. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .rope_factors = true,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "leading_dense_block_count", .use = CI_KEY_READ},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_count", .use = CI_KEY_USED},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {.key = "expert_weights_norm", .use = CI_KEY_READ},
    {.key = "expert_gating_func", .use = CI_KEY_REQUIRED},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    if (h->shared_feed_forward == 0) h->shared_feed_forward = h->expert_feed_forward;
    for (int i = 0; i < h->layers; i++)
        if (!model->layers[i].window) model->layers[i].rope_table = -1;
    return CLINFER_OK;
}

const struct ci_family ci_family_exaone_moe = {
    .architecture = "exaone-moe", .keys = keys, .decoder = &decoder, .derive = derive};
