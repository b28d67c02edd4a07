/* granite, granitemoe, granite_swa: Granite 3 and 4, without and with experts, and with windows and sinks: Llama with
 * scales of embedding, residual, attention and logits. */
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true};

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "logit_scale", .use = CI_KEY_REQUIRED},
    {.key = "residual_scale", .use = CI_KEY_READ},
    {.key = "embedding_scale", .use = CI_KEY_READ},
    {.key = "attention.scale", .use = CI_KEY_READ},
    {.key = "rope.scaling.finetuned", .use = CI_KEY_READ, .number = 1},
    {.key = "expert_count", .use = CI_KEY_READ},
    {.key = "expert_used_count", .use = CI_KEY_READ},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"rope_freqs.weight", "positions are not rotated (rope.scaling.finetuned)"},
    {0},
};

/* Logits are divided. */
static enum clinfer_status invert(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    if (h->logit_scale == 0)
        return ci_fail(CLINFER_BAD_FILE, "%s: %s.logit_scale: 0: logits are divided by it", ci_gguf_path(model->gguf),
                       model->family->architecture);
    h->logit_scale = 1 / h->logit_scale;
    return CLINFER_OK;
}

static const char *const architectures[] = {"GraniteForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("attention_multiplier", "attention.scale"),
    CI_FIELD_NUMBER("embedding_multiplier", "embedding_scale"),
    CI_FIELD_NUMBER("residual_multiplier", "residual_scale"),
    CI_FIELD_NUMBER("logits_scaling", "logit_scale"),
    {0},
};

static const struct ci_checkpoint checkpoint = {.architectures = architectures, .fields = fields, .rope_halves = true};

/* A key of another purpose says whether positions are rotated; with experts they always are. */
static enum clinfer_status derive(struct ci_model *model) {
    for (int i = 0; i < model->hyper.layers && !model->hyper.rope_finetuned; i++) model->layers[i].rope_table = -1;
    return invert(model);
}

const struct ci_family ci_family_granite = {.architecture = "granite",
                                            .keys = keys,
                                            .left_out = left_out,
                                            .decoder = &decoder,
                                            .derive = derive,
                                            .checkpoint = &checkpoint};

static const char *const moe_architectures[] = {"GraniteMoeForCausalLM", "GraniteMoeSharedForCausalLM", NULL};

static const struct ci_checkpoint_field moe_fields[] = {
    CI_FIELD_NUMBER("attention_multiplier", "attention.scale"),
    CI_FIELD_NUMBER("embedding_multiplier", "embedding_scale"),
    CI_FIELD_NUMBER("residual_multiplier", "residual_scale"),
    CI_FIELD_NUMBER("logits_scaling", "logit_scale"),
    CI_FIELD_INTEGER("num_local_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_INTEGER("shared_intermediate_size", "expert_shared_feed_forward_length"),
    CI_FIELD_NO_EFFECT("output_router_logits"),
    CI_FIELD_NO_EFFECT("router_aux_loss_coef"),
    {0},
};

/* Gate and up of all experts in one, those of the shared one in another. */
static const struct ci_checkpoint_tensor moe_tensors[] = {
    {"model.layers.*.block_sparse_moe.router.layer", "blk.*.ffn_gate_inp", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.block_sparse_moe.input_linear", "blk.*.ffn_gate_exps", CI_CHECKPOINT_FIRST_HALF},
    {"model.layers.*.block_sparse_moe.input_linear", "blk.*.ffn_up_exps", CI_CHECKPOINT_SECOND_HALF},
    {"model.layers.*.block_sparse_moe.output_linear", "blk.*.ffn_down_exps", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.shared_mlp.input_linear", "blk.*.ffn_gate_shexp", CI_CHECKPOINT_FIRST_HALF},
    {"model.layers.*.shared_mlp.input_linear", "blk.*.ffn_up_shexp", CI_CHECKPOINT_SECOND_HALF},
    {"model.layers.*.shared_mlp.output_linear", "blk.*.ffn_down_shexp", CI_CHECKPOINT_AS_STORED},
    {0},
};

static const struct ci_checkpoint moe_checkpoint = {
    .architectures = moe_architectures, .fields = moe_fields, .tensors = moe_tensors, .rope_halves = true};

const struct ci_family ci_family_granitemoe = {
    .architecture = "granitemoe", .keys = keys, .decoder = &decoder, .derive = invert, .checkpoint = &moe_checkpoint};

/* ---- with windows and sinks ---- */

static const struct ci_experts window_experts = {
    .gating = CI_GATING_SOFTMAX, .normalise = true, .shared_gate_in_up = true};

static const struct ci_decoder window_decoder = {
    .rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .windows = true, .sinks = true, .experts = &window_experts};

static const struct ci_key_rule window_keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "logit_scale", .use = CI_KEY_REQUIRED},
    {.key = "residual_scale", .use = CI_KEY_READ},
    {.key = "embedding_scale", .use = CI_KEY_READ},
    {.key = "attention.scale", .use = CI_KEY_READ},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "attention.rope_pattern", .use = CI_KEY_USED},
    {.key = "deepstack_mapping", .use = CI_KEY_NO_EFFECT, .why = "only pictures have more to add to later layers"},
    {.key = "expert_count", .use = CI_KEY_READ},
    {.key = "expert_used_count", .use = CI_KEY_READ},
    {.key = "expert_shared_feed_forward_length", .use = CI_KEY_READ},
    {0},
};

/* A list says which layers know positions; without one all do. */
static enum clinfer_status derive_windows(struct ci_model *model) {
    const struct ci_gguf_value *list = ci_gguf_find(model->gguf, "granite_swa.attention.rope_pattern");
    bool flags = list && list->type == CI_GGUF_ARRAY &&
                 (list->element_type == CI_GGUF_BOOL || ci_gguf_type_is_integer(list->element_type));
    for (int i = 0; flags && i < model->hyper.layers && (uint64_t)i < list->count; i++) {
        uint64_t at = (uint64_t)i;
        bool rotated =
            list->element_type == CI_GGUF_BOOL ? ci_gguf_bool_at(list, at) : ci_gguf_integer_at(list, at) != 0;
        if (!rotated) model->layers[i].rope_table = -1;
    }
    return invert(model);
}

const struct ci_family ci_family_granite_swa = {
    .architecture = "granite_swa", .keys = window_keys, .decoder = &window_decoder, .derive = derive_windows};
