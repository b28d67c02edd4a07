/* codeshell: CodeShell: layer norm, RoPE, a feed-forward without gate, biases. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true};

const struct ci_family ci_family_codeshell = {
    .architecture = "codeshell", .keys = ci_layer_norm_keys, .decoder = &decoder};
