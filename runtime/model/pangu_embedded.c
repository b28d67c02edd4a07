/* pangu-embedded: openPangu Embedded: Llama with RoPE on halves and biases. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES};

static const struct ci_left_out left_out[] = {
    {"rope_freqs.weight", "llama.cpp loads it for this family, but does not use it"},
    {0},
};

const struct ci_family ci_family_pangu_embedded = {
    .architecture = "pangu-embedded", .keys = ci_rms_norm_keys, .left_out = left_out, .decoder = &decoder};
