#!/usr/bin/env bash
# Runs one libFuzzer binary: scripts/fuzz.sh BINARY NAME SECONDS
#
# Starts from tests/fuzz/corpus/NAME. New inputs go to build/fuzz/corpus/NAME, failing ones to build/fuzz/found/NAME-*;
# the log is build/fuzz/NAME.log. A failing input that was mended belongs into tests/fuzz/corpus/NAME, so that
# `make check` replays it.
set -eu
binary=$1 name=$2 seconds=$3
corpus=build/fuzz/corpus/$name
log=build/fuzz/$name.log
mkdir -p "$corpus" build/fuzz/found "tests/fuzz/corpus/$name"
dictionary=tests/fuzz/$name.dict
printf '  fuzz %s for %s s\n' "$name" "$seconds"
if ! "$binary" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=2048 -print_final_stats=1 \
    -artifact_prefix="build/fuzz/found/$name-" ${FUZZ_OPTIONS:-} $([ ! -f "$dictionary" ] || echo "-dict=$dictionary") \
    "$corpus" "tests/fuzz/corpus/$name" >"$log" 2>&1; then
    tail -n 60 "$log"
    printf 'fuzz %s: FAILED; the input lies in build/fuzz/found, the log in %s\n' "$name" "$log"
    exit 1
fi
printf '  fuzz %s: nothing found in %s runs, coverage %s\n' "$name" \
    "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" "$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)"
