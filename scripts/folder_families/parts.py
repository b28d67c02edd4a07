"""What families are made of: configs, names and shapes as most have them, and how they are stored."""
import numpy as np

LAYERS, WIDTH, HEADS, KV_HEADS, FF, VOCABULARY, CONTEXT = 2, 32, 4, 2, 64, 96, 64

FAMILIES = {}


def register(function):
    """Registers what makes a Family under its own name."""
    FAMILIES[function.__name__] = function
    return function


def base_config(architecture, model_type, **more):
    config = dict(architectures=[architecture], model_type=model_type, hidden_size=WIDTH, intermediate_size=FF,
                  num_hidden_layers=LAYERS, num_attention_heads=HEADS, num_key_value_heads=KV_HEADS,
                  max_position_embeddings=CONTEXT, vocab_size=VOCABULARY, rms_norm_eps=1e-5, rope_theta=10000.0,
                  hidden_act="silu", tie_word_embeddings=False, torch_dtype="bfloat16", transformers_version="4.45.0")
    config.update(more)
    return {key: value for key, value in config.items() if value is not ...}


def small(architecture, model_type, **more):
    return base_config(architecture, model_type, **dict(dict(vocab_size=64, intermediate_size=32), **more))


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


def with_biases(shapes, but=("embed",)):
    return shapes | {name.replace(".weight", ".bias"): shape[:1] for name, shape in shapes.items()
                     if not any(part in name for part in but)}


def as_stored(config, name, data):
    return name, data


class Family:
    def __init__(self, arch, config, shapes, convert=as_stored, dtype="bfloat16", shards=1, meta=None, extra=None,
                 experts=0, store=None, rounded=None):
        self.arch, self.config, self.shapes, self.convert = arch, config, shapes, convert
        self.dtype, self.shards, self.meta, self.extra = dtype, shards, meta, extra
        self.experts = experts
        self.store = store  # config and weights to what the folder has of them
        self.rounded = rounded  # name and numbers to those that the folder's own type can hold


def permute(data, heads):
    """Rows of a head that RoPE turns together, half a head apart, become neighbours."""
    return data.reshape(heads, 2, -1, *data.shape[1:]).swapaxes(1, 2).reshape(data.shape)


def permuted(config, name, data):
    if name.endswith(("q_proj.weight", "q_proj.bias")):
        data = permute(data, HEADS)
    if name.endswith(("k_proj.weight", "k_proj.bias")):
        data = permute(data, KV_HEADS)
    return name, data


def plus_one(config, name, data):
    return name, data + 1 if name.endswith("norm.weight") else data


LLAMA3 = dict(rope_type="llama3", factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
              original_max_position_embeddings=16)


def llama3_factors(config):
    """How Llama 3 stretches its context (transformers, modeling_rope_utils.py)."""
    scaling, head = config["rope_scaling"], config.get("head_dim", WIDTH // HEADS)
    frequencies = config["rope_theta"] ** -(np.arange(0, head, 2) / head)
    turn = 2 * np.pi / frequencies
    share = (scaling["original_max_position_embeddings"] / turn - scaling["low_freq_factor"]) / (
        scaling["high_freq_factor"] - scaling["low_freq_factor"])
    share = np.clip(share, 0, 1)
    return {"rope_freqs.weight": (1 / ((1 - share) / scaling["factor"] + share)).astype(np.float32)}


def layer_norm_meta(rotated=None, *more):
    def meta(writer, config):
        writer.add_layer_norm_eps(1e-5)
        writer.add_rope_dimension_count(rotated or WIDTH // HEADS)
        for add in more:
            add(writer)
    return meta


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
