#!/usr/bin/env python3
"""Pulls of whole models against a server that plays the Hub (tests/support/hub_server.py): killed at 200 moments,
beside curl on a line of 10 MB/s, and 2 GB as fast as they go. The end of `make check-hub`.

usage: check_hub.py [--tool ./clinfer] [--kills 200] [--only kill|power|rate|speed] [--folder FOLDER]

kill   `kill -9` at so many moments of pulls, one after the other into the same cache until a pull completes. What the
       record beside the part claimed at the moment of the kill may not be asked for again, no byte of it; the pull that
       completes leaves the right bytes and nothing else. In one piece, and in ranges.
power  what a power cut would leave, by the order of a pull's system calls (strace): every record of the part claims
       only bytes that were written before an fdatasync(2) that had ended; fsync, then rename, then fsync of the folder.
rate   all connections together get 10 MB/s: median of 5 pulls at most 1.02 times curl's.
speed  a sparse file of 2 GB: at least 80% of the slower of `curl -o` into the same folder and `openssl dgst -sha256`;
       the pull's memory does not grow with the file. Medians of 5 rounds, each of the three in turn, since others may use
       the machine. The server sends such files by sendfile(2), so that it is not what is measured.

Prints what it found, and exits with 1 if a bound is not held."""
import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path.insert(0, os.path.join(ROOT, "tests/support"))
import hub_contents  # noqa: E402

MB = 1000 * 1000
FILE = "model-Q8_0.gguf"


class Server:
    """hub_server.py in the background."""

    def __init__(self, folder):
        self.process = subprocess.Popen([sys.executable, os.path.join(ROOT, "tests/support/hub_server.py"), folder],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.endpoint = json.loads(self.process.stdout.readline())["http"]

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if isinstance(answer, dict) and "exception" in answer:
            sys.exit(f"the server failed: {answer['exception']}")
        return answer

    def put(self, name, path):
        self.ask("put " + json.dumps({"name": name, "version": 1, "files": {FILE: {"file": path, "large": True}}}))
        return self.ask(f"files {name} 1")["files"][FILE]

    def asked(self):
        """The ranges that were asked for since the last time: [(from, to)]."""
        ranges = []
        for entry in self.ask("log"):
            if entry.get("where") == "cdn" and entry["method"] == "GET":
                match = re.match(r"bytes=(\d+)-(\d*)$", entry.get("range") or "bytes=0-")
                ranges.append((int(match[1]), int(match[2]) + 1 if match[2] else sys.maxsize))
        return ranges

    def close(self):
        self.process.stdin.close()
        self.process.wait()


class Check:
    def __init__(self, tool, folder):
        self.tool, self.folder, self.failed = os.path.abspath(tool), folder, []
        self.cache = os.path.join(folder, "cache")

    def say(self, good, text):
        print(("" if good else "FAILED: ") + text, flush=True)
        if not good:
            self.failed.append(text)

    def environment(self, endpoint):
        kept = {name: value for name, value in os.environ.items()
                if not name.startswith(("HF_", "HUGGING", "LLAMA_", "XDG_", "OLLAMA_", "TRANSFORMERS_"))
                and not name.lower().endswith("_proxy")}
        return {**kept, "HOME": os.path.join(self.folder, "home"), "HF_ENDPOINT": endpoint, "HF_HUB_CACHE": self.cache}

    def pull(self, endpoint, repo):
        return [self.tool, "pull", f"{repo}/{FILE}"], self.environment(endpoint)

    def clear(self):
        shutil.rmtree(self.cache, ignore_errors=True)

    def blobs(self):
        return [os.path.join(top, name) for top, _, names in os.walk(self.cache) for name in names
                if "/blobs" in top]


def digest_of(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


# ---- kill -9 ----

def claimed(blobs):
    """The ranges that the record claims, of the newer of its two pages."""
    newest, ranges = -1, []
    for path in (path for path in blobs if path.endswith(".clinfer.state.incomplete")):
        with open(path, "rb") as stream:
            pages = stream.read()
        for page in (pages[:4096], pages[4096:]):
            fields = dict(line.partition(" ")[::2] for line in page.rstrip(b"\0").decode().splitlines())
            if "sum" in fields and int(fields["sequence"]) > newest:
                newest = int(fields["sequence"])
                ranges = [tuple(map(int, part.split("-"))) for part in fields["written"].split(",") if part]
    return ranges


def kill_once(check, server, command, environment, moment):
    """None: the pull was through before; else what it claimed to have."""
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        process.kill()
    _, errors = process.communicate()
    if process.returncode == 0:
        return None
    if process.returncode != -signal.SIGKILL:
        check.say(False, f"a pull that was to be killed ended with {process.returncode}: {errors}")
    return claimed(check.blobs())


def check_chain(check, server, repo, facts, duration, most, rng):
    """Pulls into one cache, each killed at a moment of the time that a whole one takes, and a last one that is not. How
    many were killed, and whether the claims were kept."""
    command, environment = check.pull(server.endpoint, repo)
    check.clear()
    server.asked()
    claims, kills, twice, whole = [], 0, 0, False
    while not whole:
        moment = rng.random() * duration if kills < most else 60
        ranges = kill_once(check, server, command, environment, moment)
        for start, end in server.asked():
            twice += sum(max(0, min(end, to) - max(start, first)) for first, to in claims)
        whole = ranges is None
        if not whole:
            kills += 1
            lost = [old for old in claims if not any(a <= old[0] and old[1] <= b for a, b in ranges)]
            done = any(path.endswith(facts["sha256"]) for path in check.blobs())
            record_gone = not ranges and any(path.endswith(".clinfer.incomplete") and
                                             os.path.getsize(path) == facts["size"] for path in check.blobs())
            if lost and not done and not record_gone:
                check.say(False, f"claimed before, and no longer: {lost}")
            claims = ranges if ranges else [(0, facts["size"])] if done or record_gone else claims
    blobs = check.blobs()
    if [os.path.basename(path) for path in blobs] != [facts["sha256"]]:
        check.say(False, f"left behind: {blobs}")
    elif digest_of(blobs[0]) != facts["sha256"]:
        check.say(False, f"wrong bytes in {blobs[0]}")
    return kills, twice


def check_kill(check, kills):
    rng = random.Random(17)
    for name, size, space in (("one", 8 * MB, "x.rate_20000000"), ("many", 160 * MB, "x.rate_200000000")):
        path = os.path.join(check.folder, name + ".gguf")
        with open(path, "wb") as stream:
            stream.write(hub_contents.gguf(name, size).data)
        server = Server(check.folder)
        facts = server.put(name, path)
        command, environment = check.pull(server.endpoint, f"{space}/{name}")
        check.clear()
        start = time.monotonic()
        subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        duration, killed, twice, chains = time.monotonic() - start, 0, 0, 0
        while killed < kills // 2:
            most = min(4, kills // 2 - killed)
            more, again = check_chain(check, server, f"{space}/{name}", facts, duration, most, rng)
            killed, twice, chains = killed + more, twice + again, chains + 1
        how = "one piece" if name == "one" else "ranges"
        check.say(twice == 0, f"kill -9 in {how}: {killed} kills, {chains} pulls completed, {twice} bytes of finished "
                  "ranges fetched twice")
        server.close()
        os.unlink(path)


# ---- the order of things ----

def is_covered(start, end, ranges):
    for first, last in sorted(ranges):
        if first <= start < last:
            start = last
    return start >= end


class Order:
    """Reads the calls of `strace -f` one after the other, those of several threads included."""

    def __init__(self):
        self.names, self.begun = {}, {}
        self.written, self.syncing, self.durable = [], [], []
        self.records, self.syncs, self.wrong, self.end = 0, 0, [], []

    def line(self, text):
        thread, _, call = text.rstrip().partition(" ")
        call = call.strip()
        resumed = re.match(r"<\.\.\. \w+ resumed>", call)
        if resumed:
            self.ended(self.begun.pop(thread) + call[resumed.end():])
        else:
            whole = call.removesuffix("<unfinished ...>")
            self.starts(whole)
            if whole == call:
                self.ended(call)
            else:
                self.begun[thread] = whole

    def name(self, descriptor):
        return self.names.get(descriptor, "")

    def starts(self, call):
        match = re.match(r"fdatasync\((\d+)", call)
        if match and self.name(match[1]).endswith(".clinfer.incomplete"):
            self.syncing = list(self.written)

    def ended(self, call):
        if match := re.match(r'openat\(.*?"([^"]+)".* = (\d+)$', call):
            self.names[match[2]] = match[1]
        elif match := re.match(r'pwrite64\((\d+), "(.*)"(?:\.\.\.)?, \d+, (\d+)\)\s+= (\d+)', call):
            if self.name(match[1]).endswith(".state.incomplete"):
                self.record(match[2])
            elif self.name(match[1]).endswith(".incomplete"):
                self.written.append((int(match[3]), int(match[3]) + int(match[4])))
        elif match := re.match(r"f(data)?sync\((\d+)\s*\)\s+= 0", call):
            if match[1] and self.name(match[2]).endswith(".clinfer.incomplete"):
                self.durable, self.syncs = self.syncing, self.syncs + 1
            elif not match[1]:
                self.end.append("sync part" if self.name(match[2]).endswith(".incomplete") else
                                "sync folder" if self.name(match[2]).endswith("/blobs") else "sync other")
        elif ".incomplete" in call and re.match(r"rename|unlink", call):
            self.end.append("rename" if call.startswith("rename") else "unlink")

    def record(self, text):
        self.records += 1
        for word, there in (("synced", self.durable), ("written", self.written)):
            for part in filter(None, re.search(word + r" ([\d,-]*)\\n", text)[1].split(",")):
                start, end = map(int, part.split("-"))
                if not is_covered(start, end, there):
                    self.wrong.append(f"{word} {part}")


def check_power(check):
    if not shutil.which("strace"):
        print("power cut: left out, since strace is not there")
        return
    server = Server(check.folder)
    server.ask("put " + json.dumps({"name": "power", "version": 1, "files": {FILE: {"size": 160 * MB}}}))
    command, environment = check.pull(server.endpoint, "x.rate-each_12000000/power")
    check.clear()
    calls = os.path.join(check.folder, "calls")
    trace = ["-e", "trace=openat,pwrite64,fdatasync,fsync,rename,unlink", "-o", calls]
    timed(["strace", "-f", "-s", "4096", *trace, *command], env=environment)
    server.close()
    order = Order()
    with open(calls, encoding="latin-1") as stream:
        for text in stream:
            order.line(text)
    end = " ".join(event for event in order.end if event != "sync other")
    check.say(not order.wrong and order.syncs > 0 and end.endswith("sync part unlink rename sync folder"),
              f"power cut: {order.records} records, {order.syncs} syncs, {len(order.wrong)} claims of bytes that were "
              f"not on the disk; the end: {end}")


# ---- beside others ----

def timed(command, **more):
    start = time.monotonic()
    result = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, **more)
    if result.returncode:
        sys.exit(f"{' '.join(command)}: {result.returncode}: {result.stderr}")
    return time.monotonic() - start


def curl(url, path):
    return ["curl", "-sSfL", "-o", path, url]


def check_rate(check):
    path = os.path.join(check.folder, "rate.gguf")
    with open(path, "wb") as stream:
        stream.write(hub_contents.gguf("rate", 100 * MB).data)
    server = Server(check.folder)
    server.put("rate", path)
    space = "x.rate_10000000/rate"
    command, environment = check.pull(server.endpoint, space)
    url = f"{server.endpoint}/{space}/resolve/main/{FILE}"
    ours, theirs = [], []
    for _ in range(5):
        check.clear()
        os.makedirs(check.cache)
        theirs.append(timed(curl(url, os.path.join(check.cache, "curl"))))
        check.clear()
        ours.append(timed(command, env=environment))
    server.close()
    ratio = statistics.median(ours) / statistics.median(theirs)
    check.say(ratio <= 1.02, f"10 MB/s: pull {statistics.median(ours):.3f} s, curl {statistics.median(theirs):.3f} s, "
              f"medians of 5: {ratio:.4f} times (at most 1.02)")


def peak_memory(command, environment):
    """(seconds, the most memory that was resident, in MB)"""
    start = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, errors = b"", process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = status
    if status:
        sys.exit(f"{' '.join(command)}: {status}: {errors.decode()}")
    return time.monotonic() - start, usage.ru_maxrss / 1024


def check_speed(check):
    path = os.path.join(check.folder, "speed.gguf")
    with open(path, "wb") as stream:
        stream.write(hub_contents.gguf("speed", 1 << 20).data[:4096])
    server, memory = Server(check.folder), {}
    for size in (128 << 20, 2 << 30):
        os.truncate(path, size)
        server.put(f"speed{size}", path)
        command, environment = check.pull(server.endpoint, f"user/speed{size}")
        url = f"{server.endpoint}/user/speed{size}/resolve/main/{FILE}"
        ours, theirs, hashing = [], [], []
        for _ in range(5):
            check.clear()
            os.makedirs(check.cache)
            copy = os.path.join(check.cache, "curl")
            theirs.append(timed(curl(url, copy)))
            hashing.append(timed(["openssl", "dgst", "-sha256", copy]))
            check.clear()
            seconds, memory[size] = peak_memory(command, environment)
            ours.append(seconds)
    server.close()
    share = statistics.median(max(curls, hashes) / own for own, curls, hashes in zip(ours, theirs, hashing))
    rates = [f"{name} {size / MB / statistics.median(times):.0f} MB/s" for name, times in
             (("pull", ours), ("curl -o", theirs), ("openssl dgst", hashing))]
    check.say(share >= 0.8, f"2 GB: {', '.join(rates)}: {100 * share:.0f}% of the slower of the two (at least 80%)")
    small, large = memory.values()
    check.say(large < small + 4, f"memory: {small:.1f} MB with 128 MiB, {large:.1f} MB with 2 GiB")
    os.unlink(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--tool", default="./clinfer")
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--only", choices=("kill", "power", "rate", "speed"))
    parser.add_argument("--folder", help="where the cache is made; its volume is measured (default: a temporary one)")
    arguments = parser.parse_args()
    folder = tempfile.mkdtemp(prefix="check-hub-", dir=arguments.folder)
    check = Check(arguments.tool, folder)
    try:
        for name, run in (("kill", lambda: check_kill(check, arguments.kills)), ("power", lambda: check_power(check)),
                          ("rate", lambda: check_rate(check)),
                          ("speed", lambda: check_speed(check))):
            if arguments.only in (None, name):
                run()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    sys.exit(1 if check.failed else 0)


if __name__ == "__main__":
    main()
