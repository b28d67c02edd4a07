/* qwen2: Qwen2 and Qwen2.5: RoPE on halves, biases on queries, keys and values. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES};

static const char *const architectures[] = {"Qwen2ForCausalLM", "Qwen2Model", NULL};

static const struct ci_checkpoint checkpoint = {.architectures = architectures};

const struct ci_family ci_family_qwen2 = {
    .architecture = "qwen2", .keys = ci_rms_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
