/* phi2: Phi 1, 1.5 and 2: layer norm, a part of each head rotated, attention and feed-forward side by side, biases. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true, .parallel = true};

const struct ci_family ci_family_phi2 = {.architecture = "phi2", .keys = ci_layer_norm_keys, .decoder = &decoder};
