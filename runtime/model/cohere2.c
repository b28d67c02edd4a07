/* cohere2: Command R7B and Command A: layer norm, attention and feed-forward side by side; three of four layers have a
 * window, only these know positions. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER,
                                          .rope = CI_ROPE_NEIGHBOURS,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .ffn_scales = true,
                                          .parallel = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "logit_scale", .use = CI_KEY_REQUIRED},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    for (int i = 0; i < model->hyper.layers; i++)
        if (!model->layers[i].window) model->layers[i].rope_table = -1;
    return CLINFER_OK;
}

const struct ci_family ci_family_cohere2 = {
    .architecture = "cohere2", .keys = keys, .decoder = &decoder, .derive = derive};
