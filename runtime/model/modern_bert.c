/* modern-bert: ModernBERT: an encoder with rotated positions, norms before, GeGLU, and windows to both sides in two of
 * three layers (Warner et al. 2024, arXiv 2412.13663). */
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER,
                                          .starts_normed = true,
                                          .rope = CI_ROPE_HALVES,
                                          .embedding_norm = true,
                                          .encoder = true,
                                          .windows = true,
                                          .window_kind = CI_WINDOW_SYMMETRIC,
                                          .whole_first = true,
                                          .window_pattern = 3,
                                          .window_rope_base = 10000,
                                          .window_scaling = CI_WINDOW_UNSCALED,
                                          .activation = CI_ACTIVATION_GELU,
                                          .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.causal", .use = CI_KEY_NO_EFFECT, .why = "all tokens of a text see each other"},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "hidden_activation", .use = CI_KEY_USED},
    {.key = "pooling_type", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"cls.*", "the head of rerankers is no part of the graph, and vectors do not need it"},
    {"head.*", "only what guesses words reads it"},
    {"decoder.*", "only what guesses words reads it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_gguf_string text = {"gelu", 4};
    enum clinfer_status status =
        ci_gguf_get_string(model->gguf, "modern-bert.hidden_activation", CI_GGUF_OPTIONAL, &text);
    if (status == CLINFER_OK && (text.length != 4 || memcmp(text.text, "gelu", 4) != 0))
        status = ci_fail(CLINFER_UNSUPPORTED, "%s: modern-bert.hidden_activation: \"%.*s\": only gelu is supported",
                         ci_gguf_path(model->gguf), ci_shown(text.length, 64), text.text);
    return status;
}

static const char *const architectures[] = {"ModernBertModel", "ModernBertForMaskedLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_NUMBER("global_rope_theta", "rope.freq_base"),
    CI_FIELD_NUMBER("local_rope_theta", "rope.freq_base_swa"),
    CI_FIELD_INTEGER("local_attention", "attention.sliding_window"),
    CI_FIELD_BY_CODE("global_attn_every_n_layers"),
    CI_FIELD_MUST_BE("hidden_activation", "\"gelu\"|\"gelu_pytorch_tanh\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("norm_bias", "false", "norms with biases are not supported in this family"),
    CI_FIELD_MUST_BE("position_embedding_type", "\"absolute\"|\"sans_pos\"", "positions have to be rotated"),
    CI_FIELD_NO_EFFECT("classifier_activation"),
    CI_FIELD_NO_EFFECT("classifier_bias"),
    CI_FIELD_NO_EFFECT("classifier_dropout"),
    CI_FIELD_NO_EFFECT("classifier_pooling"),
    CI_FIELD_NO_EFFECT("cls_token_id"),
    CI_FIELD_NO_EFFECT("decoder_bias"),
    CI_FIELD_NO_EFFECT("deterministic_flash_attn"),
    CI_FIELD_NO_EFFECT("embedding_dropout"),
    CI_FIELD_NO_EFFECT("gradient_checkpointing"),
    CI_FIELD_NO_EFFECT("initializer_cutoff_factor"),
    CI_FIELD_NO_EFFECT("layer_norm_eps"),
    CI_FIELD_NO_EFFECT("mlp_dropout"),
    CI_FIELD_NO_EFFECT("reference_compile"),
    CI_FIELD_NO_EFFECT("repad_logits_with_grad"),
    CI_FIELD_NO_EFFECT("sep_token_id"),
    CI_FIELD_NO_EFFECT("sparse_pred_ignore_index"),
    CI_FIELD_NO_EFFECT("sparse_prediction"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.embeddings.tok_embeddings", "token_embd", CI_CHECKPOINT_AS_STORED},
    {"model.embeddings.norm", "token_embd_norm", CI_CHECKPOINT_AS_STORED},
    {"model.final_norm", "output_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.attn_norm", "blk.*.attn_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.attn.Wqkv", "blk.*.attn_qkv", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.attn.Wo", "blk.*.attn_output", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp_norm", "blk.*.ffn_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.Wi", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.Wo", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_windows(reading, "global_attn_every_n_layers");
    ci_checkpoint_default(reading, "local_attention", "attention.sliding_window", 128);
    if (!ci_checkpoint_find(reading, "rope_parameters"))
        ci_checkpoint_default_number(reading, "global_rope_theta", "rope.freq_base", 160000);
    ci_checkpoint_pooling(reading);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_modern_bert = {.architecture = "modern-bert",
                                                .keys = keys,
                                                .left_out = left_out,
                                                .decoder = &decoder,
                                                .derive = derive,
                                                .checkpoint = &checkpoint};
