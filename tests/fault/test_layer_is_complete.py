#!/usr/bin/env python3
"""Every OpenCL entry point that the library calls, or CLBlast for it, can be broken by tests/fault/fake_layer.c: a new
one is not forgotten there."""
import os
import re
import subprocess
import sys

BUILD = os.environ.get("CLINFER_TEST_BUILD", "build/release")
CALL = r"(cl[A-Z]\w+)"


def symbols(*arguments):
    return subprocess.run(["nm", *arguments], check=True, capture_output=True, text=True).stdout


def main():
    wrapped = set(re.findall(rf" t layer_{CALL}", symbols(f"{BUILD}/tests/fault/fake_layer.so")))
    linked = subprocess.run(["ldd", f"{BUILD}/clinfer"], check=True, capture_output=True, text=True).stdout
    clblast = re.search(r"libclblast\S* => (\S+)", linked).group(1)
    called = set()
    for arguments in (["-u", f"{BUILD}/libclinfer.a"], ["-D", "-u", clblast]):
        found = set(re.findall(rf" U {CALL}", symbols(*arguments)))
        if len(found) < 20:
            sys.exit(f"nm {' '.join(arguments)} finds {len(found)} OpenCL calls")
        called |= found
    forgotten = sorted(called - wrapped)
    if forgotten:
        sys.exit(f"tests/fault/fake_layer.c does not wrap {', '.join(forgotten)}")
    unused = sorted(wrapped - called)
    if unused:
        sys.exit(f"tests/fault/fake_layer.c wraps what nobody calls: {', '.join(unused)}")
    print(f"{len(wrapped)} entry points")


main()
