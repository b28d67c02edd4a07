/* dots1: dots.llm1: Qwen3 whose first layers are dense, the others mixtures of experts of which some are used by every
 * row; the choice may have a bias. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .head_norm = CI_HEAD_NORM_HEADS, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
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

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->shared_feed_forward = h->shared_experts * h->expert_feed_forward;
    return CLINFER_OK;
}

const struct ci_family ci_family_dots1 = {.architecture = "dots1", .keys = keys, .decoder = &decoder, .derive = derive};
