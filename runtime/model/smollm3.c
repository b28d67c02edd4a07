/* smollm3: SmolLM3: Llama, every fourth layer without positions. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .unrotated_every = 4};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {0},
};

const struct ci_family ci_family_smollm3 = {.architecture = "smollm3", .keys = keys, .decoder = &decoder};
