/* seed_oss: Seed-OSS: Llama with RoPE on halves, biases on queries, keys and values. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.ffn_norm = "post_attention_norm", .rope = CI_ROPE_HALVES};

const struct ci_family ci_family_seed_oss = {.architecture = "seed_oss", .keys = ci_rms_norm_keys, .decoder = &decoder};
