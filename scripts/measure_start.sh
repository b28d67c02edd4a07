#!/usr/bin/env bash
# What clinfer costs before and beside the computing; prints a markdown table.
#
#   scripts/measure_start.sh [MODEL.gguf]
#
#   DEVICE    value of --device, an index; default 0
#   ROUNDS    default 7; the table gives the median and the range
#
# First start: with empty caches, nothing compiled yet. Second start: what a user sees from then on. Time to the first
# token is from the start of the process to the first byte on stdout. Peak memory is VmHWM after 512 tokens of context,
# beside that of a process that runs one empty kernel on the same driver. Clean build: a copy of the sources.
set -eu
cd "$(dirname "$0")/.."
model=${1:-${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/models/smollm2-135m-instruct-q4_1.gguf}
[ -f "$model" ] || { echo "measure_start: $model: no such file" >&2; exit 1; }
[ -x ./clinfer ] || { echo "measure_start: ./clinfer is not built: type make" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-gcc}" -O2 -std=c11 -o "$work/empty_kernel" scripts/empty_kernel.c -lOpenCL
git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$work/" 2>/dev/null || true # deleted files
start=$(date +%s.%N)
make -s -C "$work" all >/dev/null 2>"$work/build.log" || { cat "$work/build.log" >&2; exit 1; }
end=$(date +%s.%N)
cp ./clinfer "$work/stripped"
strip "$work/stripped"

WORK=$work MODEL=$model DEVICE=${DEVICE:-0} ROUNDS=${ROUNDS:-7} BUILD_SECONDS=$(echo "$start $end" | awk '{print $2 - $1}') \
    python3 - <<'PYTHON'
import json, os, statistics, subprocess, sys, time

WORK, MODEL, DEVICE = os.environ["WORK"], os.environ["MODEL"], os.environ["DEVICE"]
ROUNDS = int(os.environ["ROUNDS"])
env = dict(os.environ, XDG_CACHE_HOME=WORK + "/cache", POCL_CACHE_DIR=WORK + "/pocl")


def command(prompt, tokens, *more):
    return ["./clinfer", "run", "--temp", "0", "-n", str(tokens), "-m", MODEL, "--device", DEVICE, "-p", prompt, *more]


def run(arguments):
    """Output, seconds to its first byte, peak memory in KiB."""
    start = time.monotonic()
    with open(WORK + "/stderr", "wb") as log:
        child = subprocess.Popen(arguments, env=env, stdout=subprocess.PIPE, stderr=log)
    first = os.read(child.stdout.fileno(), 1)
    seconds = time.monotonic() - start
    output = first + child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = 0  # reaped here, for its memory
    if status:
        sys.exit("measure_start: " + " ".join(arguments) + " failed:\n" + open(WORK + "/stderr").read()[-2000:])
    return output.decode(), seconds, usage.ru_maxrss


def summary(values, unit, scale=1.0):
    low, middle, high = (value * scale for value in (min(values), statistics.median(values), max(values)))
    return f"{middle:.0f} {unit} ({low:.0f}-{high:.0f})"


_, first_start, _ = run(command("Why is the sky blue?", 4))
starts = [run(command("Why is the sky blue?", 4))[1] for _ in range(ROUNDS)]
loads, peaks = [], []
run(command("rain " * 420, 64, "--json"))
for _ in range(ROUNDS):
    output, _, peak = run(command("rain " * 420, 64, "--json"))
    timings = json.loads(output)["timings"]
    used = timings["prompt_n"] + timings["predicted_n"]
    if "load_ms" in timings:
        loads.append(timings["load_ms"])
    peaks.append(peak / 1024)
run([WORK + "/empty_kernel", DEVICE])
driver = [int(run([WORK + "/empty_kernel", DEVICE])[0].split()[0]) / 1024 for _ in range(ROUNDS)]
file_size = os.path.getsize(MODEL) / 2**20
own = statistics.median(peaks) - file_size - statistics.median(driver)

print("| | | wanted |\n|---|---|---|")
print(f"| first token, first start (empty caches) | {first_start * 1000:.0f} ms | |")
print(f"| first token, later starts | {summary(starts, 'ms', 1000)} | < 300 ms |")
print(f"| model load | {summary(loads, 'ms') if loads else 'not reported'} | < 100 ms |")
print(f"| peak memory at {used} tokens | {summary(peaks, 'MiB')} | |")
print(f"| of that: model file {file_size:.0f} MiB, driver with an empty kernel {summary(driver, 'MiB')}, the rest | "
      f"{own:.0f} MiB | < 64 MiB |")
print(f"| binary | {os.path.getsize('./clinfer') / 2**20:.2f} MiB, stripped {os.path.getsize(WORK + '/stripped') / 2**20:.2f} MiB"
      " | < 5 MB |")
print(f"| clean build, {os.cpu_count()} processors | {float(os.environ['BUILD_SECONDS']):.1f} s | < 60 s |")
PYTHON
