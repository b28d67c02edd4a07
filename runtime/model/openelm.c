/* openelm: OpenELM: Llama whose layers have more heads and wider feed-forwards the later they come, with normalised
 * queries and keys. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.head_norm = CI_HEAD_NORM_HEADS, .rope = CI_ROPE_HALVES};

static const struct ci_left_out unused[] = {
    {"blk.*.attn_qkv.scale", "llama.cpp loads it, but does not apply it"},
    {0},
};

const struct ci_family ci_family_openelm = {
    .architecture = "openelm", .keys = ci_rms_norm_keys, .unused = unused, .decoder = &decoder};
