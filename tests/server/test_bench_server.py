#!/usr/bin/env python3
"""`clinfer bench --server`: what it counts and measures of a server, and of one that refuses, ends or is not there.
Prints TAP."""
import csv
import http.server
import io
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

TIMES = ("ttft", "itl", "tpot", "e2e")


def start(port, *arguments):
    command = [serving.TOOL, "bench", "--server", f"http://127.0.0.1:{port}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def bench(port, *arguments, status=0):
    process = start(port, *arguments)
    out, err = process.communicate(timeout=60)
    assert process.returncode == status, (process.returncode, out, err)
    return out, err


def check_order(row):
    for name in TIMES:
        values = [row[f"{name}_{which}_ms"] for which in ("p50", "p90", "p95", "p99", "max")]
        assert values == sorted(values), (name, values)
        assert 0 <= row[f"{name}_mean_ms"] <= values[-1], (name, row[f"{name}_mean_ms"], values)
    for which in ("p50", "p90", "max", "mean"):
        assert row[f"ttft_{which}_ms"] <= row[f"e2e_{which}_ms"] <= row["seconds"] * 1e3, (which, row)


def test_numbers_of_several_loads_hold_together():
    with serving.Serve("-np", "8") as server:
        out, _ = bench(server.port, "-p", "40", "-n", "16", "--concurrency", "1,4", "--requests", "12", "-o", "json")
        rows = json.loads(out)
        assert [row["concurrency"] for row in rows] == [1, 4], rows
        for row in rows:
            assert (row["completed"], row["failed"], row["errors"]) == (12, 0, {}), row
            assert row["generated_tokens"] == 12 * 16, row
            assert 12 * 40 <= row["prompt_tokens"] <= 12 * (40 + 40), row  # the template's own
            assert abs(row["generated_tokens_per_second"] * row["seconds"] - row["generated_tokens"]) < 0.01, row
            assert 0 <= row["cached_tokens"] < row["prompt_tokens"] / 2, row
            check_order(row)
        # Of prompts that the server sizes, and no template adds to, every one is as long as was asked.
        out, _ = bench(server.port, "-p", "40", "-n", "4", "--api", "completions", "--requests", "5", "--seed", "3",
                       "-o", "jsonl")
        row = json.loads(out)
        assert 5 * 38 <= row["prompt_tokens"] <= 5 * 41, row
        assert row["cached_tokens"] < 5 * 4, row
        out, _ = bench(server.port, "-p", "40", "-n", "4", "--api", "completions", "--requests", "5", "--shared-prefix",
                       "30", "-o", "jsonl")
        assert json.loads(out)["cached_tokens"] > 5 * 20, out


def test_formats_have_the_same_row():
    with serving.Serve() as server:
        flags = ("-p", "8", "-n", "2", "--requests", "3", "--seed", "5")
        table = list(csv.DictReader(io.StringIO(bench(server.port, *flags, "-o", "csv")[0])))
        row = json.loads(bench(server.port, *flags, "-o", "jsonl")[0])
        assert list(table[0]) == list(row), (table, row)
        assert (table[0]["seed"], table[0]["completed"], table[0]["rate"]) == ("5", "3", ""), table
        assert table[0]["prompt_tokens"] == str(row["prompt_tokens"]), (table, row)
        lines = bench(server.port, *flags)[0].splitlines()
        assert len({line.count("|") for line in lines[2:]}) == 1 and len(lines) == 5, lines
        assert len({len(line) for line in lines[2:]}) == 1, lines


def test_requests_arrive_at_the_rate():
    with serving.Serve("-np", "8") as server:
        row = json.loads(bench(server.port, "-p", "8", "-n", "4", "--rate", "40", "--requests", "40", "--seed", "1", "-o",
                               "jsonl")[0])
        assert row["completed"] == 40 and 0.4 < row["seconds"] < 15, row
        # One place only: who waits for it counts from its arrival.
        row = json.loads(bench(server.port, "-p", "8", "-n", "400", "--rate", "100000", "--requests", "10",
                               "--concurrency", "1", "-o", "jsonl")[0])
        assert row["e2e_max_ms"] > 0.9 * 1e3 * row["seconds"] and row["e2e_p50_ms"] > 0.3e3 * row["seconds"], row


def test_a_key_is_sent_and_its_lack_counted():
    with serving.Serve("--api-key", "right") as server, tempfile.NamedTemporaryFile("w") as key:
        key.write("right\n")
        key.flush()
        flags = ("-p", "8", "-n", "4", "--requests", "6", "--concurrency", "2", "-o", "jsonl")
        row = json.loads(bench(server.port, *flags, "--api-key-file", key.name)[0])
        assert row["completed"] == 6, row
        out, err = bench(server.port, *flags, "--api-key", "wrong", status=14)
        row = json.loads(out)
        assert (row["completed"], row["failed"], row["ttft_p50_ms"]) == (0, 6, None), row
        assert len(row["errors"]) == 1 and all(text.startswith("HTTP 401") for text in row["errors"]), row
        assert sum(row["errors"].values()) == 6 and "6 of 6 requests failed: HTTP 401" in err, (row, err)
        assert "wrong" not in out + err, (out, err)


def test_a_server_that_is_killed_is_counted():
    with serving.Serve("-np", "4") as server:
        process = start(server.port, "-p", "8", "-n", "1000000", "--requests", "8", "--concurrency", "4", "-o", "jsonl",
                        "-m", "any", "--no-warmup")
        end = time.monotonic() + 30
        while time.monotonic() < end and not all(slot["is_processing"] for slot in server.ask("GET", "/slots")[2]):
            time.sleep(0.02)
        server.process.kill()
        out, err = process.communicate(timeout=60)
        row = json.loads(out)
        assert process.returncode == 14, (process.returncode, out, err)
        assert (row["completed"], row["failed"]) == (0, 8) and sum(row["errors"].values()) == 8, row
        assert row["e2e_p50_ms"] is None and row["itl_p50_ms"] is None, row
        assert server.process.wait() != 0


def test_nobody_there_is_said_at_once():
    out, err = bench(serving.free_port(), status=14)
    assert not out and "cannot be asked" in err, (out, err)


def test_flags_of_the_local_bench_are_refused():
    for flags in (("--device", "cpu"), ("-npl", "2"), ("-o", "sql"), ("-d", "5")):
        _, err = bench(1, *flags, status=2)
        assert "has no meaning with --server" in err, err
    _, err = bench(1, "-n", "0", status=2)
    assert "-n" in err, err


class Other(http.server.BaseHTTPRequestHandler):
    """A server of another kind: no /tokenize, no ignore_eos, no usage, a piece every 20 ms, an error in every third."""
    asked = []

    def log_message(self, *_):
        pass

    def do_GET(self):
        self.answer(200, {"data": [{"id": "other"}]})

    def answer(self, status, body):
        data = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path != "/v1/chat/completions":
            return self.answer(404, {"error": {"message": "no such route"}})
        if "ignore_eos" in body:
            return self.answer(400, {"error": {"message": "unknown: ignore_eos"}})
        self.asked.append(body)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        events = [{"role": "assistant", "content": ""}] + [{"content": "word "}] * body["max_tokens"]
        for delta in events:
            self.wfile.write(b"data: " + json.dumps({"choices": [{"delta": delta}]}).encode() + b"\n\n")
            self.wfile.flush()
            time.sleep(0.02)
        if len(self.asked) % 3 == 0:
            self.wfile.write(b'data: {"error": {"message": "too hot"}}\n\n')
        else:
            self.wfile.write(b"data: [DONE]\n\n")


def test_another_server_is_measured_too():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Other)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    out, err = bench(server.server_port, "-p", "12", "-n", "5", "--requests", "5", "--shared-prefix", "6", "-o", "jsonl",
                     status=14)
    server.shutdown()
    row = json.loads(out)
    assert "does not answer /tokenize" in err and "does not take ignore_eos" in err, err
    assert (row["model"], row["completed"], row["failed"]) == ("other", 3, 2), row
    assert row["errors"] == {"too hot": 2} and row["generated_tokens"] == 15, row
    # The empty first piece is no token: the first one comes 20 ms after the request, and so do the others.
    for name in ("ttft", "itl", "tpot"):
        assert 19 < row[f"{name}_p50_ms"] < 200, row
    assert row["e2e_p50_ms"] > 99, row
    prompts = [body["messages"][0]["content"].split() for body in Other.asked[1:]]
    assert all(len(prompt) == 12 and prompt[:6] == prompts[0][:6] for prompt in prompts), prompts
    assert len({prompt[6] + prompt[7] for prompt in prompts}) > 1, prompts


def test_a_prompt_is_not_sent_on_to_where_a_server_points():
    with serving.Serve() as server:
        class Pointing(Other):
            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(307)
                self.send_header("Location", f"http://127.0.0.1:{server.port}{self.path}")
                self.send_header("Content-Length", "0")
                self.end_headers()

        pointing = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pointing)
        threading.Thread(target=pointing.serve_forever, daemon=True).start()
        out, err = bench(pointing.server_port, "-p", "8", "-n", "2", "--requests", "2", "-o", "jsonl", status=14)
        pointing.shutdown()
        row = json.loads(out)
        assert row["failed"] == 2 and "what was posted is not sent on" in err, (row, err)


if __name__ == "__main__":
    tap.main(globals())
