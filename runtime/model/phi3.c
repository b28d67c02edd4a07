/* phi3: Phi 3, 3.5 and 4: Llama with queries, keys and values in one matrix, gate and up in another, LongRoPE. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {.rope = CI_ROPE_HALVES, .rope_factors = true, .gate_in_up = true};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window",
     .use = CI_KEY_NO_EFFECT,
     .why = "llama.cpp lets all layers of this family see everything, and files of it carry wrong windows"},
    {0},
};

static const char *const architectures[] = {"Phi3ForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("original_max_position_embeddings", "rope.scaling.original_context_length"),
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    CI_FIELD_BY_CODE("partial_rotary_factor"),
    CI_FIELD_BY_CODE("rope_parameters.partial_rotary_factor"),
    CI_FIELD_NO_EFFECT("embd_pdrop"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.self_attn.qkv_proj", "blk.*.attn_qkv", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.gate_up_proj", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) { ci_checkpoint_partial(reading, 1); }

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_phi3 = {
    .architecture = "phi3", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
