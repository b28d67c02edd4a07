/* maincoder: Maincoder: Llama whose rotated queries and keys are normalised. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_HEADS_AFTER_ROPE, .rope = CI_ROPE_NEIGHBOURS};

const struct ci_family ci_family_maincoder = {
    .architecture = "maincoder", .keys = ci_rms_norm_keys, .decoder = &decoder};
