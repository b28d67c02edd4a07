#!/usr/bin/env python3
"""Makes the tiny models of the tests: random weights from a fixed seed, byte-level vocabulary with a few merges, every
weight type that clinfer runs somewhere. Their truth is recorded with reference.py. Needs the `gguf` package.

  make_tiny.py qwen2 OUT.gguf    biases on q, k, v; NEOX rope; 3 query heads on 1 KV head; tied output
  make_tiny.py llama OUT.gguf    NORM rope with frequency factors (rope_freqs.weight) as in Llama 3; 2 query heads on
                                 1 KV head; separate output; BOS token
  make_tiny.py llama_all OUT.gguf   whatever else a llama may have: biases and scales on every matrix, YaRN with another
                                    magnitude, frequency factors
  make_tiny.py qwen2_all OUT.gguf   the same for qwen2: one matrix for q, k and v with three biases and a scale, scales
                                    that are not applied, a bias of the output, linear RoPE scaling by its old key

Weights are large enough for logits with a deviation of about 2, so that softmax and attention are neither flat nor
one-hot and a wrong scale shows.

  --seed N            other weights than those of the tests
  --vocabulary FILE   the tokenizer of another model, with these weights"""
import argparse

import gguf
import numpy as np

TYPES = gguf.GGMLQuantizationType
SHAPES = {
    "qwen2": dict(layers=2, width=96, ff=256, heads=3, kv_heads=1, head_size=32, base=1e6, epsilon=1e-6,
                  q="F16", k="Q8_0", v="BF16", output="Q4_0", gate="Q5_0", up="Q5_1", down="Q6_K", embedding="Q8_0"),
    "llama": dict(layers=3, width=64, ff=128, heads=2, kv_heads=1, head_size=32, base=5e5, epsilon=1e-5,
                  q="Q8_0", k="F16", v="F32", output="F16", gate="Q4_1", up="Q4_0", down="Q8_0", embedding="F16"),
    "llama_all": dict(layers=2, width=32, ff=64, heads=2, kv_heads=1, head_size=16, base=1e4, epsilon=1e-5, q="Q8_0",
                      k="F32", v="Q8_0", output="Q4_1", gate="Q8_0", up="Q8_0", down="Q8_0", embedding="F16"),
    "qwen2_all": dict(layers=2, width=32, ff=64, heads=2, kv_heads=1, head_size=16, base=1e4, epsilon=1e-6, qkv="Q8_0",
                      output="F16", gate="Q8_0", up="Q8_0", down="Q5_1", embedding="Q8_0"),
}
MERGES = ["t h", "th e", "i n", "e r", "a n", "Ġ t", "Ġ a", "Ġt he", "o n", "r e", "h e", "Ġ w", "a t", "n d", "Ġ s"]
TEMPLATE = ("{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + "
            "'<|im_end|>\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}")


def byte_letters():
    """GPT-2's printable letter for each byte, in the order of its vocabulary."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in printable]
    return [chr(byte) for byte in printable] + [chr(256 + i) for i in range(len(others))]


def random_q6_k(rng, rows, cols, deviation):
    """The package cannot quantise to Q6_K: random blocks of 128 + 64 bytes of quants, 16 scales, one half."""
    blocks = rng.integers(0, 256, (rows, cols // 256, 210), dtype=np.uint8)
    blocks[..., 192:208] = rng.integers(10, 30, blocks.shape[:2] + (16,), dtype=np.uint8)
    scale = (deviation / (18.5 * 20) * rng.uniform(0.8, 1.2, blocks.shape[:2])).astype(np.float16)
    blocks[..., 208:] = scale[..., None].view(np.uint8)
    return blocks.reshape(rows, -1)


class Tiny:
    def __init__(self, kind, path, seed):
        self.shape, self.all = SHAPES[kind], kind.endswith("_all")
        self.rng = np.random.default_rng(seed)
        self.writer = gguf.GGUFWriter(path, kind.removesuffix("_all"))

    def matrix(self, name, rows, cols, kind, deviation):
        if kind == "Q6_K":
            self.writer.add_tensor(name, random_q6_k(self.rng, rows, cols, deviation), raw_dtype=TYPES.Q6_K)
            return
        data = (self.rng.standard_normal((rows, cols)) * deviation).astype(np.float32)
        self.writer.add_tensor(name, gguf.quants.quantize(data, TYPES[kind]), raw_dtype=TYPES[kind])

    def vector(self, name, size, mean, deviation):
        self.writer.add_tensor(name, (mean + self.rng.standard_normal(size) * deviation).astype(np.float32))

    def metadata(self, family):
        shape, writer = self.shape, self.writer
        writer.add_name(f"tiny {family} with random weights")
        writer.add_block_count(shape["layers"])
        writer.add_context_length(512)
        writer.add_embedding_length(shape["width"])
        writer.add_feed_forward_length(shape["ff"])
        writer.add_head_count(shape["heads"])
        writer.add_head_count_kv(shape["kv_heads"])
        writer.add_rope_dimension_count(shape["head_size"])
        writer.add_rope_freq_base(shape["base"])
        writer.add_layer_norm_rms_eps(shape["epsilon"])
        if self.all and family == "llama":
            writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
            writer.add_rope_scaling_factor(4.0)
            writer.add_rope_scaling_orig_ctx_len(128)
            writer.add_rope_scaling_attn_factors(0.9)
        elif self.all:
            writer.add_float32("qwen2.rope.scale_linear", 2.5)

    def vocabulary(self, family):
        special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
        letters = byte_letters() + [merge.replace(" ", "") for merge in MERGES]
        writer, first = self.writer, len(letters)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2" if family == "qwen2" else "llama-bpe")
        writer.add_token_list(letters + special)
        writer.add_token_types([1] * first + [3] * len(special))
        writer.add_token_merges(MERGES)
        writer.add_bos_token_id(first)
        writer.add_eos_token_id(first + 2)
        writer.add_add_bos_token(family == "llama")
        writer.add_chat_template(TEMPLATE)
        return first + len(special)

    def borrowed_vocabulary(self, path):
        """All that another file says of its tokens; how many they are."""
        reader = gguf.GGUFReader(path)
        for key, field in reader.fields.items():
            if not key.startswith("tokenizer."):
                continue
            if field.types[0] == gguf.GGUFValueType.ARRAY:
                self.writer.add_array(key, field.contents())
            else:
                self.writer.add_key_value(key, field.contents(), field.types[0])
        return len(reader.fields["tokenizer.ggml.tokens"].data)

    def linear(self, stem, rows, cols, kind, gain, bias):
        """A matrix with what belongs to it: of an _all model a scale, and of llama_all always a bias (llama.cpp knows
        no others of qwen2)."""
        self.matrix(stem + ".weight", rows, cols, kind, gain / np.sqrt(cols))
        if bias or (self.all and "qkv" not in self.shape):
            self.vector(stem + ".bias", rows, 0.0, 0.5)
        if self.all:
            self.vector(stem + ".scale", 1, 1.0, 0.3)
            self.vector(stem + ".input_scale", 1, 1.0, 0.3)

    def attention(self, prefix, family):
        shape = self.shape
        width, head = shape["width"], shape["head_size"]
        sizes = {"q": shape["heads"] * head, "k": shape["kv_heads"] * head, "v": shape["kv_heads"] * head}
        if "qkv" in shape:
            self.matrix(f"{prefix}attn_qkv.weight", sum(sizes.values()), width, shape["qkv"], 1.3 / np.sqrt(width))
            self.vector(f"{prefix}attn_qkv.scale", 1, 1.0, 0.3)
            for part, rows in sizes.items():
                self.vector(f"{prefix}attn_{part}.bias", rows, 0.0, 0.5)
        else:
            for part, rows in sizes.items():
                self.linear(f"{prefix}attn_{part}", rows, width, shape[part], 1.3, family == "qwen2")
        self.linear(prefix + "attn_output", width, sizes["q"], shape["output"], 1.0, False)

    def weights(self, family, vocabulary):
        shape = self.shape
        width, ff, head = shape["width"], shape["ff"], shape["head_size"]
        self.matrix("token_embd.weight", vocabulary, width, shape["embedding"], 2.0 / np.sqrt(width))
        if family == "llama":
            self.matrix("output.weight", vocabulary, width, "Q8_0", 2.0 / np.sqrt(width))
            factors = np.geomspace(1, 8, head // 2).astype(np.float32)
            self.writer.add_tensor("rope_freqs.weight", factors)
        elif self.all:
            self.vector("output.bias", vocabulary, 0.0, 0.5)
        self.vector("output_norm.weight", width, 1.0, 0.2)
        for layer in range(shape["layers"]):
            prefix = f"blk.{layer}."
            self.vector(prefix + "attn_norm.weight", width, 1.0, 0.2)
            self.vector(prefix + "ffn_norm.weight", width, 1.0, 0.2)
            self.attention(prefix, family)
            self.linear(prefix + "ffn_gate", ff, width, shape["gate"], 1.0, False)
            self.linear(prefix + "ffn_up", ff, width, shape["up"], 1.0, False)
            self.linear(prefix + "ffn_down", width, ff, shape["down"], 1.0, False)

    def write(self):
        self.writer.write_header_to_file()
        self.writer.write_kv_data_to_file()
        self.writer.write_tensors_to_file()
        self.writer.close()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=SHAPES)
    parser.add_argument("path")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--vocabulary")
    arguments = parser.parse_args()
    family, tiny = arguments.kind.removesuffix("_all"), Tiny(arguments.kind, arguments.path, arguments.seed)
    tiny.metadata(family)
    tokens = (tiny.borrowed_vocabulary(arguments.vocabulary) if arguments.vocabulary else tiny.vocabulary(family))
    tiny.weights(family, tokens)
    tiny.write()


if __name__ == "__main__":
    main()
