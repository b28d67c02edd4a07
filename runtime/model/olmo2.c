/* olmo2: OLMo 2 and 3: norms of what attention and feed-forward give, queries and keys normalised over all heads; OLMo
 * 3 has windows. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AFTER,
                                          .head_norm = CI_HEAD_NORM_ROWS,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .window_scaling = CI_WINDOW_PLAIN};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {0},
};

static const char *const architectures[] = {"Olmo2ForCausalLM", "Olmo3ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    if (ci_checkpoint_find(reading, "sliding_window")) ci_checkpoint_windows(reading, "sliding_window_pattern");
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_olmo2 = {
    .architecture = "olmo2", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
