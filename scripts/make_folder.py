#!/usr/bin/env python3
"""Makes the tiny models of the tests that are folders as the Hub has them, and their twins in GGUF: the same random
numbers under both names, by the packages `safetensors` and `gguf`, so that what reads one must compute what the other
does.

  make_folder.py FAMILY FOLDER TWIN.gguf            config.json and weights in FOLDER, TWIN.gguf in F32
  make_folder.py --logits TWIN.npy FOLDER           records another program's logits of the twin as FOLDER/logits.bin

The twin is in F32 so that whoever computes its logits rounds nothing: numbers of the folder are rounded to its type
first. Names come from gguf's TensorNameMap; what a family stores otherwise (the order of the rows of queries and keys,
norms less 1, transposed matrices, experts one by one) is done here as in llama.cpp's conversion, in NumPy.

Recorded logits are those of the tokens (i * 7919 + 13) % vocabulary, i < 12: float32 [12, vocabulary], little endian."""
import json
import os
import re
import sys

import numpy as np

TOKENS, LAYERS, WIDTH, HEADS, KV_HEADS, HEAD, FF, VOCABULARY, CONTEXT = 12, 2, 32, 4, 2, 8, 64, 96, 64


def base_config(architecture, model_type, **more):
    config = dict(architectures=[architecture], model_type=model_type, hidden_size=WIDTH, intermediate_size=FF,
                  num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                  max_position_embeddings=CONTEXT, vocab_size=VOCABULARY, rms_norm_eps=1e-5, rope_theta=10000.0,
                  hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16", transformers_version="4.45.0")
    config.update(more)
    return {key: value for key, value in config.items() if value is not ...}


def usual_shapes(config, biases=(), q_norm=None):
    """Names and shapes of a decoder as most are."""
    head, ff, vocabulary = config.get("head_dim", WIDTH // HEADS), config["intermediate_size"], config["vocab_size"]
    q, kv = HEADS * head, KV_HEADS * head
    shapes = {"model.embed_tokens.weight": (vocabulary, WIDTH), "model.norm.weight": (WIDTH,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (vocabulary, WIDTH)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {prefix + "input_layernorm.weight": (WIDTH,), prefix + "post_attention_layernorm.weight": (WIDTH,),
                   prefix + "self_attn.q_proj.weight": (q, WIDTH), prefix + "self_attn.k_proj.weight": (kv, WIDTH),
                   prefix + "self_attn.v_proj.weight": (kv, WIDTH), prefix + "self_attn.o_proj.weight": (WIDTH, q),
                   prefix + "mlp.gate_proj.weight": (ff, WIDTH), prefix + "mlp.up_proj.weight": (ff, WIDTH),
                   prefix + "mlp.down_proj.weight": (WIDTH, ff)}
        for name in biases:
            shapes[f"{prefix}self_attn.{name}.bias"] = (kv if name in ("k_proj", "v_proj") else q,)
        if q_norm:
            shapes |= {prefix + "self_attn.q_norm.weight": (q_norm,), prefix + "self_attn.k_norm.weight": (q_norm,)}
    return shapes


def permute(data, heads):
    """Rows of a head that RoPE turns together, half a head apart, become neighbours."""
    return data.reshape(heads, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)


def permuted(config, name, data):
    if name.endswith(("q_proj.weight", "q_proj.bias")):
        data = permute(data, HEADS)
    if name.endswith(("k_proj.weight", "k_proj.bias")):
        data = permute(data, KV_HEADS)
    return name, data


def as_stored(config, name, data):
    return name, data


def llama3_factors(config):
    """How Llama 3 stretches its context (transformers, modeling_rope_utils.py)."""
    scaling, head = config["rope_scaling"], config.get("head_dim", WIDTH // HEADS)
    frequencies = config["rope_theta"] ** -(np.arange(0, head, 2) / head)
    turn = 2 * np.pi / frequencies
    share = (scaling["original_max_position_embeddings"] / turn - scaling["low_freq_factor"]) / (
        scaling["high_freq_factor"] - scaling["low_freq_factor"])
    share = np.clip(share, 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - share) / scaling["factor"] + share)).astype(np.float32)}


LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)


class Family:
    def __init__(self, arch, config, shapes, convert=as_stored, dtype="bfloat16", shards=1, meta=None, extra=None,
                 experts=0, store=None, rounded=None):
        self.arch, self.config, self.shapes, self.convert = arch, config, shapes, convert
        self.dtype, self.shards, self.meta, self.extra = dtype, shards, meta, extra
        self.experts = experts
        self.store = store  # config and weights to what the folder has of them
        self.rounded = rounded  # name and numbers to those that the folder's own type can hold


def llama():
    config = base_config("LlamaForCausalLM", "llama", rope_scaling=LLAMA3, attention_bias=False, mlp_bias=False,
                         bos_token_id=1, eos_token_id=2, pretraining_tp=1, initializer_range=0.02, use_cache=True)
    return Family("LLAMA", config, usual_shapes(config), permuted, shards=2, extra=llama3_factors)


def qwen2():
    config = base_config("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True, torch_dtype="float16",
                         use_sliding_window=False, sliding_window=16, max_window_layers=2, rope_theta=1000000.0)
    return Family("QWEN2", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")), dtype="float16")


def small(architecture, model_type, **more):
    return base_config(architecture, model_type, **dict(dict(vocab_size=64, intermediate_size=32), **more))


def renamed(shapes, changes):
    """`changes`: parts of names to others, or to None where there is no such tensor."""
    result = {}
    for name, shape in shapes.items():
        for old, new in changes.items():
            if name and old in name:
                name = name.replace(old, new) if new is not None else None
        if name:
            result[name] = shape
    return result


def per_layer(shapes, more):
    for layer in range(LAYERS):
        shapes |= {f"model.layers.{layer}.{name}": shape for name, shape in more.items()}
    return shapes


def qwen3():
    config = small("Qwen3ForCausalLM", "qwen3", head_dim=16, tie_word_embeddings=True, attention_bias=False)
    return Family("QWEN3", config, usual_shapes(config, q_norm=16))


def plus_one(config, name, data):
    return name, data + 1 if name.endswith("norm.weight") else data


def gemma_shapes(config, q_norm=None):
    shapes = usual_shapes(config, q_norm=q_norm)
    return per_layer(shapes, {"pre_feedforward_layernorm.weight": (WIDTH,),
                              "post_feedforward_layernorm.weight": (WIDTH,)})


def gemma2():
    config = small("Gemma2ForCausalLM", "gemma2", head_dim=16, query_pre_attn_scalar=16, attn_logit_softcapping=50.0,
                   final_logit_softcapping=30.0, sliding_window=4, hidden_act="gelu_pytorch_tanh",
                   hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=...)
    def meta(writer, config):
        writer.add_attn_logit_softcapping(50.0)
        writer.add_final_logit_softcapping(30.0)
        writer.add_sliding_window(4)
    return Family("GEMMA2", config, gemma_shapes(dict(config, tie_word_embeddings=True)), plus_one, meta=meta)


def gemma3():
    config = small("Gemma3ForCausalLM", "gemma3_text", head_dim=16, query_pre_attn_scalar=16, sliding_window=4,
                   layer_types=["sliding_attention", "full_attention"], rope_theta=1000000.0, hidden_act=...,
                   rope_local_base_freq=10000.0, hidden_activation="gelu_pytorch_tanh", tie_word_embeddings=...)
    def meta(writer, config):
        writer.add_sliding_window(4)
        writer.add_sliding_window_pattern([True, False])
        writer.add_rope_freq_base_swa(10000.0)
    return Family("GEMMA3", config, gemma_shapes(dict(config, tie_word_embeddings=True), 16), plus_one, meta=meta)


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


def smollm3():
    config = small("SmolLM3ForCausalLM", "smollm3", tie_word_embeddings=..., num_hidden_layers=LAYERS,
                   no_rope_layers=[1, 1], no_rope_layer_interval=4, use_sliding_window=False, sliding_window=None)
    return Family("SMOLLM3", config, usual_shapes(dict(config, tie_word_embeddings=True)), permuted)


def starcoder2():
    config = small("Starcoder2ForCausalLM", "starcoder2", norm_epsilon=1e-5, rms_norm_eps=..., use_bias=True,
                   hidden_act="gelu_pytorch_tanh", tie_word_embeddings=..., norm_type="layer_norm", mlp_type="default")
    shapes = renamed(usual_shapes(dict(config, tie_word_embeddings=True)),
                     {"gate_proj": None, "up_proj": "c_fc", "down_proj": "c_proj"})
    shapes |= {name.replace(".weight", ".bias"): shape[:1] for name, shape in shapes.items() if "embed" not in name}
    return Family("STARCODER2", config, shapes, meta=lambda writer, config: writer.add_layer_norm_eps(1e-5))


def gpt2():
    config = dict(architectures=["GPT2LMHeadModel"], model_type="gpt2", n_embd=WIDTH, n_layer=LAYERS, n_head=HEADS,
                  n_positions=CONTEXT, n_ctx=CONTEXT, vocab_size=64, layer_norm_epsilon=1e-5,
                  activation_function="gelu_new", resid_pdrop=0.1)
    shapes = {"wte.weight": (64, WIDTH), "wpe.weight": (CONTEXT, WIDTH), "ln_f.weight": (WIDTH,), "ln_f.bias": (WIDTH,)}
    for layer in range(LAYERS):
        for name, rows, cols in (("attn.c_attn", WIDTH, 3 * WIDTH), ("attn.c_proj", WIDTH, WIDTH),
                                 ("mlp.c_fc", WIDTH, 4 * WIDTH), ("mlp.c_proj", 4 * WIDTH, WIDTH)):
            shapes |= {f"h.{layer}.{name}.weight": (rows, cols), f"h.{layer}.{name}.bias": (cols,)}
        for name in ("ln_1", "ln_2"):
            shapes |= {f"h.{layer}.{name}.weight": (WIDTH,), f"h.{layer}.{name}.bias": (WIDTH,)}
    def transposed(config, name, data):
        return name, data.T if name.endswith(("c_attn.weight", "c_proj.weight", "c_fc.weight")) else data
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_feed_forward_length(4 * WIDTH)
    return Family("GPT2", config, shapes, transposed, meta=meta)


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


def gguf_type(name):
    import gguf
    return gguf.RopeScalingType[name]


def expert_shapes(config, router, names, experts, width):
    shapes = renamed(usual_shapes(config), {"mlp.": None})
    more = {router: (experts, WIDTH)}
    for expert in range(experts):
        for name, down in names.items():
            more[name.format(expert)] = (WIDTH, width) if down else (width, WIDTH)
    return per_layer(shapes, more)


def merged(weights, pattern, experts):
    """[experts, rows, cols] of one layer."""
    return np.stack([weights[pattern.format(expert)] for expert in range(experts)])


def expert_meta(experts, used, width):
    def meta(writer, config):
        writer.add_expert_count(experts)
        writer.add_expert_used_count(used)
        writer.add_expert_feed_forward_length(width)
    return meta


def mixtral():
    config = small("MixtralForCausalLM", "mixtral", num_local_experts=12, num_experts_per_tok=2, intermediate_size=16)
    names = {"block_sparse_moe.experts.{}.w1.weight": False, "block_sparse_moe.experts.{}.w2.weight": True,
             "block_sparse_moe.experts.{}.w3.weight": False}
    return Family("LLAMA", config, expert_shapes(config, "block_sparse_moe.gate.weight", names, 12, 16), permuted,
                  meta=expert_meta(12, 2, 16), experts=12)


def qwen3moe():
    config = small("Qwen3MoeForCausalLM", "qwen3_moe", head_dim=16, num_experts=4, num_experts_per_tok=2,
                   moe_intermediate_size=16, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])
    names = {"mlp.experts.{}.gate_proj.weight": False, "mlp.experts.{}.down_proj.weight": True,
             "mlp.experts.{}.up_proj.weight": False}
    shapes = expert_shapes(config, "mlp.gate.weight", names, 4, 16)
    per_layer(shapes, {"self_attn.q_norm.weight": (16,), "self_attn.k_norm.weight": (16,)})
    return Family("QWEN3MOE", config, shapes, meta=expert_meta(4, 2, 16), experts=4)


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


def qwen3moe_fused():
    """As transformers 5 stores experts: all in one, gate and up one behind the other."""
    family = qwen3moe()
    def store(config, weights):
        result = {name: data for name, data in weights.items() if ".experts." not in name}
        for layer in range(LAYERS):
            prefix = f"model.layers.{layer}.mlp.experts."
            gate, up, down = (merged(weights, prefix + "{}." + name + "_proj.weight", family.experts)
                              for name in ("gate", "up", "down"))
            result[prefix + "gate_up_proj"] = np.concatenate([gate, up], 1)
            result[prefix + "down_proj"] = down
        return config, result
    family.store = store
    return family


def to_mxfp4(data):
    """Exponents and codes of blocks of 32, as OCP's Microscaling Formats have them, and the numbers that they are."""
    table = np.array([0, .5, 1, 1.5, 2, 3, 4, 6], np.float32)
    blocks = data.reshape(*data.shape[:-1], -1, 32)
    exponents = np.floor(np.log2(np.abs(blocks).max(-1, keepdims=True))) - 2
    scaled = blocks / np.exp2(exponents)
    codes = np.abs(np.abs(scaled)[..., None] - table).argmin(-1)
    numbers = np.sign(scaled) * table[codes] * np.exp2(exponents)
    return (exponents[..., 0] + 127).astype(np.uint8), (codes | (scaled < 0) << 3).astype(np.uint8), \
        numbers.reshape(data.shape).astype(np.float32)


def gpt_oss(experts=4, ff=64):
    """Experts in MXFP4 with biases, gate and up row by row in turn, two neighbours in a byte."""
    rope = dict(rope_type="yarn", factor=4.0, beta_fast=32.0, beta_slow=1.0, original_max_position_embeddings=16,
                truncate=False)
    config = small("GptOssForCausalLM", "gpt_oss", head_dim=16, num_local_experts=experts, num_experts_per_tok=2,
                   experts_per_token=2, intermediate_size=ff, sliding_window=4, swiglu_limit=7.0, rope_scaling=rope,
                   layer_types=["sliding_attention", "full_attention"], attention_bias=True, initial_context_length=16,
                   quantization_config=dict(modules_to_not_convert=["model.embed_tokens"], quant_method="mxfp4"))
    shapes = usual_shapes(config, ("q_proj", "k_proj", "v_proj", "o_proj"))
    for layer in range(LAYERS):
        shapes[f"model.layers.{layer}.self_attn.o_proj.bias"] = (WIDTH,)
    shapes = renamed(shapes, {"mlp.": None})
    per_layer(shapes, {"self_attn.sinks": (HEADS,), "mlp.router.weight": (experts, WIDTH), "mlp.router.bias": (experts,)})
    for name, rows, cols in (("gate", ff, WIDTH), ("up", ff, WIDTH), ("down", WIDTH, ff)):
        per_layer(shapes, {f"mlp.experts.{name}_proj.weight": (experts, rows, cols),
                           f"mlp.experts.{name}_proj.bias": (experts, rows)})
    def rounded(name, data):
        return to_mxfp4(data)[2] if name.endswith("_proj.weight") and ".experts." in name else data
    def convert(config, name, data):
        return name + ".weight" if name.endswith("sinks") else name, data
    def store(config, weights):
        result = {name: data for name, data in weights.items() if ".experts." not in name}
        for layer in range(LAYERS):
            prefix = f"model.layers.{layer}.mlp.experts."
            gate, up, down = (weights[f"{prefix}{name}_proj.weight"] for name in ("gate", "up", "down"))
            pairs = np.stack([gate, up], 2).reshape(experts, 2 * ff, WIDTH)
            for name, data in (("gate_up_proj", pairs), ("down_proj", down)):
                exponents, codes, _ = to_mxfp4(data)
                result[f"{prefix}{name}_blocks"] = codes[..., ::2] | codes[..., 1::2] << 4
                result[f"{prefix}{name}_scales"] = exponents
            biases = [weights[f"{prefix}{name}_proj.bias"] for name in ("gate", "up")]
            result[f"{prefix}gate_up_proj_bias"] = np.stack(biases, 2).reshape(experts, 2 * ff)
            result[f"{prefix}down_proj_bias"] = weights[f"{prefix}down_proj.bias"]
        return config, result
    def meta(writer, config):
        expert_meta(experts, 2, ff)(writer, config)
        writer.add_sliding_window(4)
        writer.add_rope_scaling_type(gguf_type("YARN"))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(16)
        writer.add_rope_scaling_yarn_beta_fast(32.0)
        writer.add_rope_scaling_yarn_beta_slow(1.0)
    return Family("GPT_OSS", config, shapes, convert, meta=meta, store=store, rounded=rounded)


def gpt_oss_bf16():
    """The same where somebody has made BF16 of the experts: [inputs, outputs]."""
    family = gpt_oss(3, 32)
    def store(config, weights):
        result = {name: data for name, data in weights.items() if ".experts." not in name}
        for layer in range(LAYERS):
            prefix = f"model.layers.{layer}.mlp.experts."
            gate, up, down = (weights[f"{prefix}{name}_proj.weight"].swapaxes(1, 2) for name in ("gate", "up", "down"))
            result[prefix + "gate_up_proj"] = np.stack([gate, up], 3).reshape(*gate.shape[:2], -1)
            result[prefix + "down_proj"] = down
            biases = [weights[f"{prefix}{name}_proj.bias"] for name in ("gate", "up")]
            result[prefix + "gate_up_proj_bias"] = np.stack(biases, 2).reshape(biases[0].shape[0], -1)
            result[prefix + "down_proj_bias"] = weights[f"{prefix}down_proj.bias"]
        return {key: value for key, value in config.items() if key != "quantization_config"}, result
    family.store = store
    return family


def gemma():
    config = small("GemmaForCausalLM", "gemma", head_dim=16, hidden_act="gelu", hidden_activation="gelu_pytorch_tanh",
                   tie_word_embeddings=...)
    return Family("GEMMA", config, usual_shapes(dict(config, tie_word_embeddings=True), q_norm=None), plus_one)


def olmo():
    config = small("OlmoForCausalLM", "olmo", rms_norm_eps=..., clip_qkv=1.5)
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_clamp_kqv(1.5)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("OLMO", config, renamed(usual_shapes(config), {"norm": None}), permuted, meta=meta)


def with_biases(shapes, but=("embed",)):
    return shapes | {name.replace(".weight", ".bias"): shape[:1] for name, shape in shapes.items()
                     if not any(part in name for part in but)}


def layer_norm_meta(rotated=None, *more):
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_rope_dimension_count(rotated or WIDTH // HEADS)
        for add in more:
            add(writer)
    return meta


def phi2():
    config = small("PhiForCausalLM", "phi", rms_norm_eps=..., layer_norm_eps=1e-5, hidden_act="gelu_new",
                   partial_rotary_factor=0.5, num_key_value_heads=None, qk_layernorm=False, intermediate_size=4 * WIDTH)
    shapes = renamed(usual_shapes(config), {"gate_proj": None, "post_attention": None, "up_proj": "fc1", "down_proj": "fc2",
                                            "o_proj": "dense", "model.norm": "model.final_layernorm"})
    for name in list(shapes):
        if "k_proj" in name or "v_proj" in name:
            shapes[name] = (WIDTH, WIDTH)
    return Family("PHI2", config, with_biases(shapes), meta=layer_norm_meta(4))


def command_r():
    config = small("CohereForCausalLM", "cohere", rms_norm_eps=..., layer_norm_eps=1e-5, logit_scale=0.3,
                   use_qk_norm=False, tie_word_embeddings=...)
    shapes = renamed(usual_shapes(dict(config, tie_word_embeddings=True)), {"post_attention": None})
    return Family("COMMAND_R", config, shapes, meta=layer_norm_meta(None, lambda writer: writer.add_logit_scale(0.3)))


def cohere2():
    config = small("Cohere2ForCausalLM", "cohere2", rms_norm_eps=..., layer_norm_eps=1e-5, logit_scale=0.3, rotary_pct=1.0,
                   sliding_window=4, sliding_window_pattern=4, layer_types=["sliding_attention", "full_attention"],
                   use_parallel_block=True, tie_word_embeddings=...)
    shapes = renamed(usual_shapes(dict(config, tie_word_embeddings=True)), {"post_attention": None})
    return Family("COHERE2", config, shapes, meta=layer_norm_meta(
        None, lambda writer: writer.add_logit_scale(0.3), lambda writer: writer.add_sliding_window(4),
        lambda writer: writer.add_sliding_window_pattern([True, False])))


def stablelm():
    """Heads have norms of their own, one vector each."""
    config = small("StableLmForCausalLM", "stablelm", rms_norm_eps=..., layer_norm_eps=1e-5, partial_rotary_factor=0.5,
                   use_qkv_bias=True, qk_layernorm=True, use_parallel_residual=False)
    shapes = with_biases(usual_shapes(config, ("q_proj", "k_proj", "v_proj")), ("embed", "lm_head", "proj"))
    for name, heads in (("q", HEADS), ("k", KV_HEADS)):
        per_layer(shapes, {f"self_attn.{name}_layernorm.weight": (heads, WIDTH // HEADS)})
    def store(config, weights):
        result = {}
        for name, data in weights.items():
            if name.endswith(("q_layernorm.weight", "k_layernorm.weight")):
                result |= {name.replace(".weight", f".norms.{head}.weight"): data[head] for head in range(len(data))}
            else:
                result[name] = data
        return config, result
    return Family("STABLELM", config, shapes, meta=layer_norm_meta(4), store=store)


def glm4():
    config = small("Glm4ForCausalLM", "glm4", head_dim=16, partial_rotary_factor=0.5, attention_bias=True)
    shapes = renamed(usual_shapes(config, ("q_proj", "k_proj", "v_proj")), {"gate_proj": None, "up_proj": None})
    per_layer(shapes, {"mlp.gate_up_proj.weight": (2 * config["intermediate_size"], WIDTH),
                       "post_self_attn_layernorm.weight": (WIDTH,), "post_mlp_layernorm.weight": (WIDTH,)})
    return Family("GLM4", config, shapes, meta=lambda writer, config: writer.add_rope_dimension_count(8))


def nemotron():
    config = small("NemotronForCausalLM", "nemotron", rms_norm_eps=..., norm_eps=1e-5, hidden_act="relu2",
                   partial_rotary_factor=0.5, mlp_bias=False)
    shapes = with_biases(renamed(usual_shapes(config), {"gate_proj": None}), ("embed", "lm_head", "proj"))
    return Family("NEMOTRON", config, shapes, plus_one, meta=layer_norm_meta(4))


def ernie4_5():
    config = small("Ernie4_5ForCausalLM", "ernie4_5", head_dim=16, use_bias=False, tie_word_embeddings=True)
    return Family("ERNIE4_5", config, usual_shapes(config), meta=lambda writer, config: writer.add_rope_dimension_count(16))


def arcee():
    config = small("ArceeForCausalLM", "arcee", head_dim=16, hidden_act="relu2", rope_scaling=dict(
        rope_type="yarn", factor=4.0, original_max_position_embeddings=16))
    def meta(writer, config):
        writer.add_rope_dimension_count(16)
        writer.add_rope_scaling_type(gguf_type("YARN"))
        writer.add_rope_scaling_factor(4.0)
        writer.add_rope_scaling_orig_ctx_len(16)
    return Family("ARCEE", config, renamed(usual_shapes(config), {"gate_proj": None}), permuted, meta=meta)


def seed_oss():
    config = small("SeedOssForCausalLM", "seed_oss", head_dim=16, attention_out_bias=False, residual_dropout=0.1)
    return Family("SEED_OSS", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")))


def exaone4():
    config = small("Exaone4ForCausalLM", "exaone4", head_dim=8, sliding_window=None, sliding_window_pattern=None,
                   layer_types=["full_attention", "full_attention"])
    shapes = renamed(usual_shapes(config, q_norm=8), {"input_layernorm": None})
    return Family("EXAONE4", config, per_layer(shapes, {"post_feedforward_layernorm.weight": (WIDTH,)}))


def olmoe():
    config = small("OlmoeForCausalLM", "olmoe", num_experts=4, num_experts_per_tok=2, intermediate_size=16,
                   norm_topk_prob=False, clip_qkv=None, num_key_value_heads=HEADS)
    names = {"mlp.experts.{}.gate_proj.weight": False, "mlp.experts.{}.down_proj.weight": True,
             "mlp.experts.{}.up_proj.weight": False}
    shapes = expert_shapes(config, "mlp.gate.weight", names, 4, 16)
    per_layer(shapes, {"self_attn.q_norm.weight": (WIDTH,), "self_attn.k_norm.weight": (WIDTH,),
                       "self_attn.k_proj.weight": (WIDTH, WIDTH), "self_attn.v_proj.weight": (WIDTH, WIDTH)})
    return Family("OLMOE", config, shapes, meta=expert_meta(4, 2, 16), experts=4)


def deepseek():
    """The first layer is dense; of the experts some are used by every row."""
    config = small("DeepseekForCausalLM", "deepseek", n_routed_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                   n_shared_experts=2, first_k_dense_replace=1, moe_layer_freq=1, norm_topk_prob=False,
                   scoring_func="softmax", aux_loss_alpha=0.001)
    shapes = renamed(usual_shapes(config), {"layers.1.mlp.": None})
    prefix = "model.layers.1.mlp."
    shapes[prefix + "gate.weight"] = (4, WIDTH)
    for name, down in (("gate", False), ("up", False), ("down", True)):
        for expert in range(4):
            shapes[f"{prefix}experts.{expert}.{name}_proj.weight"] = (WIDTH, 16) if down else (16, WIDTH)
        shapes[f"{prefix}shared_experts.{name}_proj.weight"] = (WIDTH, 32) if down else (32, WIDTH)
    def meta(writer, config):
        expert_meta(4, 2, 16)(writer, config)
        writer.add_expert_shared_count(2)
        writer.add_leading_dense_block_count(1)
        writer.add_expert_weights_scale(1.0)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("DEEPSEEK", config, shapes, permuted, meta=meta, experts=4)


def granitemoe():
    """Gate and up of all experts lie in one tensor, those of the shared one in another."""
    config = small("GraniteMoeSharedForCausalLM", "granitemoeshared", attention_multiplier=0.4, embedding_multiplier=2.0,
                   residual_multiplier=0.5, logits_scaling=1.5, num_local_experts=4, num_experts_per_tok=2,
                   intermediate_size=16, shared_intermediate_size=32)
    moe, mlp = "block_sparse_moe.", "shared_mlp."
    shapes = per_layer(renamed(usual_shapes(config), {"mlp.": None}), {
        moe + "router.layer.weight": (4, WIDTH), moe + "gate.weight": (4, 16, WIDTH), moe + "up.weight": (4, 16, WIDTH),
        moe + "output_linear.weight": (4, WIDTH, 16), mlp + "gate.weight": (32, WIDTH), mlp + "up.weight": (32, WIDTH),
        mlp + "output_linear.weight": (WIDTH, 32)})
    known = {moe + "gate": "ffn_gate_exps", moe + "up": "ffn_up_exps", moe + "output_linear": "ffn_down_exps",
             mlp + "gate": "ffn_gate_shexp", mlp + "up": "ffn_up_shexp"}
    def convert(config, name, data):
        for part, gguf_name in known.items():
            if f".{part}.weight" in name:
                return f"blk.{name.split('.')[2]}.{gguf_name}.weight", data
        return permuted(config, name, data)
    def store(config, weights):
        result = {name: data for name, data in weights.items() if not name.endswith((".gate.weight", ".up.weight"))}
        for layer in range(LAYERS):
            for part in (moe, mlp):
                gate, up = (weights[f"model.layers.{layer}.{part}{name}.weight"] for name in ("gate", "up"))
                result[f"model.layers.{layer}.{part}input_linear.weight"] = np.concatenate([gate, up], -2)
        return config, result
    def meta(writer, config):
        expert_meta(4, 2, 16)(writer, config)
        writer.add_expert_shared_feed_forward_length(32)
        writer.add_attention_scale(0.4)
        writer.add_embedding_scale(2.0)
        writer.add_residual_scale(0.5)
        writer.add_logit_scale(1.5)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("GRANITE_MOE", config, shapes, convert, meta=meta, store=store)


def starcoder():
    config = dict(architectures=["GPTBigCodeForCausalLM"], model_type="gpt_bigcode", n_embd=WIDTH, n_layer=LAYERS,
                  n_head=HEADS, n_positions=CONTEXT, vocab_size=64, layer_norm_epsilon=1e-5, activation_function="gelu",
                  multi_query=True, attention_softmax_in_fp32=True)
    head = WIDTH // HEADS
    shapes = {"wte.weight": (64, WIDTH), "wpe.weight": (CONTEXT, WIDTH), "ln_f.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {f"h.{layer}.{name}.weight": shape for name, shape in (
            ("attn.c_attn", (WIDTH + 2 * head, WIDTH)), ("attn.c_proj", (WIDTH, WIDTH)), ("mlp.c_fc", (4 * WIDTH, WIDTH)),
            ("mlp.c_proj", (WIDTH, 4 * WIDTH)), ("ln_1", (WIDTH,)), ("ln_2", (WIDTH,)))}
    shapes = {"transformer." + name: shape for name, shape in with_biases(shapes, ("wte", "wpe")).items()}
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_feed_forward_length(4 * WIDTH)
        writer.add_head_count_kv(1)
    return Family("STARCODER", config, shapes, meta=meta)


def minicpm():
    config = small("MiniCPMForCausalLM", "minicpm", scale_emb=2, scale_depth=1.4, dim_model_base=16,
                   tie_word_embeddings=...)
    def meta(writer, config):
        writer.add_embedding_scale(2.0)
        writer.add_residual_scale(1.4 / 2 ** 0.5)
        writer.add_logit_scale(2.0)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("MINICPM", config, usual_shapes(dict(config, tie_word_embeddings=True)), permuted, meta=meta)


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


def qwen2vl():
    config = small("Qwen2_5_VLForConditionalGeneration", "qwen2_5_vl", rms_norm_eps=1e-7, rope_theta=1000000.0, use_sliding_window=False,
                   rope_scaling=dict(type="mrope", mrope_section=[1, 1, 2]), tie_word_embeddings=False)
    family = Family("QWEN2VL", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")),
                    meta=lambda writer, config: writer.add_rope_dimension_sections([1, 1, 2, 0]))
    return with_eyes(family, "qwen2_5_vl", None, image_token_id=60, vision_start_token_id=61)


def qwen3vl():
    config = small("Qwen3VLForConditionalGeneration", "qwen3_vl_text", head_dim=16, tie_word_embeddings=True,
                   rope_theta=1000000.0,
                   rope_scaling=dict(rope_type="default", mrope_interleaved=True, mrope_section=[4, 2, 2]))
    family = Family("QWEN3VL", config, usual_shapes(config, q_norm=16),
                    meta=lambda writer, config: writer.add_rope_dimension_sections([4, 2, 2, 0]))
    return with_eyes(family, "qwen3_vl", "model.language_model.", image_token_id=60)


def modern_bert():
    """Its vectors take the place of logits: as wide as the vocabulary."""
    config = dict(architectures=["ModernBertForMaskedLM"], model_type="modernbert", hidden_size=WIDTH, vocab_size=WIDTH,
                  intermediate_size=48, num_hidden_layers=LAYERS, num_attention_heads=HEADS, norm_eps=1e-5,
                  max_position_embeddings=CONTEXT, global_attn_every_n_layers=3, local_attention=6,
                  global_rope_theta=160000.0, local_rope_theta=10000.0, hidden_activation="gelu", norm_bias=False)
    shapes = {"model.embeddings.tok_embeddings.weight": (WIDTH, WIDTH), "model.embeddings.norm.weight": (WIDTH,),
              "model.final_norm.weight": (WIDTH,), "model.layers.1.attn_norm.weight": (WIDTH,)}
    per_layer(shapes, {"attn.Wqkv.weight": (3 * WIDTH, WIDTH), "attn.Wo.weight": (WIDTH, WIDTH),
                       "mlp_norm.weight": (WIDTH,), "mlp.Wi.weight": (96, WIDTH), "mlp.Wo.weight": (WIDTH, 48)})
    def store(config, weights):
        return config, weights | {"head.dense.weight": np.ones((4, 4), np.float32)}
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_rope_freq_base(160000.0)
        writer.add_rope_freq_base_swa(10000.0)
        writer.add_sliding_window(6)
        writer.add_sliding_window_pattern(3)
        writer.add_causal_attention(False)
    def convert(config, name, data):
        return name.removeprefix("model."), data
    return Family("MODERN_BERT", config, shapes, convert, meta=meta, store=store)


def qwen2moe():
    """One expert is used by every row, as much as a gate says."""
    config = small("Qwen2MoeForCausalLM", "qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                   shared_expert_intermediate_size=32, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[])
    names = {"mlp.experts.{}.gate_proj.weight": False, "mlp.experts.{}.down_proj.weight": True,
             "mlp.experts.{}.up_proj.weight": False}
    shapes = expert_shapes(config, "mlp.gate.weight", names, 4, 16)
    biases = {name: shape for name, shape in usual_shapes(config, ("q_proj", "k_proj", "v_proj")).items() if "bias" in name}
    shapes |= biases
    per_layer(shapes, {"mlp.shared_expert_gate.weight": (1, WIDTH), "mlp.shared_expert.gate_proj.weight": (32, WIDTH),
                       "mlp.shared_expert.up_proj.weight": (32, WIDTH), "mlp.shared_expert.down_proj.weight": (WIDTH, 32)})
    def convert(config, name, data):
        return name, data[0] if name.endswith("shared_expert_gate.weight") else data
    def meta(writer, config):
        expert_meta(4, 2, 16)(writer, config)
        writer.add_expert_shared_feed_forward_length(32)
    return Family("QWEN2MOE", config, shapes, convert, meta=meta, experts=4)


def glm4moe():
    """The first layer is dense; the choice of experts has a bias."""
    config = small("Glm4MoeForCausalLM", "glm4_moe", head_dim=16, partial_rotary_factor=0.5, n_routed_experts=4,
                   num_experts_per_tok=2, moe_intermediate_size=16, n_shared_experts=1, first_k_dense_replace=1, n_group=1,
                   topk_group=1, routed_scaling_factor=1.5, norm_topk_prob=..., use_qk_norm=True, attention_bias=True,
                   num_nextn_predict_layers=1)
    shapes = renamed(usual_shapes(config, ("q_proj", "k_proj", "v_proj"), q_norm=16), {"layers.1.mlp.": None})
    prefix = "model.layers.1.mlp."
    shapes |= {prefix + "gate.weight": (4, WIDTH), prefix + "gate.e_score_correction_bias": (4,)}
    for name, down in (("gate", False), ("up", False), ("down", True)):
        for expert in range(4):
            shapes[f"{prefix}experts.{expert}.{name}_proj.weight"] = (WIDTH, 16) if down else (16, WIDTH)
        shapes[f"{prefix}shared_experts.{name}_proj.weight"] = (WIDTH, 16) if down else (16, WIDTH)
    def convert(config, name, data):
        return name.replace("e_score_correction_bias", "e_score_correction.bias"), data
    def meta(writer, config):
        expert_meta(4, 2, 16)(writer, config)
        writer.add_expert_shared_count(1)
        writer.add_leading_dense_block_count(1)
        writer.add_expert_weights_scale(1.5)
        writer.add_expert_weights_norm(True)
        writer.add_rope_dimension_count(8)
    def store(config, weights):
        """A block that predicts tokens further ahead, which the twin does without."""
        ahead = {f"model.layers.{LAYERS}.{name}": np.ones(shape, np.float32) for name, shape in (
            ("eh_proj.weight", (WIDTH, 2 * WIDTH)), ("enorm.weight", (WIDTH,)), ("input_layernorm.weight", (WIDTH,)))}
        return config, weights | ahead
    return Family("GLM4_MOE", config, shapes, convert, meta=meta, store=store, experts=4)


def exaone():
    config = small("ExaoneForCausalLM", "exaone", num_layers=LAYERS, num_hidden_layers=..., layer_norm_epsilon=1e-5,
                   rms_norm_eps=..., activation_function="silu", hidden_act=..., rope_scaling=LLAMA3)
    names = {"model.embed_tokens": "transformer.wte", "model.norm": "transformer.ln_f", "model.layers.": "transformer.h.",
             "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2", "self_attn.": "attn.attention.",
             "o_proj": "out_proj", "gate_proj": "c_fc_0", "up_proj": "c_fc_1", "down_proj": "c_proj"}
    def meta(writer, config):
        writer.add_layer_norm_rms_eps(1e-5)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("EXAONE", config, renamed(usual_shapes(config), names), meta=meta, extra=llama3_factors)


def hunyuan_dense():
    """A stretched context as a larger base."""
    config = small("HunYuanDenseV1ForCausalLM", "hunyuan_v1_dense", head_dim=16, use_qk_norm=True, tie_word_embeddings=True,
                   rope_scaling=dict(type="dynamic", alpha=50.0, factor=1.0, mscale=1.0, mscale_all_dim=1.0))
    shapes = renamed(usual_shapes(config, q_norm=16), {"q_norm": "query_layernorm", "k_norm": "key_layernorm"})
    def meta(writer, config):
        writer.add_rope_freq_base(10000.0 * 50.0 ** (16 / 14))
        writer.add_rope_dimension_count(16)
    config["rope_theta"] = 10000.0
    return Family("HUNYUAN_DENSE", config, shapes, meta=meta)


FAMILIES = {family.__name__: family for family in (llama, qwen2, qwen3, gemma2, gemma3, phi3, granite, olmo2, smollm3,
                                                   starcoder2, gpt2, mistral3, mixtral, qwen3moe, gemma3_eyes, qwen3moe_fused,
                                                   gpt_oss, gpt_oss_bf16,
                                                   gemma, olmo, phi2, command_r, cohere2, stablelm, glm4, nemotron,
                                                   ernie4_5, arcee, seed_oss, exaone4, olmoe, deepseek, granitemoe,
                                                   starcoder, minicpm, qwen2vl, qwen3vl, modern_bert,
                                                   qwen2moe, glm4moe, exaone, hunyuan_dense)}


def random_weights(family):
    """Logits of a deviation of about 2: neither flat nor one-hot."""
    rng = np.random.default_rng(11)
    weights = {}
    for name, shape in family.shapes.items():
        if len(shape) == 1:
            mean = 0.0 if name.endswith("bias") else 1.0
            data = mean + 0.3 * rng.standard_normal(shape)
        else:
            data = rng.standard_normal(shape) * 1.4 / np.sqrt(shape[-1])
        weights[name] = round_to(data.astype(np.float32), family.dtype)
        if family.rounded:
            weights[name] = family.rounded(name, weights[name])
    return weights


def round_to(data, dtype):
    if dtype == "float16":
        return data.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        bits = data.view(np.uint32)
        return ((bits + 0x7fff + ((bits >> 16) & 1)) & np.uint32(0xffff0000)).view(np.float32)
    return data


def save(weights, dtype, path):
    """By the `safetensors` package, whose NumPy side has no bfloat16, but takes addresses of bytes."""
    import safetensors
    arrays = {name: np.ascontiguousarray(data if data.dtype == np.uint8 else
                                         (data.view(np.uint32) >> 16).astype("<u2") if dtype == "bfloat16"
                                         else data.astype(dtype)) for name, data in weights.items()}
    specs = {name: safetensors.TensorSpec(dtype="uint8" if array.dtype == np.uint8 else dtype, shape=array.shape, data_ptr=array.ctypes.data,
                                          data_len=array.nbytes) for name, array in arrays.items()}
    safetensors.serialize_file(specs, path, {"format": "pt"})
    os.chmod(path, 0o644)


def write_folder(family, weights, folder):
    os.makedirs(folder, exist_ok=True)
    config = family.config
    if family.store:
        config, weights = family.store(config, weights)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(config, out, indent=2)
        out.write("\n")
    names, index = list(weights), {}
    share = -(-len(names) // family.shards)
    for shard in range(family.shards):
        file = "model.safetensors" if family.shards == 1 else f"model-{shard + 1:05}-of-{family.shards:05}.safetensors"
        part = names[shard * share:(shard + 1) * share]
        save({name: weights[name] for name in part}, family.dtype, os.path.join(folder, file))
        index |= {name: file for name in part}
    if family.shards > 1:
        total = sum(weights[name].size * 2 for name in names)
        with open(os.path.join(folder, "model.safetensors.index.json"), "w") as out:
            json.dump({"metadata": {"total_size": total}, "weight_map": index}, out, indent=1)
            out.write("\n")


def merge_experts(weights, experts):
    result = {}
    for name, data in weights.items():
        if not re.search(r"[.]experts[.][0-9]+[.]", name):
            result[name] = data
        elif ".experts.0." in name:
            pattern = name.replace(".experts.0.", ".experts.{}.")
            result[name.replace(".experts.0.", ".experts.")] = merged(weights, pattern, experts)
    return result


def write_twin(family, weights, path):
    import gguf
    arch = gguf.MODEL_ARCH[family.arch]
    writer, config = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch]), family.config
    writer.add_block_count(LAYERS)
    writer.add_context_length(CONTEXT)
    writer.add_embedding_length(WIDTH)
    writer.add_head_count(HEADS)
    if "intermediate_size" in config:
        writer.add_feed_forward_length(config["intermediate_size"])
    if config.get("num_key_value_heads"):
        writer.add_head_count_kv(config["num_key_value_heads"])
    if "rms_norm_eps" in config:
        writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    if "rope_theta" in config and "alpha" not in (config.get("rope_scaling") or {}):
        writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    if family.meta:
        family.meta(writer, config)
    names = gguf.get_tensor_name_map(arch, LAYERS)
    for own, data in merge_experts(weights, family.experts).items():
        name, data = family.convert(config, own, data)
        known = name if name.startswith("blk.") else names.get_name(name, try_suffixes=(".weight", ".bias"))
        if not known:
            raise SystemExit(f"{own}: gguf has no name for {name}")
        writer.add_tensor(known, np.ascontiguousarray(data))
    for name, data in (family.extra(config) if family.extra else {}).items():
        writer.add_tensor(name, data)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    if len(sys.argv) == 4 and sys.argv[1] == "--logits":
        logits = np.load(sys.argv[2]).astype("<f4")
        logits.tofile(os.path.join(sys.argv[3], "logits.bin"))
        print(f"{logits.shape}, deviation {logits.std():.3f}")
    elif len(sys.argv) == 4 and sys.argv[1] in FAMILIES:
        family = FAMILIES[sys.argv[1]]()
        weights = random_weights(family)
        write_folder(family, weights, sys.argv[2])
        write_twin(family, weights, sys.argv[3])
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
