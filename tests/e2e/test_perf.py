#!/usr/bin/env python3
"""clinfer under perf: the probes are in the binary, the scripts of scripts/perf read them, and where this machine does
not let perf listen they say why. Prints TAP."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

sys.dont_write_bytecode = True
SCRIPTS = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../../scripts/perf")
sys.path[:0] = [SCRIPTS, os.path.join(SCRIPTS, "../../tests/support")]
import listen  # noqa: E402
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
TINY = "tests/data/llama_tiny.gguf"
SCRATCH = tempfile.mkdtemp(prefix="clinfer-perf-")


def probes():
    """{name: [arguments of each place]} as readelf sees them."""
    header = subprocess.run(["cc", "-fsyntax-only", "-include", "sys/sdt.h", "-xc", os.devnull], capture_output=True)
    if header.returncode:
        raise tap.Skip("<sys/sdt.h> is not installed (Debian: systemtap-sdt-dev), so nothing was built with probes")
    notes = subprocess.run(["readelf", "-nW", TOOL], capture_output=True, text=True, check=True).stdout
    found = {}
    for name, arguments in re.findall(r"Provider: clinfer\s+Name: (\w+)\s+.*\s+Arguments: (.*)", notes):
        found.setdefault(name, []).append(arguments.split())
    return found


def run_script(name, *words, **options):
    return subprocess.run([sys.executable, os.path.join(SCRIPTS, name), *words], capture_output=True, text=True,
                          timeout=300, **options)


def listened(done):
    """What a script printed; a skip where this machine does not let perf listen."""
    if done.returncode == listen.CANNOT_LISTEN:
        raise tap.Skip(done.stderr.strip().splitlines()[-1])
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_probe_is_in_the_binary():
    found = probes()
    assert set(found) == set(listen.ARGUMENTS), set(found) ^ set(listen.ARGUMENTS)
    for name, places in found.items():
        for arguments in places:
            assert len(arguments) == len(listen.ARGUMENTS[name].split()), (name, arguments)


def test_the_scripts_find_what_readelf_finds():
    ours = {}
    for site in listen.probe_sites(TOOL):
        ours.setdefault(site.probe, []).append(site.arguments)
    assert ours == probes()


def test_every_probe_is_explained():
    for path in ("runtime/trace/probes.h", "docs/profiling.md"):
        with open(path, encoding="utf-8") as file:
            words = set(re.findall(r"\w+", file.read()))
        assert not set(listen.ARGUMENTS) - words, (path, set(listen.ARGUMENTS) - words)


def test_arguments_in_the_words_of_the_kernel():
    for argument, name, wanted in (("-4@%esi", "step", "step=%si:s32"), ("8@%r9", "op*", "op=+0(%r9):string"),
                                   ("-8@16(%rbp)", "k", "k=+16(%bp):s64"), ("-4@$-1", "id", "id=\\-1:s32"),
                                   ("4@%r11d", "n", "n=%r11:u32"), ("8@x19", "key", "key=%x19:u64"),
                                   ("8@[sp, 24]", "label*", "label=+0(+24(%sp)):string")):
        assert listen.fetch(argument, name) == wanted, listen.fetch(argument, name)


def test_perf_ops_agrees_with_the_profile():
    out = json.loads(listened(run_script("perf-ops", "--json", TOOL, "run", "-m", default_model(), "--device", "cpu",
                                         "--temp", "0", "-n", "4", "--ignore-eos", "-p", "Hello")))
    assert 1e-8 < out["pair_seconds"] < 1e-4, out["pair_seconds"]
    assert [phase["phase"] for phase in out["phases"]] == ["prefill", "decode"]
    for phase in out["phases"]:
        for op in phase["ops"]:
            assert op["calls"] == op["profile_calls"] > 0, (phase["phase"], op)
        # Single ops may be disturbed by others on this machine, all of them together hardly.
        assert abs(phase["seconds"] / phase["profile_seconds"] - 1) < 0.15, phase
    assert out["events"]["token"] == 4 and out["events"]["request_begin"] == out["events"]["request_end"] == 1


def test_perf_ops_hears_devices():
    done = subprocess.run([TOOL, "devices", "--json"], capture_output=True, text=True, timeout=120)
    if not json.loads(done.stdout)["devices"]:
        raise tap.Skip("no OpenCL device")
    out = json.loads(listened(run_script("perf-ops", "--json", TOOL, "run", "-m", TINY, "--device", "0", "--temp", "0",
                                         "-n", "4", "--ignore-eos", "--raw", "-p", "Hello")))
    assert out["events"]["op_done"] > 0 and out["events"]["kernel_build"] > 0, out["events"]
    for phase in out["phases"]:
        assert phase["seconds"] > 0, phase
        for op in phase["ops"]:  # each call's time is heard in whole nanoseconds
            most = max(0.001 * op["profile_seconds"], 1e-9 * op["calls"])
            assert abs(op["seconds"] - op["profile_seconds"]) < most, (phase["phase"], op)


def default_model():
    model = os.environ.get("CLINFER_TEST_MODEL", "")
    if not os.path.exists(model):
        raise tap.Skip("the default model is not there")
    return model


def may_listen():
    """Skips where the scripts would go on without the probes."""
    try:
        listen.find_perf()
        listen.find_tracefs()
    except listen.CannotListen as why:
        raise tap.Skip(str(why)) from why


def test_perf_stat_counts_per_token():
    may_listen()
    out = json.loads(listened(run_script("perf-stat", "--json", "-e", "task-clock,page-faults", TOOL, "run", "-m",
                                         default_model(), "--device", "cpu", "--temp", "0", "-n", "40", "--ignore-eos",
                                         "-p", "Hello")))
    assert out["by_probe"] and 8 <= out["tokens"] < 40, out
    assert out["per_token"]["task-clock"]["unit"] == "msec", out
    assert 0.1 < out["per_token"]["task-clock"]["value"] < 1000, out


def frames(*words):
    """{name: samples} of the graph of a run, which has to be XML."""
    may_listen()
    path = os.path.join(SCRATCH, "flame.svg")
    listened(run_script("perf-flame", "-F", "1999", "-o", path, TOOL, "run", "--temp", "0", "--ignore-eos", "-p",
                        "Hello", *words))
    found = {}
    for title in xml.etree.ElementTree.parse(path).iter("{http://www.w3.org/2000/svg}title"):
        name, samples = re.fullmatch(r"(.*): (\d+) samples, .*", title.text).groups()
        found[name] = found.get(name, 0) + int(samples)
    return found


def test_perf_flame_shows_ops_and_their_functions():
    found = frames("-m", default_model(), "--device", "cpu", "-n", "24")
    matmul = sum(samples for name, samples in found.items() if name.startswith("matmul"))
    assert found["decode"] > 0 and found["prefill"] > 0, found
    assert 0.2 * found["decode"] < matmul, found
    assert any(name.startswith("ci_matmul") for name in found), found


def test_perf_flame_shows_kernels_by_name():
    done = subprocess.run([TOOL, "devices", "--json"], capture_output=True, text=True, timeout=120)
    devices = json.loads(done.stdout)["devices"]
    if not devices or "Portable" not in devices[0]["platform"]:
        raise tap.Skip("the first OpenCL device is not PoCL's")
    found = frames("-m", TINY, "--raw", "--device", "0", "-n", "200")
    assert any(name.startswith("kernel ") for name in found), found


def test_no_probe_is_left_behind():
    may_listen()
    words = [sys.executable, os.path.join(SCRIPTS, "perf-ops"), TOOL, "run", "-m", "/nonexistent.gguf", "-p", "Hello"]
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True) as script:
        err = script.stderr.read()
    assert script.returncode not in (0, listen.CANNOT_LISTEN) and "nonexistent" in err, err
    with open(os.path.join(listen.find_tracefs(), "uprobe_events"), encoding="utf-8") as file:
        assert f"clinfer_{script.pid}/" not in file.read()


def test_what_is_missing_is_named():
    words = (os.path.abspath(TOOL), "run", "-m", TINY, "-n", "40", "-p", "Hello")
    empty = os.path.join(SCRATCH, "empty")
    os.makedirs(empty)
    for script in "perf-ops", "perf-flame", "perf-stat":
        done = run_script(script, *words, env=dict(os.environ, PATH=empty))
        assert done.returncode == listen.CANNOT_LISTEN and "linux-perf" in done.stderr, done
    usual, listen.TRACEFS = listen.TRACEFS, (empty,)
    try:
        listen.find_tracefs()
        raise AssertionError("an empty folder passed for tracefs")
    except listen.CannotListen as why:
        assert "tracefs" in str(why), why
    finally:
        listen.TRACEFS = usual
    done = run_script("perf-ops", "./clinfer", "tune")
    assert done.returncode == listen.USAGE and "run" in done.stderr, done


if __name__ == "__main__":
    try:
        tap.main(globals())
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
