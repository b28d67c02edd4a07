"""Mixtures of experts."""
import numpy as np

from .parts import (HEADS, LAYERS, WIDTH, expert_meta, expert_shapes, Family, gguf_type, merged, per_layer, permuted,
                    register, renamed, small, usual_shapes)


# A tensor for each expert; whether it is the one that makes the output.
PROJECTIONS = {"mlp.experts.{}.gate_proj.weight": False, "mlp.experts.{}.down_proj.weight": True,
               "mlp.experts.{}.up_proj.weight": False}


def dense_then_experts(shapes, gates, shared):
    """The first layer is dense; the second one's four experts stand beside one that every row uses, `shared` wide."""
    shapes, prefix = renamed(shapes, {"layers.1.mlp.": None}), "model.layers.1.mlp."
    shapes |= {prefix + name: shape for name, shape in gates.items()}
    for name, down in (("gate", False), ("up", False), ("down", True)):
        for expert in range(4):
            shapes[f"{prefix}experts.{expert}.{name}_proj.weight"] = (WIDTH, 16) if down else (16, WIDTH)
        shapes[f"{prefix}shared_experts.{name}_proj.weight"] = (WIDTH, shared) if down else (shared, WIDTH)
    return shapes


@register
def mixtral():
    config = small("MixtralForCausalLM", "mixtral", num_local_experts=12, num_experts_per_tok=2, intermediate_size=16)
    names = {"block_sparse_moe.experts.{}.w1.weight": False, "block_sparse_moe.experts.{}.w2.weight": True,
             "block_sparse_moe.experts.{}.w3.weight": False}
    return Family("LLAMA", config, expert_shapes(config, "block_sparse_moe.gate.weight", names, 12, 16), permuted,
                  meta=expert_meta(12, 2, 16), experts=12)


@register
def qwen3moe():
    config = small("Qwen3MoeForCausalLM", "qwen3_moe", head_dim=16, num_experts=4, num_experts_per_tok=2,
                   moe_intermediate_size=16, norm_topk_prob=True, decoder_sparse_step=1, mlp_only_layers=[])
    shapes = expert_shapes(config, "mlp.gate.weight", PROJECTIONS, 4, 16)
    per_layer(shapes, {"self_attn.q_norm.weight": (16,), "self_attn.k_norm.weight": (16,)})
    return Family("QWEN3MOE", config, shapes, meta=expert_meta(4, 2, 16), experts=4)


@register
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


@register
def qwen2moe():
    """One expert is used by every row, as much as a gate says."""
    config = small("Qwen2MoeForCausalLM", "qwen2_moe", num_experts=4, num_experts_per_tok=2, moe_intermediate_size=16,
                   shared_expert_intermediate_size=32, norm_topk_prob=False, decoder_sparse_step=1, mlp_only_layers=[])
    shapes = expert_shapes(config, "mlp.gate.weight", PROJECTIONS, 4, 16)
    shapes |= {name: shape for name, shape in usual_shapes(config, ("q_proj", "k_proj", "v_proj")).items()
               if "bias" in name}
    per_layer(shapes, {"mlp.shared_expert_gate.weight": (1, WIDTH), "mlp.shared_expert.gate_proj.weight": (32, WIDTH),
                       "mlp.shared_expert.up_proj.weight": (32, WIDTH),
                       "mlp.shared_expert.down_proj.weight": (WIDTH, 32)})
    def convert(config, name, data):
        return name, data[0] if name.endswith("shared_expert_gate.weight") else data
    def meta(writer, config):
        expert_meta(4, 2, 16)(writer, config)
        writer.add_expert_shared_feed_forward_length(32)
    return Family("QWEN2MOE", config, shapes, convert, meta=meta, experts=4)


@register
def olmoe():
    config = small("OlmoeForCausalLM", "olmoe", num_experts=4, num_experts_per_tok=2, intermediate_size=16,
                   norm_topk_prob=False, clip_qkv=None, num_key_value_heads=HEADS)
    shapes = expert_shapes(config, "mlp.gate.weight", PROJECTIONS, 4, 16)
    per_layer(shapes, {"self_attn.q_norm.weight": (WIDTH,), "self_attn.k_norm.weight": (WIDTH,),
                       "self_attn.k_proj.weight": (WIDTH, WIDTH), "self_attn.v_proj.weight": (WIDTH, WIDTH)})
    return Family("OLMOE", config, shapes, meta=expert_meta(4, 2, 16), experts=4)


@register
def deepseek():
    """The first layer is dense; of the experts some are used by every row."""
    config = small("DeepseekForCausalLM", "deepseek", n_routed_experts=4, num_experts_per_tok=2,
                   moe_intermediate_size=16, n_shared_experts=2, first_k_dense_replace=1, moe_layer_freq=1,
                   norm_topk_prob=False, scoring_func="softmax", aux_loss_alpha=0.001)
    shapes = dense_then_experts(usual_shapes(config), {"gate.weight": (4, WIDTH)}, 32)
    def meta(writer, config):
        expert_meta(4, 2, 16)(writer, config)
        writer.add_expert_shared_count(2)
        writer.add_leading_dense_block_count(1)
        writer.add_expert_weights_scale(1.0)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("DEEPSEEK", config, shapes, permuted, meta=meta, experts=4)


@register
def glm4moe():
    """The first layer is dense; the choice of experts has a bias."""
    config = small("Glm4MoeForCausalLM", "glm4_moe", head_dim=16, partial_rotary_factor=0.5, n_routed_experts=4,
                   num_experts_per_tok=2, moe_intermediate_size=16, n_shared_experts=1, first_k_dense_replace=1,
                   n_group=1, topk_group=1, routed_scaling_factor=1.5, norm_topk_prob=..., use_qk_norm=True,
                   attention_bias=True, num_nextn_predict_layers=1)
    shapes = dense_then_experts(usual_shapes(config, ("q_proj", "k_proj", "v_proj"), q_norm=16),
                                {"gate.weight": (4, WIDTH), "gate.e_score_correction_bias": (4,)}, 16)
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


@register
def granitemoe():
    """Gate and up of all experts lie in one tensor, those of the shared one in another."""
    config = small("GraniteMoeSharedForCausalLM", "granitemoeshared", attention_multiplier=0.4,
                   embedding_multiplier=2.0, residual_multiplier=0.5, logits_scaling=1.5, num_local_experts=4,
                   num_experts_per_tok=2, intermediate_size=16, shared_intermediate_size=32)
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


@register
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
    per_layer(shapes, {"self_attn.sinks": (HEADS,), "mlp.router.weight": (experts, WIDTH),
                       "mlp.router.bias": (experts,)})
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


@register
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
