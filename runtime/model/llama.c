/* llama: Llama 1 to 3 and what shares their architecture (Mistral, Mixtral, SmolLM2, TinyLlama, Yi): RoPE on
 * neighbours, with factors from the file since Llama 3. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX, .normalise = true, .scales = true};

static const struct ci_decoder decoder = {
    .rope = CI_ROPE_NEIGHBOURS, .rope_factors = true, .ffn_scales = true, .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "expert_count", .use = CI_KEY_READ},
    {.key = "expert_used_count", .use = CI_KEY_READ},
    {.key = "vocab_size", .use = CI_KEY_NO_EFFECT, .why = "the rows of token_embd.weight count"},
    {0},
};

static const char *const architectures[] = {"LlamaForCausalLM", "MistralForCausalLM", "MixtralForCausalLM",
                                            "LlamaModel", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("num_local_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_NO_EFFECT("output_router_logits"),
    CI_FIELD_NO_EFFECT("router_aux_loss_coef"),
    CI_FIELD_NO_EFFECT("router_jitter_noise"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.block_sparse_moe.gate", "blk.*.ffn_gate_inp", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.block_sparse_moe.experts.*.w1", "blk.*.ffn_gate_exps", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.block_sparse_moe.experts.*.w2", "blk.*.ffn_down_exps", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.block_sparse_moe.experts.*.w3", "blk.*.ffn_up_exps", CI_CHECKPOINT_AS_STORED},
    {0},
};

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .rope_halves = true};

const struct ci_family ci_family_llama = {
    .architecture = "llama", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
