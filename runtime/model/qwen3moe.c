/* qwen3moe, qwen3vlmoe: Qwen3 as a mixture of experts, and the text of Qwen3-VL as one, with multi-section RoPE. */
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .scales = true};

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .head_norm = CI_HEAD_NORM_HEADS, .experts = &experts};

static const struct ci_experts unscaled = {.gating = CI_GATING_SOFTMAX, .normalise = true};

static const struct ci_decoder sectioned = {
    .rope = CI_ROPE_HALVES, .sections = CI_SECTIONS_INTERLEAVED, .head_norm = CI_HEAD_NORM_HEADS, .experts = &unscaled};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_READ},
    {0},
};

static const struct ci_key_rule sectioned_keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_READ},
    {.key = "n_deepstack_layers", .use = CI_KEY_NO_EFFECT, .why = "only pictures have more to add to the first layers"},
    {0},
};

/* Old files leave out how wide an expert is: those of a row together are as wide as a dense feed-forward. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    if (h->experts == 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s.expert_count: 0: the family has experts", ci_gguf_path(model->gguf),
                       model->family->architecture);
    if (h->expert_feed_forward == 0) h->expert_feed_forward = model->layers[0].feed_forward / h->experts_used;
    return CLINFER_OK;
}

static const char *const architectures[] = {"Qwen3MoeForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("num_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_INTEGER("moe_intermediate_size", "expert_feed_forward_length"),
    CI_FIELD_MUST_BE("norm_topk_prob", "true", "the weights of the experts of a row have to sum to 1"),
    CI_FIELD_MUST_BE("decoder_sparse_step", "1", "every layer has to have experts"),
    CI_FIELD_MUST_BE("mlp_only_layers", "[]", "every layer has to have experts"),
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
    if (!ci_checkpoint_find(reading, "norm_topk_prob"))
        ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "norm_topk_prob",
                             "the weights of the experts of a row have to sum to 1, and without the field they do not");
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_qwen3moe = {
    .architecture = "qwen3moe", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};

const struct ci_family ci_family_qwen3vlmoe = {
    .architecture = "qwen3vlmoe", .keys = sectioned_keys, .decoder = &sectioned, .derive = derive};
