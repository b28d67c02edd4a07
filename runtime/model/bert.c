/* bert: BERT and the encoders of sentences made of it (MiniLM, BGE, GTE): learned positions, layer norm of each sum,
 * all rows see each other. What it gives is pooled by `clinfer embed` (Devlin et al. 2018, arXiv 1810.04805). */
#include "base/status.h"
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
    {0},
};

const struct ci_family ci_family_bert = {
    .architecture = "bert", .keys = keys, .left_out = left_out, .decoder = &decoder};
