/* gpt2: GPT-2: learned positions, layer norm, a feed-forward without gate. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .positions = true, .activation = CI_ACTIVATION_GELU, .ungated = true};

const struct ci_family ci_family_gpt2 = {.architecture = "gpt2", .keys = ci_layer_norm_keys, .decoder = &decoder};
