/* qwen3moe: Qwen3 as a mixture of experts. */
#include "base/status.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .scales = true};

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .head_norm = CI_HEAD_NORM_HEADS, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_READ},
    {0},
};

/* Old files leave out how wide an expert is: those of a row together are as wide as a dense feed-forward. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    if (h->experts == 0) return ci_fail(CLINFER_BAD_FILE, "%s: qwen3moe.expert_count: 0", ci_gguf_path(model->gguf));
    if (h->expert_feed_forward == 0) h->expert_feed_forward = model->layers[0].feed_forward / h->experts_used;
    return CLINFER_OK;
}

const struct ci_family ci_family_qwen3moe = {
    .architecture = "qwen3moe", .keys = keys, .decoder = &decoder, .derive = derive};
