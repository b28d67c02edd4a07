#!/usr/bin/env python3
"""How far the logits of each quantised type are from the truth, for clinfer and for llama.cpp on the same file.

  compare_truth.py MODEL.gguf --peer DIR [--tool build/release/clinfer] [--types q4_0,q6_k,...] [--device cpu]...
                   [--text FILE] [--tokens 440] [--rows 1,64] [--activations auto]

MODEL is a real model in F32, whose rows have a multiple of 256 columns where K-quants are among the types. DIR is where
scripts/peer.sh built llama-quantize (its libllama.so lies there, too). Each type is made of MODEL with all matrices in
it, and its truth is llama.cpp on what llama-quantize makes of that file in F32: no activation is rounded there. All
have caches of F32. Steps of 64 rows are what prompts are, of 1 row decoding.

Prints a line for each type and device: the mean KL divergence from the truth, llama.cpp's, clinfer's, and the second in
terms of the first with its standard error as if positions were independent; they share a cache, so it is more. Where both
round activations to 8 bits in blocks of 32 they differ by chance alone, by up to 0.17 with 440 tokens. Exit status 1 where
clinfer's is more by over a quarter. Needs the Python packages llama_cpp and numpy."""
import argparse
import os
import subprocess
import sys
import tempfile

import numpy as np

from peer_logits import logits

TYPES = "q4_0,q4_1,q5_0,q5_1,q8_0,q2_k,q3_k,q4_k,q5_k,q6_k,iq4_nl,iq4_xs,mxfp4,tq1_0,tq2_0,f16,bf16"


def log_softmax(rows):
    rows = rows.astype(np.float64) - rows.max(-1, keepdims=True)
    return rows - np.log(np.exp(rows).sum(-1, keepdims=True))


def divergences(truth, other):
    return (np.exp(truth) * (truth - log_softmax(other))).sum(-1)


class Share:
    """Ours in terms of theirs, position by position."""
    def __init__(self, ours, theirs):
        self.mean, limit = ours.mean(), max(theirs.mean(), 1e-300)
        self.share, self.error = self.mean / limit, (ours - theirs).std(ddof=1) / len(ours) ** 0.5 / limit

    def is_worse(self):
        return self.share > 1.25

    def __str__(self):
        return f" {self.mean:.2e} | {self.share:.3f} ± {self.error:.3f} |"


def quantise(peer, source, target, words):
    child = subprocess.run([os.path.join(peer, "llama-quantize"), "--allow-requantize", *words[:-1], source, target,
                            words[-1]], capture_output=True, text=True, errors="replace",
                           env=dict(os.environ, LD_LIBRARY_PATH=peer))
    if child.returncode:
        raise SystemExit(f"llama-quantize: {source} cannot become {words[-1]}:\n{child.stderr[-2000:]}")


def run(tool, model, ids, out, *words):
    child = subprocess.run([tool, "logits", "-m", model, "--tokens", ",".join(map(str, ids)), "--all", "-o", out, "-q",
                            "-ctk", "f32", "-ctv", "f32", "--fallback", "none", *words], stderr=subprocess.PIPE,
                           text=True)
    if child.returncode:
        raise SystemExit(f"{model}: {child.stderr.strip()}")
    return np.load(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = os.path.dirname(os.path.abspath(__file__))
    parser.add_argument("model")
    parser.add_argument("--peer", required=True)
    parser.add_argument("--tool", default=os.path.join(here, "../build/release/clinfer"))
    parser.add_argument("--types", default=TYPES)
    parser.add_argument("--device", action="append")
    parser.add_argument("--text", default=os.path.join(here, "../tests/data/mixed.txt"))
    parser.add_argument("--tokens", type=int, default=440)
    parser.add_argument("--rows", default="1,64")
    parser.add_argument("--activations", default="auto")
    args = parser.parse_args()
    said = subprocess.run([args.tool, "tokenize", "-m", args.model, "--ids", "-f", args.text], check=True,
                          capture_output=True, text=True).stdout
    ids = [int(word) for word in said.replace("[", " ").replace("]", " ").replace(",", " ").split()][:args.tokens]
    rows = [int(n) for n in args.rows.split(",")]
    worse = 0
    print(f"{len(ids)} tokens; mean KL divergence from the truth")
    print("| type | device | llama.cpp |" + "".join(f" steps of {n} | share |" for n in rows))
    print("|---|---|---|" + "---|---|" * len(rows), flush=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(os.path.abspath(args.model))) as folder:
        file, twin, out = (os.path.join(folder, name) for name in ("type.gguf", "twin.gguf", "out.npy"))
        for kind in args.types.split(","):
            pure = ["--pure", "--output-tensor-type", kind, "--token-embedding-type", kind]
            quantise(args.peer, args.model, file, [*pure, {"q4_k": "q4_k_s", "q5_k": "q5_k_s", "q3_k": "q3_k_s",
                                                           "mxfp4": "mxfp4_moe"}.get(kind, kind).upper()])
            quantise(args.peer, file, twin, ["F32"])
            (exact, said), (peer, peer_said) = logits(args.peer, ids, [twin, file], patience=3600)
            if exact is None or peer is None:
                raise SystemExit(f"{kind}: {said} {peer_said}")
            truth = log_softmax(exact)
            limit = divergences(truth, peer)
            for device in args.device or ["cpu"]:
                shares = [Share(divergences(truth, run(args.tool, file, ids, out, "--device", device, "-b", str(n),
                                                       "--activations", args.activations)), limit) for n in rows]
                worse += sum(share.is_worse() for share in shares)
                print(f"| {kind} | {device} | {limit.mean():.2e} |" + "".join(map(str, shares)), flush=True)
    return worse > 0


if __name__ == "__main__":
    sys.exit(main())
