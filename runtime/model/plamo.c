/* plamo: PLaMo: Llama with attention and feed-forward side by side, RoPE on halves. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .parallel = true};

const struct ci_family ci_family_plamo = {.architecture = "plamo", .keys = ci_rms_norm_keys, .decoder = &decoder};
