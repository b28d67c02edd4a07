/* glm4moe: GLM 4.5 and 4.6, and the text of GLM 4.5V: dense layers, then experts of which some are used by every row; a
 * part of each head rotated; the largest one has normalised queries and keys. */
#include <inttypes.h>
#include <stdio.h>

#include "base/status.h"
#include "model/checkpoint.h"
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

static const char *const architectures[] = {"Glm4MoeForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("head_dim", "attention.key_length"),
    CI_FIELD_INTEGER("head_dim", "attention.value_length"),
    CI_FIELD_INTEGER("n_routed_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_INTEGER("moe_intermediate_size", "expert_feed_forward_length"),
    CI_FIELD_INTEGER("n_shared_experts", "expert_shared_count"),
    CI_FIELD_INTEGER("first_k_dense_replace", "leading_dense_block_count"),
    CI_FIELD_INTEGER("n_group", "expert_group_count"),
    CI_FIELD_INTEGER("topk_group", "expert_group_used_count"),
    CI_FIELD_NUMBER("routed_scaling_factor", "expert_weights_scale"),
    CI_FIELD_FLAG("norm_topk_prob", "expert_weights_norm"),
    CI_FIELD_MUST_BE("scoring_func", "\"sigmoid\"|\"noaux_tc\"", "experts have to be chosen by sigmoid"),
    CI_FIELD_BY_CODE("num_hidden_layers"),
    CI_FIELD_BY_CODE("num_nextn_predict_layers"),
    CI_FIELD_BY_CODE("partial_rotary_factor"),
    CI_FIELD_BY_CODE("rope_parameters.partial_rotary_factor"),
    CI_FIELD_NO_EFFECT("use_qk_norm"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.eh_proj", "blk.*.nextn.eh_proj", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.enorm", "blk.*.nextn.enorm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.hnorm", "blk.*.nextn.hnorm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.embed_tokens", "blk.*.nextn.embed_tokens", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.shared_head.head", "blk.*.nextn.shared_head_head", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.shared_head.norm", "blk.*.nextn.shared_head_norm", CI_CHECKPOINT_AS_STORED},
    CI_CHECKPOINT_EXPERTS,
    CI_CHECKPOINT_EXPERTS_IN_ONE,
    {"model.layers.*.mlp.gate.e_score_correction_bias", "blk.*.exp_probs_b.bias", CI_CHECKPOINT_AS_STORED},
    CI_CHECKPOINT_SHARED_EXPERTS,
    {0},
};

/* Blocks that predict tokens further ahead are no layers to config.json, but to GGUF; some folders leave them out. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    char name[64];
    int64_t layers = (int64_t)ci_checkpoint_number_of(reading, "num_hidden_layers", 46);
    int64_t ahead = (int64_t)ci_checkpoint_number_of(reading, "num_nextn_predict_layers", 0);
    snprintf(name, sizeof name, "model.layers.%" PRId64 ".eh_proj.weight", layers);
    if (ahead < 0 || !ci_folder_find(reading->folder, name)) ahead = 0;
    ci_checkpoint_integer(reading, "num_hidden_layers", "block_count", layers + ahead);
    ci_checkpoint_integer(reading, "num_nextn_predict_layers", "nextn_predict_layers", ahead);
    ci_checkpoint_partial(reading, 0.5);
    /* transformers divides by the sum where nothing is said. */
    if (!ci_checkpoint_find(reading, "norm_topk_prob")) {
        ci_gguf_make_from(reading->maker, reading->folder->config_path, "norm_topk_prob");
        ci_gguf_make_bool(reading->maker, "glm4moe.expert_weights_norm", true);
    }
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_glm4moe = {
    .architecture = "glm4moe", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
