#!/usr/bin/env python3
"""Guessed tokens beside none, in turn: how much faster answers come that repeat their prompts, and that they are the
same.

    python3 scripts/measure_drafts.py -m MODEL [--device cpu] [--rounds 3] [-n 200] [--floor 1.8]
    python3 scripts/measure_drafts.py -m LARGE -md SMALL

Each prompt of tests/data/repeating.json is continued greedily and with a seed, without a chat template. Loading is not
in the times; what proves the plans, at the first guess, is. Exit status 1: an answer differs, or the median ratio of
the greedy ones is below the floor."""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def answer(arguments, prompt, flags, temperature):
    """One run's JSON."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write(prompt)
        file.flush()
        command = [arguments.clinfer, "run", "-q", "--device", arguments.device, "--raw", "--ignore-eos", "--json",
                   "--temp", str(temperature), "--seed", "7", "-n", str(arguments.n), "-f", file.name]
        command += ["-m", arguments.model] if arguments.model else []
        command += ["-t", str(arguments.threads)] if arguments.threads else []
        done = subprocess.run(command + flags, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def rate(one):
    return one["timings"]["predicted_per_second"]


def measure(arguments, name, prompt, temperature):
    """The median ratio; None: another text."""
    flags = ["-md", arguments.draft] if arguments.draft else ["--lookup"]
    ratios = []
    for _ in range(arguments.rounds):
        without = answer(arguments, prompt, [], temperature)
        with_guesses = answer(arguments, prompt, flags, temperature)
        if without["tokens"] != with_guesses["tokens"]:
            print(f"{name:8} temperature {temperature}: ANOTHER TEXT with guesses")
            return None
        ratios.append(rate(with_guesses) / rate(without))
    timings = with_guesses["timings"]
    ratio = statistics.median(ratios)
    print(f"{name:8} temperature {temperature}: same {len(without['tokens'])} tokens, {rate(without):.0f} -> "
          f"{rate(with_guesses):.0f} t/s, {ratio:.2f}x ({min(ratios):.2f} to {max(ratios):.2f}), "
          f"{timings.get('draft_n_accepted', 0)} of {timings.get('draft_n', 0)} guesses right")
    return ratio


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-m", dest="model")
    parser.add_argument("-md", dest="draft")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("-t", dest="threads", type=int)
    parser.add_argument("-n", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--floor", type=float, default=0)
    parser.add_argument("--clinfer", default=os.path.join(HERE, "build/release/clinfer"))
    arguments = parser.parse_args()
    with open(os.path.join(HERE, "tests/data/repeating.json"), encoding="utf-8") as file:
        prompts = json.load(file)["prompts"]
    good = True
    for temperature in (0, 0.7):
        ratios = [measure(arguments, prompt["name"], prompt["text"], temperature) for prompt in prompts]
        good = good and None not in ratios
        if None not in ratios and temperature == 0:
            median = statistics.median(ratios)
            print(f"median of the greedy ones: {median:.2f}x")
            good = good and median >= arguments.floor
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
