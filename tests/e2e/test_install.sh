#!/usr/bin/env bash
# make install into an empty folder: a C program builds against what lies there, with the shared and with the static
# library; the shared library exports the public header's functions and nothing else. Prints TAP.
set -u
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
number=0

# expect NAME COMMAND...: one test; what the command prints is shown when it fails.
expect() {
    local name=$1
    shift
    number=$((number + 1))
    if "$@" >"$work/log" 2>&1; then
        echo "ok $number - $name"
    else
        sed 's/^/# /' "$work/log"
        echo "not ok $number - $name"
    fi
}

config=$(basename "$CLINFER_TEST_BUILD")
sanitize=
[ "$config" != asan ] || sanitize=-fsanitize=address,undefined
prefix=$work/usr
export PKG_CONFIG_PATH=$prefix/lib/pkgconfig
cat >"$work/program.c" <<'PROGRAM'
#include <clinfer.h>
#include <stdio.h>
#include <string.h>

int main(void) {
    puts(clinfer_status_text(CLINFER_CONTEXT_FULL));
    return strcmp(clinfer_status_text(CLINFER_CONTEXT_FULL), "the context is full") != 0;
}
PROGRAM

everything_is_there() {
    local file
    for file in bin/clinfer libexec/clinfer/clinfer-probe lib/libclinfer.a lib/libclinfer.so lib/libclinfer.so.0 lib/pkgconfig/clinfer.pc \
        include/clinfer.h include/clinfer/base.h share/man/man1/clinfer.1 share/man/man1/clinfer-serve.1 share/doc/clinfer/LICENSE \
        share/bash-completion/completions/clinfer share/zsh/site-functions/_clinfer share/fish/vendor_completions.d/clinfer.fish; do
        [ -s "$prefix/$file" ] || { echo "$file is missing"; return 1; }
    done
}

# build NAME FLAGS...
build() {
    local name=$1
    shift
    # shellcheck disable=SC2046,SC2086 # lists of words
    gcc -std=c11 -Wall -Wextra -Werror $sanitize -o "$work/$name" "$work/program.c" $(pkg-config --cflags clinfer) "$@"
}

build_shared() {
    # shellcheck disable=SC2046 # a list of words
    build shared $(pkg-config --libs clinfer) && LD_LIBRARY_PATH=$prefix/lib "$work/shared"
}

build_static() {
    # shellcheck disable=SC2046 # a list of words
    build static "$prefix/lib/libclinfer.a" $(pkg-config --libs --static clinfer | sed 's/-lclinfer//') && "$work/static"
}

exports_the_header_only() {
    local exported declared
    exported=$(nm -D --defined-only "$prefix/lib/libclinfer.so" | awk '$3 !~ /^_/ { print $3 }' | sort)
    declared=$(cat "$prefix"/include/clinfer/*.h | grep -v '^#' | tr '\n' ' ' | grep -oE 'CLINFER_API [^;({]*\(' | grep -oE '[a-z0-9_]+\($' | tr -d '(' | sort)
    [ -n "$declared" ] || { echo "clinfer.h declares nothing"; return 1; }
    [ "$exported" = "$declared" ] || { diff <(echo "$declared") <(echo "$exported"); return 1; }
}

man_page_has_every_status() {
    local line
    # X(CODE, 5, "text") of the header stands as "5|text" in the page.
    grep -oE 'X\(CLINFER_[A-Z_]+, [0-9]+, "[^"]+"\)' include/clinfer/base.h |
        sed -E 's/X\([A-Z_]+, ([0-9]+), "([^"]+)"\)/\1|\2/' >"$work/statuses"
    [ -s "$work/statuses" ] || { echo "no status found in clinfer.h"; return 1; }
    while read -r line; do
        grep -qxF "$line" docs/clinfer.1 || { echo "docs/clinfer.1 has no line '$line'"; return 1; }
    done <"$work/statuses"
}

man_page_has_every_flag() {
    local command flag missing=
    sed 's/\\-/-/g' docs/clinfer.1 >"$work/page"
    for command in run pull list show rm prune cache devices inspect completion tokenize logits serve; do
        # A flag stands at the beginning of a line of the help, or after another one and a comma.
        for flag in $("$CLINFER_TEST_BINARY" "$command" --help | grep -E '^  -' | sed -E 's/  +[^ -].*//' |
            tr ',' '\n' | awk '{ print $1 }'); do
            grep -qE -- "(^|[^a-z-])$flag([^a-z-]|\$)" "$work/page" || missing="$missing $command:$flag"
        done
    done
    [ -z "$missing" ] || { echo "docs/clinfer.1 lacks$missing"; return 1; }
}

# What --help says stands in the page, and the page has no paths of whoever made it.
man_pages_of_commands_have_every_flag() {
    local page command missing pages=("$prefix"/share/man/man1/clinfer-*.1)
    [ ${#pages[@]} -ge 10 ] || { echo "only ${#pages[@]} pages"; return 1; }
    for page in "${pages[@]}"; do
        command=${page##*/clinfer-} && command=${command%.1}
        missing=$(comm -23 <("$CLINFER_TEST_BINARY" "$command" --help | grep -E '^  -' | sed -E 's/  +[^ -].*//' |
            tr ',' '\n' | awk '$1 ~ /^-/ { print $1 }' | sort -u) \
            <(sed 's/\\-/-/g; s/\\f[BIR]/ /g' "$page" | tr ' ,' '\n' | sort -u))
        [ -z "$missing" ] || { echo "$page lacks $missing"; return 1; }
    done
    ! grep -lF "$HOME/" "${pages[@]}" || return 1
    ! command -v groff >/dev/null || ! groff -man -Tutf8 -ww -b "${pages[@]}" 2>&1 >/dev/null | grep . || return 1
}

echo 1..8
expect test_install_succeeds make --no-print-directory "CONFIG=$config" install "PREFIX=$prefix"
expect test_install_brings_everything everything_is_there
expect test_program_links_the_shared_library build_shared
expect test_program_links_the_static_library build_static
expect test_shared_library_exports_the_header_only exports_the_header_only
expect test_man_page_has_every_exit_status man_page_has_every_status
expect test_man_page_has_every_flag man_page_has_every_flag
expect test_man_pages_of_commands_have_every_flag man_pages_of_commands_have_every_flag
