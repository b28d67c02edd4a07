#!/usr/bin/env bash
# The shipped profiles of processors get the hashes of the kernels as they are now (see renew_hashes.c).
#
#   scripts/renew_hashes.sh       after `make`; then `make` again, since profiles are part of the binary
set -eu
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${CC:-gcc}" -O2 -std=c11 -Iinclude -Iruntime -D_GNU_SOURCE -DCL_TARGET_OPENCL_VERSION=120 -o "$work/renew_hashes" \
    scripts/renew_hashes.c build/release/libclinfer.a $(pkg-config --libs OpenCL clblast jansson libcurl libpcre2-8 libutf8proc) -lpthread -lm
"$work/renew_hashes" profiles/cpu-*.json profiles/pocl-*.json profiles/intel-cpu-*.json
