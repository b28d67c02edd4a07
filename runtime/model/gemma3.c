/* gemma3: Gemma 3: Gemma 2 with normalised queries and keys in place of soft caps, five of six layers with a window
 * and a RoPE of their own. */
#include <math.h>

#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 6,
                                          .window_rope_base = 10000,
                                          .window_unscaled = true,
                                          .activation = CI_ACTIVATION_GELU};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "final_logit_softcapping", .use = CI_KEY_READ},
    {0},
};

/* The largest model divides by what a head would have if heads filled the embedding. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->embedding_scale = sqrtf((float)h->embedding);
    if (h->blocks == 62) h->attention_scale = 1 / sqrtf((float)(h->embedding / model->layers[0].heads));
    return CLINFER_OK;
}

const struct ci_family ci_family_gemma3 = {
    .architecture = "gemma3", .keys = keys, .decoder = &decoder, .derive = derive};
