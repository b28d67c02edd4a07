#!/usr/bin/env python3
"""Makes the tiny models of the tests that are folders as the Hub has them, and their twins in GGUF: the same random
numbers under both names, by the packages `safetensors` and `gguf`, so that what reads one must compute what the other
does.

  make_folder.py FAMILY FOLDER TWIN.gguf            config.json and weights in FOLDER, TWIN.gguf in F32
  make_folder.py --logits TWIN.npy FOLDER           records another program's logits of the twin as FOLDER/logits.bin

The twin is in F32 so that whoever computes its logits rounds nothing: numbers of the folder are rounded to its type
first. Names come from gguf's TensorNameMap; what a family stores otherwise (the order of the rows of queries and keys,
norms less 1, transposed matrices, experts one by one) is done here as in llama.cpp's conversion, in NumPy.

Recorded logits are those of the tokens (i * 7919 + 13) % vocabulary, i < 12: float32 [12, vocabulary], little
endian. The families are in folder_families/."""
import json
import os
import re
import sys

import numpy as np

sys.dont_write_bytecode = True
from folder_families import CONTEXT, FAMILIES, HEADS, LAYERS, WIDTH, merged  # noqa: E402


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
    specs = {name: safetensors.TensorSpec(dtype="uint8" if array.dtype == np.uint8 else dtype, shape=array.shape,
                                          data_ptr=array.ctypes.data, data_len=array.nbytes)
             for name, array in arrays.items()}
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
