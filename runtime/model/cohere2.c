/* cohere2: Command R7B and Command A: layer norm, attention and feed-forward side by side; three of four layers have a
 * window, only these know positions. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER,
                                          .rope = CI_ROPE_NEIGHBOURS,
                                          .windows = true,
                                          .window_pattern = 4,
                                          .ffn_scales = true,
                                          .parallel = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "logit_scale", .use = CI_KEY_REQUIRED},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    for (int i = 0; i < model->hyper.layers; i++)
        if (!model->layers[i].window) model->layers[i].rope_table = -1;
    return CLINFER_OK;
}

static const char *const architectures[] = {"Cohere2ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_NUMBER("layer_norm_eps", "attention.layer_norm_epsilon"),
    CI_FIELD_NUMBER("logit_scale", "logit_scale"),
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    CI_FIELD_BY_CODE("sliding_window_pattern"),
    CI_FIELD_BY_CODE("_sliding_window_pattern"),
    CI_FIELD_MUST_BE("rotary_pct", "1|1.0", "this family rotates whole heads"),
    CI_FIELD_MUST_BE("position_embedding_type", "\"rope_gptj\"", "this family rotates neighbours"),
    CI_FIELD_MUST_BE("use_gated_activation", "true", "this family has a gate"),
    CI_FIELD_MUST_BE("use_parallel_block", "true", "attention and feed-forward have to stand side by side"),
    CI_FIELD_MUST_BE("use_qk_norm", "false", "queries and keys that are normalised are not supported"),
    CI_FIELD_NO_EFFECT("order_of_interleaved_layers"),
    CI_FIELD_NO_EFFECT("use_embedding_sharing"),
    CI_FIELD_NO_EFFECT("use_parallel_embedding"),
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_checkpoint_windows(reading, ci_checkpoint_find(reading, "sliding_window_pattern") ? "sliding_window_pattern"
                                                                                         : "_sliding_window_pattern");
    ci_checkpoint_default_number(reading, "logit_scale", "logit_scale", 0.0625);
    ci_checkpoint_default_number(reading, "layer_norm_eps", "attention.layer_norm_epsilon", 1e-5);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_cohere2 = {
    .architecture = "cohere2", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
