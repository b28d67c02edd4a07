/* starcoder: StarCoder and SantaCoder: GPT-2 whose heads share one key and value. */
#include "model/checkpoint.h"
#include "model/decoder.h"

static const struct ci_decoder decoder = {
    .norm = CI_NORM_LAYER, .positions = true, .activation = CI_ACTIVATION_GELU, .ungated = true};

static const char *const architectures[] = {"GPTBigCodeForCausalLM", NULL};

static const struct ci_checkpoint_field fields[] = {
    CI_FIELD_INTEGER("n_embd", "embedding_length"),
    CI_FIELD_INTEGER("n_layer", "block_count"),
    CI_FIELD_INTEGER("n_head", "attention.head_count"),
    CI_FIELD_INTEGER("n_positions", "context_length"),
    CI_FIELD_INTEGER("n_inner", "feed_forward_length"),
    CI_FIELD_NUMBER("layer_norm_epsilon", "attention.layer_norm_epsilon"),
    CI_FIELD_MUST_BE("activation_function", "\"gelu\"|\"gelu_pytorch_tanh\"", "this family computes with GELU"),
    CI_FIELD_MUST_BE("multi_query", "true", "heads have to share one key and value"),
    CI_FIELD_MUST_BE("scale_attn_weights", "true", "attention has to be scaled by its heads"),
    CI_FIELD_NO_EFFECT("attention_softmax_in_fp32"),
    CI_FIELD_NO_EFFECT("inference_runner"),
    CI_FIELD_NO_EFFECT("max_batch_size"),
    CI_FIELD_NO_EFFECT("max_sequence_length"),
    CI_FIELD_NO_EFFECT("pad_key_length"),
    CI_FIELD_NO_EFFECT("pre_allocate_kv_cache"),
    CI_FIELD_NO_EFFECT("scale_attention_softmax_in_fp32"),
    CI_FIELD_NO_EFFECT("summary_activation"),
    CI_FIELD_NO_EFFECT("summary_first_dropout"),
    CI_FIELD_NO_EFFECT("summary_proj_to_labels"),
    CI_FIELD_NO_EFFECT("summary_type"),
    CI_FIELD_NO_EFFECT("summary_use_proj"),
    CI_FIELD_NO_EFFECT("validate_runner_input"),
    {0},
};

static const struct ci_checkpoint_tensor tensors[] = {
    {"wte", "token_embd", CI_CHECKPOINT_AS_STORED},
    {"wpe", "position_embd", CI_CHECKPOINT_AS_STORED},
    {"ln_f", "output_norm", CI_CHECKPOINT_AS_STORED},
    {"h.*.ln_1", "blk.*.attn_norm", CI_CHECKPOINT_AS_STORED},
    {"h.*.ln_2", "blk.*.ffn_norm", CI_CHECKPOINT_AS_STORED},
    {"h.*.attn.c_attn", "blk.*.attn_qkv", CI_CHECKPOINT_AS_STORED},
    {"h.*.attn.c_proj", "blk.*.attn_output", CI_CHECKPOINT_AS_STORED},
    {"h.*.mlp.c_fc", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"h.*.mlp.c_proj", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {0},
};

static void derive_checkpoint(struct ci_checkpoint_reading *reading) {
    double width = ci_checkpoint_number_of(reading, "n_embd", 0);
    if (width > 0 && width < 1 << 20)
        ci_checkpoint_default(reading, "n_inner", "feed_forward_length", 4 * (int64_t)width);
    ci_checkpoint_integer(reading, "multi_query", "attention.head_count_kv", 1);
}

static const struct ci_checkpoint checkpoint = {
    .architectures = architectures, .fields = fields, .tensors = tensors, .tied = true, .derive = derive_checkpoint};

const struct ci_family ci_family_starcoder = {
    .architecture = "starcoder", .keys = ci_layer_norm_keys, .decoder = &decoder, .checkpoint = &checkpoint};
