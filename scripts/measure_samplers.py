#!/usr/bin/env python3
"""What each sampler setting costs per token, on the CPU backend.

    measure_samplers.py CLINFER MODEL.gguf [ROUNDS]

Each setting answers the same prompt with the same seed, in turn, ROUNDS times (3), under `chrt -f 1` where that is
allowed. Of the table that --profile prints: microseconds of op sample and of the host's sampling (masks included) for a
token, the least of the rounds. Prints a table in Markdown."""
import json
import subprocess
import sys

TOKENS = 96
SCHEMA = ('{"type":"array","items":{"type":"object","properties":{"name":{"type":"string"},"age":{"type":"integer"}},'
          '"required":["name","age"]},"minItems":60}')
SETTINGS = [
    ("the default: top-k 40, top-p, min-p, temperature", []),
    ("greedy", ["--temp", "0"]),
    ("the default, with a grammar", ["--no-complete", "-j", SCHEMA]),
    ("logprobs, else the default", ["--logprobs", "1"]),
    ("logit bias", ["-l", "100+1"]),
    ("repeat penalty", ["--repeat-penalty", "1.1"]),
    ("DRY", ["--dry-multiplier", "0.8"]),
    ("XTC", ["--xtc-probability", "0.5"]),
    ("top-n-sigma", ["--top-n-sigma", "1"]),
    ("top-p 0.95 of all", ["--top-k", "0", "--min-p", "0"]),
    ("min-p 0.05 of all", ["--top-k", "0", "--top-p", "1"]),
    ("all tokens", ["--top-k", "0", "--top-p", "1", "--min-p", "0"]),
    ("typical 0.9 of all", ["--top-k", "0", "--typical", "0.9"]),
    ("typical 0.9 of 40", ["--samplers", "top_k;typ_p;temperature", "--typical", "0.9"]),
    ("XTC of all", ["--top-k", "0", "--top-p", "1", "--min-p", "0", "--xtc-probability", "0.5"]),
    ("mirostat 1", ["--mirostat", "1"]),
    ("mirostat 2", ["--mirostat", "2"]),
    ("typical 0.9 of all, with a grammar", ["--top-k", "0", "--typical", "0.9", "--no-complete", "-j", SCHEMA]),
]


def measure(clinfer, model, arguments):
    command = ["chrt", "-f", "1", clinfer, "run", "-m", model, "--device", "cpu", "-n", str(TOKENS), "--seed", "1",
               "--profile", "--json", "--ignore-eos", *arguments, "A long story about a fox:"]
    run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode == 1 and "chrt" in run.stderr:
        run = subprocess.run(command[3:], capture_output=True, text=True)
    if run.returncode:
        sys.exit(f"{command}: {run.stderr}")
    profile = json.loads(run.stdout)["profile"]
    decode = next(phase for phase in profile["phases"] if phase["phase"] == "decode")
    lines = [line for line in profile["lines"] if line["phase"] == "decode"]
    seconds = [decode["wall_seconds"],
               sum(line["seconds"] for line in lines if line.get("op") == "sample"),
               sum(line["seconds"] for line in lines if line["kind"] != "op" and "sampler" in str(line))]
    return tuple(1e6 * one / decode["rows"] for one in seconds)


def main():
    clinfer, model = sys.argv[1:3]
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    least = {}
    for _ in range(rounds):
        for name, arguments in SETTINGS:
            now = measure(clinfer, model, arguments)
            least[name] = tuple(map(min, now, least[name])) if name in least else now
    print("| setting | a token | op sample | host | together |\n|---|---|---|---|---|")
    for name, (token, op, host) in least.items():
        print(f"| {name} | {token:.0f} us | {op:.0f} us | {host:.0f} us | {100 * (op + host) / token:.1f}% |")


main()
