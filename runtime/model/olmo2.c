/* olmo2: OLMo 2 and 3: norms of what attention and feed-forward give, queries and keys normalised over all heads; OLMo
 * 3 has windows. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AFTER,
                                          .head_norm = CI_HEAD_NORM_ROWS,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .window_unscaled = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {0},
};

const struct ci_family ci_family_olmo2 = {.architecture = "olmo2", .keys = keys, .decoder = &decoder};
