#!/usr/bin/env bash
# Builds tools of llama.cpp outside of any install: llama-bench, the rival of scripts/compare.sh, llama-server, the
# remote of scripts/check_remote.sh:
#
#   scripts/peer.sh [--exact] [DIR [TOOL...]]    default build/peer llama-bench; leaves DIR/bin/TOOL, and libllama.so
#                                        beside it. Ten minutes or so, with llama-server half an hour; safe to run again.
#
# --exact: its GELU is computed, not looked up in a table of 16-bit floats: the truth of scripts/compare_families.py and
# reference_families.py, with the tool test-llama-archs. Such a build has a folder of its own.
#
# The source package of llama-cpp-python on PyPI carries llama.cpp's whole tree. With gcc 12 on a processor with AMX
# every run of it dies at ldtilecfg: the compiler drops the stores to the tile configuration in ggml_tile_config_init.
# Those 64 bytes become volatile here; AMX switched off would make the rival four times slower at prompts.
set -eu
cd "$(dirname "$0")/.."
exact=0
[ "${1:-}" != --exact ] || { exact=1; shift; }
folder=${1:-build/peer}
tools=("${@:2}")
[ ${#tools[@]} -gt 0 ] || tools=(llama-bench)

fail() {
    printf 'peer: %s\n' "$1" >&2
    exit 1
}

mkdir -p "$folder" || fail "$folder: cannot be made"
cd "$folder"
missing=0
for tool in "${tools[@]}"; do [ -x "bin/$tool" ] || missing=1; done
[ $missing -eq 1 ] || exit 0
for tool in cmake g++ python3; do
    command -v $tool >/dev/null || fail "$tool is not there: apt install cmake g++ python3-pip"
done
if [ ! -d source ]; then
    python3 -m pip download -q --no-deps --no-binary llama-cpp-python --dest download llama-cpp-python ||
        fail "pip cannot fetch the source package of llama-cpp-python"
    tar xf download/llama_cpp_python-*.tar.gz -C download
    mv download/llama_cpp_python-*/vendor/llama.cpp source
    rm -r download
fi

python3 - source/ggml/src/ggml-cpu/amx/mmq.cpp <<'PYTHON'
import sys
path = sys.argv[1]
text = open(path, encoding="utf-8").read()
declared, loaded = "alignas(64) tile_config_t tc = {};", "_tile_loadconfig(&tc);"
if declared in text:
    text = text.replace(declared, "alignas(64) volatile unsigned char raw[64]; for (int i = 0; i < 64; i++) raw[i] = 0; "
                                  "tile_config_t & tc = *(tile_config_t *)(void *)raw;")
    text = text.replace(loaded, '__asm__ volatile("" ::: "memory"); ' + loaded)
    open(path, "w", encoding="utf-8").write(text)
PYTHON

[ $exact -eq 0 ] || sed -i '/^#define GGML_GELU_FP16$/d' source/ggml/src/ggml-cpu/vec.h

printf 'peer: building llama.cpp in %s\n' "$PWD" >&2
cmake -S source -B build -DCMAKE_BUILD_TYPE=Release -DGGML_NATIVE=ON -DLLAMA_CURL=OFF -DLLAMA_BUILD_TESTS=ON \
    >cmake.log 2>&1 || fail "cmake failed; its words are in $PWD/cmake.log"
cmake --build build -j "$(nproc)" --target "${tools[@]}" >build.log 2>&1 ||
    fail "the build failed; its words are in $PWD/build.log"
ln -sfn build/bin bin
