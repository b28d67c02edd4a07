#!/usr/bin/env bash
# The packages of `make deb` in a clean Debian (debootstrap, as root): they install with what they depend on, the tool
# runs a model on the CPU and through PoCL, and a program builds with the library.
# usage: scripts/check_deb.sh MODEL.gguf [SUITE [MIRROR]]
set -eu
cd "$(dirname "$0")/.."
[ $# -ge 1 ] && [ -f "$1" ] || { sed -n '2,4s/^# //p' "$0" >&2; exit 2; }
model=$1 suite=${2:-bookworm} mirror=${3:-http://deb.debian.org/debian}
ls build/deb/*.deb >/dev/null || { echo "check_deb: make deb first" >&2; exit 3; }
root=$(mktemp -d)
leave() {
    umount "$root/proc" "$root/sys" 2>/dev/null
    rm -rf "$root" "$root.log"
}
trap leave EXIT
debootstrap --variant=minbase "$suite" "$root" "$mirror" >"$root.log" 2>&1 || { tail -5 "$root.log" >&2; exit 4; }
for file in /etc/apt/apt.conf.d/* /etc/resolv.conf; do [ ! -f "$file" ] || cp "$file" "$root$file"; done
# Drivers look there for processors.
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mkdir "$root/packages"
cp build/deb/*.deb "$root/packages/"
cp "$model" "$root/model.gguf"
cat >"$root/program.c" <<'PROGRAM'
#include <clinfer.h>
#include <stdio.h>
int main(void) { return puts(clinfer_cpu_isa()) < 0; }
PROGRAM
chroot "$root" env DEBIAN_FRONTEND=noninteractive PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -euc '
    apt-get update -q >/dev/null
    apt-get install -q -y --no-install-recommends /packages/clinfer_*.deb /packages/libclinfer0_*.deb >/dev/null
    clinfer version
    clinfer run -m /model.gguf --device cpu --temp 0 -n 8 "Hi" </dev/null
    apt-get install -q -y --no-install-recommends pocl-opencl-icd gcc libc6-dev pkg-config /packages/libclinfer-dev_*.deb >/dev/null
    clinfer devices
    clinfer run -m /model.gguf --temp 0 -n 8 "Hi" </dev/null
    gcc -o /program /program.c $(pkg-config --cflags --libs clinfer)
    /program
    for file in bash-completion/completions/clinfer zsh/vendor-completions/_clinfer fish/vendor_completions.d/clinfer.fish; do
        test -s /usr/share/$file
    done
    bash -n /usr/share/bash-completion/completions/clinfer
    # Minimal systems leave manual pages out; the package has them.
    for page in clinfer clinfer-run clinfer-serve clinfer-bench clinfer-tune clinfer-pull; do
        dpkg -L clinfer | grep -q "/man1/$page.1.gz"
    done
    apt-get remove -q -y clinfer >/dev/null
    test ! -e /usr/bin/clinfer' 2> >(grep -v "^W: Download\|^debconf:\|^E: Can not write log" >&2)
echo "check_deb: installed, run, built against and removed in a clean $suite"
