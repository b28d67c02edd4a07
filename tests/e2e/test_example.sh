#!/usr/bin/env bash
# Installs clinfer into a folder of its own and builds docs/examples against what lies there, as another project
# would: with the shared and with the static library, by pkg-config; then lets both answer. Prints TAP.
set -u
cd "$(dirname "$0")/../.."
build="${CLINFER_TEST_BUILD:-$PWD/build/release}"
model="${CLINFER_TEST_MODEL:-${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/models/smollm2-135m-instruct-q4_1.gguf}"
config=$(basename "$build")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
flags=(-std=c11 -Wall -Wextra -Werror)
sources=(docs/examples/chat.c)
switch_sources=(docs/examples/switch.c)
if [ "$config" = asan ]; then
    flags+=(-fsanitize=address,undefined)
    sources+=(tests/support/keep_loaded.c)
    switch_sources+=(tests/support/keep_loaded.c)
fi
number=0
failed=0

# A test: its name, then the command; what that prints shows when it fails.
check() {
    local name=$1
    shift
    number=$((number + 1))
    if "$@" >"$work/log" 2>&1; then
        echo "ok $number - $name"
    else
        echo "not ok $number - $name"
        sed 's/^/# /' "$work/log"
        failed=1
    fi
}

install() {
    env -u MAKEFLAGS -u MAKELEVEL -u MFLAGS make --no-print-directory CONFIG="$config" PREFIX="$work/usr" install &&
        [ -x "$work/usr/bin/clinfer" ] && [ -f "$work/usr/share/man/man1/clinfer.1" ]
}

package() { PKG_CONFIG_PATH="$work/usr/lib/pkgconfig" pkg-config "$@" clinfer; }

build_shared() { ${CC:-cc} "${flags[@]}" -o "$work/shared" "${sources[@]}" $(package --cflags --libs); }

build_static() {
    ${CC:-cc} "${flags[@]}" -o "$work/static" "${sources[@]}" $(package --cflags) "$work/usr/lib/libclinfer.a" \
        $(package --static --libs | sed 's/-lclinfer//')
}

answers() {
    printf 'What is the capital of France?\nAnd of Italy?\n' >"$work/input"
    LD_LIBRARY_PATH="$work/usr/lib" "$work/$1" "$model" <"$work/input" >"$work/output" || return 1
    cat "$work/output"
    head -n 1 "$work/output" | grep -q Paris && grep -q Rome "$work/output"
}

refuses() {
    LD_LIBRARY_PATH="$work/usr/lib" "$work/shared" /nonexistent.gguf </dev/null
    [ $? -eq 1 ]
}

build_switch() { ${CC:-cc} "${flags[@]}" -o "$work/switch" "${switch_sources[@]}" $(package --cflags --libs); }

switch_models() {
    LD_LIBRARY_PATH="$work/usr/lib" HOME="$work" XDG_DATA_HOME="$work/data" HF_HUB_CACHE="$work/hub" "$work/switch" "$@"
}

lists() {
    mkdir -p "$work/data/clinfer/models"
    cp tests/data/llama_tiny.gguf tests/data/qwen2_tiny.gguf "$work/data/clinfer/models/"
    [ "$(switch_models)" = "llama_tiny.gguf, 0.2 MB, in models
qwen2_tiny.gguf, 0.2 MB, in models" ]
}

switches() {
    switch_models "A question" llama_tiny qwen2_tiny.gguf llama_tiny >"$work/output" || return 1
    cat "$work/output"
    [ "$(grep -c "^llama_tiny: " "$work/output")" = 2 ] && grep -q "^qwen2_tiny.gguf: " "$work/output"
}

survives() {
    switch_models "A question" llama_tiny no-such-model qwen2_tiny >"$work/output" 2>"$work/errors"
    [ $? -eq 1 ] && grep -q "^qwen2_tiny: " "$work/output" && grep -q "no-such-model: " "$work/errors"
}

echo "1..11"
check "the example is under 60 lines" test "$(wc -l <docs/examples/chat.c)" -lt 60
check "make install" install
check "the example builds with the shared library" build_shared
check "the example builds with the static library" build_static
check "the example answers with the shared library" answers shared
check "the example answers with the static library" answers static
check "the example refuses a missing model" refuses
check "the example of switching builds" build_switch
check "it lists the models there are" lists
check "it asks several models by their names" switches
check "it goes on behind a model that is not there" survives
exit "$failed"
