/* command-r: Command R: layer norm, attention and feed-forward side by side; in the large one heads are normalised. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .head_norm = CI_HEAD_NORM_EACH, .rope = CI_ROPE_NEIGHBOURS, .parallel = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "logit_scale", .use = CI_KEY_READ},
    {0},
};

const struct ci_family ci_family_command_r = {.architecture = "command-r", .keys = keys, .decoder = &decoder};
