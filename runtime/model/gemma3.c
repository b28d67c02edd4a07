/* gemma3: Gemma 3: Gemma 2 with normalised queries and keys in place of soft caps, five of six layers with a window
 * and a RoPE of their own. */
#include "model/decoder.h"
#include "model/gemma.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .head_norm = CI_HEAD_NORM_HEADS,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 6,
                                          .window_rope_base = 10000,
                                          .window_scaling = CI_WINDOW_UNSCALED,
                                          .activation = CI_ACTIVATION_GELU};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "final_logit_softcapping", .use = CI_KEY_READ},
    {0},
};

enum { LARGEST = 62 }; /* layers */

static enum clinfer_status derive(struct ci_model *model) { return ci_gemma_derive(model, LARGEST); }

static const char *const architectures[] = {"Gemma3ForCausalLM", "Gemma3ForConditionalGeneration", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("head_dim", "attention.key_length"),
    CI_FIELD_INTEGER("head_dim", "attention.value_length"),
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    CI_FIELD_NUMBER("final_logit_softcapping", "final_logit_softcapping"),
    CI_FIELD_NUMBER("rope_local_base_freq", "rope.freq_base_swa"),
    CI_FIELD_MUST_BE("attn_logit_softcapping", "null", "this family has no soft cap there"),
    CI_FIELD_BY_CODE("query_pre_attn_scalar"),
    CI_FIELD_BY_CODE("sliding_window_pattern"),
    CI_FIELD_BY_CODE("_sliding_window_pattern"),
    CI_FIELD_MUST_BE("hidden_act", "\"gelu_pytorch_tanh\"|\"gelu\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("hidden_activation", "\"gelu_pytorch_tanh\"", "this family computes with GELU"),
    {0},
};

/* The larger models leave out most of what transformers takes for granted. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_gemma_derive_checkpoint(reading, LARGEST);
    ci_checkpoint_default(reading, "num_attention_heads", "attention.head_count", 8);
    ci_checkpoint_default(reading, "num_key_value_heads", "attention.head_count_kv", 4);
    ci_checkpoint_default(reading, "max_position_embeddings", "context_length", 131072);
    ci_checkpoint_default_number(reading, "rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6);
    if (!ci_checkpoint_find(reading, "rope_parameters"))
        ci_checkpoint_default_number(reading, "rope_theta", "rope.freq_base", 1e6);
    ci_checkpoint_windows(reading, ci_checkpoint_find(reading, "sliding_window_pattern") ? "sliding_window_pattern"
                                                                                         : "_sliding_window_pattern");
}

static const struct ci_checkpoint checkpoint = {.architectures = architectures,
                                                .fields = fields,
                                                .tensors = ci_gemma_norms,
                                                .tied = true,
                                                .derive = derive_checkpoint};

const struct ci_family ci_family_gemma3 = {
    .architecture = "gemma3", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
