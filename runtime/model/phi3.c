/* phi3: Phi 3, 3.5 and 4: Llama with queries, keys and values in one matrix, gate and up in another, LongRoPE. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .rope_factors = true, .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window",
     .use = CI_KEY_NO_EFFECT,
     .why = "llama.cpp lets all layers of this family see everything, and files of it carry wrong windows"},
    {0},
};

const struct ci_family ci_family_phi3 = {.architecture = "phi3", .keys = keys, .decoder = &decoder};
