#!/usr/bin/env python3
"""Compares the text of `clinfer run` with that of llama.cpp's llama-completion, for many settings of the samplers.

Both compute with f32 activations and a KV cache of f32, and the peer with one thread and without its flash attention,
so that the logits agree but for their last digits: an F32 model is wanted. What differs then is the sampling. A text
may still part from the other late, where a draw falls between two tokens whose logits differ in the last digit; the
place is printed.

usage: compare_sampling.py --peer LLAMA_COMPLETION --model MODEL.gguf [--clinfer PATH] [--seeds N] [--tokens N]
                           [--prompt TEXT] [--device NAME] [--only TEXT]

Exits with 1 where texts differ.
"""
import argparse
import os
import subprocess
import sys

SETTINGS = [
    "",
    "--temp 0",
    "--temp 0 --repeat-penalty 1.3",
    "--temp 1.5",
    "--temp 1 --top-k 5",
    "--top-k 0",
    "--top-k 0 --top-p 1 --min-p 0",
    "--top-k 0 --top-p 1 --min-p 0.1 --temp 1.2",
    "--top-k 200 --top-p 0.99 --min-p 0 --temp 1.3",
    "--top-p 0.5 --min-p 0",
    "--min-p 0.3 --top-p 1 --temp 2",
    "--repeat-penalty 1.2",
    "--repeat-penalty 1.5 --repeat-last-n 10",
    "--repeat-penalty 1.5 --repeat-last-n 0",
    "--presence-penalty 0.8 --frequency-penalty 0.3 --repeat-last-n 200",
    "--frequency-penalty -0.2",
    "--dry-multiplier 0.8",
    "--dry-multiplier 3 --dry-base 1.2 --dry-allowed-length 1 --dry-penalty-last-n 500",
    "--dry-multiplier 2 --dry-allowed-length 1 --dry-sequence-breaker the --dry-sequence-breaker .",
    "--dry-multiplier 2 --dry-allowed-length 1 --dry-sequence-breaker none",
    "--temp 0 --dry-multiplier 2",
    "--xtc-probability 0.5 --temp 1",
    "--xtc-probability 1 --xtc-threshold 0.05 --temp 1.2",
    "--xtc-probability 0.3 --temp 0",
    "--typical 0.5",
    "--typical 0.9 --top-k 0 --top-p 1 --min-p 0",
    "--top-nsigma 1 --temp 1.5",
    "--top-nsigma 2 --top-k 0 --top-p 1 --min-p 0 --temp 2",
    "--mirostat 1",
    "--mirostat 1 --mirostat-ent 3 --mirostat-lr 0.3 --temp 1.1",
    "--mirostat 2",
    "--mirostat 2 --mirostat-ent 2 --mirostat-lr 0.2",
    "--samplers temperature;top_p;top_k --temp 2",
    "--samplers top_k;temperature --temp 1.1",
    "--samplers min_p;typ_p;penalties;temperature --min-p 0.02 --typical 0.7 --repeat-penalty 1.4",
    "--samplers top_p --top-p 0.8",
    "-l 403-inf -l 263+2 -l 310-1.5",
    "--repeat-penalty 1.1 --presence-penalty 0.2 --dry-multiplier 0.5 --typical 0.95 --xtc-probability 0.2 --temp 1.1",
    "--repeat-penalty 1.1 --top-nsigma 2.5 --xtc-probability 0.2 --temp 1.1",
]


def read(command, environment=None):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment, check=False)
    if done.returncode != 0:
        sys.exit("%s\nends with %d: %s" % (" ".join(command), done.returncode, done.stderr.decode()[-2000:]))
    return done.stdout.rstrip()


def peer_text(arguments, flags):
    folder = os.path.dirname(os.path.abspath(arguments.peer))
    environment = dict(os.environ, LD_LIBRARY_PATH=folder)
    return read([arguments.peer, "-m", arguments.model, "-no-cnv", "--no-display-prompt", "-t", "1", "-fa", "off",
                 "-ctk", "f32", "-ctv", "f32"] + flags, environment)


def own_text(arguments, flags):
    return read([arguments.clinfer, "run", "-q", "-m", arguments.model, "--raw", "--device", arguments.device,
                 "--activations", "f32", "-ctk", "f32", "-ctv", "f32"] + flags)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--clinfer", default="build/release/clinfer")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--prompt", default="Once upon a time")
    parser.add_argument("--only", default="")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--tokens", type=int, default=150)
    arguments = parser.parse_args()
    same = different = 0
    for setting in SETTINGS:
        if arguments.only not in setting:
            continue
        apart = []
        for seed in range(1, arguments.seeds + 1):
            flags = ["-p", arguments.prompt, "-n", str(arguments.tokens), "--seed", str(seed)] + setting.split()
            peer, own = peer_text(arguments, flags), own_text(arguments, flags)
            for _ in range(2):
                if own != peer and own.startswith(peer):  # on a busy machine its last words may be lost
                    peer = peer_text(arguments, flags)
            at = len(os.path.commonprefix([peer, own]))
            if peer != own:
                apart.append("seed %d at byte %d of %d" % (seed, at, len(peer)))
        same += arguments.seeds - len(apart)
        different += len(apart)
        print("%-10s %s%s" % ("different" if apart else "same", setting or "(defaults)",
                              "".join("; " + text for text in apart)), flush=True)
    print("%d texts are the same, %d differ" % (same, different))
    sys.exit(different > 0)


if __name__ == "__main__":
    main()
