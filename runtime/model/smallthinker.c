/* smallthinker: SmallThinker: experts that are chosen before the attention, with ReLU; where there are windows, the
 * first of four layers sees everything and knows no positions. */
#include "model/decoder.h"

static const struct ci_experts experts = {
    .gating = CI_GATING_SIGMOID, .normalise = true, .activation = CI_ACTIVATION_RELU, .chosen_first = true};

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_HALVES, .windows = true, .whole_first = true, .window_pattern = 4, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {.key = "expert_gating_func", .use = CI_KEY_READ},
    {0},
};

/* As llama.cpp has it, the window is this wide whatever the file says. */
static enum clinfer_status derive(struct ci_model *model) {
    enum { WINDOW = 4096, EVERY = 4 };
    for (int i = 0; i < model->hyper.layers && model->hyper.window > 0; i++) {
        struct ci_layer *layer = &model->layers[i];
        if (layer->window) layer->window = WINDOW;
        if (i % EVERY == 0) layer->rope_table = -1;
    }
    return CLINFER_OK;
}

const struct ci_family ci_family_smallthinker = {
    .architecture = "smallthinker", .keys = keys, .decoder = &decoder, .derive = derive};
