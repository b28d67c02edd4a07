/* nomic-bert, jina-bert-v3: BERT whose positions are rotated; Nomic's has a gate and no biases, Jina's has what BERT
 * has. */
#include "model/decoder.h"

static const struct ci_decoder nomic = {.norm = CI_NORM_LAYER,
                                        .norms = CI_NORM_OF_SUM,
                                        .rope = CI_ROPE_HALVES,
                                        .token_types = true,
                                        .embedding_norm = true,
                                        .encoder = true};

static const struct ci_decoder jina = {.norm = CI_NORM_LAYER,
                                       .norms = CI_NORM_OF_SUM,
                                       .rope = CI_ROPE_HALVES,
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
    {0},
};

static const struct ci_left_out unused[] = {
    {"blk.*.ffn_*.bias", "llama.cpp loads it, but does not add it"},
    {0},
};

const struct ci_family ci_family_nomic_bert = {
    .architecture = "nomic-bert", .keys = keys, .left_out = left_out, .unused = unused, .decoder = &nomic};

const struct ci_family ci_family_jina_bert_v3 = {
    .architecture = "jina-bert-v3", .keys = keys, .left_out = left_out, .decoder = &jina};
