/* xverse: XVERSE, which is Llama. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS};

const struct ci_family ci_family_xverse = {.architecture = "xverse", .keys = ci_rms_norm_keys, .decoder = &decoder};
