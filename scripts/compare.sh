#!/usr/bin/env bash
# Compares clinfer with llama.cpp on the same file, on this machine, in one run; prints a markdown table.
#
#   scripts/compare.sh [MODEL.gguf]
#
#   PEER      a folder with bin/llama-bench; default build/peer, which scripts/peer.sh fills if it is not there
#   DEVICES   what clinfer runs on, values of --device; default "cpu 0". "0@none", "0@shipped", "0@FILE" also say
#             --tuning: kernels by the order of the table, by the shipped profile, by the profile in FILE
#   PAIRS     "0@auto/0@shipped ...": ratios of the first to the second, with the lower 95% bound of their mean
#   ROUNDS    default 4: each round measures llama.cpp and clinfer on each device, another one first each time, so that a
#             machine that grows slower does so for all; ratios are taken within a round, and the table gives their
#             median and range
#   PROMPTS   default "128,512": lengths of the prompts
#   THREADS   default 2; on a larger machine both are held to that many processors
#
# Measured: decode of 64 tokens, and prefill; each figure is told when it is there. Beside them the bare read bandwidth of
# the same minutes, over as many bytes as the model has: decoding cannot be faster than that.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'compare: %s\n' "$1" >&2
    exit 1
}

model=${1:-${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/models/smollm2-135m-instruct-q4_1.gguf}
bench=${PEER:-build/peer}/bin/llama-bench
rounds=${ROUNDS:-4}
threads=${THREADS:-2}
devices=${DEVICES:-cpu 0}
[ -f "$model" ] || fail "$model: no such file"
[ -x "$bench" ] || [ -n "${PEER:-}" ] || scripts/peer.sh
[ -x "$bench" ] || fail "$bench: not there; scripts/peer.sh DIR builds one"
[ -x ./clinfer ] || fail "./clinfer is not built: type make"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-gcc}" -O3 -march=native -std=c11 -Iruntime -o "$work/read_bandwidth" scripts/read_bandwidth.c -lpthread
pin=
if [ "$(nproc)" -gt "$threads" ] && command -v taskset >/dev/null; then pin="taskset -c 0-$((threads - 1))"; fi

PROMPTS=${PROMPTS:-128,512} PAIRS=${PAIRS:-} WORK=$work MODEL=$model BENCH=$bench ROUNDS=$rounds THREADS=$threads DEVICES=$devices PIN=$pin python3 - <<'PYTHON'
import json, math, os, shlex, statistics, subprocess, sys

WORK, MODEL, BENCH = (os.environ[name] for name in ("WORK", "MODEL", "BENCH"))
ROUNDS, THREADS, DEVICES = int(os.environ["ROUNDS"]), os.environ["THREADS"], os.environ["DEVICES"].split()
PIN = shlex.split(os.environ["PIN"])
PROMPTS = os.environ["PROMPTS"]
TESTS = {"decode tg64": (0, 64)} | {f"prefill pp{rows}": (int(rows), 0) for rows in PROMPTS.split(",")}
ASKED = ["-p", PROMPTS, "-n", "64", "-r", "2", "-o", "json"]
WARM_UP = ["-p", "128", "-n", "2", "-r", "1", "-o", "json"]  # the plans for decoding and for long prompts


def run(command):
    done = subprocess.run(PIN + command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"compare: {shlex.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def bandwidth():
    return float(run([WORK + "/read_bandwidth", str(os.path.getsize(MODEL)), THREADS]))


MEASURED = ["-m", MODEL, "-t", THREADS]


def rates(who, command):
    """Both have the same flags and the same fields; both warm up first."""
    rows = json.loads(run(command + MEASURED + ASKED))
    found = {(row["n_prompt"], row["n_gen"]): row["avg_ts"] for row in rows}
    print(f"compare: {who}: " + ", ".join(f"{name} {found[key]:.1f}" for name, key in TESTS.items()), file=sys.stderr)
    return {name: found[key] for name, key in TESTS.items()}


def peer():
    return rates("llama.cpp", [BENCH])


def command_of(device):
    name, _, tuning = device.partition("@")
    return ["./clinfer", "bench", "--device", name] + (["--tuning", tuning] if tuning else [])


load = os.getloadavg()[0]
if load > 0.5:
    print(f"compare: other programs are busy here (load {load:.1f}): the figures will say little", file=sys.stderr)
for device in DEVICES:
    run(command_of(device) + MEASURED + WARM_UP)  # what is compiled once is compiled now
rounds = []
for number in range(ROUNDS):
    one = {"read": bandwidth()}
    turn = number % (len(DEVICES) + 1)  # each is first in some round: a machine may slow down within one
    for device in ([None] + DEVICES)[turn:] + ([None] + DEVICES)[:turn]:
        one[device or "peer"] = rates(device, command_of(device)) if device else peer()
    rounds.append(one)
    print(f"compare: round {number + 1} of {ROUNDS}", file=sys.stderr)

size = os.path.getsize(MODEL)
reads = [one["read"] for one in rounds]
print(f"{os.path.basename(MODEL)}, {size / 2**20:.0f} MiB, {THREADS} threads, {ROUNDS} rounds; tokens per second (median), "
      "ratio to llama.cpp (median, range)\n")
print("| | llama.cpp |" + "".join(f" clinfer --device {device} | ratio |" for device in DEVICES))
print("|---|---|" + "---|---|" * len(DEVICES))
for name in TESTS:
    cells = [f"{statistics.median(one['peer'][name] for one in rounds):.1f}"]
    for device in DEVICES:
        ratios = [one[device][name] / one["peer"][name] for one in rounds]
        cells += [f"{statistics.median(one[device][name] for one in rounds):.1f}",
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"]
    print(f"| {name} | " + " | ".join(cells) + " |")
for pair in os.environ["PAIRS"].split():
    one, other = next((pair[:i], pair[i + 1:]) for i in range(len(pair))
                      if pair[i] == "/" and pair[:i] in DEVICES and pair[i + 1:] in DEVICES)
    for name in TESTS:
        ratios = [each[one][name] / each[other][name] for each in rounds]
        bound = statistics.mean(ratios)
        if ROUNDS > 1:
            bound -= 1.645 * statistics.stdev(ratios) / math.sqrt(ROUNDS)
        print(f"\n{one} over {other}, {name}: {statistics.median(ratios):.3f}, lower 95% bound of the mean {bound:.3f}")
print(f"\nBare read of as many bytes: {statistics.median(reads):.1f} GB/s ({min(reads):.1f}-{max(reads):.1f}), "
      f"that is {statistics.median(reads) * 1e9 / size:.0f} tokens per second if decoding were nothing else.")
PYTHON
