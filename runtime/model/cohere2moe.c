/* cohere2moe: Command A as a mixture of experts: attention and feed-forward side by side, three of four layers with a
 * window; these and the dense ones at the beginning know positions. */
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .scales = true, .shared_mean = true};

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER,
                                          .norm_by_epsilon = true,
                                          .rope = CI_ROPE_NEIGHBOURS,
                                          .windows = true,
                                          .whole_first = true,
                                          .window_pattern = 4,
                                          .ffn_scales = true,
                                          .experts = &experts,
                                          .parallel = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_READ},
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_USED},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "logit_scale", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "leading_dense_block_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_count", .use = CI_KEY_READ},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {.key = "expert_weights_norm", .use = CI_KEY_READ},
    {.key = "expert_gating_func", .use = CI_KEY_READ},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    enum ci_gguf_need need = h->eps > 0 ? CI_GGUF_OPTIONAL : CI_GGUF_REQUIRED;
    if (h->shared_experts == 0) h->shared_feed_forward = 0;
    if (h->shared_experts > 0 && h->shared_feed_forward == 0)
        h->shared_feed_forward = h->shared_experts * h->expert_feed_forward;
    for (int i = h->dense_layers; i < h->layers; i++)
        if (!model->layers[i].window) model->layers[i].rope_table = -1;
    return ci_model_float(model, "attention.layer_norm_rms_epsilon", need, &h->eps);
}

const struct ci_family ci_family_cohere2moe = {
    .architecture = "cohere2moe", .keys = keys, .decoder = &decoder, .derive = derive};
