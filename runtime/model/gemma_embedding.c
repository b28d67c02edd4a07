/* gemma-embedding: EmbeddingGemma: Gemma 3 as an encoder, with windows to both sides. */
#include "model/decoder.h"
#include "model/gemma.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .dense = true,
                                          .encoder = true,
                                          .windows = true,
                                          .window_kind = CI_WINDOW_SYMMETRIC,
                                          .window_pattern = 6,
                                          .window_rope_base = 10000,
                                          .window_scaling = CI_WINDOW_UNSCALED,
                                          .activation = CI_ACTIVATION_GELU};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.causal", .use = CI_KEY_NO_EFFECT, .why = "all tokens of a text see each other"},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "pooling_type", .use = CI_KEY_USED},
    {.key = "dense_2_feat_in", .use = CI_KEY_USED},
    {.key = "dense_2_feat_out", .use = CI_KEY_USED},
    {.key = "dense_3_feat_in", .use = CI_KEY_USED},
    {.key = "dense_3_feat_out", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"output.weight", "vectors are made without it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) { return ci_gemma_derive(model, 0); }

const struct ci_family ci_family_gemma_embedding = {
    .architecture = "gemma-embedding", .keys = keys, .left_out = left_out, .decoder = &decoder, .derive = derive};
