/* bailingmoe, bailingmoe2: Ling and Ling 2: mixtures of experts of which some are used by every row; the second has
 * normalised queries and keys, dense layers at the beginning, and experts in groups. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX};

static const struct ci_experts later_experts = {.gating = CI_GATING_SIGMOID, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .experts = &experts};

static const struct ci_decoder later_decoder = {
    .head_norm = CI_HEAD_NORM_HEADS, .rope = CI_ROPE_HALVES, .experts = &later_experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "leading_dense_block_count", .use = CI_KEY_NO_EFFECT, .why = "all layers have experts"},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {.key = "expert_weights_norm", .use = CI_KEY_READ},
    {0},
};

static const struct ci_key_rule later_keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "leading_dense_block_count", .use = CI_KEY_READ},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {.key = "expert_weights_norm", .use = CI_KEY_READ},
    {.key = "expert_gating_func", .use = CI_KEY_REQUIRED},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->shared_feed_forward = h->shared_experts * h->expert_feed_forward;
    return CLINFER_OK;
}

const struct ci_family ci_family_bailingmoe = {
    .architecture = "bailingmoe", .keys = keys, .decoder = &decoder, .derive = derive};

const struct ci_family ci_family_bailingmoe2 = {
    .architecture = "bailingmoe2", .keys = later_keys, .decoder = &later_decoder};
