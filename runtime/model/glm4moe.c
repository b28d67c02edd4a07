/* glm4moe: GLM 4.5 and 4.6, and the text of GLM 4.5V: dense layers, then experts of which some are used by every row; a
 * part of each head rotated; the largest one has normalised queries and keys. */
#include "base/status.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SIGMOID, .bias = "exp_probs_b.bias"};

static const struct ci_decoder decoder = {.ffn_norm = "post_attention_norm",
                                          .head_norm = CI_HEAD_NORM_HEADS,
                                          .head_norm_optional = true,
                                          .rope = CI_ROPE_HALVES,
                                          .sections = CI_SECTIONS_IN_TURN,
                                          .sections_optional = true,
                                          .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
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
    if (h->experts_used == 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: glm4moe.expert_used_count: 0: the family has experts",
                       ci_gguf_path(model->gguf));
    if (h->expert_feed_forward == 0) h->expert_feed_forward = model->layers[0].feed_forward / h->experts_used;
    h->shared_feed_forward = h->shared_experts * h->expert_feed_forward;
    return CLINFER_OK;
}

const struct ci_family ci_family_glm4moe = {
    .architecture = "glm4moe", .keys = keys, .decoder = &decoder, .derive = derive};
