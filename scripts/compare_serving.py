#!/usr/bin/env python3
"""`clinfer serve` beside llama-server under load, on this machine, in one run: a markdown table.

usage: compare_serving.py MODEL.gguf [--peer DIR] [--pairs 5] [--clients 1,4,16,64] [--requests 2] [-p 128] [-n 64]
                          [--threads 2] [--device cpu] [--rows FILE.jsonl]

--peer     a folder with bin/llama-server (scripts/peer.sh DIR llama-server builds one); default build/peer
--requests so many for each client
--rows     where every measurement is written as it is there; what is in it already counts too

A pair is one server after the other, each alone, started anew and warmed up, with `clinfer bench --server` as the only
client of both; the one that is first changes from pair to pair, so that a machine that grows slower does so for both.
The table has medians over pairs; ratios are taken within a pair. Beside them what one stream reaches without a server
(`clinfer bench`, in each pair) and what the requirements say of it."""
import argparse
import json
import os
import statistics
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../tests/support"))
import serving  # noqa: E402

TOOL = os.environ.get("CLINFER", "./clinfer")
OURS, PEER = "clinfer", "llama-server"


def run(command):
    done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"compare_serving: {' '.join(command)} ended with status {done.returncode}:\n{done.stderr[-2000:]}")
    return [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]


def command_of(asked, who, port):
    most = max(asked.clients)
    room = ["-np", str(most), "-c", str(most * (asked.prompt + asked.generated + 128)), "-t", str(asked.threads)]
    common = ["-m", asked.model, "--port", str(port), *room]
    if who == PEER:
        return [os.path.join(asked.peer, "bin", "llama-server"), *common]
    return [TOOL, "serve", "--device", asked.device, *common]


def load(asked, port, clients, requests):
    row, = run([TOOL, "bench", "--server", f"http://127.0.0.1:{port}", "-p", str(asked.prompt), "-n",
                str(asked.generated), "--concurrency", str(clients), "--requests", str(requests), "-o", "jsonl"])
    return row


def measure(asked, who, pair):
    port = serving.free_port()
    environment = {**os.environ, "LD_LIBRARY_PATH": os.path.join(asked.peer, "bin")} if who == PEER else None
    with serving.running(command_of(asked, who, port), port, env=environment):
        load(asked, port, min(4, max(asked.clients)), 4)
        for clients in asked.clients:
            row = load(asked, port, clients, clients * asked.requests if clients > 1 else 2 * asked.requests)
            keep(asked, {"who": who, "pair": pair, "clients": clients, "rate": row["generated_tokens_per_second"],
                         "failed": row["failed"], "ttft": row["ttft_p95_ms"], "gap": row["itl_p95_ms"],
                         "token": row["tpot_p50_ms"]})


def alone(asked, pair):
    rows = run([TOOL, "bench", "-m", asked.model, "--device", asked.device, "-t", str(asked.threads), "-p", "0", "-n",
                str(asked.generated), "-d", str(asked.prompt), "-r", "2", "-o", "jsonl"])
    keep(asked, {"who": "alone", "pair": pair, "clients": 1, "rate": rows[0]["avg_ts"]})


def keep(asked, row):
    asked.found.append(row)
    print("compare_serving: " + json.dumps(row), file=sys.stderr, flush=True)
    if asked.rows:
        with open(asked.rows, "a", encoding="utf-8") as file:
            print(json.dumps(row), file=file)


def column(asked, who, clients, field):
    return {r["pair"]: r[field] for r in asked.found
            if r["who"] == who and r["clients"] == clients and r.get(field) is not None}


def median(values):
    values = list(values)
    return statistics.median(values) if values else float("nan")


def ratio(ours, theirs):
    both = [ours[pair] / theirs[pair] for pair in ours if theirs.get(pair)]
    return f"**{median(both):.2f}x** ({min(both):.2f}-{max(both):.2f})" if both else "-"


def table(asked):
    fields = (("rate", "tokens/s", "{:.1f}"), ("ttft", "first token p95, ms", "{:.0f}"),
              ("gap", "between tokens p95, ms", "{:.1f}"))
    print("| clients |" + "".join(f" {name}: clinfer | llama-server | ratio |" for _, name, _ in fields))
    print("|---|" + "---|---|---|" * len(fields))
    for clients in asked.clients:
        cells = []
        for field, _, form in fields:
            ours, theirs = (column(asked, who, clients, field) for who in (OURS, PEER))
            cells += [form.format(median(ours.values())), form.format(median(theirs.values())), ratio(ours, theirs)]
        print(f"| {clients} | " + " | ".join(cells) + " |")
    one, bare = column(asked, OURS, 1, "token"), column(asked, "alone", 1, "rate")
    if one and bare:
        share = median(1e3 / one[pair] / bare[pair] for pair in one if pair in bare)
        print(f"\nOne stream through the server: {share:.0%} of `clinfer bench` (95% asked).")
    single, many = column(asked, OURS, 1, "rate"), column(asked, OURS, 16, "rate")
    if single and many:
        print(f"16 streams: {median(many[p] / single[p] for p in many if p in single):.2f}x one (3x asked).")
    failed = sum(row.get("failed", 0) for row in asked.found)
    if failed:
        print(f"{failed} requests failed.")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--peer", default="build/peer")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--clients", default="1,4,16,64")
    parser.add_argument("--requests", type=int, default=2)
    parser.add_argument("-p", dest="prompt", type=int, default=128)
    parser.add_argument("-n", dest="generated", type=int, default=64)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--rows")
    asked = parser.parse_args()
    asked.clients = [int(count) for count in asked.clients.split(",")]
    asked.found = []
    if asked.rows and os.path.exists(asked.rows):
        with open(asked.rows, encoding="utf-8") as file:
            asked.found = [json.loads(line) for line in file]
    first = 1 + max((row["pair"] for row in asked.found), default=0)
    for pair in range(first, first + asked.pairs):
        alone(asked, pair)
        for who in (OURS, PEER) if pair % 2 else (PEER, OURS):
            measure(asked, who, pair)
    table(asked)


main()
