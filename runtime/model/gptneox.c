/* gptneox: GPT-NeoX, Pythia, Dolly: layer norm, a part of each head rotated; attention and feed-forward one after the
 * other or side by side, as the file says. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU, .ungated = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "use_parallel_residual", .use = CI_KEY_REQUIRED},
    {0},
};

const struct ci_family ci_family_gptneox = {.architecture = "gptneox", .keys = keys, .decoder = &decoder};
