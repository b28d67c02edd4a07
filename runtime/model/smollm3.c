/* smollm3: SmolLM3: Llama, every fourth layer without positions. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .unrotated_every = 4};

const struct ci_family ci_family_smollm3 = {.architecture = "smollm3", .keys = ci_rms_norm_keys, .decoder = &decoder};
