/* bert: BERT and the encoders of sentences made of it (MiniLM, BGE, GTE): learned positions, layer norm of each sum,
 * all rows see each other. What it gives is pooled by `clinfer embed` (Devlin et al. 2018, arXiv 1810.04805). */
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
    {.key = "attention.causal", .use = CI_KEY_NO_EFFECT, .why = "all tokens of a text see each other"},
    {.key = "pooling_type", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"cls.*", "the head of rerankers is no part of the graph, and vectors do not need it"},
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

static const struct ci_checkpoint checkpoint = {.architectures = architectures,
                                                .fields = fields,
                                                .tensors = tensors,
                                                .tied = true,
                                                .derive = ci_checkpoint_pooling};

const struct ci_family ci_family_bert = {
    .architecture = "bert", .keys = keys, .left_out = left_out, .decoder = &decoder, .checkpoint = &checkpoint};
