/* eurobert, neo-bert, llama-embed: encoders that are Llama but for what their rows see; two of them turn neighbours,
 * one has gate and up in one matrix. */
#include "model/decoder.h"

static const struct ci_decoder eurobert = {.rope = CI_ROPE_HALVES, .encoder = true};

static const struct ci_decoder neo_bert = {
    .output_norm = "enc.output_norm", .rope = CI_ROPE_NEIGHBOURS, .encoder = true, .gate_in_up = true};

static const struct ci_decoder llama_embed = {.rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .encoder = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.causal", .use = CI_KEY_NO_EFFECT, .why = "all tokens of a text see each other"},
    {.key = "pooling_type", .use = CI_KEY_USED},
    {.key = "vocab_size", .use = CI_KEY_NO_EFFECT, .why = "the rows of token_embd.weight count"},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"cls.*", "the head of rerankers is no part of the graph, and vectors do not need it"},
    {"output.weight", "vectors are made without it"},
    {0},
};

const struct ci_family ci_family_eurobert = {
    .architecture = "eurobert", .keys = keys, .left_out = left_out, .decoder = &eurobert};

const struct ci_family ci_family_neo_bert = {
    .architecture = "neo-bert", .keys = keys, .left_out = left_out, .decoder = &neo_bert};

const struct ci_family ci_family_llama_embed = {
    .architecture = "llama-embed", .keys = keys, .left_out = left_out, .decoder = &llama_embed};
