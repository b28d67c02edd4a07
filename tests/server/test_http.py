#!/usr/bin/env python3
"""What `clinfer serve` refuses and bears, whatever the dialect: framing, limits, slow clients, hosts, origins, keys;
clients that leave. Prints TAP."""
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

HOST = b"Host: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\n" + HOST
ENDLESS = {"prompt": "a", "max_tokens": 1000000, "n_predict": 1000000, "ignore_eos": True, "temperature": 0}


def raw(server, data, seconds=10):
    """What comes back until the server closes, or until nothing comes for so long; and whether it closed."""
    with socket.create_connection(("127.0.0.1", server.port), seconds) as connection:
        connection.sendall(data)
        answer = b""
        try:
            while part := connection.recv(65536):
                answer += part
            return answer, True
        except socket.timeout:
            return answer, False


def status_of(answer):
    return int(answer.split(b" ", 2)[1]) if answer.startswith(b"HTTP/1.1 ") else None


def is_json(answer):
    """One header, then the failure as JSON with its status, in words for people."""
    head, body = answer.split(b"\r\n\r\n", 1)
    error = json.loads(body)["error"]
    return (b"Content-Length: %d\r\n" % len(body) in head + b"\r\n" and error["code"] == status_of(answer) and
            error["message"] and not re.search("<|&[a-z]+;", error["message"]))


def figure(server, name):
    for line in server.ask("GET", "/metrics")[2].decode().splitlines():
        if line.startswith(name):
            return float(line.split()[-1])
    raise AssertionError(f"/metrics has no {name}")


def within(seconds, what):
    """How long until what() is true; it has to be by then."""
    start = time.monotonic()
    while time.monotonic() - start < seconds:
        if what():
            return time.monotonic() - start
        time.sleep(0.005)
    raise AssertionError(f"not within {seconds} s")


def running(server):
    return figure(server, "llamacpp:requests_processing")


def waiting(server):
    return figure(server, "llamacpp:requests_deferred")


def leave_behind(server, body):
    """A request whose answer nobody reads yet."""
    connection = socket.create_connection(("127.0.0.1", server.port), 10)
    data = json.dumps(body).encode()
    connection.sendall(b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(data) + data)
    return connection


# ---- framing ----


def test_what_may_hide_a_second_request_is_refused_and_closed():
    post = b"POST /v1/completions HTTP/1.1\r\n" + HOST
    bad = {
        "two lengths": GET + b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "length and chunks": post + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "two encodings": post + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "a length below zero": GET + b"Content-Length: -3\r\n\r\n",
        "a length with a sign": GET + b"Content-Length: +3\r\n\r\nabc",
        "bare line feeds": b"GET /health HTTP/1.1\nHost: localhost\n\n",
        "a bare line feed in the middle": b"GET /health HTTP/1.1\r\nHost: localhost\nX: y\r\n\r\n",
        "a bare line feed at the end": GET + b"X: y\r\n\nGET /metrics",
        "a bare line feed before the end": GET + b"X: y\n\r\nGET /metrics",
        "a zero byte in a value": GET + b"X: a\0b\r\n\r\n",
        "a zero byte in a name": GET + b"X\0: a\r\n\r\n",
        "a zero byte in the path": b"GET /hea\0lth HTTP/1.1\r\n" + HOST + b"\r\n",
        "a zero byte in percent signs": b"GET /health%00 HTTP/1.1\r\n" + HOST + b"\r\n",
        "a broken percent sign": b"GET /health%g0 HTTP/1.1\r\n" + HOST + b"\r\n",
        "a folded line": GET + b"X: y\r\n z\r\n\r\n",
        "a space before the colon": GET + b"X : y\r\n\r\n",
        "no host": b"GET /health HTTP/1.1\r\n\r\n",
        "two hosts": GET + b"Host: localhost\r\n\r\n",
        "chunks that are none": post + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    }
    for name, data in bad.items():
        answer, closed = raw(server, data)
        assert status_of(answer) == 400 and closed, (name, answer, closed)
        assert is_json(answer), (name, answer)
    assert server.ask("GET", "/health")[0] == 200


def test_requests_that_are_right_pass():
    good = [GET + b"X: y \r\nEmpty:\r\nCookie: a=b; c=d\r\nConnection: close\r\n\r\n",
            b"GET /health HTTP/1.0\r\n\r\n",
            b"HEAD /health HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n",
            b"GET /h%65alth?a=%20b&c HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"]
    for data in good:
        answer, _ = raw(server, data)
        assert status_of(answer) == 200, (data, answer)
    assert raw(server, good[2])[0].endswith(b"\r\n\r\n")


def test_unknown_paths_and_methods_are_told():
    status, _, answer = server.ask("GET", "/nothing/here")
    assert status == 404 and answer["error"]["type"] == "not_found_error", answer
    status, headers, answer = server.ask("DELETE", "/health")
    assert status == 405 and headers["Allow"] == "GET" and "error" in answer, (headers, answer)


# ---- limits ----


def test_a_header_that_is_too_large_is_431():
    for size in 20000, 300000:
        answer, closed = raw(server, GET + b"X: " + b"y" * size + b"\r\n\r\n")
        assert status_of(answer) == 431 and closed and is_json(answer), (size, answer[:300])
    answer, closed = raw(server, b"GET /" + b"y" * 300000 + b" HTTP/1.1\r\n" + HOST + b"\r\n")
    assert status_of(answer) == 414 and closed and is_json(answer), answer[:300]


def test_a_body_that_is_too_large_is_413_before_it_has_come():
    head = b"POST /v1/completions HTTP/1.1\r\n" + HOST
    answer, closed = raw(server, head + b"Content-Length: 3000000\r\n\r\n")
    assert status_of(answer) == 413 and closed, answer
    answer, closed = raw(server, head + b"Content-Length: 3000000\r\nExpect: 100-continue\r\n\r\n")
    assert status_of(answer) == 413, answer
    chunk = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    answer, closed = raw(server, head + b"Transfer-Encoding: chunked\r\n\r\n" + chunk * 20 + b"0\r\n\r\n")
    assert status_of(answer) == 413 and closed, answer


def test_connections_beyond_the_limit_are_told_503():
    held = []
    try:
        for _ in range(CONNECTIONS):
            held.append(socket.create_connection(("127.0.0.1", small.port), 10))
            held[-1].sendall(GET + b"\r\n")
            assert status_of(held[-1].recv(65536)) == 200
        answer, closed = raw(small, GET + b"\r\n")
        assert status_of(answer) == 503 and closed and b"Retry-After" in answer, answer
    finally:
        for connection in held:
            connection.close()
    within(5, lambda: status_of(raw(small, GET + b"Connection: close\r\n\r\n")[0]) == 200)


def test_a_queue_that_is_full_is_429():
    first = leave_behind(small, ENDLESS)
    within(5, lambda: running(small) == 1)
    second = leave_behind(small, ENDLESS)
    within(5, lambda: waiting(small) == 1)
    status, headers, answer = small.ask("POST", "/v1/completions", ENDLESS)
    assert status == 429 and int(headers["Retry-After"]) >= 1, (status, answer)
    assert answer["error"]["type"] == "rate_limit_error", answer
    second.close()
    within(1, lambda: waiting(small) == 0)
    first.close()
    within(2, lambda: running(small) == 0)


# ---- clients that leave, are slow, or never end ----


def test_a_client_that_leaves_is_noticed_at_once():
    for stream in False, True:
        connection = leave_behind(server, {**ENDLESS, "stream": stream})
        within(5, lambda: running(server) == 1)
        if stream:
            assert connection.recv(1000)
        else:
            time.sleep(0.1)  # nothing is written to it, and nothing read from it
        connection.close()
        took = within(2, lambda: running(server) == 0)
        assert took < 1, (stream, took)


def test_a_slow_reader_holds_up_nobody():
    slow = leave_behind(server, {**ENDLESS, "stream": True})
    try:
        within(5, lambda: running(server) == 1)
        start = time.monotonic()
        status, _, answer = server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 4})
        assert status == 200 and time.monotonic() - start < 10, answer
        assert server.ask("GET", "/health")[0] == 200
    finally:
        slow.close()
    within(2, lambda: running(server) == 0)


def test_a_stream_that_nobody_reads_breaks_and_that_is_told():
    """After 4 MiB, which with many logprobs are soon there; the log's line and /metrics say why."""
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log")
        with serving.Serve("--metrics", "--context-shift", "--log-jsonl", log) as own:
            slow = leave_behind(own, {**ENDLESS, "stream": True, "logprobs": 20})
            within(120, lambda: figure(own, "clinfer:streams_unread_total") == 1)
            within(10, lambda: running(own) == 0)
            while slow.recv(1 << 20):
                pass
            slow.close()
            within(10, lambda: any("unread" in line for line in open(log)))
            lines = [json.loads(line)["fields"] for line in open(log)]
            told = [line for line in lines if "unread" in line]
            assert len(told) == 1 and told[0]["unread"] is True and not told[0]["whole"], told
            assert told[0]["path"] == "/v1/completions" and told[0]["bytes_out"] > 1e5, told


def test_slow_writers_hold_up_nobody():
    slow = [socket.create_connection(("127.0.0.1", server.port), 10) for _ in range(20)]
    for number, connection in enumerate(slow):
        connection.sendall((GET if number % 2 else b"POST /v1/completions HTTP/1.1\r\n" + HOST +
                            b"Content-Length: 100\r\n\r\n{")[:-1 if number % 2 else None])
    start = time.monotonic()
    assert server.ask("GET", "/health")[0] == 200 and time.monotonic() - start < 2
    for connection in slow:
        connection.close()


def test_bodies_that_come_byte_by_byte_are_whole():
    data = json.dumps({"prompt": "a", "max_tokens": 1}).encode()
    with socket.create_connection(("127.0.0.1", server.port), 10) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        text = b"POST /v1/completions HTTP/1.1\r\n" + HOST + b"Content-Length: %d\r\n\r\n" % len(data) + data
        for i in range(len(text)):
            connection.sendall(text[i:i + 1])
        assert status_of(connection.recv(65536)) == 200


def test_a_byte_order_mark_before_a_body_is_no_part_of_it():
    assert server.ask("POST", "/tokenize", b'\xef\xbb\xbf{"content": "a"}')[0] == 200
    assert server.ask("POST", "/tokenize", b"\xef\xbb\xbf")[0] == 400


# ---- hosts, origins, keys ----


def test_a_foreign_host_is_refused():
    for host, status in (("evil.com", 403), ("evil.com:8080", 403), ("127.0.0.1.evil.com", 403), ("localhost", 200),
                         (f"127.0.0.1:{server.port}", 200), ("[::1]:80", 200), ("x.localhost", 200), ("my.name", 200),
                         ("localhost.evil.com", 403), ("a b", 403), ("", 403)):
        answer, _ = raw(server, b"GET /health HTTP/1.1\r\nHost: %s\r\nConnection: close\r\n\r\n" % host.encode())
        assert status_of(answer) == status, (host, answer)


def test_a_foreign_origin_is_refused_on_every_route():
    routes = [("GET", "/health"), ("GET", "/ready"), ("GET", "/"), ("GET", "/metrics"), ("GET", "/nothing"),
              ("POST", "/v1/completions"), ("POST", "/completions"), ("DELETE", "/health"), ("PUT", "/x")]
    for origin in "http://evil.com", "null", "http://localhost.evil.com", "https://127.0.0.1.evil.com", "file://":
        for method, path in routes:
            status, headers, answer = server.ask(method, path, b"{}" if method == "POST" else None,
                                                 {"Origin": origin, "Content-Type": "text/plain"})
            assert status == 403, (origin, method, path, status, answer)
            assert "Access-Control-Allow-Origin" not in headers, headers
        status, headers, _ = server.ask("OPTIONS", "/v1/completions", None,
                                        {"Origin": origin, "Access-Control-Request-Method": "POST"})
        assert "Access-Control-Allow-Origin" not in headers, (status, headers)


def test_pages_of_this_machine_may_ask():
    for origin in "http://localhost", "http://localhost:3000", "http://127.0.0.1:8080", "https://[::1]:1":
        status, headers, _ = server.ask("GET", "/health", None, {"Origin": origin})
        assert status == 200 and headers["Access-Control-Allow-Origin"] == origin, (origin, headers)
        assert "Origin" in headers["Vary"], headers
        status, headers, _ = keyed.ask("OPTIONS", "/v1/completions", None, {
            "Origin": origin, "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "authorization, x-stainless-os"})
        assert status in (200, 204) and headers["Access-Control-Allow-Origin"] == origin, (origin, headers)
        assert headers["Access-Control-Allow-Headers"] == "authorization, x-stainless-os", headers
        assert headers["Access-Control-Allow-Methods"] == "GET, POST, DELETE, OPTIONS", headers


def test_origins_that_were_named_may_ask():
    status, headers, _ = keyed.ask("GET", "/health", None, {"Origin": "https://app.example"})
    assert status == 200 and headers["Access-Control-Allow-Origin"] == "https://app.example", headers
    assert keyed.ask("GET", "/health", None, {"Origin": "https://app.example.com"})[0] == 403


def test_keys_are_wanted_where_they_are_set():
    for key in KEYS:
        for headers in {"Authorization": "Bearer " + key}, {"X-Api-Key": key}, {"authorization": "bearer " + key}:
            assert keyed.ask("GET", "/metrics", None, headers)[0] == 200, headers
    for headers in ({}, {"Authorization": "Bearer"}, {"Authorization": "Bearer "}, {"Authorization": "Bearer sk-on"},
                    {"Authorization": "Bearer sk-one sk-one"}, {"Authorization": "Basic sk-one"}, {"X-Api-Key": ""},
                    {"X-Api-Key": "sk-onesk-one"}, {"X-Api-Key": "# a comment"}):
        status, _, answer = keyed.ask("GET", "/metrics", None, headers)
        assert status == 401 and answer["error"]["type"] == "authentication_error", (headers, status, answer)
    assert keyed.ask("GET", "/health")[0] == 200 and keyed.ask("GET", "/ready")[0] == 200
    assert keyed.ask("POST", "/v1/completions", {"prompt": "a"})[0] == 401
    assert keyed.ask("GET", "/nothing")[0] == 401


def test_other_machines_need_a_key():
    done = subprocess.run([serving.TOOL, "serve", "-m", serving.TINY, "--host", "0.0.0.0", "--port", "0"],
                          capture_output=True, text=True, timeout=60, env={**os.environ, "CLINFER_API_KEY": ""})
    assert done.returncode == 2 and "--api-key-file" in done.stderr, done.stderr


def test_routes_that_change_models_need_a_key():
    for method, path in (("POST", "/models/load"), ("POST", "/api/pull"), ("DELETE", "/api/delete")):
        status, _, answer = server.ask(method, path, {"model": "none"})
        assert status in (403, 404, 405), (path, status, answer)  # 404: no dialect has it
        if status == 403:
            assert "--allow-model-changes" in json.dumps(answer), answer


CONNECTIONS = 6
KEYS = ["sk-one", "sk-two", "sk-three"]

if __name__ == "__main__":
    with tempfile.NamedTemporaryFile("w", suffix=".keys") as keys:
        keys.write("# a comment\nsk-two\r\n\n  sk-three  \n")
        keys.flush()
        with serving.Serve("--metrics", "--max-body", "1", "--allowed-host", "my.name", "--context-shift") as server, \
             serving.Serve("--metrics", "-np", "1", "--queue", "1", "--max-connections", str(CONNECTIONS),
                           "--context-shift") as small, \
             serving.Serve("--metrics", "--api-key", "sk-one", "--api-key-file", keys.name, "--cors-origins",
                           "localhost, https://app.example") as keyed:
            tap.main(globals())
