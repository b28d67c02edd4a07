/* ernie4_5: ERNIE 4.5 without experts, which is Llama. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS};

const struct ci_family ci_family_ernie4_5 = {.architecture = "ernie4_5", .keys = ci_rms_norm_keys, .decoder = &decoder};
