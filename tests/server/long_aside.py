#!/usr/bin/env python3
"""`clinfer serve` through PoCL compiles nothing in its own process, whatever is asked of it, with empty caches:
PoCL's LLVM, once used, keeps its memory. PoCL links each kernel that it compiles with `ld`, so that one
that writes down who calls it tells which process compiles. Of `make check-server`. Prints TAP."""
import os
import re
import shutil
import signal
import stat
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

MOST_MIB = 80  # of a process that has only loaded: 35 to 50; one that has compiled all has 160
LINKER = """#!/bin/sh
echo $PPID >>{log}
exec {ld} "$@"
"""
SECONDS = 480  # for a child, on a machine that has other things to do


class Compilers:
    """A folder that comes first in PATH, and who has compiled."""

    def __init__(self, folder):
        self.log, path = os.path.join(folder, "log"), os.path.join(folder, "ld")
        ld = next(os.path.join(place, "ld") for place in os.environ["PATH"].split(":")
                  if os.access(os.path.join(place, "ld"), os.X_OK))
        with open(path, "w", encoding="utf-8") as file:
            file.write(LINKER.format(log=self.log, ld=ld))
        os.chmod(path, stat.S_IRWXU)
        self.environment = {"PATH": f"{folder}:{os.environ['PATH']}"}

    def processes(self):
        if not os.path.exists(self.log):
            return []
        with open(self.log, encoding="utf-8") as log:
            return [int(line) for line in log]


def children(server):
    with open(f"/proc/{server.process.pid}/task/{server.process.pid}/children", encoding="utf-8") as file:
        own = file.read().split()
    for task in os.listdir(f"/proc/{server.process.pid}/task"):
        try:
            with open(f"/proc/{server.process.pid}/task/{task}/children", encoding="utf-8") as file:
                own += file.read().split()
        except OSError:
            continue  # a thread that has ended
    return set(own)


def mebibytes(server):
    with open(f"/proc/{server.process.pid}/status", encoding="utf-8") as status:
        return int(next(line for line in status if line.startswith("RssAnon")).split()[1]) >> 10


def ask_everything(server):
    """So that every plan is needed: a token, short and long prompts, several answers at once, vectors."""
    for body in ({"prompt": "a", "max_tokens": 80, "ignore_eos": True}, {"prompt": "a b c " * 8, "max_tokens": 2},
                 {"prompt": "the sky is blue " * 20, "max_tokens": 2}, {"prompt": "a", "n": 3, "max_tokens": 3},
                 {"prompt": "a b", "n": 7, "max_tokens": 3}, {"prompt": ["a " * 30, "b " * 30], "max_tokens": 2}):
        status, _, answer = server.ask("POST", "/v1/completions", {"temperature": 0, **body}, timeout=SECONDS)
        assert status == 200, (status, answer)
    status, _, answer = server.ask("POST", "/v1/embeddings", {"input": "a b c"}, timeout=SECONDS)
    assert status == 200, (status, answer)


def wait_for_children(server):
    """They end by themselves, and the server looks after them."""
    end = time.monotonic() + SECONDS
    while children(server) and time.monotonic() < end:
        time.sleep(0.5)
    assert not children(server), children(server)


def test_the_server_only_loads():
    serving.START_SECONDS = SECONDS
    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as home:
        compilers = Compilers(folder)
        homes = {"XDG_CACHE_HOME": home, "XDG_DATA_HOME": home}
        with serving.Serve("--device", "0", "-v", environment={**compilers.environment, **homes}) as server:
            if "Portable Computing Language" not in server.said():
                raise tap.Skip("device 0 is not PoCL's")
            ask_everything(server)
            wait_for_children(server)
            ask_everything(server)
            built = compilers.processes()
            assert built, "no process has compiled: this test sees nothing"
            assert server.process.pid not in built, (built.count(server.process.pid), len(built), server.said()[-3000:])
            assert mebibytes(server) < MOST_MIB, mebibytes(server)
            assert "a token is one launch" in server.said(), server.said()[-3000:]


def test_what_has_left_the_cache_comes_back():
    """Though it is remembered that it was there."""
    serving.START_SECONDS = SECONDS
    with tempfile.TemporaryDirectory() as home:
        programs = os.path.join(home, "clinfer", "programs")
        for empty in False, True:
            with serving.Serve("--device", "0", "-v", environment={"XDG_CACHE_HOME": home}) as server:
                if "Portable Computing Language" not in server.said():
                    raise tap.Skip("device 0 is not PoCL's")
                body = {"prompt": "a", "max_tokens": 3}
                status, _, answer = server.ask("POST", "/v1/completions", body, timeout=SECONDS)
                assert status == 200, answer
                wait_for_children(server)
                end = time.monotonic() + 10
                while not os.path.isdir(programs) and time.monotonic() < end:
                    time.sleep(0.2)
                assert os.path.isdir(programs), server.said()[-3000:]
            for folder in ("clinfer/programs", "pocl") if not empty else ():
                shutil.rmtree(os.path.join(home, folder), ignore_errors=True)


def test_nothing_is_built_aside_that_cannot_be_kept():
    with serving.Serve("--device", "0", "-v", environment={"XDG_CACHE_HOME": "/dev/null/none"}) as server:
        if "Portable Computing Language" not in server.said():
            raise tap.Skip("device 0 is not PoCL's")
        ask_everything(server)
        assert "kernels are built by process" not in server.said(), server.said()[-3000:]


def test_a_child_that_hangs_is_given_up():
    """Before the server is taken for one that hangs."""
    with serving.Serve("--device", "0", "-v", wait=False) as server:
        begun = time.monotonic()
        while not (found := re.search(r"kernels are built by process (\d+)", server.said())):
            if time.monotonic() > begun + 30:
                raise tap.Skip("device 0 is not PoCL's")
            time.sleep(0.02)
        os.kill(int(found[1]), signal.SIGSTOP)
        begun = time.monotonic()
        server.wait_until_ready()
        assert time.monotonic() < begun + 90, time.monotonic() - begun
        assert int(found[1]) not in map(int, children(server)), "the child is left behind"
        assert server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 2}, timeout=SECONDS)[0] == 200


if __name__ == "__main__":
    tap.main(globals())
