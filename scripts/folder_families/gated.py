"""Decoders as most are: RMS norms, a feed-forward part with a gate; and those of them that read pictures."""
import numpy as np

from .parts import (CONTEXT, HEADS, KV_HEADS, LAYERS, LLAMA3, WIDTH, base_config, Family, gguf_type, llama3_factors,
                    per_layer, permuted, plus_one, register, renamed, small, usual_shapes)


@register
def llama():
    config = base_config("LlamaForCausalLM", "llama", rope_scaling=LLAMA3, attention_bias=False, mlp_bias=False,
                         bos_token_id=1, eos_token_id=2, pretraining_tp=1, initializer_range=0.02, use_cache=True)
    return Family("LLAMA", config, usual_shapes(config), permuted, shards=2, extra=llama3_factors)


@register
def qwen2():
    config = base_config("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True, torch_dtype="float16",
                         use_sliding_window=False, sliding_window=16, max_window_layers=2, rope_theta=1000000.0)
    return Family("QWEN2", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")), dtype="float16")


@register
def qwen3():
    config = small("Qwen3ForCausalLM", "qwen3", head_dim=16, tie_word_embeddings=True, attention_bias=False)
    return Family("QWEN3", config, usual_shapes(config, q_norm=16))


def gemma_shapes(config, q_norm=None):
    shapes = usual_shapes(config, q_norm=q_norm)
    return per_layer(shapes, {"pre_feedforward_layernorm.weight": (WIDTH,),
                              "post_feedforward_layernorm.weight": (WIDTH,)})


@register
def gemma():
    config = small("GemmaForCausalLM", "gemma", head_dim=16, hidden_act="gelu", hidden_activation="gelu_pytorch_tanh",
                   tie_word_embeddings=...)
    return Family("GEMMA", config, usual_shapes(dict(config, tie_word_embeddings=True), q_norm=None), plus_one)


@register
def gemma2():
    config = small("Gemma2ForCausalLM", "gemma2", head_dim=16, query_pre_attn_scalar=16, attn_logit_softcapping=50.0,
                   final_logit_softcapping=30.0, sliding_window=4, hidden_act="gelu_pytorch_tanh",
                   hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=...)
    def meta(writer, config):
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
        writer.add_sliding_window(4)
    return Family("GEMMA2", config, gemma_shapes(dict(config, tie_word_embeddings=True)), plus_one, meta=meta)


@register
def gemma3():
    config = small("Gemma3ForCausalLM", "gemma3_text", head_dim=16, query_pre_attn_scalar=16, sliding_window=4,
                   layer_types=["sliding_attention", "full_attention"], rope_theta=1000000.0, hidden_act=...,
                   rope_local_base_freq=10000.0, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=...)
    def meta(writer, config):
        writer.add_sliding_window(4)
        writer.add_sliding_window_pattern([True, False])
        writer.add_rope_freq_base_swa(10000.0)
    return Family("GEMMA3", config, gemma_shapes(dict(config, tie_word_embeddings=True), 16), plus_one, meta=meta)


@register
def gemma3_eyes():
    """As Gemma 3 comes with a part that reads pictures: its config within another, its names behind a prefix."""
    family = gemma3()
    def store(config, weights):
        text = {key: value for key, value in config.items() if key != "architectures"}
        whole = dict(architectures=["Gemma3ForConditionalGeneration"], model_type="gemma3", text_config=text,
                     vision_config=dict(hidden_size=8), image_token_index=60, mm_tokens_per_image=4)
        eyes = {"vision_tower.vision_model.post_layernorm.weight": np.ones(8, np.float32)}
        return whole, {"language_model." + name: data for name, data in weights.items()} | eyes
    family.store = store
    return family


@register
def phi3():
    factors = dict(short_factor=[1.0, 1.1], long_factor=[1.5, 4.0])
    config = small("Phi3ForCausalLM", "phi3", partial_rotary_factor=0.5, original_max_position_embeddings=16,
                   rope_scaling=dict(type="longrope", **factors), sliding_window=None, resid_pdrop=0.0)
    head, kv = WIDTH // HEADS, KV_HEADS * (WIDTH // HEADS)
    shapes = renamed(usual_shapes(config), {"q_proj": None, "k_proj": None, "v_proj": None, "gate_proj": None,
                                            "up_proj": None})
    per_layer(shapes, {"self_attn.qkv_proj.weight": (HEADS * head + 2 * kv, WIDTH),
                       "mlp.gate_up_proj.weight": (2 * config["intermediate_size"], WIDTH)})
    def meta(writer, config):
        writer.add_rope_dimension_count(4)
        writer.add_rope_scaling_orig_ctx_len(16)
        writer.add_rope_scaling_attn_factors(float(np.sqrt(1 + np.log(CONTEXT / 16) / np.log(16))))
        writer.add_sliding_window(0)
    def extra(config):
        return {"rope_factors_long.weight": np.array(factors["long_factor"], np.float32),
                "rope_factors_short.weight": np.array(factors["short_factor"], np.float32)}
    return Family("PHI3", config, shapes, meta=meta, extra=extra)


@register
def granite():
    config = small("GraniteForCausalLM", "granite", attention_multiplier=0.4, embedding_multiplier=2.0,
                   residual_multiplier=0.5, logits_scaling=1.5, tie_word_embeddings=True, attention_bias=False)
    def meta(writer, config):
        writer.add_attention_scale(0.4)
        writer.add_embedding_scale(2.0)
        writer.add_residual_scale(0.5)
        writer.add_logit_scale(1.5)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("GRANITE", config, usual_shapes(config), permuted, meta=meta)


@register
def olmo2():
    config = small("Olmo3ForCausalLM", "olmo3", sliding_window=4, layer_types=["sliding_attention", "full_attention"])
    shapes = renamed(usual_shapes(config), {"input_layernorm": None})
    kv = KV_HEADS * (WIDTH // HEADS)
    per_layer(shapes, {"post_feedforward_layernorm.weight": (WIDTH,), "self_attn.q_norm.weight": (WIDTH,),
                       "self_attn.k_norm.weight": (kv,)})
    def meta(writer, config):
        writer.add_sliding_window(4)
        writer.add_sliding_window_pattern([True, False])
    return Family("OLMO2", config, shapes, meta=meta)


@register
def smollm3():
    config = small("SmolLM3ForCausalLM", "smollm3", tie_word_embeddings=..., num_hidden_layers=LAYERS,
                   no_rope_layers=[1, 1], no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None)
    return Family("SMOLLM3", config, usual_shapes(dict(config, tie_word_embeddings=True)), permuted)


@register
def mistral3():
    rope = dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, original_max_position_embeddings=16, beta_fast=32.0,
                beta_slow=1.0, mscale_all_dim=1.0, llama_4_scaling_beta=0.1)
    config = small("Ministral3ForCausalLM", "ministral3", rope_theta=..., rope_parameters=rope)
    def meta(writer, config):
        writer.add_rope_freq_base(10000.0)
        writer.add_rope_scaling_type(gguf_type("YARN"))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(16)
        writer.add_rope_scaling_yarn_beta_fast(32.0)
        writer.add_rope_scaling_yarn_beta_slow(1.0)
        writer.add_rope_scaling_yarn_log_mul(1.0)
        writer.add_attn_temperature_scale(0.1)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("MISTRAL3", config, usual_shapes(config), permuted, meta=meta)


@register
def glm4():
    config = small("Glm4ForCausalLM", "glm4", head_dim=16, partial_rotary_factor=0.5, attention_bias=True)
    shapes = renamed(usual_shapes(config, ("q_proj", "k_proj", "v_proj")), {"gate_proj": None, "up_proj": None})
    per_layer(shapes, {"mlp.gate_up_proj.weight": (2 * config["intermediate_size"], WIDTH),
                       "post_self_attn_layernorm.weight": (WIDTH,), "post_mlp_layernorm.weight": (WIDTH,)})
    return Family("GLM4", config, shapes, meta=lambda writer, config: writer.add_rope_dimension_count(8))


@register
def ernie4_5():
    config = small("Ernie4_5ForCausalLM", "ernie4_5", head_dim=16, use_bias=False, tie_word_embeddings=True)
    return Family("ERNIE4_5", config, usual_shapes(config),
                  meta=lambda writer, config: writer.add_rope_dimension_count(16))


@register
def arcee():
    config = small("ArceeForCausalLM", "arcee", head_dim=16, hidden_act="relu2", rope_scaling=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=16))
    def meta(writer, config):
        writer.add_rope_dimension_count(16)
        writer.add_rope_scaling_type(gguf_type("YARN"))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(16)
    return Family("ARCEE", config, renamed(usual_shapes(config), {"gate_proj": None}), permuted, meta=meta)


@register
def seed_oss():
    config = small("SeedOssForCausalLM", "seed_oss", head_dim=16, attention_out_bias=False, residual_dropout=0.1)
    return Family("SEED_OSS", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")))


@register
def exaone4():
    config = small("Exaone4ForCausalLM", "exaone4", head_dim=8, sliding_window=None, sliding_window_pattern=None,
                   layer_types=["full_attention", "full_attention"])
    shapes = renamed(usual_shapes(config, q_norm=8), {"input_layernorm": None})
    return Family("EXAONE4", config, per_layer(shapes, {"post_feedforward_layernorm.weight": (WIDTH,)}))


@register
def exaone():
    config = small("ExaoneForCausalLM", "exaone", num_layers=LAYERS, num_hidden_layers=..., layer_norm_epsilon=1e-5,
                   rms_norm_eps=..., activation_function="silu", hidden_act=..., rope_scaling=LLAMA3)
    names = {"model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f",
             "model.layers.": "transformer.h.", "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2",
             "self_attn.": "attn.attention.", "o_proj": "out_proj", "gate_proj": "c_fc_0",
             "up_proj": "c_fc_1", "down_proj": "c_proj"}
    def meta(writer, config):
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("EXAONE", config, renamed(usual_shapes(config), names), meta=meta, extra=llama3_factors)


@register
def minicpm():
    config = small("MiniCPMForCausalLM", "minicpm", scale_emb=2, scale_depth=1.4, dim_model_base=16,
                   tie_word_embeddings=...)
    def meta(writer, config):
        writer.add_embedding_scale(2.0)
        writer.add_residual_scale(1.4 / 2 ** 0.5)
        writer.add_logit_scale(2.0)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("MINICPM", config, usual_shapes(dict(config, tie_word_embeddings=True)), permuted, meta=meta)


@register
def hunyuan_dense():
    """A stretched context as a larger base."""
    config = small("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", head_dim=16, use_qk_norm=True,
                   tie_word_embeddings=True,
                   rope_scaling=dict(type="dynamic", alpha=50.0, factor=1.0, mscale=1.0, mscale_all_dim=1.0))
    shapes = renamed(usual_shapes(config, q_norm=16), {"q_norm": "query_layernorm", "k_norm": "key_layernorm"})
    def meta(writer, config):
        writer.add_rope_freq_base(10000.0 * 50.0 ** (16 / 14))
        writer.add_rope_dimension_count(16)
    config["rope_theta"] = 10000.0
    return Family("HUNYUAN_DENSE", config, shapes, meta=meta)


def with_eyes(family, outer, prefix, **more):
    """Config within another, names behind a prefix, and a part that reads pictures."""
    def store(config, weights):
        whole = dict(architectures=config["architectures"], model_type=outer, vision_config=dict(hidden_size=8), **more)
        if prefix:
            whole["text_config"] = {key: value for key, value in config.items() if key != "architectures"}
        else:
            whole = config | whole
        named = {name.replace("model.", prefix or "model.", 1): data for name, data in weights.items()}
        eyes = {"model.visual.merger.norm.weight" if prefix else "visual.merger.norm.weight": np.ones(8, np.float32)}
        return whole, named | eyes
    family.store = store
    return family


@register
def qwen2vl():
    config = small("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", rms_norm_eps=1e-7, rope_theta=1000000.0,
                   use_sliding_window=False, rope_scaling=dict(type="mrope", mrope_section=[1, 1, 2]),
                   tie_word_embeddings=False)
    family = Family("QWEN2VL", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")),
                    meta=lambda writer, config: writer.add_rope_dimension_sections([1, 1, 2, 0]))
    return with_eyes(family, "qwen2_5_vl", None, image_token_id=60, vision_start_token_id=61)


@register
def qwen3vl():
    config = small("Qwen3VLForConditionalGeneration", "qwen3_vl_text", head_dim=16, tie_word_embeddings=True,
                   rope_theta=1000000.0,
                   rope_scaling=dict(rope_type="default", mrope_interleaved=True, mrope_section=[4, 2, 2]))
    family = Family("QWEN3VL", config, usual_shapes(config, q_norm=16),
                    meta=lambda writer, config: writer.add_rope_dimension_sections([4, 2, 2, 0]))
    return with_eyes(family, "qwen3_vl", "model.language_model.", image_token_id=60)
