/* deepseek: the first DeepSeek: the first layers are dense, then come experts of which some are used by every row. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX};

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "leading_dense_block_count", .use = CI_KEY_READ},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_shared_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_weights_scale", .use = CI_KEY_READ},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->shared_feed_forward = h->shared_experts * h->expert_feed_forward;
    return CLINFER_OK;
}

static const char *const architectures[] = {"DeepseekForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("n_routed_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_INTEGER("moe_intermediate_size", "expert_feed_forward_length"),
    CI_FIELD_INTEGER("n_shared_experts", "expert_shared_count"),
    CI_FIELD_INTEGER("first_k_dense_replace", "leading_dense_block_count"),
    CI_FIELD_MUST_BE("norm_topk_prob", "false", "the weights of the experts of a row have to be as they are"),
    CI_FIELD_MUST_BE("moe_layer_freq", "1", "every layer behind the dense ones has to have experts"),
    CI_FIELD_MUST_BE("scoring_func", "\"softmax\"", "experts have to be chosen by softmax"),
    CI_FIELD_NO_EFFECT("aux_loss_alpha"),
    CI_FIELD_NO_EFFECT("seq_aux"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    CI_CHECKPOINT_EXPERTS,
    CI_CHECKPOINT_SHARED_EXPERTS,
    {0},
};

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .rope_halves = true};

const struct ci_family ci_family_deepseek = {
    .architecture = "deepseek", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
