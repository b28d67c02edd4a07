/* checkpoint_common.c: what most families call their fields and tensors alike. */
#include "model/checkpoint.h"

#define INTEGER(name, gguf)                                                                                            \
    { .field = name, .use = CI_CHECKPOINT_INTEGER, .key = gguf }
#define NUMBER(name, gguf)                                                                                             \
    { .field = name, .use = CI_CHECKPOINT_NUMBER, .key = gguf }
#define NO_EFFECT(name)                                                                                                \
    { .field = name, .use = CI_CHECKPOINT_NO_EFFECT }
#define BY_CODE(name)                                                                                                  \
    { .field = name, .use = CI_CHECKPOINT_BY_CODE }
#define MUST_BE(name, values, because)                                                                                 \
    { .field = name, .use = CI_CHECKPOINT_MUST_BE, .text = values, .why = because }

const struct ci_checkpoint_field ci_checkpoint_common_fields[] = {
    INTEGER("hidden_size", "embedding_length"),
    INTEGER("num_hidden_layers", "block_count"),
    INTEGER("intermediate_size", "feed_forward_length"),
    INTEGER("max_position_embeddings", "context_length"),
    INTEGER("num_attention_heads", "attention.head_count"),
    INTEGER("num_key_value_heads", "attention.head_count_kv"),
    INTEGER("head_dim", "attention.key_length"),
    INTEGER("head_dim", "attention.value_length"),
    INTEGER("head_dim", "rope.dimension_count"),
    NUMBER("rms_norm_eps", "attention.layer_norm_rms_epsilon"),
    BY_CODE("rope_theta"),
    BY_CODE("rope_scaling"),
    BY_CODE("rope_parameters"),
    BY_CODE("vocab_size"),
    BY_CODE("architectures"),
    BY_CODE("tie_word_embeddings"),
    BY_CODE("sliding_window"),
    BY_CODE("use_sliding_window"),

    MUST_BE("hidden_act", "\"silu\"|\"swish\"", "this family computes with silu; another activation is not supported"),
    MUST_BE("quantization_config", "null",
            "weights that another program has quantised are not supported: fetch the model in BF16 or F16, and give "
            "--type q4_0, or fetch it as GGUF"),
    MUST_BE("is_encoder_decoder", "false", "encoder-decoders are not supported; choose a model that writes text"),
    MUST_BE("add_cross_attention", "false", "attention to an encoder is not supported"),
    MUST_BE("partial_rotary_factor", "1|1.0", "this family rotates whole heads"),

    /* How it was made, trained, stored or is run by other programs; biases are taken where the weights have them. */
    NO_EFFECT("_attn_implementation"),
    NO_EFFECT("_attn_implementation_autoset"),
    NO_EFFECT("_name_or_path"),
    NO_EFFECT("attention_bias"),
    NO_EFFECT("attention_dropout"),
    NO_EFFECT("attn_pdrop"),
    NO_EFFECT("auto_map"),
    NO_EFFECT("bos_token_id"),
    NO_EFFECT("chunk_size_feed_forward"),
    NO_EFFECT("cache_implementation"),
    NO_EFFECT("dtype"),
    NO_EFFECT("embd_pdrop"),
    NO_EFFECT("eos_token_id"),
    NO_EFFECT("hidden_dropout"),
    NO_EFFECT("initializer_range"),
    NO_EFFECT("is_llama_config"),
    NO_EFFECT("max_window_layers"),
    NO_EFFECT("mlp_bias"),
    NO_EFFECT("model_type"),
    NO_EFFECT("output_attentions"),
    NO_EFFECT("output_hidden_states"),
    NO_EFFECT("pad_token_id"),
    NO_EFFECT("pretraining_tp"),
    NO_EFFECT("resid_pdrop"),
    NO_EFFECT("rope_interleaved"),
    NO_EFFECT("torch_dtype"),
    NO_EFFECT("transformers.js_config"),
    NO_EFFECT("transformers_version"),
    NO_EFFECT("unk_token_id"),
    NO_EFFECT("unsloth_fixed"),
    NO_EFFECT("unsloth_version"),
    NO_EFFECT("use_cache"),
    NO_EFFECT("use_mrope"),
    {0},
};

const struct ci_checkpoint_tensor ci_checkpoint_common_tensors[] = {
    {"model.embed_tokens", "token_embd", CI_CHECKPOINT_AS_STORED},
    {"model.norm", "output_norm", CI_CHECKPOINT_AS_STORED},
    {"lm_head", "output", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.input_layernorm", "blk.*.attn_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.q_proj", "blk.*.attn_q", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.k_proj", "blk.*.attn_k", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.v_proj", "blk.*.attn_v", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.o_proj", "blk.*.attn_output", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.q_norm", "blk.*.attn_q_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.self_attn.k_norm", "blk.*.attn_k_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.post_attention_layernorm", "blk.*.ffn_norm", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.gate_proj", "blk.*.ffn_gate", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.up_proj", "blk.*.ffn_up", CI_CHECKPOINT_AS_STORED},
    {"model.layers.*.mlp.down_proj", "blk.*.ffn_down", CI_CHECKPOINT_AS_STORED},
    {0},
};
