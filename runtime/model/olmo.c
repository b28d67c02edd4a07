/* olmo: OLMo: Llama with layer norms that have no weights, some with queries, keys and values within bounds. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER_PLAIN, .rope = CI_ROPE_NEIGHBOURS};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.clamp_kqv", .use = CI_KEY_READ},
    {0},
};

const struct ci_family ci_family_olmo = {.architecture = "olmo", .keys = keys, .decoder = &decoder};
