#!/usr/bin/env python3
"""Real models beside recorded truth: the logits of 48 tokens of text, and the text that the tokenizer makes of them.

  check_models.py record MODEL TRUTH.npy --tokens 1,2,3 --text TEXT OUT.json    TRUTH: of the model's F32 twin by llama.cpp
  check_models.py compare TOOL REFERENCE.json MODEL [--device cpu]...

Recorded are, at every position, the likeliest token, and the logits of 64 ids that were drawn once: the squared error
over these estimates that over all. `make check-models` compares each model of tests/data/models that is there."""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile

import numpy as np

COLUMNS, SEED = 64, 7
LIMITS = {"f32": 1e-6, "q8": 1e-2}  # normalised mean squared error; 8-bit activations are rounded


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def record(arguments):
    truth = np.load(arguments.truth)
    columns = sorted(np.random.default_rng(SEED).choice(truth.shape[1], COLUMNS, replace=False).tolist())
    with open(arguments.out, "w", encoding="utf-8") as out:
        json.dump({"sha256": sha256(arguments.model), "text": arguments.text,
                   "tokens": [int(token) for token in arguments.tokens.split(",")], "columns": columns,
                   "likeliest": truth.argmax(1).tolist(),
                   "logits": [[round(float(number), 4) for number in row] for row in truth[:, columns]]}, out)
        out.write("\n")


def nmse(ours, truth):
    return float(((ours - truth) ** 2).sum() / (truth ** 2).sum())


def logits_of(tool, model, reference, device, activations):
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "logits.npy")
        subprocess.run([tool, "logits", "-q", "-m", model, "--device", device, "--activations", activations, "--all",
                        "-c", "512", "-ctk", "f32", "-ctv", "f32", "-o", out, "--tokens",
                        ",".join(map(str, reference["tokens"]))], check=True)
        return np.load(out).astype(np.float64)


def compare(arguments):
    with open(arguments.reference, encoding="utf-8") as file:
        reference = json.load(file)
    if sha256(arguments.model) != reference["sha256"]:
        sys.exit(f"{arguments.model}: is not the file that was recorded (SHA-256)")
    tokens = json.loads(subprocess.run([arguments.tool, "tokenize", "-m", arguments.model, "--ids", reference["text"]],
                                       check=True, capture_output=True, text=True).stdout)
    failed = tokens != reference["tokens"]
    print(f"{'ok' if not failed else 'FAILED'}  {arguments.model}: {len(tokens)} tokens of the recorded text")
    truth = np.array(reference["logits"], dtype=np.float64)
    for device in arguments.device or ["cpu"]:
        for activations, limit in LIMITS.items():
            ours = logits_of(arguments.tool, arguments.model, reference, device, activations)
            error = nmse(ours[:, reference["columns"]], truth)
            same = float((ours.argmax(1) == np.array(reference["likeliest"])).mean())
            failed |= error > limit
            print(f"{'ok' if error <= limit else 'FAILED'}  on {device}, {activations}: NMSE {error:.1e} (at most "
                  f"{limit:.0e}), {100 * same:.0f}% the same likeliest token")
    sys.exit(failed)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("record")
    for name in ("model", "truth", "out"):
        command.add_argument(name)
    command.add_argument("--tokens", required=True)
    command.add_argument("--text", required=True)
    command.set_defaults(run=record)
    command = commands.add_parser("compare")
    for name in ("tool", "reference", "model"):
        command.add_argument(name)
    command.add_argument("--device", action="append")
    command.set_defaults(run=compare)
    arguments = parser.parse_args()
    arguments.run(arguments)


if __name__ == "__main__":
    main()
