/* qwen: the first Qwen: queries, keys and values in one matrix with a bias. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES};

/* The file counts gate and up. */
static enum clinfer_status derive(struct ci_model *model) {
    for (int i = 0; i < model->hyper.layers; i++) model->layers[i].feed_forward /= 2;
    return CLINFER_OK;
}

const struct ci_family ci_family_qwen = {
    .architecture = "qwen", .keys = ci_rms_norm_keys, .decoder = &decoder, .derive = derive};
