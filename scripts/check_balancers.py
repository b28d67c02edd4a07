#!/usr/bin/env python3
"""`make check-balancers`: two servers behind HAProxy and behind nginx, with the files of docs/examples, while many
clients ask and one server after the other is killed (SIGKILL) in the middle and started again. Told are all requests by
how they ended; wrong is what got no answer although no byte of it had come, and a stream that broke off without its
client being able to see it. Then affinity: turns of a conversation that meet the server which has their prefix; and a
client that leaves. Needs Debian's haproxy and nginx."""
import argparse
import collections
import http.client
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../tests/support"))
import serving  # noqa: E402

EXAMPLES = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../docs/examples")
ADDRESSES = ("192.0.2.11:8080", "192.0.2.12:8080")  # of the servers, in the examples
WRONG = ("no byte and no answer", "cut off as if whole", "an error instead of an answer")


class Server(serving.Serve):
    """One that can be killed and started again at the same port."""

    def __init__(self):
        super().__init__("--metrics", "--context-shift")

    def kill(self):
        self.process.kill()
        self.process.wait()

    def again(self):
        self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        self.wait_until_ready()

    def metric(self, pattern):
        text = self.ask("GET", "/metrics")[2].decode()
        values = re.findall(rf"^llamacpp:(?:{pattern})\S* (\S+)", text, re.M)
        assert values, (pattern, text)
        return sum(float(value) for value in values)

    def running(self):
        return self.metric("requests_processing|requests_deferred")

    def made(self):
        return self.metric("tokens_predicted_total")


class Balancer(serving.Serve):
    """HAProxy or nginx with its example, whose addresses become those of this run."""

    def __init__(self, kind, servers):
        super().__init__()
        with open(os.path.join(EXAMPLES, {"haproxy": "haproxy.cfg", "nginx": "nginx.conf"}[kind]),
                  encoding="utf-8") as file:
            text = file.read()
        for example, server in zip(ADDRESSES, servers):
            assert example in text, (kind, example)
            text = text.replace(example, f"127.0.0.1:{server.port}")
        text, count = re.subn(r"(bind |listen ):?8000\b", rf"\g<1>127.0.0.1:{self.port}", text)
        assert count == 1, kind
        path = os.path.join(self.home, "example.conf")
        self.command = ["haproxy", "-db", "-f", path]
        if kind == "nginx":
            text = "\n".join((f"pid {self.home}/pid; error_log {self.home}/errors; daemon off; events {{ worker_connections 4096; }}",
                              "http { access_log off;", *(f"{name}_temp_path {self.home}/{name};" for name in
                                                         ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")), text,
                              "}"))
            self.command = ["nginx", "-p", self.home, "-e", os.path.join(self.home, "errors"), "-c", path]
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)


class Clients:
    """Threads that ask one after the other, and what became of it."""

    def __init__(self, balancer, count):
        self.balancer, self.stop, self.lock = balancer, threading.Event(), threading.Lock()
        self.ends, self.servers = collections.Counter(), collections.Counter()
        self.examples = {}
        self.threads = [threading.Thread(target=self.work, args=(number,)) for number in range(count)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def work(self, seed):
        draw = random.Random(seed)
        while not self.stop.is_set():
            end, why, server = self.one(draw)
            with self.lock:
                self.ends[end] += 1
                self.servers[server] += 1
                self.examples.setdefault(end, why)

    def one(self, draw):
        """(how it ended, an example of why, who answered)"""
        path, body = draw.choice((
            ("/v1/completions", {"prompt": "ab " * draw.randint(1, 20)}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "ab " * draw.randint(1, 20)}]}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}], "metadata": "x" * 100000})))
        stream = draw.random() < 0.5
        body = {**body, "max_tokens": draw.choice((1, 40, 400)), "ignore_eos": True, "stream": stream}
        began, server, data = False, None, b""
        try:
            connection, response = self.balancer.begin("POST", path, body)
            began, server = True, response.getheader("X-Served-By")
            if response.status != 200:
                return "an error instead of an answer", f"{response.status} {response.read()[:200]}", server
            while piece := response.read1(65536):
                data += piece
            connection.close()
        except (http.client.HTTPException, OSError) as error:
            return ("stream broke off, visibly" if began and stream else
                    "answer broke off behind its first byte" if began else "no byte and no answer"), repr(error), server
        if stream:
            if not data.rstrip().endswith(b"data: [DONE]"):
                return "cut off as if whole", data[-200:], server
            return "stream whole", "", server
        try:
            return ("answer whole" if json.loads(data)["choices"] else "cut off as if whole"), "", server
        except ValueError:
            return "cut off as if whole", data[-200:], server


def wait_for(what, seconds=30):
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.05)


def check_kills(balancer, servers, seconds, count):
    """(clients, requests that were at a server when it was killed): one after the other is, and comes back."""
    lost = 0
    with Clients(balancer, count) as clients:
        for server in servers * 2:
            time.sleep(seconds)
            lost += server.running()
            server.kill()
            time.sleep(seconds)  # the other one alone
            server.again()
            before = server.made()
            wait_for(lambda: server.made() > before)  # it is asked again
    return clients, lost


def check_affinity(balancer, turns=4, conversations=12):
    """How many turns of conversations met the server of the turn before, and how much of their prompts was there."""
    met = total = cached = prompt = 0
    for number in range(conversations):
        messages, last = [{"role": "user", "content": f"conversation {number}: tell me"}], None
        for _ in range(turns):
            body = {"messages": messages, "max_tokens": 8, "ignore_eos": True}
            status, headers, answer = balancer.ask("POST", "/v1/chat/completions", body)
            assert status == 200, answer
            server = headers["X-Served-By"]
            if last:
                met, total = met + (server == last), total + 1
                cached += answer["usage"]["prompt_tokens_details"]["cached_tokens"]
                prompt += answer["usage"]["prompt_tokens"]
            last = server
            messages += [answer["choices"][0]["message"], {"role": "user", "content": "and then"}]
    return met, total, cached, prompt


def check_leaving(balancer, servers):
    """A client that leaves frees its place behind the balancer, too; the seconds that took."""
    wait_for(lambda: not any(server.running() for server in servers))
    body = json.dumps({"prompt": "a", "max_tokens": 1000000, "ignore_eos": True}).encode()
    with socket.create_connection(("127.0.0.1", balancer.port), 20) as connection:
        connection.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n" % len(body)
                           + body)
        wait_for(lambda: any(server.running() for server in servers))
    start = time.monotonic()
    wait_for(lambda: not any(server.running() for server in servers))
    return time.monotonic() - start


def check(kind, seconds, count):
    with Server() as one, Server() as two, Balancer(kind, [one, two]) as balancer:
        clients, lost = check_kills(balancer, [one, two], seconds, count)
        wrong = {end: clients.examples[end] for end in WRONG if clients.ends[end]}
        print(f"{kind}: {sum(clients.ends.values())} requests of {count} clients; 4 kills, of servers with {lost:.0f} requests", flush=True)
        for end, number in sorted(clients.ends.items()):
            print(f"  {number:6} {end}")
        print(f"  by server: {dict(clients.servers)}")
        met, total, cached, prompt = check_affinity(balancer)
        print(f"  {met} of {total} later turns met the server of the turn before; {cached} of {prompt} tokens of prompts were there")
        print(f"  a client that left was noticed within {check_leaving(balancer, [one, two]) * 1000:.0f} ms",
              flush=True)
        for end, why in wrong.items():
            print(f"  WRONG: {end}: {why}")
        return not wrong and met == total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4, help="between kills")
    parser.add_argument("--clients", type=int, default=24)
    parser.add_argument("kinds", nargs="*", default=["haproxy", "nginx"])
    flags = parser.parse_args()
    for kind in flags.kinds:
        if not shutil.which(kind, path=os.environ["PATH"] + ":/usr/sbin"):
            sys.exit(f"check-balancers: please install {kind}")
    os.environ["PATH"] += ":/usr/sbin"
    fine = [check(kind, flags.seconds, flags.clients) for kind in flags.kinds]
    sys.exit(0 if all(fine) else 1)


if __name__ == "__main__":
    main()
