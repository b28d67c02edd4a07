#!/usr/bin/env python3
"""How `clinfer serve` begins and ends: addresses, sockets, TLS, systemd, signals, its log. Prints TAP."""
import http.client
import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

LONG = {"prompt": "a", "max_tokens": 1000000, "n_predict": 1000000, "ignore_eos": True, "temperature": 0}


def begin_stream(server, tokens=1000000):
    """The response of a stream that has begun."""
    connection, response = server.begin("POST", "/v1/completions", {**LONG, "max_tokens": tokens, "stream": True})
    assert response.status == 200, response.status
    response.readline()
    return connection, response


def wait_for_text(server, pattern, seconds=30):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := re.search(pattern, server.said()):
            return found
        time.sleep(0.02)
    raise AssertionError(f"{pattern} is not in: {server.said()}")


def test_a_free_port_is_printed():
    with serving.Serve("--port", "0", wait=False) as server:
        server.port = int(wait_for_text(server, r"listens at http://127\.0\.0\.1:(\d+)").group(1))
        server.wait_until_ready()


def test_it_says_that_it_loads():
    with serving.Serve(wait=False) as server:
        seen = set()
        end = time.monotonic() + 30
        while 200 not in seen and time.monotonic() < end:
            try:
                status, _, answer = server.ask("GET", "/health")
            except OSError:
                continue
            seen.add(status)
            assert status == 200 or (status == 503 and answer["error"]["message"] == "Loading model"), answer
            if status == 503:
                assert server.ask("POST", "/v1/completions", {"prompt": "a"})[0] in (200, 503)
        assert 200 in seen, seen


def test_a_model_that_is_not_there_ends_it():
    done = subprocess.run([serving.TOOL, "serve", "-m", "/nowhere/model.gguf", "--port", "0"], capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 3 and "/nowhere/model.gguf" in done.stderr, (done.returncode, done.stderr)


def test_a_port_that_is_taken_is_told():
    with serving.Serve() as server:
        done = subprocess.run([serving.TOOL, "serve", "-m", serving.TINY, "--port", str(server.port)],
                              capture_output=True, text=True, timeout=60)
        assert done.returncode == 4 and "--port" in done.stderr, (done.returncode, done.stderr)


def test_it_listens_at_several_addresses():
    with socket.socket(socket.AF_INET6) as probe:
        try:
            probe.bind(("::1", 0))
        except OSError:
            raise tap.Skip("no IPv6 on the loopback") from None
    with serving.Serve("--host", "127.0.0.1,::1") as server:
        for host in "127.0.0.1", "::1":
            connection = http.client.HTTPConnection(host, server.port, timeout=10)
            connection.request("GET", "/health")
            assert connection.getresponse().status == 200, host
            connection.close()
        assert f"http://[::1]:{server.port}" in server.said(), server.said()


def test_it_listens_at_a_path():
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "clinfer.sock")
        for _ in range(2):  # what a server that was killed left there is no obstacle
            with serving.Serve("--host", "127.0.0.1", "--host", path) as server:
                with socket.socket(socket.AF_UNIX) as connection:
                    connection.connect(path)
                    connection.sendall(b"GET /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                    assert connection.recv(65536).startswith(b"HTTP/1.1 200"), path
                assert os.stat(path).st_mode & 0o077 == 0
                server.process.kill()
                server.process.wait()


def test_tls():
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
        subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                        "-keyout", key, "-out", certificate, "-days", "2", "-subj", "/CN=localhost"], check=True,
                       capture_output=True)
        with serving.Serve("--ssl-cert-file", certificate, "--ssl-key-file", key, wait=False) as server:
            wait_for_text(server, "ready: ")
            context = ssl.create_default_context(cafile=certificate)
            context.check_hostname = False
            connection = http.client.HTTPSConnection("127.0.0.1", server.port, timeout=20, context=context)
            for _ in range(2):
                connection.request("POST", "/v1/completions", json.dumps({"prompt": "a", "max_tokens": 5, "stream": True}))
                response = connection.getresponse()
                assert response.status == 200 and b"data:" in response.read(), response.status
            connection.close()
        done = subprocess.run([serving.TOOL, "serve", "-m", serving.TINY, "--port", "0", "--ssl-cert-file", key,
                               "--ssl-key-file", certificate], capture_output=True, text=True, timeout=60)
        assert done.returncode == 2, (done.returncode, done.stderr)


# ---- the end ----


def test_answers_under_way_end_before_it_does():
    with serving.Serve("--context-shift") as server:
        connection, response = begin_stream(server, 3000)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.2)
        try:
            assert server.ask("GET", "/health")[0] == 503
        except OSError:
            pass  # nobody listens any more
        rest = response.read()
        assert rest.rstrip().endswith(b"data: [DONE]"), rest[-300:]
        connection.close()
        assert server.process.wait(20) == 0


def test_answers_have_an_end_then():
    with serving.Serve("--context-shift", "--drain", "0.5") as server:
        connection, response = begin_stream(server)
        start = time.monotonic()
        server.process.send_signal(signal.SIGTERM)
        try:
            rest = response.read()
        except (http.client.IncompleteRead, ConnectionError) as error:
            rest = getattr(error, "partial", b"")
        assert b"[DONE]" not in rest and b'"error"' in rest, rest[-300:]
        assert server.process.wait(20) == 0 and time.monotonic() - start < 10
        connection.close()


def test_a_second_signal_ends_it_at_once():
    with serving.Serve("--context-shift") as server:
        connection, _ = begin_stream(server)
        server.process.send_signal(signal.SIGTERM)
        wait_for_text(server, "another signal")
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(3) == 0
        connection.close()


# ---- systemd ----


def receive(notified, seconds=30):
    notified.settimeout(seconds)
    return notified.recv(4096).decode()


def test_systemd_is_told():
    for name in "path", "abstract":
        with tempfile.TemporaryDirectory() as folder, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            address = os.path.join(folder, "notify") if name == "path" else "\0" + os.path.join(folder, "notify")
            notified.bind(address)
            with serving.Serve(wait=False, environment={"NOTIFY_SOCKET": address.replace("\0", "@"),
                                                        "WATCHDOG_USEC": "400000"}) as server:
                told = ""
                while "READY=1" not in told:
                    assert "STOPPING" not in told
                    told = receive(notified)
                assert "STATUS=" in told
                while "WATCHDOG=1" not in told:
                    told = receive(notified, 2)
                server.process.send_signal(signal.SIGTERM)
                while "STOPPING=1" not in told:
                    told = receive(notified)
                assert server.process.wait(20) == 0


def test_sockets_of_systemd_are_taken():
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        port = listening.getsockname()[1]
        os.dup2(listening.fileno(), 30)
        script = 'exec 3<&30 30<&-; LISTEN_FDS=1 LISTEN_PID=$$ exec "$0" serve -m "$1" --device cpu --port 1'
        process = subprocess.Popen(["bash", "-c", script, serving.TOOL, serving.TINY], pass_fds=[30],
                                   stderr=subprocess.PIPE, text=True)
        os.close(30)
        try:
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            status, end = 503, time.monotonic() + 60
            while status == 503 and time.monotonic() < end: # where it listens is said when the model is there
                connection.request("GET", "/health")  # waits in the queue of the socket until there is a server
                answer = connection.getresponse()
                status = answer.status
                answer.read()
                time.sleep(0.02)
            assert status == 200, status
            connection.close()
        finally:
            process.terminate()
            said = process.communicate(timeout=20)[1]
        assert process.returncode == 0 and f"http://127.0.0.1:{port}" in said, said


# ---- the log, and what is read again ----


def test_keys_are_read_again():
    with tempfile.TemporaryDirectory() as folder:
        keys = os.path.join(folder, "keys")
        with open(keys, "w") as file:
            file.write("sk-old\n")
        os.chmod(keys, 0o600)
        with serving.Serve("--api-key-file", keys) as server:
            old, new = ({"Authorization": "Bearer sk-" + name} for name in ("old", "new"))
            assert server.ask("GET", "/metrics", None, old)[0] != 401
            for content, told in (("sk-new\n", "read again"), ("", "stay as they were")):
                with open(keys, "w") as file:
                    file.write(content)
                server.process.send_signal(signal.SIGHUP)
                wait_for_text(server, told)
                assert server.ask("GET", "/metrics", None, old)[0] == 401
                assert server.ask("GET", "/metrics", None, new)[0] != 401


def test_the_log_has_every_request_and_no_secret():
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log.jsonl")
        with serving.Serve("--log-jsonl", log, "--api-key", "sk-secret,sk-other") as server:
            headers = {"Authorization": "Bearer sk-other"}
            server.ask("POST", "/v1/completions", {"prompt": "the hidden words", "max_tokens": 2}, headers)
            server.ask("POST", "/v1/completions?key=sk-secret", {"prompt": 7}, headers)
            server.ask("GET", "/health")
            server.ask("GET", "/sk-secret", None, headers)
            end = time.monotonic() + 10
            # An answer is there before its line is.
            awaited = ("ready for inference", '"status": ?404')
            while not all(re.search(what, open(log).read()) for what in awaited) and time.monotonic() < end:
                time.sleep(0.02)
            os.rename(log, log + ".1")
            server.process.send_signal(signal.SIGHUP)
            while not os.path.exists(log) and time.monotonic() < end:
                time.sleep(0.02)
            server.ask("GET", "/ready")
            server.end()
        with open(log + ".1") as lines, open(log) as later:
            text, after = lines.read(), later.read()
        for secret in "sk-secret", "sk-other", "hidden", "Bearer":
            assert secret not in text + after, text
        lines = [json.loads(line) for line in text.splitlines()]
        assert [line["level"] for line in lines] == ["INFO"] * len(lines) and all("T" in line["timestamp"] for line in lines)
        lines = [line["fields"] for line in lines]
        life = {line["message"]: line for line in lines if line["message"] != "request"}
        assert list(life) == ["HTTP server listening", "warmup complete", "ready for inference"], life
        assert life["HTTP server listening"]["addr"] == f"127.0.0.1:{server.port}", life
        assert life["warmup complete"]["duration_ms"] > 0 and life["ready for inference"]["route"] == "cpu", life
        lines = [line for line in lines if line["message"] == "request" and line["path"] != "/health"]
        assert [line["status"] for line in lines] == [200, 400, 404], text
        assert lines[0]["key"] == "key 2" and lines[0]["generated_tokens"] >= 1 and lines[0]["route"] == "cpu", lines
        assert len({line["id"] for line in lines}) == 3 and all(line["ms"] >= 0 for line in lines)
        after = [json.loads(line)["fields"] for line in after.splitlines()]
        assert [line["message"] for line in after] == ["request", "shutting down", "stopped"], after
        assert after[0]["path"] == "/ready" and after[-1]["all_answered"], after


def test_a_client_that_leaves_is_no_error_of_the_server():
    """Also one that leaves while its answer is made, or has just been: 499, whenever it was noticed."""
    body = json.dumps({"messages": [{"role": "user", "content": "hello"}], "max_tokens": 8, "ignore_eos": True}).encode()
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log.jsonl")
        with serving.Serve("--log-jsonl", log) as server:
            for turn in range(120):
                with socket.create_connection(("127.0.0.1", server.port), 30) as raw:
                    raw.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" %
                                (len(body), body))
                    time.sleep(turn % 40 * 0.0002)
            end = time.monotonic() + 30  # what still waits when the server ends would be told so
            while any(slot["is_processing"] for slot in server.ask("GET", "/slots")[2]) and time.monotonic() < end:
                time.sleep(0.05)
            server.end()
        with open(log) as lines:
            seen = [json.loads(line)["fields"]["status"] for line in lines if '"/v1/chat/completions"' in line]
        assert len(seen) > 60 and not set(seen) - {200, 499}, seen


def test_a_model_that_is_none_is_all_that_is_said():
    with tempfile.TemporaryDirectory() as folder:
        log = os.path.join(folder, "log.jsonl")
        with serving.Serve("-m", "missing.gguf", "--log-jsonl", log, wait=False) as server:
            assert server.process.wait(30) == 3
            said = server.said()
            assert "missing.gguf" in said and "listens at" not in said, said
        last = json.loads(list(open(log))[-1])
        assert last["level"] == "ERROR" and "missing.gguf" in last["fields"]["error"], last


if __name__ == "__main__":
    tap.main(globals())
