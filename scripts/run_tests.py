#!/usr/bin/env python3
"""Runs test programs and sums up their results: the end of `make check` and `make asan`.

usage: run_tests.py --build build/release [--timeout SECONDS] [--only WORD] [--name NAME] [--wrap COMMAND]
                    [--figures PATTERN] PROGRAM...

A program is a cmocka binary or a script (.sh, .py) that prints TAP, the Test Anything Protocol; a script that prints
none is one test that passes with exit status 0. TAP was chosen over cmocka's own text because a missing line can be
seen: the plan `1..N` comes first, so that a program that dies half-way has its unfinished tests counted as failed.

A skipped test names its reason: the last line starting with "skip: " before its result, or the text after "# SKIP"
where that is more than the test's name. A skip without a reason is a failure.

What a program prints goes to <build>/../check/<name>.log, and to the terminal when it fails. Programs get folders of
their own for caches and configuration, the model in CLINFER_TEST_MODEL, the command line tool in CLINFER_TEST_BINARY
and the build folder in CLINFER_TEST_BUILD. That an OpenCL device and the default model are there are two tests more:
without them much of the rest would prove nothing."""
import argparse
import collections
import ctypes
import os
import re
import shlex
import signal
import subprocess
import sys
import time

RESULT = re.compile(r"^(ok|not ok)\s+(\d+)\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)\s*$")

# Programs of another architecture run under an emulator.
EMULATORS = {"build/aarch64/": ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", "max"]}

Test = collections.namedtuple("Test", "name result reason")


def default_model():
    path = os.environ.get("CLINFER_TEST_MODEL")
    if path:
        return path
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return os.path.join(data, "clinfer/models/smollm2-135m-instruct-q4_1.gguf")


def opencl_devices():
    """Number of devices on all OpenCL platforms, asked without clinfer's own code."""
    try:
        cl = ctypes.CDLL("libOpenCL.so.1")
    except OSError:
        return 0
    count = ctypes.c_uint(0)
    if cl.clGetPlatformIDs(0, None, ctypes.byref(count)) != 0:
        return 0
    platforms = (ctypes.c_void_p * count.value)()
    cl.clGetPlatformIDs(count, platforms, None)
    all_types = ctypes.c_uint64(0xFFFFFFFF)
    total = 0
    for platform in platforms:
        found = ctypes.c_uint(0)
        if cl.clGetDeviceIDs(ctypes.c_void_p(platform), all_types, 0, None, ctypes.byref(found)) == 0:
            total += found.value
    return total


def environment(build, label):
    """What the tests see: nothing of the user's settings but the drivers and the models."""
    env = {name: value for name, value in os.environ.items()
           if not name.startswith("CLINFER_") or name.startswith("CLINFER_TEST_")}
    check = os.path.abspath(os.path.join(build, "..", "check"))
    for name, folder in (("XDG_CACHE_HOME", "cache"), ("XDG_CONFIG_HOME", "config"), ("XDG_STATE_HOME", "state"),
                         ("POCL_CACHE_DIR", "pocl"), ("CLINFER_TEST_CACHE", "programs")):
        path = os.path.join(check, label + "-" + folder)
        os.makedirs(path, exist_ok=True)
        env[name] = path
    env["CLINFER_TEST_MODEL"] = default_model()
    env["CLINFER_TEST_BINARY"] = os.path.abspath(os.path.join(build, "clinfer"))
    env["CLINFER_TEST_BUILD"] = os.path.abspath(build)
    env["CMOCKA_MESSAGE_OUTPUT"] = "TAP"
    suppressions = os.path.abspath("tests/asan.supp")
    # handle_segv=2: cmocka catches SIGSEGV to go on; under a sanitizer its report is worth more.
    # intercept_tls_get_addr=0: up to GCC 13 and LLVM 16 the leak checker takes one in 256 thread-local blocks of loaded
    # libraries for memory of an old glibc, reads a wrong length before it and crashes (google/sanitizers, issue 1322).
    # Without it such blocks are not searched for pointers: only what a driver keeps there could look lost.
    env.setdefault("ASAN_OPTIONS", "handle_segv=2:detect_stack_use_after_return=1:intercept_tls_get_addr=0")
    env.setdefault("LSAN_OPTIONS", f"suppressions={suppressions}:print_suppressions=0")
    env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
    return env


def parse(output, status):
    """TAP text and the exit status of its program -> the list of its tests."""
    tests, planned, reason = [], 0, ""
    for line in output.splitlines():
        plan, result = PLAN.match(line), RESULT.match(line)
        if plan:
            planned += int(plan.group(1))
        elif result:
            name, skip, text = (part.strip() for part in result.group(3).partition("# SKIP"))
            if skip:
                # cmocka writes "not ok 2 # SKIP name", other producers "ok 2 - name # SKIP reason".
                why = reason or (text if name else "")
                tests.append(Test(name or text, "skipped" if why else "failed", why or "skipped without a reason"))
            else:
                tests.append(Test(name, "passed" if result.group(1) == "ok" else "failed", ""))
            reason = ""
        elif line.startswith("skip: ") or line.startswith("# skip: "):
            reason = line.split("skip: ", 1)[1].strip()
    if not planned and not tests:
        return [Test("(whole program)", "passed" if status == 0 else "failed", describe(status))]
    unfinished = planned - len(tests)
    if unfinished > 0 or (status != 0 and not any(test.result == "failed" for test in tests)):
        tests.append(Test(f"(after {tests[-1].name if tests else 'the start'})", "failed", describe(status)))
        tests += [Test("(never run)", "failed", "")] * (unfinished - 1)
    return tests


def describe(status):
    if status == "timeout":
        return "took too long"
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return f"ended with status {status}"


def run(program, env, log, timeout, wrap):
    """Output and exit status ("timeout" when it was stopped); the program's whole process group goes with it."""
    command = {".sh": ["bash", program], ".py": [sys.executable, program]}.get(os.path.splitext(program)[1], [program])
    for folder, emulator in EMULATORS.items():
        if program.startswith(folder):
            command = emulator + command
    command = wrap + command
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env,
                                 start_new_session=True)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            status = "timeout"
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
    with open(log, "rb") as text:
        return text.read().decode("utf-8", "replace"), status


def shown(output, limit=200):
    lines = [line for line in output.splitlines() if not re.match(r"^ok \d+ - ", line)]
    return "\n".join("    " + line for line in lines[-limit:])


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--only", default="", help="run the programs whose path contains this")
    parser.add_argument("--name", help="of the logs and caches; default: the build's")
    parser.add_argument("--wrap", default="", help="a command to run each program under")
    parser.add_argument("--figures", help="show lines that this regular expression is found in")
    parser.add_argument("programs", nargs="*")
    arguments = parser.parse_args()
    label = arguments.name or os.path.basename(arguments.build)
    env = environment(arguments.build, label)
    logs = os.path.join(arguments.build, "..", "check")
    os.makedirs(logs, exist_ok=True)
    totals = collections.Counter()

    def report(name, tests, seconds, output):
        counts = collections.Counter(test.result for test in tests)
        totals.update(counts)
        verdict = "FAILED" if counts["failed"] else "ok"
        skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
        print(f"  {verdict:7} {name}: {counts['passed']} of {len(tests)} passed{skipped} ({seconds:.1f} s)")
        for test in tests:
            if test.result == "failed":
                print(f"    failed: {test.name}{': ' + test.reason if test.reason else ''}")
            elif test.result == "skipped":
                print(f"    skipped: {test.name}: {test.reason}")
        if arguments.figures:
            print("".join(f"    {line}\n" for line in output.splitlines() if re.search(arguments.figures, line)), end="")
        if counts["failed"] and output:
            print(shown(output))
        sys.stdout.flush()

    devices, model = opencl_devices(), env["CLINFER_TEST_MODEL"]
    report("environment", [
        Test("an OpenCL device is there", "passed" if devices else "failed",
             "" if devices else "no OpenCL platform has a device; Debian's pocl-opencl-icd brings one"),
        Test("the default model is there", "passed" if os.path.isfile(model) else "failed",
             "" if os.path.isfile(model) else f"{model} is missing; scripts/fetch_model.sh brings it"),
    ], 0.0, "")

    for program in arguments.programs:
        if arguments.only not in program:
            continue
        name = os.path.relpath(program, arguments.build) if program.startswith(arguments.build) else program
        log = os.path.join(logs, f"{label}-{name.replace('/', '-')}.log")
        start = time.monotonic()
        output, status = run(program, env, log, arguments.timeout, shlex.split(arguments.wrap))
        report(name, parse(output, status), time.monotonic() - start, output)

    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
