#!/usr/bin/env python3
"""clinfer run whose standard output is a pipe that nobody reads: Ctrl-C ends the answer as soon as somebody does, and
the process where nobody will. Prints TAP."""
import fcntl
import os
import signal
import struct
import subprocess
import sys
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
PIPE_BYTES, CANCELLED, PATIENCE = 4096, 12, 2  # seconds between two Ctrl-C, see interrupt.h


def waiting_bytes(pipe):
    return struct.unpack("i", fcntl.ioctl(pipe, termios.FIONREAD, b"\0" * 4))[0]


def blocked_run():
    """A run with an endless answer that has filled its pipe: (process, the pipe's other end)."""
    ours, theirs = os.pipe()
    fcntl.fcntl(ours, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    child = subprocess.Popen([TOOL, "run", "-m", "tests/data/llama_tiny.gguf", "--device", "cpu", "-c", "64", "-n",
                              "-1", "--temp", "0", "--ignore-eos", "--context-shift", "hello"],
                             stdout=theirs, stderr=subprocess.DEVNULL)
    os.close(theirs)
    before, same, deadline = 0, 0, time.monotonic() + 60
    while same < 10:  # half a second without another byte
        assert child.poll() is None and time.monotonic() < deadline, (child.returncode, before)
        time.sleep(0.05)
        now = waiting_bytes(ours)
        same = same + 1 if now == before and now > PIPE_BYTES // 2 else 0
        before = now
    return child, ours


def test_ctrl_c_ends_the_answer_when_somebody_reads():
    child, ours = blocked_run()
    child.send_signal(signal.SIGINT)
    time.sleep(0.3)
    assert child.poll() is None, child.returncode
    with os.fdopen(ours, "rb") as pipe:
        pipe.read()
    assert child.wait(30) == CANCELLED, child.returncode


def test_ctrl_c_ends_the_process_when_nobody_does():
    child, ours = blocked_run()
    child.send_signal(signal.SIGINT)
    time.sleep(PATIENCE + 0.5)
    assert child.poll() is None, child.returncode
    child.send_signal(signal.SIGINT)
    assert child.wait(10) == 128 + signal.SIGINT, child.returncode
    os.close(ours)


if __name__ == "__main__":
    tap.main(globals())
