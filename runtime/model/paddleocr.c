/* paddleocr: the text of PaddleOCR-VL: ERNIE 4.5 with multi-section RoPE. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .sections = CI_SECTIONS_IN_TURN};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "rope.dimension_sections", .use = CI_KEY_USED},
    {.key = "expert_count", .use = CI_KEY_NO_EFFECT, .why = "models of this family have no experts"},
    {.key = "expert_used_count", .use = CI_KEY_NO_EFFECT, .why = "models of this family have no experts"},
    {0},
};

const struct ci_family ci_family_paddleocr = {.architecture = "paddleocr", .keys = keys, .decoder = &decoder};
