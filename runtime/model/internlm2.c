/* internlm2: InternLM 2 and 2.5, which are Llama. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS};

const struct ci_family ci_family_internlm2 = {
    .architecture = "internlm2", .keys = ci_rms_norm_keys, .decoder = &decoder};
