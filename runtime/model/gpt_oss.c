/* gpt-oss: a mixture of experts with biases, a clamped SwiGLU, sinks, and a window in every second layer. */
#include <string.h>

#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_experts experts = {.gating = CI_GATING_SOFTMAX_CHOSEN, .activation = CI_ACTIVATION_SWIGLU_OAI};

static const struct ci_decoder decoder = {.ffn_norm = "post_attention_norm",
                                          .rope = CI_ROPE_HALVES,
                                          .windows = true,
                                          .window_pattern = 2,
                                          .sinks = true,
                                          .experts = &experts};

static const struct ci_key_rule keys[] = {
    {.key = "attention.layer_norm_rms_epsilon", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window", .use = CI_KEY_REQUIRED},
    {.key = "attention.sliding_window_pattern", .use = CI_KEY_USED},
    {.key = "rope.freq_base_swa", .use = CI_KEY_READ},
    {.key = "expert_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_used_count", .use = CI_KEY_REQUIRED},
    {.key = "expert_feed_forward_length", .use = CI_KEY_REQUIRED},
    {0},
};

static const char *const architectures[] = {"GptOssForCausalLM", NULL};

/* YaRN's bounds are rounded to whole dimensions here, as in llama.cpp, whatever "truncate" says. */
static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("num_local_experts", "expert_count"),
    CI_FIELD_INTEGER("num_experts_per_tok", "expert_used_count"),
    CI_FIELD_INTEGER("intermediate_size", "expert_feed_forward_length"),
    CI_FIELD_INTEGER("intermediate_size", "feed_forward_length"),
    CI_FIELD_INTEGER("sliding_window", "attention.sliding_window"),
    CI_FIELD_MUST_BE("swiglu_limit", "7.0|7", "this family clamps at 7"),
    CI_FIELD_MUST_BE("swiglu_alpha", "1.702", "this family computes with 1.702"),
    CI_FIELD_BY_CODE("quantization_config"),
    CI_FIELD_NO_EFFECT("experts_per_token"),
    CI_FIELD_NO_EFFECT("initial_context_length"),
    CI_FIELD_NO_EFFECT("output_router_logits"),
    CI_FIELD_NO_EFFECT("router_aux_loss_coef"),
    CI_FIELD_NO_EFFECT("rope_scaling.truncate"),
    CI_FIELD_NO_EFFECT("rope_parameters.truncate"),
    {0},
};

#define EXPERTS "model.layers.*.mlp.experts."

/* Experts are stored in MXFP4, gate and up row by row in turn; where somebody has made BF16 of them, as [inputs,
 * outputs]. */
static const struct ci_checkpoint_tensor tensors[] = {
    {"model.layers.*.post_attention_layernorm", "blk.*.post_attention_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.sinks", "blk.*.attn_sinks.weight", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.router", "blk.*.ffn_gate_inp", CI_CHECKPOINT_AS_STORED},
    {EXPERTS "gate_up_proj_blocks", "blk.*.ffn_gate_exps.weight", CI_CHECKPOINT_MXFP4_EVEN_ROWS},
    {EXPERTS "gate_up_proj_blocks", "blk.*.ffn_up_exps.weight", CI_CHECKPOINT_MXFP4_ODD_ROWS},
    {EXPERTS "gate_up_proj_bias", "blk.*.ffn_gate_exps.bias", CI_CHECKPOINT_EVEN_COLUMNS},
    {EXPERTS "gate_up_proj_bias", "blk.*.ffn_up_exps.bias", CI_CHECKPOINT_ODD_COLUMNS},
    {EXPERTS "down_proj_blocks", "blk.*.ffn_down_exps.weight", CI_CHECKPOINT_MXFP4},
    {EXPERTS "down_proj_bias", "blk.*.ffn_down_exps.bias", CI_CHECKPOINT_AS_STORED},
    {EXPERTS "gate_up_proj", "blk.*.ffn_gate_exps.weight", CI_CHECKPOINT_EVEN_COLUMNS},
    {EXPERTS "gate_up_proj", "blk.*.ffn_up_exps.weight", CI_CHECKPOINT_ODD_COLUMNS},
    {EXPERTS "down_proj", "blk.*.ffn_down_exps.weight", CI_CHECKPOINT_TRANSPOSED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    const json_t *method = ci_checkpoint_find(reading, "quantization_config.quant_method");
    ci_checkpoint_windows(reading, "sliding_window_pattern");
    if (ci_checkpoint_find(reading, "quantization_config") &&
        (!json_is_string(method) || strcmp(json_string_value(method), "mxfp4") != 0))
        ci_checkpoint_refuse(reading, CLINFER_UNSUPPORTED, "quantization_config",
                             "of this family only \"quant_method\": \"mxfp4\" is supported");
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .derive = derive_checkpoint};

const struct ci_family ci_family_gpt_oss = {
    .architecture = "gpt-oss", .keys = keys, .decoder = &decoder, .checkpoint = &checkpoint};
