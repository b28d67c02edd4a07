/* modern-bert: ModernBERT: an encoder with rotated positions, norms before, GeGLU, and windows to both sides in two of
 * three layers (Warner et al. 2024, arXiv 2412.13663). */
#include <string.h>

#include "base/narrow.h"
#include "base/status.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.norm = CI_NORM_LAYER,
                                          .starts_normed = true,
                                          .rope = CI_ROPE_HALVES,
                                          .embedding_norm = true,
                                          .encoder = true,
                                          .windows = true,
                                          .window_kind = CI_WINDOW_SYMMETRIC,
                                          .whole_first = true,
                                          .window_pattern = 3,
                                          .window_rope_base = 10000,
                                          .window_scaling = CI_WINDOW_UNSCALED,
                                          .activation = CI_ACTIVATION_GELU,
                                          .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.causal", .use = CI_KEY_NO_EFFECT, .why = "all tokens of a text see each other"},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "hidden_activation", .use = CI_KEY_USED},
    {.key = "pooling_type", .use = CI_KEY_USED},
    {0},
};

static const struct ci_left_out left_out[] = {
    {"cls.*", "only classifiers and rerankers read it"},
    {0},
};

static enum clinfer_status derive(struct ci_model *model) {
    struct ci_gguf_string text = {"gelu", 4};
    enum clinfer_status status =
        ci_gguf_get_string(model->gguf, "modern-bert.hidden_activation", CI_GGUF_OPTIONAL, &text);
    if (status == CLINFER_OK && (text.length != 4 || memcmp(text.text, "gelu", 4) != 0))
        status = ci_fail(CLINFER_UNSUPPORTED, "%s: modern-bert.hidden_activation: \"%.*s\": only gelu is supported",
                         ci_gguf_path(model->gguf), ci_shown(text.length, 64), text.text);
    return status;
}

const struct ci_family ci_family_modern_bert = {
    .architecture = "modern-bert", .keys = keys, .left_out = left_out, .decoder = &decoder, .derive = derive};
