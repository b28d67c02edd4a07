/* chatglm: ChatGLM 3 and GLM-4 of 9B: gate and up in one matrix, biases on queries, keys and values. */
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_NEIGHBOURS, .gate_in_up = true};

const struct ci_family ci_family_chatglm = {.architecture = "chatglm", .keys = ci_rms_norm_keys, .decoder = &decoder};
