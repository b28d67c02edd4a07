/* falcon: Falcon of 7B and 40B: layer norm, attention and feed-forward side by side, in the large one behind a norm
 * each. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true, .parallel = true};

const struct ci_family ci_family_falcon = {.architecture = "falcon", .keys = ci_layer_norm_keys, .decoder = &decoder};
