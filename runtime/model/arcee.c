/* arcee: AFM: Llama with a feed-forward of relu^2 without gate. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .activation = CI_ACTIVATION_RELU_SQUARED, .ungated = true};

const struct ci_family ci_family_arcee = {.architecture = "arcee", .keys = ci_rms_norm_keys, .decoder = &decoder};
