"""Those with layer norms or without a gate, and encoders."""
import numpy as np

from .parts import (CONTEXT, HEADS, KV_HEADS, LAYERS, WIDTH, Family, layer_norm_meta, per_layer, permuted, plus_one,
                    register, renamed, small, usual_shapes, with_biases)


@register
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


@register
def starcoder():
    config = dict(architectures=["GPTBigCodeForCausalLM"], model_type="gpt_bigcode", n_embd=WIDTH, n_layer=LAYERS,
                  n_head=HEADS, n_positions=CONTEXT, vocab_size=64, layer_norm_epsilon=1e-5, activation_function="gelu",
                  multi_query=True, attention_softmax_in_fp32=True)
    head = WIDTH // HEADS
    shapes = {"wte.weight": (64, WIDTH), "wpe.weight": (CONTEXT, WIDTH), "ln_f.weight": (WIDTH,)}
    for layer in range(LAYERS):
        shapes |= {f"h.{layer}.{name}.weight": shape for name, shape in (
            ("attn.c_attn", (WIDTH + 2 * head, WIDTH)), ("attn.c_proj", (WIDTH, WIDTH)),
            ("mlp.c_fc", (4 * WIDTH, WIDTH)), ("mlp.c_proj", (WIDTH, 4 * WIDTH)), ("ln_1", (WIDTH,)),
            ("ln_2", (WIDTH,)))}
    shapes = {"transformer." + name: shape for name, shape in with_biases(shapes, ("wte", "wpe")).items()}
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_feed_forward_length(4 * WIDTH)
        writer.add_head_count_kv(1)
    return Family("STARCODER", config, shapes, meta=meta)


@register
def starcoder2():
    config = small("Starcoder2ForCausalLM", "starcoder2", norm_epsilon=1e-5, rms_norm_eps=..., use_bias=True,
                   hidden_act="gelu_pytorch_tanh", tie_word_embeddings=..., norm_type="layer_norm", mlp_type="default")
    shapes = renamed(usual_shapes(dict(config, tie_word_embeddings=True)),
                     {"gate_proj": None, "up_proj": "c_fc", "down_proj": "c_proj"})
    shapes |= {name.replace(".weight", ".bias"): shape[:1] for name, shape in shapes.items() if "embed" not in name}
    return Family("STARCODER2", config, shapes, meta=lambda writer, config: writer.add_layer_norm_eps(1e-5))


@register
def olmo():
    config = small("OlmoForCausalLM", "olmo", rms_norm_eps=..., clip_qkv=1.5)
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_clamp_kqv(1.5)
        writer.add_rope_dimension_count(WIDTH // HEADS)
    return Family("OLMO", config, renamed(usual_shapes(config), {"norm": None}), permuted, meta=meta)


@register
def phi2():
    config = small("PhiForCausalLM", "phi", rms_norm_eps=..., layer_norm_eps=1e-5, hidden_act="gelu_new",
                   partial_rotary_factor=0.5, num_key_value_heads=None, qk_layernorm=False, intermediate_size=4 * WIDTH)
    shapes = renamed(usual_shapes(config), {"gate_proj": None, "post_attention": None, "up_proj": "fc1",
                                            "down_proj": "fc2", "o_proj": "dense",
                                            "model.norm": "model.final_layernorm"})
    for name in list(shapes):
        if "k_proj" in name or "v_proj" in name:
            shapes[name] = (WIDTH, WIDTH)
    return Family("PHI2", config, with_biases(shapes), meta=layer_norm_meta(4))


@register
def command_r():
    config = small("CohereForCausalLM", "cohere", rms_norm_eps=..., layer_norm_eps=1e-5, logit_scale=0.3,
                   use_qk_norm=False, tie_word_embeddings=...)
    shapes = renamed(usual_shapes(dict(config, tie_word_embeddings=True)), {"post_attention": None})
    return Family("COMMAND_R", config, shapes, meta=layer_norm_meta(None, lambda writer: writer.add_logit_scale(0.3)))


@register
def cohere2():
    config = small("Cohere2ForCausalLM", "cohere2", rms_norm_eps=..., layer_norm_eps=1e-5, logit_scale=0.3,
                   rotary_pct=1.0, sliding_window=4, sliding_window_pattern=4,
                   layer_types=["sliding_attention", "full_attention"],
                   use_parallel_block=True, tie_word_embeddings=...)
    shapes = renamed(usual_shapes(dict(config, tie_word_embeddings=True)), {"post_attention": None})
    return Family("COHERE2", config, shapes, meta=layer_norm_meta(
        None, lambda writer: writer.add_logit_scale(0.3), lambda writer: writer.add_sliding_window(4),
        lambda writer: writer.add_sliding_window_pattern([True, False])))


@register
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


@register
def nemotron():
    config = small("NemotronForCausalLM", "nemotron", rms_norm_eps=..., norm_eps=1e-5, hidden_act="relu2",
                   partial_rotary_factor=0.5, mlp_bias=False)
    shapes = with_biases(renamed(usual_shapes(config), {"gate_proj": None}), ("embed", "lm_head", "proj"))
    return Family("NEMOTRON", config, shapes, plus_one, meta=layer_norm_meta(4))


@register
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
