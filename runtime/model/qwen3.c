/* qwen3: Qwen3: Qwen2 with normalised queries and keys in place of biases. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .head_norm = CI_HEAD_NORM_HEADS, .ffn_scales = true};

static const struct ci_left_out left_out[] = {
    {"cls.output.*", "the head of rerankers is no part of the graph, and answers do not need it"},
    {0},
};

static const char *const architectures[] = {"Qwen3ForCausalLM", "Qwen3Model", NULL};

static const struct ci_checkpoint checkpoint = {.architectures = architectures};

const struct ci_family ci_family_qwen3 = {.architecture = "qwen3",
                                          .keys = ci_rms_norm_keys,
                                          .left_out = left_out,
                                          .decoder = &decoder,
                                          .checkpoint = &checkpoint};
