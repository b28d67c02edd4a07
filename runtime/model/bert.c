/* bert: BERT and the encoders of sentences made of it (MiniLM, BGE, GTE): learned positions, layer norm of each sum,
 * all rows see each other. What it gives is pooled by `clinfer embed` (Devlin et al. 2018, arXiv 1810.04805). */
#include "base/status.h"
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER,
                                          .norms = CI_NORM_OF_SUM,
                                          .positions = true,
                                          .token_types = true,
                                          .embedding_norm = true,
                                          .encoder = true,
                                          .activation = CI_ACTIVATION_GELU,
                                          .ungated = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.causal", .use = CI_KEY_READ, .number = 1},
    {.key = "pooling_type", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"cls.*", "only classifiers and rerankers read it"},
    {"*pooler.dense.*", "only classifiers read it"},
    {"*embeddings.position_ids", "they count from 0"},
    {0},
};

static const char *const architectures[] = {"BertModel", "BertForMaskedLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("layer_norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_MUST_BE("hidden_act", "\"gelu\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("position_embedding_type", "\"absolute\"", "positions have to be learned ones"),
    CI_FIELD_MUST_BE("is_decoder", "false", "it has to be an encoder"),
    CI_FIELD_NO_EFFECT("attention_probs_dropout_prob"),
    CI_FIELD_NO_EFFECT("classifier_dropout"),
    CI_FIELD_NO_EFFECT("gradient_checkpointing"),
    CI_FIELD_NO_EFFECT("hidden_dropout_prob"),
    CI_FIELD_NO_EFFECT("type_vocab_size"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"embeddings.word_embeddings", "token_embd", CI_CHECKPOINT_AS_STORED},
    {"embeddings.position_embeddings", "position_embd", CI_CHECKPOINT_AS_STORED},
    {"embeddings.token_type_embeddings", "token_types", CI_CHECKPOINT_AS_STORED},
    {"embeddings.LayerNorm", "token_embd_norm", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.attention.self.query", "blk.*.attn_q", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.attention.self.key", "blk.*.attn_k", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.attention.self.value", "blk.*.attn_v", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.attention.output.dense", "blk.*.attn_output", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.attention.output.LayerNorm", "blk.*.attn_output_norm", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.intermediate.dense", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.output.dense", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {"encoder.layer.*.output.LayerNorm", "blk.*.layer_output_norm", CI_CHECKPOINT_AS_STORED},
    {0},
};

/* How sentences are pooled stands in a file of sentence-transformers; the numbers are those of GGUF. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    static const char *const modes[] = {"pooling_mode_mean_tokens", "pooling_mode_cls_token", "pooling_mode_lasttoken"};
    const char *path;
    json_t *pooling;
    ci_gguf_make_from(reading->maker, reading->folder->config_path, "is_decoder");
    ci_gguf_make_bool(reading->maker, "bert.attention.causal", false);
    reading->status = ci_folder_json(reading->folder, "1_Pooling/config.json", &path, &pooling);
    for (int i = 0; i < 3 && pooling; i++) {
        if (!json_is_true(json_object_get(pooling, modes[i]))) continue;
        ci_gguf_make_from(reading->maker, path, modes[i]);
        ci_gguf_make_integer(reading->maker, "bert.pooling_type", i + 1);
        break;
    }
    json_decref(pooling);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_bert = {
    .architecture = "bert", .keys = keys, .left_out = left_out, .decoder = &decoder, .checkpoint = &checkpoint};
