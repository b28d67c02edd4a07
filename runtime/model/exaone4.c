/* exaone4: EXAONE 4: norms of what attention and feed-forward give, normalised queries and keys. Three of four layers
 * of the one of 32B have a window, and only these know positions. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AFTER,
                                          .head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .rope_factors = true,
                                          .windows = true,
                                          .window_pattern = 4};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ, .number = 4096},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {0},
};

/* Which one it is, is told by its size alone; the small one's files carry windows that do not count. */
static enum clinfer_status derive(struct ci_model *model) {
    bool large = model->hyper.blocks == 64;
    for (int i = 0; i < model->hyper.layers; i++) {
        struct ci_layer *layer = &model->layers[i];
        if (large && !layer->window) layer->rope_table = -1;
        if (!large) layer->window = layer->rope_table = 0;
    }
    return CLINFER_OK;
}

static const char *const architectures[] = {"Exaone4ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    CI_FIELD_BY_CODE("sliding_window_pattern"),
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

const struct ci_family ci_family_exaone4 = {
    .architecture = "exaone4", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
