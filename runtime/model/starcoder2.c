/* starcoder2: StarCoder 2: layer norm and a feed-forward without gate, biases everywhere. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true};

const struct ci_family ci_family_starcoder2 = {
    .architecture = "starcoder2", .keys = ci_layer_norm_keys, .decoder = &decoder};
