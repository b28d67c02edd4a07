#!/usr/bin/env bash
# CLBlast beside the own kernels of matmul, on the shapes of two models; prints a markdown table.
#
#   scripts/measure_clblast.sh [KERNEL:NAME=VALUE,...]...      parameters for CLBlast's kernels
#
#   DEVICE    index of `clinfer devices`; default 0
#   ROWS      default "16 64 128 512"
#   TYPES     of activations and weights; default "q8 q4_0"
#   SHAPES    K:N, default those of SmolLM2-135M and of Qwen2.5-1.5B
#   OTHERS    variants to compare with; default gemm_vec
#
# Each line is a process of its own: what it says of programs is what every run of clinfer would pay (with the driver's
# own cache warm, if it has one). Variants take turns, so that a busy machine slows all of them.
set -eu
cd "$(dirname "$0")/.."
[ -f build/release/libclinfer.a ] || { echo "measure_clblast: the library is not built: type make" >&2; exit 1; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck disable=SC2046 # words
"${CC:-gcc}" -O2 -std=c11 -Iinclude -Iruntime -D_GNU_SOURCE -DCL_TARGET_OPENCL_VERSION=120 -o "$work/time_variants" \
    scripts/time_variants.c build/release/libclinfer.a $(pkg-config --libs OpenCL clblast jansson libcurl libpcre2-8 libutf8proc) -lpthread -lm
shapes=${SHAPES:-576:960 576:576 576:3072 1536:576 1536:2048 1536:1536 1536:17920 8960:1536}
others=${OTHERS:-gemm_vec}
echo '| K | N | rows | variant | ms | GFLOP/s | own programs, s | programs of CLBlast, s |'
echo '|--:|--:|--:|---|--:|--:|--:|--:|'
for shape in $shapes; do
    for rows in ${ROWS:-16 64 128 512}; do
        # shellcheck disable=SC2086 # words
        "$work/time_variants" "$@" "${DEVICE:-0}" ${TYPES:-q8 q4_0} "$rows" "${shape%:*}" "${shape#*:}" $others clblast 2>/dev/null |
            while read -r name first clblast ms gflops; do
                echo "| ${shape%:*} | ${shape#*:} | $rows | $name | $ms | $gflops | $first | $clblast |"
            done
    done
done
