#!/usr/bin/env python3
"""On a CPU device a token is one launch from the start on that follows the first long answer, and the text is the same.
The cache of clinfer is empty here. Prints TAP."""
import os
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
TINY = "tests/data/llama_tiny.gguf"
ONE = "a token is one launch ("


def run(cache, tokens, *words):
    command = [TOOL, "run", "-v", "-m", TINY, "--device", "0", "--temp", "0", "-n", str(tokens), "--ignore-eos", "-p",
               "abc"]
    done = subprocess.run(command + list(words), env=dict(os.environ, XDG_CACHE_HOME=cache), capture_output=True,
                          encoding="utf-8", errors="replace", timeout=300)
    assert done.returncode == 0, (words, done.returncode, done.stderr)
    return done


def test_a_token_becomes_one_launch_and_the_text_stays():
    listed = subprocess.run([TOOL, "devices"], capture_output=True, text=True, timeout=60).stdout
    if "Portable Computing Language" not in listed.split("\n  1  ")[0]:
        raise tap.Skip("device 0 is not PoCL's")
    with tempfile.TemporaryDirectory() as cache:
        short = run(cache, 8)
        assert ONE not in short.stderr, short.stderr
        long = run(cache, 90)
        assert ONE not in long.stderr, "a short answer does not build it: " + long.stderr
        again = run(cache, 90)
        assert ONE in again.stderr, (long.stderr, again.stderr)
        assert again.stdout == long.stdout
        if len(os.sched_getaffinity(0)) > 1:
            alone = run(cache, 8, "-t", "1")
            assert ONE not in alone.stderr, "proven by several workers, not by one: " + alone.stderr
            assert alone.stdout == short.stdout
        profiled = run(cache, 90, "--profile")
        assert ONE not in profiled.stderr, "single kernels are told of: " + profiled.stderr
        assert profiled.stdout == long.stdout


if __name__ == "__main__":
    tap.main(globals())
