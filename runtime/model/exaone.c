/* exaone: EXAONE 3: Llama with RoPE on halves. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .rope_factors = true};

const struct ci_family ci_family_exaone = {.architecture = "exaone", .keys = ci_rms_norm_keys, .decoder = &decoder};
