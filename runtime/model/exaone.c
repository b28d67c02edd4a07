/* exaone: EXAONE 3: Llama with RoPE on halves. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .rope_factors = true};

static const char *const architectures[] = {"ExaoneForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("num_layers", "block_count"),
    CI_FIELD_BY_CODE("num_hidden_layers"),
    CI_FIELD_NUMBER("layer_norm_epsilon", "attention.layer_norm_rms_epsilon"),
    CI_FIELD_MUST_BE("activation_function", "\"silu\"", "this family computes with silu"),
    CI_FIELD_NO_EFFECT("embed_dropout"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"wte", "token_embd", CI_CHECKPOINT_AS_STORED},
    {"ln_f", "output_norm", CI_CHECKPOINT_AS_STORED},
    {"h.*.ln_1", "blk.*.attn_norm", CI_CHECKPOINT_AS_STORED},
    {"h.*.ln_2", "blk.*.ffn_norm", CI_CHECKPOINT_AS_STORED},
    {"h.*.attn.attention.q_proj", "blk.*.attn_q", CI_CHECKPOINT_AS_STORED},
    {"h.*.attn.attention.k_proj", "blk.*.attn_k", CI_CHECKPOINT_AS_STORED},
    {"h.*.attn.attention.v_proj", "blk.*.attn_v", CI_CHECKPOINT_AS_STORED},
    {"h.*.attn.attention.out_proj", "blk.*.attn_output", CI_CHECKPOINT_AS_STORED},
    {"h.*.mlp.c_fc_0", "blk.*.ffn_gate", CI_CHECKPOINT_AS_STORED},
    {"h.*.mlp.c_fc_1", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"h.*.mlp.c_proj", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    int64_t layers = (int64_t)ci_checkpoint_number_of(reading, "num_hidden_layers", 0);
    if (layers > 0) ci_checkpoint_default(reading, "num_layers", "block_count", layers);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_exaone = {
    .architecture = "exaone", .keys = ci_rms_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
