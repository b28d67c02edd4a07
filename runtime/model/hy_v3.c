/* hy_v3: Hunyuan 3: Qwen3 whose first layers are dense, the others mixtures of experts with one that every row uses;
 * the choice may have a bias. */
#include <stdio.h>

#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .bias = "exp_probs_b", .scales = true};

static const struct ci_decoder decoder = {
    .head_norm = CI_HEAD_NORM_HEADS, .rope = CI_ROPE_HALVES, .ffn_scales = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_count", .use = CI_KEY_USED},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {.key = "expert_weights_norm", .use = CI_KEY_READ},
    {.key = "expert_gating_func", .use = CI_KEY_READ},
    {.key = "leading_dense_block_count",
     .use = CI_KEY_NO_EFFECT,
     .why = "which layers have experts is told by their tensors"},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"blk.*.ffn_gate.*", "the layer has experts in its place"},
    {"blk.*.ffn_up.*", "the layer has experts in its place"},
    {"blk.*.ffn_down.*", "the layer has experts in its place"},
    {0},
};

/* Layers have experts from the first one on that has a router. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    char name[64];
    bool found = false;
    if (h->expert_feed_forward == 0 && h->experts_used > 0)
        h->expert_feed_forward = model->layers[0].feed_forward / h->experts_used;
    if (h->shared_feed_forward == 0) h->shared_feed_forward = h->expert_feed_forward;
    for (h->dense_layers = 0; h->dense_layers < h->layers && !found; h->dense_layers += !found) {
        snprintf(name, sizeof name, "blk.%d.ffn_gate_inp.weight", h->dense_layers);
        found = ci_model_has(model, name);
    }
    return CLINFER_OK;
}

const struct ci_family ci_family_hy_v3 = {
    .architecture = "hy_v3", .keys = keys, .decoder = &decoder, .left_out = left_out, .derive = derive};
