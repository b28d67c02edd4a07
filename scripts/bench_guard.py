#!/usr/bin/env python3
"""Holds this tree against the commit before it: `make bench-guard`.

usage: bench_guard.py [--base COMMIT] [--rounds N] [--devices "0 cpu"] BINARY MODEL

Builds the base (default: HEAD if the tree has changes, else HEAD~1) in build/guard/, then runs both binaries in turn on
the same file, A B B A: decode of 64 tokens, a prompt of some 128, and one start each with empty caches, where the
kernels are built. Ratios are taken within a round. Ends with status 1 where this tree is surely slower: where even the
upper 95% bound of the mean ratio is below 0.97; and where it builds more programs at a first start than the base
does."""
import argparse
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
import tempfile

SURELY_SLOWER = 0.97

# Student's t, one side, 95%, by the number of rounds.
T95 = {2: 6.31, 3: 2.92, 4: 2.35, 5: 2.13, 6: 2.02, 7: 1.94, 8: 1.89, 9: 1.86, 10: 1.83}


def output(command, **options):
    done = subprocess.run(command, capture_output=True, text=True, **options)
    if done.returncode:
        sys.exit(f"bench-guard: {shlex.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def base_commit(wanted):
    if not wanted:
        changed = output(["git", "status", "--porcelain", "--untracked-files=no"]).strip()
        wanted = "HEAD" if changed else "HEAD~1"
    return output(["git", "rev-parse", wanted + "^{commit}"]).strip()


def build_base(commit):
    folder = os.path.join("build", "guard", commit[:12])
    if not os.path.exists(os.path.join(folder, "clinfer")):
        output(["git", "worktree", "prune"])
        if not os.path.exists(folder):
            output(["git", "worktree", "add", "--detach", folder, commit])
        print(f"bench-guard: building {commit[:12]} in {folder}", file=sys.stderr)
        output(["make", "-s", "-j", str(os.cpu_count() or 2), "all"], cwd=folder)
    return os.path.realpath(os.path.join(folder, "clinfer"))


def answer(binary, model, device, prompt, tokens, environment=None):
    command = [binary, "run", "--json", "--temp", "0", "--tuning", "none", "-t", "2", "-n", str(tokens), "-m", model,
               "--device", device, prompt]
    return json.loads(output(command, env={**os.environ, **(environment or {})}))


def rates(binary, model, device):
    decode = answer(binary, model, device, "Write a long story about a river.", 64)["timings"]
    prompt = answer(binary, model, device, " ".join(["rain"] * 97), 1)["timings"]
    return {"decode": decode["predicted_per_second"], "prompt": prompt["prompt_per_second"],
            "start": 1000 / decode["load_ms"]}


def first_start(binary, model, device):
    with tempfile.TemporaryDirectory() as folder:
        environment = {"XDG_CACHE_HOME": folder, "POCL_CACHE_DIR": folder + "/pocl"}
        done = answer(binary, model, device, "Hello.", 1, environment)
    return done["counters"]["builds"], done["timings"]["first_token_ms"] / 1000


def bounds(values):
    mean = statistics.mean(values)
    if len(values) < 2:
        return 0, math.inf
    spread = T95.get(len(values), 1.8) * statistics.stdev(values) / math.sqrt(len(values))
    return mean - spread, mean + spread


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", default="")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--devices", default="0 cpu")
    parser.add_argument("binary")
    parser.add_argument("model")
    args = parser.parse_args()
    commit = base_commit(args.base)
    ours, base = os.path.realpath(args.binary), build_base(commit)
    print(f"this tree over {commit[:12]}, {args.rounds} rounds, without profiles\n")
    failed = False
    for device in args.devices.split():
        for binary in (base, ours):
            rates(binary, args.model, device)
        rounds = []
        for number in range(args.rounds):
            pair = {}
            for binary in (base, ours) if number % 2 == 0 else (ours, base):
                pair[binary] = rates(binary, args.model, device)
            rounds.append((pair[base], pair[ours]))
        for what in rounds[0][0]:
            ratios = [now[what] / before[what] for before, now in rounds]
            low, high = bounds(ratios)
            slower = high < SURELY_SLOWER
            failed |= slower
            print(f"--device {device} {what:6}: {statistics.median(now[what] for _, now in rounds):8.1f} a second, "
                  f"{statistics.median(ratios):.3f} of the base (95%: {low:.3f} to {high:.3f})"
                  f"{'  SLOWER' if slower else ''}")
        if device == "cpu":
            continue
        builds_before, seconds_before = first_start(base, args.model, device)
        builds, seconds = first_start(ours, args.model, device)
        more = builds > builds_before
        failed |= more
        print(f"--device {device} first start: {builds} programs in {seconds:.1f} s to the first token, the base "
              f"{builds_before} in {seconds_before:.1f} s{'  MORE' if more else ''}")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
