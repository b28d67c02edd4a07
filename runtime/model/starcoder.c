/* starcoder: StarCoder and SantaCoder: GPT-2 whose heads share one key and value. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .positions = true, .activation = CI_ACTIVATION_GELU, .ungated = true};

const struct ci_family ci_family_starcoder = {
    .architecture = "starcoder", .keys = ci_layer_norm_keys, .decoder = &decoder};
