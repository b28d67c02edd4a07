/* gemma2: Gemma 2: norms around attention and feed-forward, GeGLU, soft caps, every second layer with a window. */
#include <math.h>

#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 2,
                                          .activation = CI_ACTIVATION_GELU};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ, .number = 4096},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "attn_logit_softcapping", .use = CI_KEY_READ, .number = 50},
    {.key = "final_logit_softcapping", .use = CI_KEY_READ, .number = 30},
    {0},
};

/* The largest model divides by what a head would have if heads filled the embedding. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->embedding_scale = sqrtf((float)h->embedding);
    if (h->blocks == 46) h->attention_scale = 1 / sqrtf((float)(h->embedding / model->layers[0].heads));
    return CLINFER_OK;
}

const struct ci_family ci_family_gemma2 = {
    .architecture = "gemma2", .keys = keys, .decoder = &decoder, .derive = derive};
