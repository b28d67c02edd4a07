/* glm4: GLM-4-0414 and GLM-Z1: norms around attention and feed-forward, gate and up in one matrix, a part of each head
 * rotated. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND, .rope = CI_ROPE_NEIGHBOURS, .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections",
     .use = CI_KEY_NEUTRAL,
     .why = "positions of several parts (multi-section RoPE), which pictures need, are not supported"},
    {0},
};

const struct ci_family ci_family_glm4 = {.architecture = "glm4", .keys = keys, .decoder = &decoder};
