/* nemotron: Nemotron and Minitron: layer norm, a part of each head rotated, a feed-forward of relu^2 without gate. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_RELU_SQUARED, .ungated = true};

const struct ci_family ci_family_nemotron = {
    .architecture = "nemotron", .keys = ci_layer_norm_keys, .decoder = &decoder};
