/* orion: Orion: Llama with layer norms and RoPE on halves. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES};

const struct ci_family ci_family_orion = {.architecture = "orion", .keys = ci_layer_norm_keys, .decoder = &decoder};
