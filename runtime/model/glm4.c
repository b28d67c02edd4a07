/* glm4: GLM-4-0414, GLM-Z1 and the text of GLM-4V and GLM-OCR: norms around attention and feed-forward, gate and up in
 * one matrix, a part of each head rotated. Models that read pictures have sections, and turn halves. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .rope = CI_ROPE_NEIGHBOURS,
                                          .sections = CI_SECTIONS_IN_TURN,
                                          .sections_optional = true,
                                          .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {0},
};

const struct ci_family ci_family_glm4 = {.architecture = "glm4", .keys = keys, .decoder = &decoder};
