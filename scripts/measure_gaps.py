#!/usr/bin/env python3
"""What a long prompt does to the answers of others: gaps between their tokens, without it and beside it.

usage: measure_gaps.py MODEL [--decoders 1,4,16] [--prompt 4096] [--alone 3] [--limit 0.15] [SERVE ARGUMENT...]

For each number of decoders a `clinfer serve` of its own (so that what is done once, at the first prompt of that size,
counts) answers so many streams; after `--alone` seconds a prompt of `--prompt` random tokens comes. A gap is the time
between two tokens of one stream. Held: the 99th percentile of the gaps beside the prompt against the limit, or twice
the median gap without it, whichever is more. Exits with 1 where it is not held."""
import argparse
import http.client
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../tests/support"))
import serving  # noqa: E402

TOOL = os.environ.get("CLINFER", "./clinfer")


def tokens(count, seed):
    draw = random.Random(seed)
    return [draw.randrange(1000, 30000) for _ in range(count)]


class Stream(threading.Thread):
    """Asks, and notes when tokens come, until `stopped`."""

    def __init__(self, port, prompt, predict):
        super().__init__(daemon=True)
        self.port, self.times, self.stopped, self.failed = port, [], False, None
        self.body = json.dumps({"prompt": prompt, "n_predict": predict, "ignore_eos": True, "stream": True,
                                "temperature": 0, "cache_prompt": False})

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=300)
        connection.request("POST", "/completion", self.body, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        if answer.status != 200:
            self.failed = f"status {answer.status}: {answer.read()[:500]!r}"
            return
        for line in answer:
            if line.startswith(b"data: "):
                self.times += [time.monotonic()]
            if self.stopped:
                break
        connection.close()


def wait_for(condition, what, streams=(), seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        for stream in streams:
            if stream.failed:
                sys.exit(f"measure_gaps: {stream.failed}")
        if time.monotonic() > end:
            sys.exit(f"measure_gaps: {what} after {seconds} s")
        time.sleep(0.01)


def gaps(streams, begin, end):
    return [1e3 * (b - a) for s in streams for a, b in zip(s.times, s.times[1:]) if begin <= b and a <= end]


def percentile(values, share):
    values = sorted(values)
    return values[min(len(values) - 1, int(share * len(values)))]


def measure(asked, extra, decoders):
    port = serving.free_port()
    with tempfile.TemporaryDirectory() as home:
        environment = {**os.environ, "HOME": home, "XDG_CONFIG_HOME": home, "XDG_DATA_HOME": home}
        room = ["-np", str(decoders + 1), "-c", str((decoders + 1) * (asked.prompt + 2048))]
        command = [TOOL, "serve", "--port", str(port), "-m", asked.model, *room, *extra]
        with serving.running(command, port, env=environment):
            streams = [Stream(port, tokens(32, i), 2000) for i in range(decoders)]
            for stream in streams:
                stream.start()
            wait_for(lambda: all(len(s.times) > 3 for s in streams), "no tokens", streams)
            begun = time.monotonic()
            time.sleep(asked.alone)
            long = Stream(port, tokens(asked.prompt, 1000), 1)
            asked_at = time.monotonic()
            long.start()
            wait_for(lambda: long.times, "no token behind the long prompt", streams + [long])
            done = long.times[0]
            for stream in streams:
                stream.stopped = True
    alone, beside = gaps(streams, begun, asked_at), gaps(streams, asked_at, done)
    median, p99 = statistics.median(alone), percentile(beside, 0.99)
    limit = max(1e3 * asked.limit, 2 * median)
    print(f"| {decoders} | {median:.1f} | {percentile(alone, 0.99):.1f} | {statistics.median(beside):.1f} | {p99:.1f} "
          f"| {max(beside):.1f} | {limit:.0f} | {'yes' if p99 <= limit else 'NO'} | {done - asked_at:.1f} s |",
          flush=True)
    if asked.verbose:
        print("longest: " + ", ".join(f"{gap:.0f} ms at {at - asked_at:.2f} s" for gap, at in sorted(
            ((1e3 * (b - a), b) for a, b in zip(streams[0].times, streams[0].times[1:]) if asked_at <= b <= done),
            reverse=True)[:8]), file=sys.stderr)
    return p99 <= limit


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--decoders", default="1,4,16")
    parser.add_argument("--prompt", type=int, default=4096)
    parser.add_argument("--alone", type=float, default=3)
    parser.add_argument("--limit", type=float, default=0.15)
    parser.add_argument("--verbose", action="store_true", help="when the longest gaps of the first stream were")
    asked, extra = parser.parse_known_args()
    print("| decoders | median alone, ms | p99 alone | median beside | p99 beside | longest | limit | held | prompt |\n"
          "|---|---|---|---|---|---|---|---|---|", flush=True)
    held = [measure(asked, extra, int(count)) for count in asked.decoders.split(",")]
    sys.exit(0 if all(held) else 1)


main()
