#!/usr/bin/env python3
"""The truth that whole-model tests are held to: a forward pass in NumPy, in double precision, on dequantised weights.

It shares nothing with clinfer but the file: no kernel, no quantised activations, no half-precision KV cache. Only the
reading and dequantising of GGUF comes from the `gguf` package (0.18 or newer). Families: llama (NORM rope, frequency
factors) and qwen2 (NEOX rope), both with a tied or a separate output, biases, scales and RoPE scaling (linear, YaRN).

  reference.py logits MODEL --tokens 1,2,3 OUT.npy            float32 [positions, vocabulary], every position
  reference.py record MODEL (--text FILE | --tokens 1,2,3 | --random N) [--prompt TEXT] [--peer NAME F32.npy Q.npy] OUT
                                                              records the truth compactly, see below
  reference.py tokens REFERENCE                               the recorded token ids, separated by commas
  reference.py compare REFERENCE LOGITS.npy                   figures of other logits of the same tokens

--peer takes another program's logits of the same tokens: on the F32 twin of the model (they must agree with the truth),
and on the model itself; its figures are recorded beside the truth as the mark to beat.

The recorded file. A head of 2048 bytes of text, "key value" per line, padded with newlines; then little-endian arrays
one after the other, each padded with zeroes to a multiple of 8 bytes; P positions, T `top`, S `sampled`, U `uniform`:

  u32 tokens[P]            the text
  u16 uniform_ids[U]       vocabulary ids drawn once, evenly: the squared error over them estimates that over all
  f64 log_sum_exp[P]       of the truth's logits
  u16 top_ids[P][T]        the T likeliest tokens, best first, and their logits
  f32 top_logits[P][T]
  u16 sampled_ids[P][S]    drawn from the others in proportion to their probability, with repetition, and their logits
  f32 sampled_logits[P][S]
  f32 uniform_logits[P][U]
  u32 prompt[], u32 greedy[], f32 margins[]   a prompt, its greedy continuation by the truth, the top-two margin of each

KL(truth || other) at one position, with p the truth's probabilities, q the other's and r = q / p, is
  sum over top of p log(p/q) + (tail of p - tail of q) + (tail of p) * mean over sampled of (r - 1 - log r).
The middle term is exact because the other's logits are all known; the last is an estimate without bias whose every
sample is positive, so that some ten thousand of them give the mean to a percent. A single "rest" token instead of it
was rejected: it hides what happens in the tail, a fifth of the mass on mixed text."""
import argparse
import json
import os
import sys

import numpy as np

TOP, SAMPLED, UNIFORM, HEAD_BYTES = 32, 24, 32, 2048
GREEDY = 64
SEED = 20240607


class Model:
    """Weights by name, dequantised on first use and kept."""

    def __init__(self, path):
        import gguf
        self.gguf, self.reader = gguf, gguf.GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in self.reader.tensors}
        self.weights = {}
        self.family = self.meta("general.architecture")
        if self.family not in ("llama", "qwen2"):
            raise SystemExit(f"{path}: general.architecture: {self.family}: only llama and qwen2 are known here")
        key = lambda name, default=None: self.meta(f"{self.family}.{name}", default)
        self.layers = key("block_count")
        self.heads = key("attention.head_count")
        self.kv_heads = key("attention.head_count_kv", self.heads)
        self.head_size = key("attention.key_length", key("embedding_length") // self.heads)
        self.epsilon = key("attention.layer_norm_rms_epsilon")
        rotated, base = key("rope.dimension_count", self.head_size), key("rope.freq_base", 10000.0)
        self.frequencies = base ** (-np.arange(0, rotated, 2) / rotated)
        if "rope_freqs.weight" in self.tensors:
            self.frequencies = self.frequencies / self.weight("rope_freqs.weight")
        self.magnitude = key("rope.scaling.attn_factor", 1.0)
        factor = key("rope.scaling.factor", key("rope.scale_linear", 0.0)) or 1.0
        kind = key("rope.scaling.type", "linear")
        if kind == "linear":
            self.frequencies = self.frequencies / factor
        elif kind == "yarn":
            # Peng et al. 2023: by how often a pair turns over the original context, blended along the pairs
            original = key("rope.scaling.original_context_length", key("context_length"))
            pair = lambda turns: rotated * np.log(original / (turns * 2 * np.pi)) / (2 * np.log(base))
            low, high = max(np.floor(pair(32)), 0), min(np.ceil(pair(1)), rotated - 1)
            ramp = np.clip((np.arange(rotated // 2) - low) / max(high - low, 0.001), 0, 1)
            self.frequencies = self.frequencies * (1 - ramp) + self.frequencies / factor * ramp
            self.magnitude *= 1 + 0.1 * np.log(factor)

    def meta(self, key, default=None):
        field = self.reader.fields.get(key)
        return default if field is None else field.contents()

    def weight(self, name):
        if name not in self.weights:
            tensor = self.tensors[name]
            data = self.gguf.quants.dequantize(tensor.data, tensor.tensor_type)
            self.weights[name] = data.reshape([int(n) for n in tensor.shape[::-1]]).astype(np.float64)
        return self.weights[name]

    def optional(self, name, default):
        return self.weight(name) if name in self.tensors else default

    def linear(self, name, x, matrix=None):
        """The feed-forward's scales multiply the biases, too; those of qwen2's feed-forward are not applied."""
        y = x @ self.weight((matrix or name) + ".weight").T
        scale, bias = self.optional(name + ".scale", 1.0), self.optional(name + ".bias", 0.0)
        if ".ffn_" not in name:
            return y * scale + bias
        return (y + bias) * scale if self.family == "llama" else y + bias

    def norm(self, name, x):
        return x / np.sqrt((x * x).mean(-1, keepdims=True) + self.epsilon) * self.weight(name + ".weight")

    def rope(self, x, positions):
        """x [rows, heads, head size]: NORM turns the pairs (2i, 2i+1), NEOX the pairs (i, i + rotated/2)."""
        angles = positions[:, None] * self.frequencies
        cos, sin = (self.magnitude * part[:, None] for part in (np.cos(angles), np.sin(angles)))
        count = len(self.frequencies)
        first, second = (slice(0, count), slice(count, 2 * count)) if self.family == "qwen2" else \
            (slice(0, 2 * count, 2), slice(1, 2 * count, 2))
        y = x.copy()
        y[..., first] = x[..., first] * cos - x[..., second] * sin
        y[..., second] = x[..., first] * sin + x[..., second] * cos
        return y

    def attention(self, layer, x, positions, cache):
        prefix, rows = f"blk.{layer}.", len(x)
        if prefix + "attn_qkv.weight" in self.tensors:
            sizes = np.cumsum([self.heads * self.head_size, self.kv_heads * self.head_size])
            q, k, v = (part + self.optional(f"{prefix}attn_{name}.bias", 0.0) for name, part in
                       zip("qkv", np.split(self.linear(prefix + "attn_qkv", x), sizes, axis=-1)))
        else:
            q, k, v = (self.linear(f"{prefix}attn_{name}", x) for name in "qkv")
        q, k, v = q.reshape(rows, self.heads, -1), k.reshape(rows, self.kv_heads,
                                                             -1), v.reshape(rows, self.kv_heads, -1)
        q, k = self.rope(q, positions), self.rope(k, positions)
        if layer in cache:
            k, v = (np.concatenate(pair) for pair in zip(cache[layer], (k, v)))
        cache[layer] = k, v
        group = self.heads // self.kv_heads
        hidden = np.arange(len(k)) > positions[:, None]
        out = np.empty((rows, self.heads, v.shape[-1]))
        for head in range(self.heads):
            scores = q[:, head] @ k[:, head // group].T / np.sqrt(self.head_size)
            scores[hidden] = -np.inf
            scores = np.exp(scores - scores.max(-1, keepdims=True))
            out[:, head] = scores / scores.sum(-1, keepdims=True) @ v[:, head // group]
        return self.linear(prefix + "attn_output", out.reshape(rows, -1))

    def forward(self, tokens, cache):
        """Logits [len(tokens), vocabulary]; `cache` holds the positions before and takes these."""
        past = len(cache[0][0]) if cache else 0
        positions = past + np.arange(len(tokens))
        x = self.weight("token_embd.weight")[np.asarray(tokens)]
        for layer in range(self.layers):
            prefix = f"blk.{layer}."
            x = x + self.attention(layer, self.norm(prefix + "attn_norm", x), positions, cache)
            y = self.norm(prefix + "ffn_norm", x)
            gate, up = self.linear(prefix + "ffn_gate", y), self.linear(prefix + "ffn_up", y)
            x = x + self.linear(prefix + "ffn_down", gate / (1 + np.exp(-gate)) * up)
        x = self.norm("output_norm", x)
        return self.linear("output", x, "output" if "output.weight" in self.tensors else "token_embd")

    def greedy(self, prompt, count):
        cache, logits, tokens, margins = {}, None, [], []
        end = self.meta("tokenizer.ggml.eos_token_id", -1)
        logits = self.forward(prompt, cache)[-1]
        while len(tokens) < count and (not tokens or tokens[-1] != end):
            second, first = np.partition(logits, -2)[-2:]
            tokens.append(int(logits.argmax()))
            margins.append(first - second)
            logits = self.forward(tokens[-1:], cache)[-1]
        return tokens, margins

    def tokenizer(self):
        """Hugging Face's byte-level BPE from the vocabulary in the file, with SmolLM2's and GPT-2's splitting."""
        import tokenizers
        names = self.meta("tokenizer.ggml.tokens")
        merges = [tuple(merge.split(" ", 1)) for merge in self.meta("tokenizer.ggml.merges")]
        result = tokenizers.Tokenizer(tokenizers.models.BPE(dict(zip(names, range(len(names)))), merges))
        split = [tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)]
        if self.meta("tokenizer.ggml.pre") == "smollm":
            split.insert(0, tokenizers.pre_tokenizers.Digits(individual_digits=True))
        result.pre_tokenizer = tokenizers.pre_tokenizers.Sequence(split)
        result.decoder = tokenizers.decoders.ByteLevel()
        kinds = self.meta("tokenizer.ggml.token_type")
        result.add_special_tokens([name for name, kind in zip(names, kinds) if kind == 3])
        return result

    def chat(self, text):
        import jinja2
        template = jinja2.Environment().from_string(self.meta("tokenizer.chat_template"))
        return template.render(messages=[{"role": "user", "content": text}], add_generation_prompt=True)


def log_sum_exp(x):
    top = x.max(-1, keepdims=True)
    return (top + np.log(np.exp(x - top).sum(-1, keepdims=True)))[..., 0]


def figures_full(truth, other):
    """Over every logit. `top1` is the share of positions whose likeliest token is the truth's."""
    lp, lq = truth - log_sum_exp(truth)[:, None], other - log_sum_exp(other)[:, None]
    kl = (np.exp(lp) * (lp - lq)).sum(-1)
    return {"nmse": float(((truth - other) ** 2).mean() / (truth ** 2).mean()), "kl_mean": float(kl.mean()),
            "kl_max": float(kl.max()), "top1": float((truth.argmax(-1) == other.argmax(-1)).mean())}


def figures(record, other):
    """The same from what is recorded; tests/support/reference.c computes this."""
    other = other.astype(np.float64)
    rows = np.arange(len(other))[:, None]
    error = record["uniform_logits"].astype(np.float64) - other[:, record["uniform_ids"]]
    lse_p, lse_q = record["log_sum_exp"][:, None], log_sum_exp(other)[:, None]
    lp, lq = record["top_logits"] - lse_p, other[rows, record["top_ids"]] - lse_q
    tail_p, tail_q = 1 - np.exp(lp).sum(-1), 1 - np.exp(lq).sum(-1)
    log_r = (other[rows, record["sampled_ids"]] - lse_q) - (record["sampled_logits"] - lse_p)
    kl = (np.exp(lp) * (lp - lq)).sum(-1) + tail_p - tail_q + tail_p * (np.expm1(log_r) - log_r).mean(-1)
    return {"nmse": float((error ** 2).mean() / (record["uniform_logits"].astype(np.float64) ** 2).mean()),
            "kl_mean": float(kl.mean()), "kl_max": float(kl.max()),
            "top1": float((record["top_ids"][:, 0] == other.argmax(-1)).mean())}


def compact(tokens, logits):
    rng = np.random.default_rng(SEED)
    vocabulary = logits.shape[1]
    lse = log_sum_exp(logits)
    top = np.argsort(-logits, axis=-1, kind="stable")[:, :TOP]
    sampled = np.empty((len(logits), SAMPLED), np.int64)
    for row, line in enumerate(logits):
        p = np.exp(line - lse[row])
        p[top[row]] = 0
        sampled[row] = rng.choice(vocabulary, SAMPLED, p=p / p.sum())
    uniform = np.sort(rng.choice(vocabulary, min(UNIFORM, vocabulary), replace=False))
    rows = np.arange(len(logits))[:, None]
    return {"tokens": np.asarray(tokens, "<u4"), "uniform_ids": uniform.astype("<u2"), "log_sum_exp": lse.astype("<f8"),
            "top_ids": top.astype("<u2"), "top_logits": logits[rows, top].astype("<f4"),
            "sampled_ids": sampled.astype("<u2"), "sampled_logits": logits[rows, sampled].astype("<f4"),
            "uniform_logits": logits[:, uniform].astype("<f4")}


LAYOUT = ["u32 tokens[positions]", "u16 uniform_ids[uniform]", "f64 log_sum_exp[positions]",
          "u16 top_ids[positions][top]", "f32 top_logits[positions][top]", "u16 sampled_ids[positions][sampled]",
          "f32 sampled_logits[positions][sampled]", "f32 uniform_logits[positions][uniform]", "u32 prompt[prompt]",
          "u32 greedy[greedy]", "f32 margins[greedy]"]
TYPES = {"u16": "<u2", "u32": "<u4", "f32": "<f4", "f64": "<f8"}


def write_record(path, record, head):
    head = {"reference": 1, **head}
    text = "".join(f"{key} {value}\n" for key, value in head.items())
    text += "".join(f"layout {line}\n" for line in LAYOUT) + "about made by scripts/reference.py, which explains it\n"
    if len(text) > HEAD_BYTES:
        raise SystemExit("the head of the record is too long")
    with open(path, "wb") as file:
        file.write(text.encode().ljust(HEAD_BYTES, b"\n"))
        for line in LAYOUT:
            kind, name = line.split("[")[0].split(" ")
            data = np.ascontiguousarray(record[name], TYPES[kind]).tobytes()
            file.write(data.ljust((len(data) + 7) // 8 * 8, b"\0"))


def read_record(path):
    data = open(path, "rb").read()
    head = dict(line.split(" ", 1) for line in data[:HEAD_BYTES].decode().splitlines() if line)
    record, at = {}, HEAD_BYTES
    for line in LAYOUT:
        kind, name = line.split("[")[0].split(" ")
        shape = [int(head[size.rstrip("]")]) for size in line.split("[")[1:]]
        count = int(np.prod(shape))
        record[name] = np.frombuffer(data, TYPES[kind], count, at).reshape(shape)
        at += (count * np.dtype(TYPES[kind]).itemsize + 7) // 8 * 8
    return head, record


def make_record(options):
    model = Model(options.model)
    if options.text:
        tokens = model.tokenizer().encode(open(options.text, encoding="utf-8").read(), add_special_tokens=False).ids
    elif options.random:
        count = len(model.meta("tokenizer.ggml.tokens"))
        tokens = [int(token) for token in np.random.default_rng(SEED).integers(0, count, options.random)]
    else:
        tokens = options.tokens
    logits = model.forward(tokens, {})
    record = compact(tokens, logits)
    prompt = model.tokenizer().encode(model.chat(options.prompt), add_special_tokens=False).ids if options.prompt \
        else tokens[:8]
    greedy, margins = model.greedy(prompt, GREEDY)
    record.update(prompt=prompt, greedy=greedy, margins=margins)
    top_two = -np.sort(-record["top_logits"], axis=-1)[:, :2]
    margin = top_two[:, 0] - top_two[:, 1]
    side = {"model": os.path.basename(options.model), "positions": len(tokens), "vocabulary": int(logits.shape[1]),
            "margin_at_least_0.02": float((margin >= 0.02).mean()),
            "margin_at_least_0.5": float((margin >= 0.5).mean())}
    head = {"model": side["model"], "vocabulary": logits.shape[1], "positions": len(tokens), "top": TOP,
            "sampled": SAMPLED, "uniform": len(record["uniform_ids"]), "prompt": len(prompt), "greedy": len(greedy)}
    if options.prompt:
        side.update(prompt=options.prompt, greedy=model.tokenizer().decode(greedy, skip_special_tokens=False),
                    smallest_greedy_margin=float(min(margins)))
    if options.peer:
        name, twin, own = options.peer
        twin, own = (np.load(path).astype(np.float64) for path in (twin, own))
        agreement, compactly = figures_full(logits, twin), figures(record, own)
        if agreement["nmse"] > 1e-8:
            raise SystemExit(f"{name} on the F32 twin differs from NumPy: {agreement}")
        side["peer"] = {"name": name, "f32_full": agreement, "f32": figures(record, twin),
                        "own_full": figures_full(logits, own), "own": compactly}
        head.update({"peer_" + key: repr(value) for key, value in compactly.items()})
    write_record(options.out, record, head)
    with open(os.path.splitext(options.out)[0] + ".json", "w", encoding="utf-8") as file:
        json.dump(side, file, indent=2, ensure_ascii=False)
        file.write("\n")
    print(json.dumps(side, indent=2, ensure_ascii=False))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ids = lambda text: [int(part) for part in text.split(",")]
    commands = parser.add_subparsers(dest="command", required=True)
    logits = commands.add_parser("logits")
    logits.add_argument("model")
    logits.add_argument("--tokens", type=ids, required=True)
    logits.add_argument("out")
    record = commands.add_parser("record")
    record.add_argument("model")
    source = record.add_mutually_exclusive_group(required=True)
    source.add_argument("--text")
    source.add_argument("--tokens", type=ids)
    source.add_argument("--random", type=int, metavar="N")
    record.add_argument("--prompt")
    record.add_argument("--peer", nargs=3, metavar=("NAME", "F32.npy", "OWN.npy"))
    record.add_argument("out")
    commands.add_parser("tokens").add_argument("reference")
    compare = commands.add_parser("compare")
    compare.add_argument("reference")
    compare.add_argument("logits")
    options = parser.parse_args()
    if options.command == "logits":
        np.save(options.out, Model(options.model).forward(options.tokens, {}).astype(np.float32))
    elif options.command == "record":
        make_record(options)
    elif options.command == "tokens":
        print(",".join(map(str, read_record(options.reference)[1]["tokens"])))
    else:
        head, record = read_record(options.reference)
        print(json.dumps(figures(record, np.load(options.logits))))
    return 0


if __name__ == "__main__":
    sys.exit(main())
