#!/usr/bin/env bash
# Asks a real server, llama.cpp's llama-server, in both of its dialects; prints a line per check. `make check-remote`.
#
#   scripts/check_remote.sh [MODEL.gguf]
#
#   PEER      a folder with bin/llama-server; default build/peer, which scripts/peer.sh fills if it is not there (half an
#             hour)
#
# Streamed and whole answers must be the same text, in both dialects; usage must come back; a wrong key, a server that
# is killed in the middle of an answer, and one that is gone must end as remotes that failed, the text that came before
# them kept. The server listens on 127.0.0.1, with a key.
set -eu
cd "$(dirname "$0")/.."

fail() {
    printf 'check-remote: %s\n' "$1" >&2
    exit 1
}

model=${1:-${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/models/smollm2-135m-instruct-q4_1.gguf}
peer=${PEER:-build/peer}
[ -f "$model" ] || fail "$model: no such file; scripts/fetch_model.sh brings the default one"
[ -x "$peer/bin/llama-server" ] || scripts/peer.sh "$peer" llama-server
{ [ -x ./clinfer ] && [ -f build/release/libclinfer.a ]; } || fail "clinfer is not built: type make"

work=$(mktemp -d)
server=
end() {
    [ -z "$server" ] || kill -9 "$server" 2>/dev/null || true
    rm -rf "$work"
}
trap end EXIT
# shellcheck disable=SC2046 # words
"${CC:-gcc}" -O2 -std=c11 -Iinclude -Iruntime -D_GNU_SOURCE -o "$work/ask" scripts/ask_remote.c \
    build/release/libclinfer.a $(pkg-config --libs OpenCL clblast jansson libcurl libpcre2-8 libutf8proc) -lpthread -lm

export ASK_REMOTE_KEY=sk-check-remote-0123456789
port=$(python3 -c 'import socket; s = socket.create_server(("127.0.0.1", 0)); print(s.getsockname()[1])')
url=http://127.0.0.1:$port/v1
prompt="Write a long story about the sea."
failed=0

start_server() {
    "$peer/bin/llama-server" -m "$model" --host 127.0.0.1 --port "$port" -np 1 -c 2048 --api-key "$ASK_REMOTE_KEY" \
        >"$work/server.log" 2>&1 &
    server=$!
    for _ in $(seq 600); do
        python3 -c "import urllib.request; urllib.request.urlopen('http://127.0.0.1:$port/health')" 2>/dev/null && return
        kill -0 "$server" 2>/dev/null || fail "llama-server ended: $(tail -n 3 "$work/server.log")"
        sleep 0.2
    done
    fail "llama-server does not get ready: $(tail -n 3 "$work/server.log")"
}

# ask NAME DIALECT stream|whole TOKENS PROMPT [SCHEMA]: the text in $work/NAME.text, the rest in NAME.said; its status.
ask() {
    local name=$1 status=0
    shift
    "$work/ask" "$url" "$@" >"$work/$name.text" 2>"$work/$name.said" || status=$?
    ! grep -q "$ASK_REMOTE_KEY" "$work/$name.text" "$work/$name.said" || fail "the key is in what was said of $name"
    return $status
}

# check WORDS COMMAND...
check() {
    local words=$1
    shift
    if "$@"; then
        printf '  ok      %s\n' "$words"
    else
        printf '  FAILED  %s\n' "$words"
        # shellcheck disable=SC2012 # the names are ours
        tail -n 3 "$(ls -t "$work"/*.said | head -n 1)" >&2
        failed=1
    fi
}

said() { grep -q -- "$2" "$work/$1.said"; }
fails_and_says() {
    local words=$1 name=$2
    shift
    ! ask "$@" && said "$name" "$words"
}
same_text() { [ -s "$work/$1.text" ] && cmp -s "$work/$1.text" "$work/$2.text"; }
is_json_with_answer() { python3 -c 'import json, sys; assert type(json.load(open(sys.argv[1]))["answer"]) is int' "$work/$1.text"; }
passes_test() {
    ./clinfer remote test "$url" --remote-dialect "$1" --remote-key-variable ASK_REMOTE_KEY >"$work/test.said" 2>&1 &&
        [ "$(grep -c '^ok' "$work/test.said")" -eq 5 ]
}

start_server
for dialect in openai anthropic; do
    check "$dialect: clinfer remote test passes its five steps" passes_test $dialect
    sed 's/^/          /' "$work/test.said"
    for way in stream whole; do
        check "$dialect, $way: an answer of 48 tokens" ask $dialect-$way $dialect $way 48 "$prompt"
        check "$dialect, $way: usage and the reason of the end: $(tail -n 1 "$work/$dialect-$way.said")" \
            said $dialect-$way "cut, [1-9][0-9]* + 48 tokens"
    done
    check "$dialect: streamed and whole are the same text" same_text $dialect-stream $dialect-whole
done
check "both dialects give the same text" same_text openai-stream anthropic-stream
schema='{"type": "object", "properties": {"answer": {"type": "integer"}}, "required": ["answer"], "additionalProperties": false}'
check "openai: a JSON schema is sent" ask schema openai stream 64 "What is six times seven?" "$schema"
check "openai: and followed: $(tr -d ' \n' <"$work/schema.text")" is_json_with_answer schema

for dialect in openai anthropic; do
    for way in stream whole; do
        key=$ASK_REMOTE_KEY
        export ASK_REMOTE_KEY=sk-another-key-9876543210
        check "$dialect, $way: a wrong key is HTTP 401, once" fails_and_says "HTTP 401" wrong $dialect $way 8 "$prompt"
        export ASK_REMOTE_KEY=$key
    done
    sed -n 's/^/          /;1p' "$work/wrong.said"
done

for dialect in openai anthropic; do
    "$work/ask" "$url" $dialect stream 1500 "$prompt" >"$work/killed.text" 2>"$work/killed.said" &
    asking=$!
    for _ in $(seq 600); do
        [ "$(wc -c <"$work/killed.text")" -lt 40 ] || break
        sleep 0.05
    done
    kill -9 "$server"
    wait "$server" 2>/dev/null || true
    server=
    status=0
    wait $asking || status=$?
    check "$dialect: a server killed in the middle of an answer: the part is kept, the request fails" \
        [ "$status" -eq 14 -a -s "$work/killed.text" ]
    check "$dialect: and is said to be a part" said killed "are not the whole"
    sed -n 's/^/          /;1p' "$work/killed.said"
    check "$dialect: a server that is gone" fails_and_says "cannot be reached" gone $dialect stream 8 "$prompt"
    [ $dialect = anthropic ] || start_server
done
[ $failed -eq 0 ] || fail "something failed (above)"
