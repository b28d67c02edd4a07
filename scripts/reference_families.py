#!/usr/bin/env python3
"""Records the logits that tests/model/test_families.c is held to: llama.cpp's, of the models that the test makes.

  reference_families.py PEER [--test build/release/tests/model/test_families] [-o tests/data/families.bin]

PEER is a folder with libllama.so made by `scripts/peer.sh --exact` (scripts/peer_logits.py says why). llama.cpp refuses
a file that lacks a tensor or has one too many, which is what proves the families' lists. The
file: for each model its name, zeroes up to 32 bytes, and float32 [tokens, vocabulary]."""
import argparse
import glob
import os
import subprocess
import sys
import tempfile

from peer_logits import logits

NAME_BYTES = 32


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("peer")
    parser.add_argument("--test", default="build/release/tests/model/test_families")
    parser.add_argument("-o", dest="out", default="tests/data/families.bin")
    words = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([words.test, "--write", folder], check=True)
        ids = [int(token) for token in open(f"{folder}/tokens").read().split(",")]
        models = sorted(glob.glob(f"{folder}/*.gguf"))
        found = logits(words.peer, ids, models)
    records, failed = [], 0
    for model, (numbers, said) in zip(models, found):
        name = os.path.splitext(os.path.basename(model))[0]
        if numbers is None:
            print(f"{name}: llama.cpp cannot compute it: {said}")
            failed += 1
        else:
            records.append(name.encode().ljust(NAME_BYTES, b"\0") + numbers.astype("<f4").tobytes())
    with open(words.out, "wb") as file:
        file.write(b"".join(records))
    print(f"{words.out}: {len(records)} models")
    return failed > 0


if __name__ == "__main__":
    sys.exit(main())
