#!/usr/bin/env bash
# Installs what clinfer needs on Debian (and its children), and only what is missing.
#
#   scripts/setup.sh run        what building and running need
#   scripts/setup.sh check      the same, and what `make check`, `lint`, `asan` and `fuzz` need
#   scripts/setup.sh drivers    the OpenCL drivers and the simulator that `make check-drivers` needs
#
# When everything is there it neither touches the network nor asks for anything. Packages are installed as root, else
# through `sudo -n`; where neither works it prints the line to type and ends with status 1. On a system without dpkg it
# looks for the tools and libraries themselves and names what is missing.
set -eu
cd "$(dirname "$0")/.."

run_packages="gcc make libc6-dev pkg-config python3 python3-pip ocl-icd-opencl-dev opencl-headers pocl-opencl-icd
    libclblast-dev libjansson-dev libcurl4-openssl-dev libssl-dev libpcre2-dev libutf8proc-dev libedit-dev
    libmicrohttpd-dev"
# Probes for perf (docs/profiling.md); everything builds without.
optional_packages="systemtap-sdt-dev"
check_packages="libcmocka-dev openssl zsh fish clang clang-format clang-tidy clang-tools libclang-rt-14-dev gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user"
driver_packages="oclgrind mesa-opencl-icd"

# Intel's OpenCL runtime for CPUs, from PyPI: it offers what a GPU's driver does (sub-groups, fp16, integer dot
# product).
intel_version=2026.2.0
drivers_folder="${XDG_DATA_HOME:-$HOME/.local/share}/clinfer/drivers"

fail() {
    printf 'setup: %s\n' "$1" >&2
    exit 1
}

# Prints the packages of $@ that are not installed.
missing_packages() {
    local installed package
    installed=" $(dpkg-query -W -f='${db:Status-Status}/${Package} ' "$@" 2>/dev/null || true)"
    for package in "$@"; do
        [[ $installed == *" installed/$package "* ]] || printf '%s ' "$package"
    done
}

install_packages() {
    local missing as_root=
    missing=$(missing_packages "$@")
    [ -n "$missing" ] || return 0
    if [ "$(id -u)" -ne 0 ]; then
        if ! sudo -n true 2>/dev/null; then
            fail "these packages are missing, and installing them needs root. Please type:
  sudo apt-get update && sudo apt-get install -y --no-install-recommends $missing"
        fi
        as_root="sudo -n"
    fi
    printf 'setup: installing %s\n' "$missing" >&2
    # shellcheck disable=SC2086 # both are lists of words
    { $as_root apt-get update -q &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing; } >&2 ||
        fail "apt-get failed (above). Is the network there, and does /etc/apt/sources.list name a Debian mirror?"
}

# Without dpkg the names of packages say nothing: look for what they bring.
require_without_dpkg() {
    local need missing=
    for need in cc make pkg-config python3; do
        command -v "$need" >/dev/null 2>&1 || missing="$missing $need"
    done
    if command -v pkg-config >/dev/null 2>&1; then
        for need in OpenCL clblast jansson libcurl libcrypto libpcre2-8 libutf8proc libedit libmicrohttpd; do
            pkg-config --exists "$need" || missing="$missing $need(development files)"
        done
    fi
    [ -z "$missing" ] || fail "this is no Debian system; please install with its own tools:$missing"
}

install_intel_runtime() {
    local folder="$drivers_folder/intel" work
    [ -e "$folder/$intel_version.complete" ] && return 0
    printf 'setup: fetching the OpenCL runtime for CPUs of Intel into %s\n' "$folder" >&2
    mkdir -p "$drivers_folder"
    work=$(mktemp -d "$drivers_folder/fetch.XXXXXX")
    # shellcheck disable=SC2064 # $work as it is now
    trap "rm -rf '$work'" EXIT
    python3 -m pip download -q --disable-pip-version-check -d "$work" "intel-opencl-rt==$intel_version" \
        "intel-cmplr-lib-rt==$intel_version" >&2 ||
        fail "pip could not fetch intel-opencl-rt $intel_version. Is the network there?"
    # The wheels carry plain folders of libraries; pip's own ways to install into a folder lose them on Debian.
    python3 - "$work" <<'PYTHON'
import glob, os, sys, zipfile
work = sys.argv[1]
for wheel in glob.glob(work + "/*.whl"):
    with zipfile.ZipFile(wheel) as archive:
        for member in archive.infolist():
            _, found, name = member.filename.partition(".data/data/lib/")
            if found and name and "/" not in name:
                target = os.path.join(work, "lib", name)
                os.makedirs(os.path.dirname(target), exist_ok=True)
                with open(target, "wb") as file:
                    file.write(archive.read(member))
PYTHON
    [ -e "$work/lib/libintelocl.so" ] || fail "intel-opencl-rt $intel_version holds no libintelocl.so: its layout changed"
    rm -rf "$folder"
    mkdir "$folder" "$folder/vendors"
    mv "$work/lib" "$folder/lib"
    rm -f "$folder"/lib/libOpenCL.so* # its own loader, which ignores OpenCL layers: the system's is used
    printf '%s\n' "$folder/lib/libintelocl.so" >"$folder/vendors/intel.icd"
    touch "$folder/$intel_version.complete"
}

case "${1:-}" in
run) packages=$run_packages ;;
check) packages="$run_packages $check_packages" ;;
drivers) packages=$driver_packages ;;
*) fail "usage: scripts/setup.sh run|check|drivers" ;;
esac

if command -v dpkg-query >/dev/null 2>&1; then
    # shellcheck disable=SC2086 # a list of words
    install_packages $packages
    # shellcheck disable=SC2086 # a list of words, in a shell of its own: it may fail
    [ "$1" = drivers ] || (install_packages $optional_packages) ||
        printf 'setup: goes on without %s\n' "$optional_packages" >&2
else
    require_without_dpkg
fi
if [ "$1" = drivers ]; then install_intel_runtime; fi
