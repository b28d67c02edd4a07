#!/usr/bin/env python3
"""Runs test programs and sums up their results: the end of `make check` and `make asan`.

usage: run_tests.py --build build/release [--jobs N] [--timeout SECONDS] [--only WORD] [--name NAME] [--warm]
                    [--seed N] [--wrap COMMAND] [--figures PATTERN] PROGRAM...

A program is a cmocka binary or a script (.sh, .py) that prints TAP, the Test Anything Protocol; a script that prints
none is one test that passes with exit status 0. TAP was chosen over cmocka's own text because a missing line can be
seen: the plan `1..N` comes first, so that a program that dies half-way has its unfinished tests counted as failed.

A skipped test names its reason: the last line starting with "skip: " before its result, or the text after "# SKIP"
where that is more than the test's name. A skip without a reason is a failure.

As many programs run at once as there are processors, or as make's -j says: those that take longest first, then the
rest in the order in which they were given, then one by one those of ALONE, which measure time. Their results are
printed in that order, whichever ends first.

--warm compiles first, on all processors, what the tests' models and the known answers of all kernels need on OpenCL
devices: what compiles is one thread (PoCL), and programs that begin together would compile the same. Tests of cold
caches have their own.

Of large matrices a part is tested, drawn by CLINFER_TEST_SEED: --seed, else 1 where CI is set, else another each time.
CLINFER_TEST_ALL=1 takes them whole.

What a program prints goes to <build>/../check/<name>.log, and to the terminal when it fails. All share one cache of
compiled kernels; each has folders of its own for configuration, state and data, the default model in
CLINFER_TEST_MODEL, the command line tool in CLINFER_TEST_BINARY and the build folder in CLINFER_TEST_BUILD. That an
OpenCL device and the default model are there are two tests more: without them much of the rest would prove nothing."""
import argparse
import collections
import concurrent.futures
import ctypes
import glob
import itertools
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time

RESULT = re.compile(r"^(ok|not ok)\s+(\d+)\s*(?:-\s*)?(.*)$")
PLAN = re.compile(r"^1\.\.(\d+)\s*$")

# Programs of another architecture run under an emulator.
EMULATORS = {"build/aarch64/": ["qemu-aarch64", "-L", "/usr/aarch64-linux-gnu", "-cpu", "max"]}

# The longest first: one that began last would be waited for alone.
LONGEST = ["tests/ops/test_opencl_kernels", "tests/e2e/test_tune.py", "tests/e2e/test_doctor",
           "build/aarch64/tests/ops/test_cpu_matmul", "tests/fault/test_ladder", "tests/model/test_model",
           "tests/fault/test_allocations", "tests/fault/test_probe", "tests/fault/test_opencl_matrix",
           "tests/fault/test_device_faults", "tests/e2e/test_run", "tests/model/test_sessions"]

# What measures time has the machine for itself.
ALONE = {
    "tests/e2e/test_bench.py": "its numbers have to hold together",
    "tests/e2e/test_perf.py": "times by two clocks have to agree",
    "tests/model/test_record": "what a profile explains of the wall clock, and how slow one kernel is",
}

WARM_PROMPT = "Why is the sky blue, and the sea not?"  # 30 to 64 tokens with the template of each of the tests' models

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
    for name, folder in (("XDG_CACHE_HOME", "cache"), ("POCL_CACHE_DIR", "pocl"), ("CLINFER_TEST_CACHE", "programs")):
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
    env.setdefault("TSAN_OPTIONS", "die_after_fork=0")  # a test has to start threads in a child
    return env


def with_homes(env, folder):
    """The same with empty folders for what a program sets, finds out and remembers; of the user's only the models."""
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    shutil.rmtree(folder, ignore_errors=True)
    for name in "config", "state", "data/clinfer":
        os.makedirs(os.path.join(folder, name))
    os.symlink(os.path.join(data, "clinfer/models"), os.path.join(folder, "data/clinfer/models"))
    return dict(env, XDG_CONFIG_HOME=folder + "/config", XDG_STATE_HOME=folder + "/state",
                XDG_DATA_HOME=folder + "/data")


def processors():
    """As many programs as make was allowed to start at once by -j, else one for each processor."""
    given = re.search(r"(?:^| )-j(\d+)", os.environ.get("MAKEFLAGS", ""))
    return int(given.group(1)) if given else len(os.sched_getaffinity(0))


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


def seed_of(given):
    """The number that draws what is tested: another one each time for who develops, always the same for CI."""
    if given:
        return str(int(given))
    return "1" if os.environ.get("CI") else str(int(time.time()))


running = set()  # process groups of programs


def run(program, env, log, timeout, wrap, words=()):
    """Output and exit status ("timeout" when it was stopped); the program's whole process group goes with it."""
    command = {".sh": ["bash", program], ".py": [sys.executable, program]}.get(os.path.splitext(program)[1], [program])
    for folder, emulator in EMULATORS.items():
        if program.startswith(folder):
            command = emulator + command
    command = wrap + command + list(words)
    with open(log, "wb") as out:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=env,
                                 start_new_session=True)
        running.add(child.pid)
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            status = "timeout"
        try:
            os.killpg(child.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        child.wait()
        running.discard(child.pid)
    with open(log, "rb") as text:
        return text.read().decode("utf-8", "replace"), status


def stopping_all(results):
    """What goes through; an interrupt ends all programs."""
    try:
        yield from results
    except KeyboardInterrupt:
        for group in list(running):
            os.killpg(group, signal.SIGKILL)
        os._exit(130)  # without waiting for the programs that have not begun


def warm_commands(model, devices, prompts):
    """What compiles all kernels that the tests' models and the known answers need, as words for the tool."""
    models = [path for path in [model, *sorted(glob.glob("tests/data/*.gguf"))] if os.path.isfile(path)]
    for device in map(str, range(devices)):
        yield ["doctor", "--device", device]
        for path, activations in itertools.product(models, ("f32", "q8", "q16")):
            # Of each bucket of rows one: a prompt and a token alone, prompts and tokens that share a step.
            for words in (["-p", WARM_PROMPT], ["--batch", prompts]):
                yield ["run", "-m", path, "--device", device, "--activations", activations, "--temp", "0", "-n", "4",
                       "--ignore-eos", *words]


def warm(env, devices, jobs, place):
    """Fills the cache of compiled kernels; returns the seconds it took. What fails here is for the tests to tell."""
    start, place = time.monotonic(), os.path.abspath(place)
    with open(place + ".prompts", "w", encoding="utf-8") as file:
        file.write(3 * (WARM_PROMPT + "\n"))

    def call(numbered):
        number, words = numbered
        homes, log = f"{place}-{number}.homes", f"{place}-{number}.log"
        run(env["CLINFER_TEST_BINARY"], with_homes(env, homes), log, 600, [], words)

    commands = warm_commands(env["CLINFER_TEST_MODEL"], devices, place + ".prompts")
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(stopping_all(pool.map(call, enumerate(commands))))
    return time.monotonic() - start


def matches(program, names):
    return next((name for name in names if program.endswith(name)), None)


def in_order(programs):
    """The longest first, those that have to be alone at the end."""
    def place(program):
        longest = matches(program, LONGEST)
        return matches(program, ALONE) is not None, LONGEST.index(longest) if longest else len(LONGEST)
    return sorted(programs, key=place)


def shown(output, limit=200):
    lines = [line for line in output.splitlines() if not re.match(r"^ok \d+ - ", line)]
    return "\n".join("    " + line for line in lines[-limit:])


def read_arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build", required=True)
    parser.add_argument("--jobs", type=int, default=processors(), help="programs at once")
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--only", default="", help="run the programs whose path contains this")
    parser.add_argument("--name", help="of the logs and caches; default: the build's")
    parser.add_argument("--warm", action="store_true", help="compile kernels before the tests")
    parser.add_argument("--seed", default="", help="draws the parts of matrices that are tested")
    parser.add_argument("--wrap", default="", help="a command to run each program under")
    parser.add_argument("--figures", help="show lines that this regular expression is found in")
    parser.add_argument("programs", nargs="*")
    return parser.parse_args()


def environment_tests(devices, model):
    return [
        Test("an OpenCL device is there", "passed" if devices else "failed",
             "" if devices else "no OpenCL platform has a device; Debian's pocl-opencl-icd brings one"),
        Test("the default model is there", "passed" if os.path.isfile(model) else "failed",
             "" if os.path.isfile(model) else f"{model} is missing; scripts/fetch_model.sh brings it"),
    ]


def print_result(name, tests, seconds, output, figures):
    """A program's lines; returns how many tests passed, failed and were skipped."""
    counts = collections.Counter(test.result for test in tests)
    verdict = "FAILED" if counts["failed"] else "ok"
    skipped = f", {counts['skipped']} skipped" if counts["skipped"] else ""
    print(f"  {verdict:7} {name}: {counts['passed']} of {len(tests)} passed{skipped} ({seconds:.1f} s)")
    for test in tests:
        if test.result == "failed":
            print(f"    failed: {test.name}{': ' + test.reason if test.reason else ''}")
        elif test.result == "skipped":
            print(f"    skipped: {test.name}: {test.reason}")
    if figures:
        print("".join(f"    {line}\n" for line in output.splitlines() if re.search(figures, line)), end="")
    if counts["failed"] and output:
        print(shown(output))
    sys.stdout.flush()
    return counts


def main():
    arguments = read_arguments()
    label = arguments.name or os.path.basename(arguments.build)
    logs = os.path.join(arguments.build, "..", "check")
    env = environment(arguments.build, label)
    env["CLINFER_TEST_SEED"] = seed = seed_of(arguments.seed)
    whole = "CLINFER_TEST_ALL" in env
    print("  seed    none: all matrices whole" if whole else f"  seed    {seed}")
    devices = opencl_devices()
    totals = print_result("environment", environment_tests(devices, env["CLINFER_TEST_MODEL"]), 0.0, "", None)
    if arguments.warm and not arguments.only:
        seconds = warm(env, devices, arguments.jobs, os.path.join(logs, label + "-warm"))
        print(f"  warm    {len(os.listdir(env['POCL_CACHE_DIR']))} folders in the cache of kernels ({seconds:.1f} s)",
              flush=True)

    def play(program):
        name = os.path.relpath(program, arguments.build) if program.startswith(arguments.build) else program
        place = os.path.join(os.path.abspath(logs), f"{label}-{name.replace('/', '-')}")
        start = time.monotonic()
        output, status = run(program, with_homes(env, place + ".homes"), place + ".log", arguments.timeout,
                             shlex.split(arguments.wrap))
        return name, parse(output, status), time.monotonic() - start, output

    programs = in_order(program for program in arguments.programs if arguments.only in program)
    together = [program for program in programs if not matches(program, ALONE)]
    took = []
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for result in stopping_all(itertools.chain(pool.map(play, together), map(play, programs[len(together):]))):
            totals += print_result(*result, arguments.figures)
            took.append((result[2], result[0]))
    longest = ", ".join(f"{name} {seconds:.1f}" for seconds, name in sorted(took, reverse=True)[:10])
    print(f"longest, in seconds: {longest}")
    if not whole:
        print(f"large matrices were tested in part: make check SEED={seed} takes the same part, make check-all all of them")
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return 1 if totals["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
