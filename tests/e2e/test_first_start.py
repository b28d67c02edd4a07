#!/usr/bin/env python3
"""The first start of a model on a device: other processes build and prove its kernels. Caches of clinfer are empty
here; what the driver has compiled for other tests it finds, so that this takes seconds. Prints TAP."""
import os
import re
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
TINY = "tests/data/llama_tiny.gguf"
SHARE = re.compile(r"kernels: by (\d) processes")


def run(cache, *words, device="0", **environment):
    command = [TOOL, "run", "-v", "-m", TINY, "--device", device, "--temp", "0", "-n", "8", "-p", "abc", *words]
    done = subprocess.run(command, env=dict(os.environ, XDG_CACHE_HOME=cache, **environment), capture_output=True,
                          encoding="utf-8", errors="replace", timeout=300)
    assert done.returncode == 0, (words, done.returncode, done.stderr)
    return done


def alone():
    """As one process does it, whose answer the others must give."""
    if not known:
        with tempfile.TemporaryDirectory() as cache:
            known.append(run(cache, CLINFER_PROBE=""))
    return known[0]


known = []


def need_pocl():
    listed = subprocess.run([TOOL, "devices"], capture_output=True, text=True, timeout=60).stdout
    if "Portable Computing Language" not in listed.split("\n  1  ")[0]:
        raise tap.Skip("device 0 is not PoCL's")
    if len(os.sched_getaffinity(0)) < 2:
        raise tap.Skip("one processor: there is no worker")


def test_workers_prove_all_kernels_once_and_the_answer_is_the_same():
    need_pocl()
    with tempfile.TemporaryDirectory() as shared:
        first = run(shared)
        assert SHARE.search(first.stderr), first.stderr
        assert "built and proven in" not in first.stderr.split("compared with the CPU backend")[0], first.stderr
        # That a kernel of theirs was right says of the compiler what trying it aside would have said.
        assert "trying the compiler" not in first.stderr, first.stderr
        second = run(shared)
        # Not of the device: another model has other kernels.
        new = "kernels that this version has not used there yet"
        assert new in first.stderr and new not in second.stderr, (first.stderr, second.stderr)
        assert not SHARE.search(second.stderr) and "built and proven in" not in second.stderr, second.stderr
        plain = alone()
        assert not SHARE.search(plain.stderr), plain.stderr
        assert "built and proven in" in plain.stderr, plain.stderr
        assert first.stdout == second.stdout == plain.stdout


def workers_of(process):
    try:
        with open(f"/proc/{process}/task/{process}/children") as file:
            children = file.read().split()
        for thread in os.listdir(f"/proc/{process}/task"):
            with open(f"/proc/{process}/task/{thread}/children") as file:
                children += file.read().split()
    except OSError:
        return []
    found = []
    for child in children:
        try:
            with open(f"/proc/{child}/cmdline", "rb") as file:
                if b"kernel_worker" in file.read():
                    found.append(int(child))
        except OSError:
            pass
    return found


def test_workers_that_are_killed_cost_no_answer():
    need_pocl()
    with tempfile.TemporaryDirectory() as cache:
        command = [TOOL, "run", "-m", TINY, "--device", "0", "--temp", "0", "-n", "8", "-p", "abc"]
        start = subprocess.Popen(command, env=dict(os.environ, XDG_CACHE_HOME=cache), stdout=subprocess.PIPE,
                                 stderr=subprocess.PIPE, encoding="utf-8", errors="replace")
        killed = 0
        while not killed and start.poll() is None:
            for worker in workers_of(start.pid):
                os.kill(worker, signal.SIGKILL)
                killed += 1
        output, errors = start.communicate(timeout=300)
        assert killed and start.returncode == 0, (killed, start.returncode, errors)
        assert output == alone().stdout


def test_nobody_works_where_nothing_can_be_kept():
    need_pocl()
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "file")
        with open(file, "w", encoding="utf-8"):
            pass
        # PoCL's own folder may be the tests' or one below /tmp: it is the proofs that have no place.
        start = run(os.path.join(file, "cache"))
        assert not SHARE.search(start.stderr), start.stderr
        assert start.stdout == alone().stdout


def test_a_worker_says_nothing():
    with tempfile.TemporaryDirectory() as cache:
        words = ["kernel_worker", "--memory", "0", "-m", os.path.join(cache, "no.gguf"), "--device", "0"]
        worker = subprocess.run([TOOL, *words], env=dict(os.environ, XDG_CACHE_HOME=cache), capture_output=True,
                                text=True, timeout=60)
        assert worker.returncode != 0 and worker.stdout == "", (worker.returncode, worker.stdout)


def test_nobody_is_told_of_the_command():
    listed = subprocess.run([TOOL, "--help"], capture_output=True, text=True, timeout=60).stdout
    assert "kernel_worker" not in listed


if __name__ == "__main__":
    tap.main(globals())
