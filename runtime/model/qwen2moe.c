/* qwen2moe: Qwen1.5 and Qwen2 as a mixture of experts, of which one is used by every row, as much as a gate says. */
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .shared_gate = true};

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {.key = "expert_shared_count", .use = CI_KEY_USED},
    {0},
};

/* Old files leave out how wide experts are: those of a row together are as wide as a dense feed-forward, and so is the
 * shared one. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    if (h->experts == 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: qwen2moe.expert_count: 0: the family has experts",
                       ci_gguf_path(model->gguf));
    if (h->expert_feed_forward == 0) h->expert_feed_forward = model->layers[0].feed_forward / h->experts_used;
    if (h->shared_feed_forward == 0) h->shared_feed_forward = model->layers[0].feed_forward;
    return CLINFER_OK;
}

static const char *const architectures[] = {"Qwen2MoeForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("num_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_INTEGER("moe_intermediate_size", "expert_feed_forward_length"),
    CI_FIELD_INTEGER("shared_expert_intermediate_size", "expert_shared_feed_forward_length"),
    CI_FIELD_MUST_BE("norm_topk_prob", "false", "the weights of the experts of a row have to be as they are"),
    CI_FIELD_MUST_BE("decoder_sparse_step", "1", "every layer has to have experts"),
    CI_FIELD_MUST_BE("mlp_only_layers", "[]", "every layer has to have experts"),
    CI_FIELD_NO_EFFECT("output_router_logits"),
    CI_FIELD_NO_EFFECT("qkv_bias"),
    CI_FIELD_NO_EFFECT("router_aux_loss_coef"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    CI_CHECKPOINT_EXPERTS,
    CI_CHECKPOINT_EXPERTS_IN_ONE,
    {"model.layers.*.mlp.shared_expert_gate", "blk.*.ffn_gate_inp_shexp", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.shared_expert.gate_proj", "blk.*.ffn_gate_shexp", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.shared_expert.up_proj", "blk.*.ffn_up_shexp", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.shared_expert.down_proj", "blk.*.ffn_down_shexp", CI_CHECKPOINT_AS_STORED},
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .tensors = tensors};

const struct ci_family ci_family_qwen2moe = {
    .architecture = "qwen2moe", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
