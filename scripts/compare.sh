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
#   DEPTHS    default "0": decoding behind so many tokens of context each
#   BATCHES   default none; "1,4,8,16,64": decoding of so many sequences at once behind 512 tokens each, by
#             llama-batched-bench (of the same folder; scripts/peer.sh DIR llama-bench llama-batched-bench builds both)
#             and `clinfer bench -npl`, with the share of what the machine could do at best (docs/benchmarks.md)
#   THREADS   default 2; on a larger machine both are held to that many processors
#
# Measured: decode of 64 tokens, and prefill; each figure is told when it is there. Beside them the bare read bandwidth
# of the same minutes, over as many bytes as the model has: decoding cannot be faster than that.
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
[ -z "${BATCHES:-}" ] || [ -x "${PEER:-build/peer}/bin/llama-batched-bench" ] ||
    fail "${PEER:-build/peer}/bin/llama-batched-bench: not there; scripts/peer.sh ${PEER:-build/peer} llama-batched-bench"
[ -x ./clinfer ] || fail "./clinfer is not built: type make"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-gcc}" -O3 -march=native -std=c11 -Iruntime -o "$work/read_bandwidth" scripts/read_bandwidth.c -lpthread
pin=
if [ "$(nproc)" -gt "$threads" ] && command -v taskset >/dev/null; then pin="taskset -c 0-$((threads - 1))"; fi

PROMPTS=${PROMPTS:-128,512} DEPTHS=${DEPTHS:-0} BATCHES=${BATCHES:-} PAIRS=${PAIRS:-} WORK=$work MODEL=$model BENCH=$bench ROUNDS=$rounds THREADS=$threads DEVICES=$devices PIN=$pin python3 - <<'PYTHON'
import json, math, os, shlex, statistics, subprocess, sys

WORK, MODEL, BENCH = (os.environ[name] for name in ("WORK", "MODEL", "BENCH"))
ROUNDS, THREADS, DEVICES = int(os.environ["ROUNDS"]), os.environ["THREADS"], os.environ["DEVICES"].split()
PIN = shlex.split(os.environ["PIN"])
PROMPTS, DEPTHS = os.environ["PROMPTS"], os.environ["DEPTHS"].split(",")
BATCHES = [int(count) for count in os.environ["BATCHES"].split(",") if count]
BATCH_DEPTH, BATCH_STEPS = 512, 16
# Of a test: tokens of the prompt, generated ones, tokens of context behind which it runs.
TESTS = {"decode tg64" + (f" @ d{depth}" if depth != "0" else ""): (0, 64, int(depth)) for depth in DEPTHS}
TESTS |= {f"prefill pp{rows}": (int(rows), 0, 0) for rows in PROMPTS.split(",")}
DECODE = ["-p", "0", "-n", "64", "-d", ",".join(DEPTHS), "-r", "2", "-o", "json"]
PREFILL = ["-p", PROMPTS, "-n", "0", "-r", "2", "-o", "json"]
WARM_UP = ["-p", "128", "-n", "2", "-r", "1", "-o", "json"]  # the plans for decoding and for long prompts


def run(command):
    done = subprocess.run(PIN + command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"compare: {shlex.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def bandwidth():
    return float(run([WORK + "/read_bandwidth", str(os.path.getsize(MODEL)), THREADS]))


MEASURED = ["-m", MODEL, "-t", THREADS]


def rates(who, command, batches):
    """Both have the same flags and the same fields; both warm up first."""
    rows = [row for asked in (DECODE, PREFILL) for row in json.loads(run(command + MEASURED + asked))]
    found = {(row["n_prompt"], row["n_gen"], row["n_depth"]): row["avg_ts"] for row in rows}
    all_rates = {name: found[key] for name, key in TESTS.items()} | (batches() if BATCHES else {})
    print(f"compare: {who}: " + ", ".join(f"{name} {rate:.1f}" for name, rate in all_rates.items()), file=sys.stderr)
    return all_rates


def batch_name(count):
    return f"decode tg{BATCH_STEPS} @ d{BATCH_DEPTH} x{count}"


def peer_batches():
    cells = max(BATCHES) * (BATCH_DEPTH + BATCH_STEPS) + 256 * len(BATCHES)
    text = run([os.path.join(os.path.dirname(BENCH), "llama-batched-bench"), *MEASURED, "-tb", THREADS, "-c", str(cells),
                "-npp", str(BATCH_DEPTH), "-ntg", str(BATCH_STEPS), "-npl", ",".join(map(str, BATCHES)),
                "--output-format", "jsonl"])
    rows = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
    return {batch_name(row["pl"]): row["speed_tg"] for row in rows}


def batches_of(device):
    rows = json.loads(run(command_of(device) + MEASURED + [
        "-p", "0", "-n", str(BATCH_STEPS), "-d", str(BATCH_DEPTH), "-npl", ",".join(map(str, BATCHES)), "-r", "2", "-o",
        "json"]))
    for row in rows:
        if row["share_of_limit"] is not None:
            SHARES.setdefault((device, batch_name(row["n_sequences"])), []).append(row["share_of_limit"])
    return {batch_name(row["n_sequences"]): row["avg_ts"] for row in rows}


SHARES = {}  # (device, test): of the limit, in each round


def peer():
    return rates("llama.cpp", [BENCH], peer_batches)


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
        one[device or "peer"] = rates(device, command_of(device), lambda: batches_of(device)) if device else peer()
    rounds.append(one)
    print(f"compare: round {number + 1} of {ROUNDS}", file=sys.stderr)

size = os.path.getsize(MODEL)
reads = [one["read"] for one in rounds]
print(f"{os.path.basename(MODEL)}, {size / 2**20:.0f} MiB, {THREADS} threads, {ROUNDS} rounds; tokens per second (median), "
      "ratio to llama.cpp (median, range)\n")
print("| | llama.cpp |" + "".join(f" clinfer --device {device} | ratio |" for device in DEVICES))
print("|---|---|" + "---|---|" * len(DEVICES))
NAMES = list(TESTS) + [batch_name(count) for count in BATCHES]
for name in NAMES:
    cells = [f"{statistics.median(one['peer'][name] for one in rounds):.1f}"]
    for device in DEVICES:
        ratios = [one[device][name] / one["peer"][name] for one in rounds]
        cells += [f"{statistics.median(one[device][name] for one in rounds):.1f}",
                  f"{statistics.median(ratios):.2f} ({min(ratios):.2f}-{max(ratios):.2f})"]
    print(f"| {name} | " + " | ".join(cells) + " |")
for (device, name), shares in SHARES.items():
    one = batch_name(1)
    times = f", {statistics.median(r[device][name] / r[device][one] for r in rounds):.2f}x one" if 1 in BATCHES else ""
    print(f"\n{device}, {name}: {statistics.median(shares):.0%} of the limit{times}")
for pair in os.environ["PAIRS"].split():
    one, other = next((pair[:i], pair[i + 1:]) for i in range(len(pair))
                      if pair[i] == "/" and pair[:i] in DEVICES and pair[i + 1:] in DEVICES)
    for name in NAMES:
        ratios = [each[one][name] / each[other][name] for each in rounds]
        bound = statistics.mean(ratios)
        if ROUNDS > 1:
            bound -= 1.645 * statistics.stdev(ratios) / math.sqrt(ROUNDS)
        print(f"\n{one} over {other}, {name}: {statistics.median(ratios):.3f}, lower 95% bound of the mean {bound:.3f}")
print(f"\nBare read of as many bytes: {statistics.median(reads):.1f} GB/s ({min(reads):.1f}-{max(reads):.1f}), "
      f"that is {statistics.median(reads) * 1e9 / size:.0f} tokens per second if decoding were nothing else.")
PYTHON
