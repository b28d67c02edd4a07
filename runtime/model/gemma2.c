/* gemma2: Gemma 2: norms around attention and feed-forward, GeGLU, soft caps, every second layer with a window. */
#include "model/decoder.h"
#include "model/gemma.h"

static const struct ci_decoder decoder = {.norms = CI_NORM_AROUND,
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 2,
                                          .activation = CI_ACTIVATION_GELU};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_READ, .number = 4096},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "attn_logit_softcapping", .use = CI_KEY_READ, .number = 50},
    {.key = "final_logit_softcapping", .use = CI_KEY_READ, .number = 30},
    {0},
};

enum { LARGEST = 46 }; /* layers */

static enum clinfer_status derive(struct ci_model *model) { return ci_gemma_derive(model, LARGEST); }

static const char *const architectures[] = {"Gemma2ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("head_dim", "attention.key_length"),
    CI_FIELD_INTEGER("head_dim", "attention.value_length"),
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    CI_FIELD_NUMBER("attn_logit_softcapping", "attn_logit_softcapping"),
    CI_FIELD_NUMBER("final_logit_softcapping", "final_logit_softcapping"),
    CI_FIELD_BY_CODE("query_pre_attn_scalar"),
    CI_FIELD_MUST_BE("hidden_act", "\"gelu_pytorch_tanh\"|\"gelu\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("hidden_activation", "\"gelu_pytorch_tanh\"", "this family computes with GELU"),
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    ci_gemma_derive_checkpoint(reading, LARGEST);
    ci_checkpoint_windows(reading, "sliding_window_pattern");
}

static const struct ci_checkpoint checkpoint = {.architectures = architectures,
                                                .fields = fields,
                                                .tensors = ci_gemma_norms,
                                                .tied = true,
                                                .derive = derive_checkpoint};

const struct ci_family ci_family_gemma2 = {
    .architecture = "gemma2", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
