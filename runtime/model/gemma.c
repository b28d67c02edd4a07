/* gemma: Gemma: Llama with GeGLU and a scaled embedding. */
#include "model/gemma.h"

#include <math.h>

#include "model/decoder.h"

/* ---- of all Gemmas ---- */

enum clinfer_status ci_gemma_derive(struct ci_model *model, int largest) {
    struct ci_hyper *h = &model->hyper;
    h->embedding_scale = sqrtf((float)h->embedding);
    const int filling = h->embedding / model->layers[0].heads;
    if (largest && h->blocks == largest) h->attention_scale = 1 / sqrtf((float)filling);
    return CLINFER_OK;
}

const struct ci_checkpoint_tensor ci_gemma_norms[] = {
    {"model.norm", "output_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.pre_feedforward_layernorm", "blk.*.ffn_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.post_feedforward_layernorm", "blk.*.post_ffw_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm", CI_CHECKPOINT_PLUS_ONE},
    {0},
};

void ci_gemma_derive_checkpoint(struct ci_checkpoint_reading *reading, int largest) {
    double head = ci_checkpoint_number_of(reading, "head_dim", 256);
    double width = ci_checkpoint_number_of(reading, "hidden_size", 0);
    double heads = ci_checkpoint_number_of(reading, "num_attention_heads", 8);
    bool is_largest = largest && ci_checkpoint_number_of(reading, "num_hidden_layers", 0) == largest;
    double scalar = ci_checkpoint_number_of(reading, "query_pre_attn_scalar", head);
    ci_checkpoint_default(reading, "head_dim", "attention.key_length", 256);
    ci_checkpoint_default(reading, "head_dim", "attention.value_length", 256);
    if (scalar != (is_largest ? width / heads : head))
        ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "query_pre_attn_scalar",
                             "is another scale of attention than models of this size have");
}

/* ---- the first ---- */

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .activation = CI_ACTIVATION_GELU};

static enum clinfer_status derive(struct ci_model *model) { return ci_gemma_derive(model, 0); }

static const char *const architectures[] = {"GemmaForCausalLM", NULL};

/* "gelu" is what the first files say; it meant the approximation by tanh from the beginning. */
static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("head_dim", "attention.key_length"),
    CI_FIELD_INTEGER("head_dim", "attention.value_length"),
    CI_FIELD_MUST_BE("hidden_act", "\"gelu_pytorch_tanh\"|\"gelu\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("hidden_activation", "\"gelu_pytorch_tanh\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("use_bidirectional_attention", "false", "attention to later tokens is not supported"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.norm", "output_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", CI_CHECKPOINT_PLUS_ONE},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm", CI_CHECKPOINT_PLUS_ONE},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) { ci_gemma_derive_checkpoint(reading, 0); }

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_gemma = {.architecture = "gemma",
                                          .keys = ci_rms_norm_keys,
                                          .decoder = &decoder,
                                          .derive = derive,
                                          .checkpoint = &checkpoint};
