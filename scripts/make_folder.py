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
    head = config.get("head_dim", WIDTH // HEADS)
    q, kv = HEADS * head, KV_HEADS * head
    shapes = {"model.embed_tokens.weight": (VOCABULARY, WIDTH), "model.norm.weight": (WIDTH,)}
    if not config["tie_word_embeddings"]:
        shapes["lm_head.weight"] = (VOCABULARY, WIDTH)
    for layer in range(LAYERS):
        prefix = f"model.layers.{layer}."
        shapes |= {prefix + "input_layernorm.weight": (WIDTH,), prefix + "post_attention_layernorm.weight": (WIDTH,),
                   prefix + "self_attn.q_proj.weight": (q, WIDTH), prefix + "self_attn.k_proj.weight": (kv, WIDTH),
                   prefix + "self_attn.v_proj.weight": (kv, WIDTH), prefix + "self_attn.o_proj.weight": (WIDTH, q),
                   prefix + "mlp.gate_proj.weight": (FF, WIDTH), prefix + "mlp.up_proj.weight": (FF, WIDTH),
                   prefix + "mlp.down_proj.weight": (WIDTH, FF)}
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
    def __init__(self, arch, config, shapes, convert=as_stored, dtype="bfloat16", shards=1, meta=None, extra=None):
        self.arch, self.config, self.shapes, self.convert = arch, config, shapes, convert
        self.dtype, self.shards, self.meta, self.extra = dtype, shards, meta, extra


def llama():
    config = base_config("LlamaForCausalLM", "llama", rope_scaling=LLAMA3, attention_bias=False, mlp_bias=False,
                         bos_token_id=1, eos_token_id=2, pretraining_tp=1, initializer_range=0.02, use_cache=True)
    return Family("LLAMA", config, usual_shapes(config), permuted, shards=2, extra=llama3_factors)


def qwen2():
    config = base_config("Qwen2ForCausalLM", "qwen2", tie_word_embeddings=True, torch_dtype="float16",
                         use_sliding_window=False, sliding_window=16, max_window_layers=2, rope_theta=1000000.0)
    return Family("QWEN2", config, usual_shapes(config, ("q_proj", "k_proj", "v_proj")), dtype="float16")


FAMILIES = {"llama": llama, "qwen2": qwen2}


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
    arrays = {name: np.ascontiguousarray((data.view(np.uint32) >> 16).astype("<u2") if dtype == "bfloat16"
                                         else data.astype(dtype)) for name, data in weights.items()}
    specs = {name: safetensors.TensorSpec(dtype=dtype, shape=array.shape, data_ptr=array.ctypes.data,
                                          data_len=array.nbytes) for name, array in arrays.items()}
    safetensors.serialize_file(specs, path, {"format": "pt"})
    os.chmod(path, 0o644)


def write_folder(family, weights, folder):
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "config.json"), "w") as out:
        json.dump(family.config, out, indent=2)
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


def write_twin(family, weights, path):
    import gguf
    arch = gguf.MODEL_ARCH[family.arch]
    writer, config = gguf.GGUFWriter(path, gguf.MODEL_ARCH_NAMES[arch]), family.config
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_rope_freq_base(config["rope_theta"])
    if "head_dim" in config:
        writer.add_key_length(config["head_dim"])
        writer.add_value_length(config["head_dim"])
    writer.add_vocab_size(config["vocab_size"])
    writer.add_tokenizer_model("none")
    if family.meta:
        family.meta(writer, config)
    names = gguf.get_tensor_name_map(arch, config["num_hidden_layers"])
    for own, data in weights.items():
        name, data = family.convert(config, own, data)
        known = names.get_name(name, try_suffixes=(".weight", ".bias"))
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
