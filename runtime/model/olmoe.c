/* olmoe: OLMoE: a mixture of experts, queries and keys normalised over all heads. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX};

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_ROWS, .rope = CI_ROPE_HALVES, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {0},
};

static const char *const architectures[] = {"OlmoeForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("num_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_MUST_BE("norm_topk_prob", "false", "the weights of the experts of a row have to be as they are"),
    CI_FIELD_MUST_BE("clip_qkv", "null", "queries, keys and values within bounds are not supported"),
    CI_FIELD_NO_EFFECT("output_router_logits"),
    CI_FIELD_NO_EFFECT("router_aux_loss_coef"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    CI_CHECKPOINT_EXPERTS,
    CI_CHECKPOINT_EXPERTS_IN_ONE,
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_default(reading, "num_experts", "expert_count", 64);
    ci_checkpoint_default(reading, "num_experts_per_tok", "expert_used_count", 8);
    ci_checkpoint_default_number(reading, "rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_olmoe = {
    .architecture = "olmoe", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
