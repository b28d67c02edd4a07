#!/usr/bin/env python3
"""`make check-server`: `clinfer serve` under hundreds of idle connections and thousands of requests of mixed kinds, some
cut off, some wrong: afterwards memory, threads and descriptors are what they were. Prints TAP."""
import http.client
import json
import os
import random
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

REQUESTS, CLIENTS, IDLE = 4000, 8, 900
MEBIBYTE = 1 << 20


def usage(server):
    folder = f"/proc/{server.process.pid}"
    with open(folder + "/status") as status:
        fields = dict(line.split(":", 1) for line in status)
    memory = sum(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "VmSwap"))
    return {"memory": memory, "threads": int(fields["Threads"]), "files": len(os.listdir(folder + "/fd"))}


def settle(server, what):
    """What it has once nothing is under way."""
    end = time.monotonic() + 40
    while not what(usage(server)) and time.monotonic() < end:
        time.sleep(0.2)
    return usage(server)


def one(server, draw):
    prompt = "ab " * draw.choice((1, 5, 20))
    body = {"prompt": prompt, "max_tokens": draw.randint(1, 12), "stream": draw.random() < 0.5}
    kind = draw.random()
    if kind < 0.6:
        return server.ask("POST", "/v1/completions", body)[0]
    if kind < 0.75:  # leaves at once, or in the middle
        connection = socket.create_connection(("127.0.0.1", server.port), 20)
        data = json.dumps({**body, "max_tokens": 100000, "ignore_eos": True, "stream": True}).encode()
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(data) + data)
        if draw.random() < 0.7:
            connection.recv(500)
        connection.close()
        return 200
    if kind < 0.85:
        return server.ask("POST", "/v1/completions", draw.choice((b"{", b"[]", b"\0", {"prompt": 1}, {"prompt": [[]]})))[0]
    if kind < 0.9:
        return server.ask("POST", "/v1/completions", b" " * (3 * MEBIBYTE))[0]
    return server.ask("GET", draw.choice(("/health", "/metrics", "/nothing", "/v1/models")))[0]


def work(server, count, seed, seen):
    draw = random.Random(seed)
    for _ in range(count):
        try:
            status = one(server, draw)
        except (http.client.HTTPException, OSError):
            status = 0  # a body that is refused before it has come may lose its answer
        seen[status] = seen.get(status, 0) + 1


def run(server, count, seed):
    seen = [{} for _ in range(CLIENTS)]
    threads = [threading.Thread(target=work, args=(server, count // CLIENTS, seed + i, seen[i])) for i in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return {status: sum(some.get(status, 0) for some in seen) for status in set().union(*seen)}


def test_nothing_is_left_of_requests():
    with serving.Serve("--metrics", "--max-body", "2", "--context-shift") as server:
        run(server, 400, 1)
        before = settle(server, lambda now: now["files"] < 40)
        seen = run(server, REQUESTS, 2)
        after = settle(server, lambda now: now["files"] <= before["files"] and now["threads"] <= before["threads"] + 4)
        assert server.process.poll() is None, server.said()[-2000:]
        assert not seen.keys() - {0, 200, 400, 404, 413, 429}, seen
        assert seen.get(0, 0) < REQUESTS / 10, seen
        assert after["files"] <= before["files"] + 4, (before, after)
        assert after["threads"] <= before["threads"] + CLIENTS, (before, after)
        assert after["memory"] < before["memory"] + 16 * MEBIBYTE, (before, after)
        print(f"# {seen}; before {before}, after {after}")


def test_a_stream_is_not_silent_while_its_prompt_is_computed():
    """A comment after 15 s, before a proxy cuts it; the prompt takes longer."""
    stretched = ("--rope-scaling", "linear", "--rope-scale", "128", "-c", "65536", "--parallel", "1", "-b", "64")
    body = json.dumps({"prompt": "word " * 16000, "max_tokens": 1, "stream": True}).encode()
    with serving.Serve(*stretched) as server, socket.create_connection(("127.0.0.1", server.port), 60) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                           b"Content-Length: %d\r\n\r\n" % len(body) + body)
        data, begun = b"", time.monotonic()
        while b"\n:" not in data and b"data: " not in data:
            data += connection.recv(1000)
        assert data.startswith(b"HTTP/1.1 200") and b"\n:" in data, data
        assert time.monotonic() - begun < 25, time.monotonic() - begun


def test_idle_connections_cost_little_and_hold_up_nobody():
    with serving.Serve("--metrics") as server:
        before = usage(server)
        idle = [socket.create_connection(("127.0.0.1", server.port), 20) for _ in range(IDLE)]
        for connection in idle[::2]:
            connection.sendall(b"GET /health HTTP/1.1\r\nHost: loc")
        start = time.monotonic()
        assert server.ask("GET", "/health")[0] == 200 and time.monotonic() - start < 2
        cost = (usage(server)["memory"] - before["memory"]) / IDLE
        print(f"# {cost / 1024:.1f} KiB a connection")
        assert cost < 64 << 10, cost
        for connection in idle:
            connection.close()
        after = settle(server, lambda now: now["files"] < before["files"] + 10)
        assert after["files"] < before["files"] + 10, (before, after)


if __name__ == "__main__":
    tap.main(globals())
