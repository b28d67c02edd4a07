/* nanbeige: Nanbeige, which is Llama as long as its layers run once. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .ffn_scales = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "num_loops",
     .use = CI_KEY_NEUTRAL,
     .number = 1,
     .why = "layers that run several times are not supported; choose a model whose layers run once"},
    {.key = "skip_loop_final_norm", .use = CI_KEY_NO_EFFECT, .why = "layers run once"},
    {0},
};

const struct ci_family ci_family_nanbeige = {.architecture = "nanbeige", .keys = keys, .decoder = &decoder};
