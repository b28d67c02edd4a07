#!/usr/bin/env bash
# What tuning gains: runs without a profile, with the shipped one, with that of a usual tune and of a thorough one,
# beside llama.cpp, in rounds that alternate (scripts/compare.sh). Some 25 minutes for a small model.
#
#   scripts/measure_tuning.sh [MODEL.gguf]
#
#   DEVICE   of `clinfer devices`, default 0; a driver that is not the system's by OCL_ICD_VENDORS
#   BUDGETS  default "60 600": seconds of the usual tune and of the thorough one; "60": no thorough one
#   ROUNDS   default 8; PEER as for compare.sh
#
# Prints where the plans differ, which tells more than figures do where they do not; then compare.sh's table and ratios,
# with the lower 95% bounds of their means. Profiles are made in a folder of their
# own: those of the user are neither used nor touched. On a machine where other programs run: chrt -f 1 in front of it.
set -eu
cd "$(dirname "$0")/.."

model=${1:-${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/models/smollm2-135m-instruct-q4_1.gguf}
device=${DEVICE:-0}
read -r usual thorough <<<"${BUDGETS:-60 600} "
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# tune NAME SECONDS [FLAG...]
tune() {
    printf 'measure_tuning: %s, %s s\n' "$1" "$2" >&2
    XDG_DATA_HOME=$work/$1 ./clinfer tune -q --device "$device" -m "$model" --budget "$2" "${@:3}" >"$work/$1.txt"
    tail -n 3 "$work/$1.txt" >&2
    cp "$(find "$work/$1/clinfer/profiles" -name '*.json' ! -name 'quarantine*' | head -n 1)" "$work/$1.json"
}

tune usual "$usual"
devices="$device@none $device@shipped $device@$work/usual.json"
pairs="$device@$work/usual.json/$device@none $device@$work/usual.json/$device@shipped"
if [ -n "${thorough:-}" ]; then
    tune thorough "$thorough" --thorough
    devices="$devices $device@$work/thorough.json"
    pairs="$pairs $device@$work/usual.json/$device@$work/thorough.json"
fi
# plan TUNING: its kernels, op by op
plan() { ./clinfer ops --device "$device" -m "$model" --tuning "$1" | grep -Ev 'tuning:|^ *(why|then):'; }

# same TUNING: whether it is the plan of the usual tune
same() {
    if diff <(plan "$1") <(plan "$work/usual.json") >"$work/diff"; then
        printf 'Tuned for %s s it runs the same kernels as with %s.\n' "$usual" "$2"
    else
        printf 'Where it runs other kernels tuned for %s s (>) than with %s (<):\n' "$usual" "$2"
        sed -n 's/^[<>]/    &/p' "$work/diff"
    fi
}
same shipped 'the shipped profile'
[ -z "${thorough:-}" ] || same "$work/thorough.json" "the tune of $thorough s"

ROUNDS=${ROUNDS:-8} DEVICES=$devices PAIRS=$pairs scripts/compare.sh "$model"
