/* gemma3: Gemma 3: Gemma 2 with normalised queries and keys in place of soft caps, five of six layers with a window
 * and a RoPE of their own. */
#include <math.h>

#include "model/checkpoint.h"
#include "model/decoder.h"

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

/* The largest model divides by what a head would have if heads filled the embedding. */
static enum clinfer_status derive(struct ci_model *model) {
    struct ci_hyper *h = &model->hyper;
    h->embedding_scale = sqrtf((float)h->embedding);
    const int filling = h->embedding / model->layers[0].heads;
    if (h->blocks == 62) h->attention_scale = 1 / sqrtf((float)filling);
    return CLINFER_OK;
}

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

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.norm", "output_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm", CI_CHECKPOINT_PLUS_ONE},
    {0},
};

/* The larger models leave out most of what transformers takes for granted. */
static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    double head = ci_checkpoint_number_of(reading, "head_dim", 256);
    double width = ci_checkpoint_number_of(reading, "hidden_size", 0);
    double heads = ci_checkpoint_number_of(reading, "num_attention_heads", 8);
    bool largest = ci_checkpoint_number_of(reading, "num_hidden_layers", 0) == 62;
    double scalar = ci_checkpoint_number_of(reading, "query_pre_attn_scalar", head);
    ci_checkpoint_default(reading, "head_dim", "attention.key_length", 256);
    ci_checkpoint_default(reading, "head_dim", "attention.value_length", 256);
    ci_checkpoint_default(reading, "num_attention_heads", "attention.head_count", 8);
    ci_checkpoint_default(reading, "num_key_value_heads", "attention.head_count_kv", 4);
    ci_checkpoint_default(reading, "max_position_embeddings", "context_length", 131072);
    ci_checkpoint_default_number(reading, "rms_norm_eps", "attention.layer_norm_rms_epsilon", 1e-6);
    if (!ci_checkpoint_find(reading, "rope_parameters"))
        ci_checkpoint_default_number(reading, "rope_theta", "rope.freq_base", 1e6);
    ci_checkpoint_windows(reading, ci_checkpoint_find(reading, "sliding_window_pattern") ? "sliding_window_pattern"
                                                                                         : "_sliding_window_pattern");
    if (scalar != (largest ? width / heads : head))
        ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "query_pre_attn_scalar",
                             "is another scale of attention than models of this size have");
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_gemma3 = {
    .architecture = "gemma3", .keys = keys, .decoder = &decoder, .derive = derive, .checkpoint = &checkpoint};
