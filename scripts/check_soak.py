#!/usr/bin/env python3
"""`make check-soak`: `clinfer serve` on an OpenCL device that fails one call in 5,000 and comes back each time, under
clients of all kinds: answers in every dialect, streams cut at random, bad and huge bodies, long prompts, clients that
leave while they wait. Nothing crashes, every request gets an answer or an error, and memory, descriptors and threads
are what they were; an answer can still fill the context. Ends after --requests, or --seconds.

The model is unloaded, and opened again, after 500 requests, or as soon after them as the device has come back: by then
caches and pools of threads have filled. Memory is judged three times, each within 16 MiB: unloaded and opened again,
then against all later times that this is done; and as the clients left it, 500 requests after the model was opened
again against 10,000 requests, between which it stays open. Beyond those what the clients left is told, not judged:
where a fault made another kernel take the place of one, which nobody has compiled before, the server's process compiles
it here, and PoCL then keeps 10 to 100 MiB of LLVM for its context until that is closed: a process beside it, which
otherwise does that, would have the faults as well. All that runs without such a fault is built before, by that process.
What an engine itself may gather in its life is seen then, too.

The slowest requests are told, with what the server said meanwhile; --keep leaves its log, each line with its second,
and that of its requests."""
import argparse
import collections
import heapq
import json
import os
import random
import re
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
ROOT = os.path.join(os.path.dirname(os.path.realpath(__file__)), "..")
sys.path.insert(0, os.path.join(ROOT, "tests/support"))
import serving  # noqa: E402

MEBIBYTE = 1 << 20
CALM = 22  # seconds
MOST_GROWTH = 16 * MEBIBYTE
WARMING = 1000  # requests without faults, so that kernels are built
FIRST = 500  # requests to the first checkpoint, and from there to the second
AS_LEFT = 10000  # requests up to which memory is judged as the clients left it
EVERY = 600  # seconds
BACK = 1  # times that the device has come back before the first checkpoint
SEEN = {200, 400, 429, 503}  # what a request may end with
SLOWEST = 8  # requests that are told of
WORDS = ["the", "sky", "is", "blue", "Lily", "and", "ball", "went", "to", "a park"]


PATH = threading.local()  # that this thread asks


def clock(moment):
    """A moment of time.monotonic() as logs have it."""
    wall = time.time() - time.monotonic() + moment
    return time.strftime("%H:%M:%S", time.gmtime(wall)) + f".{int(wall * 1000) % 1000:03}"


class Stamps:
    """The server's log, each line with when it came (to a tenth of a second); and when this process itself had to wait:
    what others leave of the machine is no matter of the server's."""

    def __init__(self, server, keep):
        self.server, self.lines, self.stops, self.waits = server, [], threading.Event(), []
        self.copy = open(os.path.join(keep, "server.log"), "w", encoding="utf-8") if keep else None
        self.thread = threading.Thread(target=self.follow, daemon=True)
        self.thread.start()

    def follow(self):
        with open(self.server.log.name, encoding="utf-8", errors="replace") as log:
            while True:
                last = self.stops.is_set()
                now = time.monotonic()
                for line in log:
                    self.lines.append((now, line.rstrip("\n")))
                    if self.copy:
                        self.copy.write(f"{clock(now)} {line}")
                if self.copy:
                    self.copy.flush()
                if last:
                    return
                self.stops.wait(0.1)
                late = time.monotonic() - now - 0.1
                if late > 2:
                    self.waits.append((late, now))
                    self.lines.append((now, f"(for {late:.1f} s the machine did not let this process run)"))

    def between(self, begun, end):
        return [f"{clock(at)} {line}" for at, line in list(self.lines) if begun - 1 <= at <= end + 1]


class Soak:
    def __init__(self, server, seed):
        self.server, self.seed, self.lock = server, seed, threading.Lock()
        self.seen, self.wrong, self.count, self.most, self.end = collections.Counter(), [], 0, 0, 0
        self.slowest = []  # of (seconds, when it began, kind, path, what it ended with)

    def claim(self):
        with self.lock:
            if self.count >= self.most or time.monotonic() >= self.end or len(self.wrong) > 20:
                return False
            self.count += 1
            return True

    def note(self, kind, begun, what, wrong=None):
        with self.lock:
            self.seen[f"{kind} {what}"] += 1
            heapq.heappush(self.slowest, (time.monotonic() - begun, begun, kind, PATH.name, str(what)))
            if len(self.slowest) > SLOWEST:
                heapq.heappop(self.slowest)
            if wrong:
                self.wrong.append(f"{kind}: {wrong}")

    def client(self, number):
        draw = random.Random(self.seed * 1000 + number)
        while self.claim():
            kind = draw.choices([k for k, _ in KINDS], [weight for _, weight in KINDS])[0]
            name, begun, PATH.name = kind.__name__.removeprefix("ask_"), time.monotonic(), ""
            try:
                self.note(name, begun, kind(self.server, draw))
            except Exception as failure:  # pylint: disable=broad-except
                told = f"{type(failure).__name__}: {failure}"[:600]
                self.note(name, begun, type(failure).__name__, f"{clock(begun)}, {PATH.name}: {told}")

    def comebacks(self):
        return self.server.said().count("it works again")

    def run(self, requests, seconds, clients):
        self.most, self.end = self.count + requests, time.monotonic() + seconds
        threads = [threading.Thread(target=self.client, args=(i,)) for i in range(clients)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.seed += 1


def words(draw, least, most):
    return " ".join(draw.choice(WORDS) for _ in range(draw.randint(least, most)))


def head(path, length, *more):
    lines = [f"POST {path} HTTP/1.1", "Host: localhost", "Content-Type: application/json", f"Content-Length: {length}"]
    return ("\r\n".join([*lines, *more]) + "\r\n\r\n").encode()


def of(status, answer):
    """What a request ended with; an error has to say why."""
    assert status in SEEN, (status, answer)
    assert status == 200 or (isinstance(answer, dict) and answer.get("error")), (status, answer)
    return status


def request_of(draw, stream):
    """(path, body) in one of the dialects that write text."""
    path, body = draw_request(draw, stream)
    PATH.name = path + (" stream" if stream else "")
    return path, body


def draw_request(draw, stream):
    messages = [{"role": "user", "content": words(draw, 1, 5)}]
    tokens = draw.randint(1, 24)
    return draw.choice([
        ("/v1/chat/completions", {"messages": messages, "max_tokens": tokens, "stream": stream}),
        ("/v1/completions", {"prompt": words(draw, 1, 5), "max_tokens": tokens, "stream": stream}),
        ("/v1/chat/completions", {"messages": messages, "max_tokens": tokens, "stream": stream, "n": 2}),
        ("/v1/messages", {"model": "m", "messages": messages, "max_tokens": tokens, "stream": stream}),
        ("/api/chat", {"messages": messages, "options": {"num_predict": tokens}, "stream": stream}),
        ("/api/generate", {"prompt": words(draw, 1, 5), "options": {"num_predict": tokens}, "stream": stream}),
        ("/v1/responses", {"input": words(draw, 1, 5), "max_output_tokens": tokens, "stream": stream}),
    ])


def ask_whole(server, draw):
    path, body = request_of(draw, False)
    status, _, answer = server.ask("POST", path, body)
    return of(status, answer)


LAST = {"/v1/chat/completions": b"[DONE]", "/v1/completions": b"[DONE]", "/v1/messages": b"message_stop",
        "/v1/responses": b"response.", "/api/chat": b'"done":true', "/api/generate": b'"done":true'}


def ask_stream(server, draw):
    path, body = request_of(draw, True)
    connection, response = server.begin("POST", path, body)
    data = response.read()
    connection.close()
    if response.status != 200:
        return of(response.status, json.loads(data))
    told = data.replace(b'": ', b'":')
    assert LAST[path] in told or b'"error"' in told, data[-500:]
    return "error in it" if b'"error":{' in told else 200


def ask_cut(server, draw):
    """Leaves in the middle of a stream, or of its own body."""
    path, body = request_of(draw, True)
    data = json.dumps({**body, "ignore_eos": True}).encode()
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        whole = head(path, len(data), "Connection: close") + data
        if draw.random() < 0.3:
            connection.sendall(whole[:draw.randint(1, len(whole) - 1)])
            return "in its body"
        connection.sendall(whole)
        for _ in range(draw.randint(0, 4)):
            connection.recv(draw.choice((1, 100, 4000)))
    return "in its answer"


def ask_and_leave_queue(server, draw):
    """Clients that ask all at once, and leave while they wait."""
    waiting = []
    for _ in range(draw.randint(2, 8)):
        path, body = request_of(draw, draw.random() < 0.5)
        data = json.dumps(body).encode()
        connection = socket.create_connection(("127.0.0.1", server.port), 60)
        connection.sendall(head(path, len(data)) + data)
        waiting.append(connection)
    time.sleep(draw.random() * 0.05)
    for connection in waiting:
        connection.close()
    return "left"


def ask_bad(server, draw):
    path, body = request_of(draw, False)
    data = json.dumps(body)
    data = draw.choice([lambda: data[:draw.randint(0, len(data) - 1)], lambda: "[]", lambda: "\0",
                        lambda: data.replace(":", ",", 1), lambda: "[" * 5000, lambda: '{"messages": 7, "prompt": {}}',
                        lambda: '{"messages": [{"role": "user"}], "prompt": [[-1]]}'])()
    status, _, answer = server.ask("POST", path, data.encode())
    return of(status, answer)


def ask_huge(server, draw):
    """A body that is refused before it has come: the 413 is to be read while it is still sent, or cut."""
    size = draw.choice((3, 20, 100)) * MEBIBYTE
    data = b""
    with socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(head("/v1/chat/completions", size))
        try:
            for _ in range(draw.randint(0, 64)):
                connection.sendall(b" " * (64 << 10))
        except OSError:
            pass  # it has been refused, which is in what can still be read
        try:
            data = connection.recv(1000)
        except ConnectionResetError:
            return "cut off"  # what was sent on after the answer has taken it along
    assert data.startswith(b"HTTP/1.1 413"), data
    return 413


def ask_long(server, draw):
    """A prompt of many pieces, or one that does not fit."""
    body = {"prompt": words(draw, 1, draw.choice((20, 50, 100, 1000))), "max_tokens": 4}
    status, _, answer = server.ask("POST", "/v1/completions", body)
    return of(status, answer)


def ask_vectors(server, draw):
    body = {"input": [words(draw, 1, 30) for _ in range(draw.randint(1, 5))]}
    status, _, answer = server.ask("POST", "/v1/embeddings", body)
    return of(status, answer)


def ask_small(server, draw):
    path = draw.choice(("/health", "/ready", "/metrics", "/v1/models", "/props", "/slots", "/api/tags", "/nothing"))
    PATH.name = path
    status, _, answer = server.ask("GET", path)
    assert status == 200 or path in ("/ready", "/nothing"), (path, status, answer)
    return status


KINDS = [(ask_whole, 30), (ask_stream, 25), (ask_cut, 12), (ask_and_leave_queue, 4), (ask_bad, 8), (ask_huge, 3),
         (ask_long, 4), (ask_vectors, 6), (ask_small, 8)]


# ---- what it has ----

def metrics(server):
    text = server.ask("GET", "/metrics")[2].decode()
    return {name: float(value) for name, value in re.findall(r"^([^#\s]+) (\S+)$", text, re.M)}


def usage(server):
    folder = f"/proc/{server.process.pid}"
    with open(folder + "/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    memory = sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))
    cache = next((value for name, value in metrics(server).items() if name.startswith("vllm:kv_cache_usage_perc")), 0)
    return {"memory": memory, "threads": int(fields["Threads"]), "files": len(os.listdir(folder + "/fd")),
            "cache": cache}


def wait_for_builders(server):
    """Until processes that build kernels have ended."""
    def ended():
        tasks = f"/proc/{server.process.pid}/task"
        return not any(open(f"{tasks}/{task}/children", encoding="utf-8").read() for task in os.listdir(tasks))
    wait_until(ended, 300)


def is_settled(server):
    """Nothing is under way, and the device is there again."""
    now = metrics(server)
    status, _, ready = server.ask("GET", "/ready")
    return now["llamacpp:requests_processing"] + now["llamacpp:requests_deferred"] == 0 and status == 200 and \
        ready.get("route", "").startswith("0:")


def wait_until(is_so, seconds=60):
    end = time.monotonic() + seconds
    while time.monotonic() < end and not is_so():
        time.sleep(0.1)


def least_usage(server):
    """Its last, but for memory, which is the least of some seconds: an engine may be opened or closed just now."""
    seen = []
    for _ in range(8):
        time.sleep(0.5)
        seen.append(usage(server))
    return {**seen[-1], "memory": min(now["memory"] for now in seen)}


def settle(server):
    """What it has once nothing has been under way for a while: a client that has left is noticed some time later, and
    threads with nothing to do end with their stacks and what malloc keeps for them, engines that helped out close."""
    wait_until(lambda: is_settled(server))
    time.sleep(CALM)
    wait_until(lambda: is_settled(server))
    return least_usage(server)


def unload(server):
    """What is left without a model, which is loaded again."""
    name = server.ask("GET", "/v1/models")[2]["data"][0]["id"]
    server.post("/models/unload", {"model": name})
    wait_until(lambda: server.ask("GET", "/ready")[2].get("route") == "")
    left = least_usage(server)["memory"]
    server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 1})
    server.ask("POST", "/v1/embeddings", {"input": "a"})
    return left


def measure(soak, unloads):
    """What it has at a checkpoint; and where the model is unloaded, "unloaded" and "opened" again."""
    now = settle(soak.server)
    if not unloads:
        return now
    now["unloaded"] = unload(soak.server)
    wait_until(lambda: is_settled(soak.server))
    now["opened"] = least_usage(soak.server)["memory"]
    return now


def grown(marks):
    """What has grown since the first of the marks that can be compared, a line each."""
    wrong, first = [], {**marks[0][1], "memory": marks[1][1]["memory"] if len(marks) > 1 else 0}
    for count, mark in marks[1:]:
        for what, name in (("memory", "as clients left it"), ("unloaded", "unloaded"), ("opened", "opened again")):
            judged = what in mark and (what != "memory" or count <= AS_LEFT)
            if judged and mark[what] > first[what] + MOST_GROWTH:
                more = (mark[what] - first[what]) / MEBIBYTE
                wrong.append(f"after {count} requests: memory, {name}, grew by {more:.1f} MiB")
        if mark["files"] > first["files"] + 4:
            wrong.append(f"after {count} requests: descriptors: {first['files']}, then {mark['files']}")
        if mark["threads"] > first["threads"] + 12:  # a pool of workers, an engine that is just being tried
            wrong.append(f"after {count} requests: threads: {first['threads']}, then {mark['threads']}")
    return wrong


def judge(soak, marks):
    """What is wrong with it, a line each."""
    wrong = list(soak.wrong)
    if not any(count for what, count in soak.seen.items() if what.endswith(" 200")):
        wrong.append("nothing was answered")
    wrong += grown(marks)
    # What prefixes keep of the cache is given up for a request; what has leaked is not.
    body = {"prompt": "a", "max_tokens": 100000, "ignore_eos": True}
    status, _, answer = soak.server.ask("POST", "/v1/completions", body, timeout=600)
    if status != 200 or answer["choices"][0]["finish_reason"] != "length":
        wrong.append(f"an answer as long as the context: {status} {str(answer)[:300]}")
    return wrong


def go(soak, requests, seconds, clients):
    """(requests, usage) at each checkpoint, every ten minutes, and at the end."""
    begun, marks = time.monotonic(), []
    counts = [count for count in (FIRST, AS_LEFT) if count < requests] + [requests]
    while counts:
        # The first one is not what the time ends at: without it there is nothing to compare with.
        left = seconds - (time.monotonic() - begun) if marks else seconds
        if left <= 0:
            break
        soak.run(max(counts[0] - soak.count, 0), min(left, EVERY), clients)
        # What one comeback has more than none is no leak: the engine of the rung below, say.
        while not marks and soak.comebacks() < BACK and soak.count < min(5000, requests):
            soak.run(100, 60, clients)
        while counts and counts[0] <= soak.count:
            counts.pop(0)
        last = not counts or time.monotonic() - begun + 2 * CALM >= seconds  # this mark itself takes CALM, and more
        marks.append((soak.count, measure(soak, not marks or soak.count >= AS_LEFT or last)))
        print(f"{clock(time.monotonic())} after {soak.count} requests, {time.monotonic() - begun:.0f} s, "
              f"{soak.comebacks()} comebacks: {shown(marks[-1][1])}", flush=True)
        if counts and len(marks) == 1:
            counts.insert(0, min(soak.count + FIRST, counts[0]))
    return marks


def shown(now):
    more = "".join(f", {name} {now[what] / MEBIBYTE:.1f}"
                   for what, name in (("unloaded", "unloaded"), ("opened", "opened again")) if what in now)
    return (f"{now['memory'] / MEBIBYTE:.1f} MiB{more}, {now['files']} descriptors, {now['threads']} threads, "
            f"{100 * now['cache']:.0f}% of the cache's pages in use")


def tell_slowest(soak, stamps):
    if stamps.waits:
        print(f"  {len(stamps.waits)} times, {sum(late for late, _ in stamps.waits):.0f} s in all, this process had to "
              f"wait for the machine: at most {max(stamps.waits)[0]:.1f} s, at {clock(max(stamps.waits)[1])}")
    for place, (seconds, begun, kind, path, what) in enumerate(sorted(soak.slowest, reverse=True)):
        print(f"  {seconds:.2f} s from {clock(begun)}: {kind} {path}: {what}")
        lines = stamps.between(begun, begun + seconds) if place == 0 else []
        for line in lines[:20]:
            print(f"      {line[:200]}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--requests", type=int, default=10**9)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--model", default=serving.TINY)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--faults", default="*@p0.0002/{seed}:-5", help="as tests/fault/layer_faults.h has them")
    parser.add_argument("--keep", metavar="FOLDER", help="for the logs: server.log, requests.jsonl")
    options = parser.parse_args()
    if options.keep:
        os.makedirs(options.keep, exist_ok=True)
    layer = os.path.join(os.path.dirname(serving.TOOL), "tests/fault/fake_layer.so")
    # Drivers and compilers are tried in processes of their own first, where the faults would strike as well.
    calm = {"CLINFER_RETRY_SECONDS": "0.5",
            "XDG_CACHE_HOME": os.path.realpath(os.path.join(os.path.dirname(serving.TOOL), "../soak-cache"))}
    environment = {**calm, "OPENCL_LAYERS": layer, "FAKE_LAYER": options.faults.format(seed=options.seed),
                   "CLINFER_PROBE": ""}
    serving.START_SECONDS, serving.END_SECONDS = 300, 60
    flags = ["-m", options.model, "--device", "auto", "--metrics", "--slots", "--max-body", "2", "--queue", "64",
             "--allow-model-changes"]
    # Building and checking kernels takes a minute where nobody has done it: once, and without faults.
    with serving.Serve(*flags, environment=calm) as server:
        soak = Soak(server, options.seed + 1000)
        soak.run(WARMING, 300, options.clients)
        wait_for_builders(server)
        before = settle(server)["memory"]
        soak.run(options.requests, max(5, options.seconds / 20), options.clients)
        gathered = (settle(server)["memory"] - before) / MEBIBYTE
        print(f"kernels are built; {server.ask('GET', '/ready')[2]}; without faults memory grew by {gathered:.1f} MiB "
              f"from {WARMING} to {soak.count} requests", flush=True)
        before_faults = list(soak.wrong)
        if gathered > MOST_GROWTH / MEBIBYTE:
            before_faults.append(f"without faults: memory grew by {gathered:.1f} MiB")
    if options.keep:
        flags += ["--log-jsonl", os.path.join(os.path.realpath(options.keep), "requests.jsonl")]
    with serving.Serve(*flags, environment=environment) as server:
        soak, stamps = Soak(server, options.seed), Stamps(server, options.keep)
        marks = go(soak, options.requests, options.seconds, options.clients)
        for what, count in sorted(soak.seen.items()):
            print(f"  {count:7} {what}")
        said = server.said()
        print(f"  {said.count('it works again')} times the device came back, {said.count('tried again, and still')} "
              f"times not yet; {said.count('computed again, kernel by kernel')} answers were computed again")
        for name, value in metrics(server).items():
            if name.startswith("clinfer:"):
                print(f"  {name} {value:g}")
        tell_slowest(soak, stamps)
        wrong = before_faults + judge(soak, marks)
        stamps.stops.set()
        stamps.thread.join()
    for line in wrong:
        print(f"WRONG: {line}")
    if wrong:
        print(said[-3000:])
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
