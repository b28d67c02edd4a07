#!/usr/bin/env python3
"""clinfer bench as a user meets it: lists and what is wrong in them, labels, the five formats, what the numbers hold
together, several sequences, starts, failures, Ctrl-C; mostly with a tiny model. Prints TAP."""
import csv
import io
import json
import math
import os
import re
import signal
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
TINY = "tests/data/llama_tiny.gguf"  # made for 512 tokens
SMALL = os.environ.get("CLINFER_TEST_MODEL")

# Those of llama-bench that clinfer has, in its order, then clinfer's own.
FIELDS = """build_commit build_number cpu_info gpu_info backends model_filename model_type model_size model_n_params
n_batch n_ubatch n_threads type_k type_v n_gpu_layers flash_attn devices n_prompt n_gen n_depth test_time avg_ns stddev_ns
avg_ts stddev_ts test n_sequences share_of_limit limit limit_ts read_bytes_per_second operations_per_second ttft_ns load_ns
peak_bytes""".split()

INVALID, NOT_FOUND, CONTEXT_FULL, CANCELLED = 2, 3, 10, 12  # exit statuses, see clinfer.h


def bench(*words, status=0, model=TINY, device="cpu", **environment):
    command = [TOOL, "bench", *(["-m", model] if model else []), *(["--device", device] if device else []), *words]
    done = subprocess.run(command, env=dict(os.environ, **environment), capture_output=True, text=True, timeout=300)
    assert done.returncode == status, (words, done.returncode, done.stderr)
    return done


def rows(*words, **options):
    return [json.loads(line) for line in bench(*words, "-o", "jsonl", **options).stdout.splitlines()]


def labels(*words, **options):
    return [row["test"] for row in rows("-r", "1", *words, **options)]


def test_lists_ranges_and_labels():
    assert labels("-p", "1-3,8-32*2", "-n", "4", "-n", "6") == ["pp1", "pp2", "pp3", "pp8", "pp16", "pp32", "tg4",
                                                                "tg6"]
    assert labels("-p", "0", "-n", "2-10+4") == ["tg2", "tg6", "tg10"]
    assert labels("-p", "4", "-n", "2", "-pg", "8,3", "-pg", "5,0", "-d", "0,16") == [
        "pp4", "tg2", "pp8+tg3", "pp5", "pp4 @ d16", "tg2 @ d16", "pp8+tg3 @ d16", "pp5 @ d16"]
    assert labels("-p", "0", "-n", "2", "-npl", "1,3", "-d", "8") == ["tg2 @ d8", "tg2 @ d8 x3"]
    assert labels("-p", "0", "-n", "2", "-npl", "1,2,1", "-d", "4") == ["tg2 @ d4", "tg2 @ d4 x2"]


def test_mistakes_name_flag_and_value():
    for words, wanted in (
            ("-p 5-", "-p 5-: must be a whole number, or a range like"), ("-n x", "-n x: must be a whole number"),
            ("-p -3", "-p -3: must be"), ("-d 8-4", "-d 8-4: the range ends before it begins"),
            ("-p 1-5*1", "-p 1-5*1: the range never ends"), ("-p 0-8*2", "the range never ends"),
            ("-p 1-5+0", "-p 1-5+0: the range never ends"), ("-p 1,,2", "-p 1,,2: a value is empty"),
            ("-p 99999999999999999999", "-p 99999999999999999999: must be"), ("-p 1-2000", "-p: more than 1000 values"),
            ("-b 0", "-b 0: must be 1 to"), ("-t 4-5000*2", "-t 4-5000*2: must be 0 to 1024"),
            ("-npl 65", "-npl 65: must be 1 to 64"), ("-pg 5", "-pg 5: must be two numbers"),
            ("-ctk f16,q4_1", "-ctk q4_1: must be one of f16|f32|q8_0|q4_0"),
                          ("-fa off", "-fa off: attention is always"),
            ("-p 0 -n 0", "nothing is left to measure"), ("-o xml", "-o xml: must be one of md|csv|json|jsonl|sql"),
            ("-r 0", "-r 0: must be 1 to"), ("-m ,a", "-m ,a: a value is empty")):
        done = bench(*words.split(), status=INVALID, model=None, device=None)
        assert wanted in done.stderr and not done.stdout, (words, done.stderr)


def test_all_formats_say_the_same():
    words = ("-p", "3", "-n", "2", "-r", "2")
    both = bench(*words, "-o", "json", "-oe", "csv", "-q")
    listed = json.loads(both.stdout)
    table = list(csv.DictReader(io.StringIO(both.stderr)))
    assert len(listed) == len(table) == 2
    for row, cells in zip(listed, table):
        assert list(row) == FIELDS + ["samples_ns", "samples_ts"], list(row)
        assert list(cells) == FIELDS
        for name in FIELDS:
            same = cells[name] == row[name] if isinstance(row[name],
                                                          str) else math.isclose(float(cells[name]), row[name])
            assert same, (name, cells[name], row[name])
    for row in rows(*words):
        assert list(row) == FIELDS + ["samples_ns", "samples_ts"]
    database = sqlite3.connect(":memory:")
    for _ in range(2):  # a second bench adds to the table
        database.executescript(bench(*words, "-o", "sql").stdout)
    found = database.execute("SELECT * FROM clinfer_bench")
    assert [column[0] for column in found.description] == FIELDS
    assert [row[FIELDS.index("test")] for row in found] == ["pp3", "tg2"] * 2
    [(kinds,)] = database.execute("SELECT DISTINCT typeof(avg_ts) || typeof(n_prompt) || typeof(test) FROM clinfer_bench")
    assert kinds == "realintegertext", kinds


def test_texts_are_quoted():
    """A model whose name holds what CSV and SQL quote with."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "it's \"tiny\".gguf")
        os.symlink(os.path.abspath(TINY), path)
        words = ("-p", "2", "-n", "0", "-r", "1", "-o")
        [row] = csv.DictReader(io.StringIO(bench(*words, "csv", model=path).stdout))
        assert row["model_filename"] == path
        database = sqlite3.connect(":memory:")
        database.executescript(bench(*words, "sql", model=path).stdout)
        assert database.execute("SELECT model_filename FROM clinfer_bench").fetchall() == [(path,)]


def test_table_for_people():
    done = bench("-p", "4", "-n", "2", "-d", "8", "-ub", "64,128", "-r", "2")
    lines = done.stdout.splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("|")]
    assert {len(row) for row in cells} == {len(cells[0])}, done.stdout
    for title in ("model", "backend", "threads", "n_ubatch", "dev", "test", "t/s", "of limit", "first token",
                  "peak memory"):
        assert title in cells[0], (title, cells[0])
    assert "n_batch" not in cells[0] and "type_k" not in cells[0], cells[0]
    at = dict(zip(cells[0], cells[2]))
    assert at["test"] == "pp4 @ d8" and at["n_ubatch"] == "64" and re.fullmatch(r"[\d.]+ ± [\d.]+", at["t/s"]), at
    assert len(cells) == 2 + 4 and re.fullmatch(r"build: \S+ \(\d+\)", lines[-1]), done.stdout
    assert "n_ubatch" not in bench("-p", "4", "-n", "0", "-r", "1").stdout


def check_row(row, repetitions):
    tokens = row["n_sequences"] * (row["n_prompt"] + row["n_gen"])
    ns, rates = row["samples_ns"], row["samples_ts"]
    assert len(ns) == len(rates) == repetitions
    for one, rate in zip(ns, rates):
        assert one > 0 and math.isclose(rate, tokens * 1e9 / one, rel_tol=1e-6)
    assert abs(row["avg_ns"] - statistics.mean(ns)) <= 2 and abs(row["stddev_ns"] - statistics.stdev(ns)) <= 2, row
    assert math.isclose(row["avg_ts"], statistics.mean(rates), rel_tol=1e-6)
    assert math.isclose(row["stddev_ts"], statistics.stdev(rates), rel_tol=1e-3, abs_tol=1e-6 * row["avg_ts"])
    assert 0 < row["ttft_ns"] <= row["avg_ns"] + 1000
    assert row["load_ns"] > 0 and row["peak_bytes"] > 0, row
    assert row["limit"] in ("read", "compute") and row["read_bytes_per_second"] > 1e8, row
    assert row["operations_per_second"] > 1e8 and 0 < row["share_of_limit"] < 2, row
    assert math.isclose(row["share_of_limit"], tokens * 1e9 / row["avg_ns"] / row["limit_ts"], rel_tol=1e-3), row
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", row["test_time"])


def check_model(device):
    measured = rows("-p", "16", "-n", "6", "-d", "0,32", "-r", "3", model=SMALL, device=device)
    assert [row["test"] for row in measured] == ["pp16", "tg6", "pp16 @ d32", "tg6 @ d32"]
    for row in measured:
        check_row(row, 3)
        assert row["backends"] == ("CPU" if device == "cpu" else "OpenCL") and row["devices"] == device
        assert row["model_type"] == "llama 135M Q4_1" and 134e6 < row["model_n_params"] < 135e6
        assert row["peak_bytes"] > row["model_size"] > 90e6
    one, deeper = measured[1], measured[3]
    # What a token reads at best: the weights, and deeper a little more. 92 MiB, and 11 KiB of keys and values a
    # position.
    for row in (one, deeper):
        if row["limit"] == "read":
            needed = row["read_bytes_per_second"] / row["limit_ts"]
            assert 90e6 < needed < 105e6, needed


def test_numbers_hold_together_on_the_cpu():
    if not SMALL or not os.path.exists(SMALL):
        raise tap.Skip("the default model is not there")
    check_model("cpu")


def test_numbers_hold_together_on_opencl():
    if not SMALL or not os.path.exists(SMALL):
        raise tap.Skip("the default model is not there")
    done = subprocess.run([TOOL, "devices", "--json"], capture_output=True, text=True, timeout=120)
    if not json.loads(done.stdout)["devices"]:
        raise tap.Skip("no OpenCL device")
    check_model("0")


def test_several_sequences_share_steps():
    """Their tokens count together, and the steps do: many take hardly longer than one."""
    measured = rows("-p", "0", "-n", "16", "-npl", "1,8", "-d", "32", "-r", "5")
    assert [(row["test"], row["n_sequences"]) for row in measured] == [
        ("tg16 @ d32", 1), ("tg16 @ d32 x8", 8)]
    for row in measured:
        check_row(row, 5)
    assert min(measured[1]["samples_ns"]) < 6 * min(measured[0]["samples_ns"]), measured


def test_an_engine_serves_all_tests_of_its_setup():
    measured = rows("-p", "2,3", "-n", "2", "-t", "1,2", "-ctk", "f16,f32", "-r", "1")
    setups = [(row["type_k"], row["n_threads"]) for row in measured]
    assert setups == [(kind, threads) for kind in ("f16", "f32") for threads in (1, 2) for _ in range(3)]
    assert len({row["load_ns"] for row in measured}) == 4, "each setup is loaded once"
    # The smaller of both counts: the same engine.
    measured = rows("-p", "2", "-n", "0", "-b", "64,128", "-ub", "64", "-r", "1")
    assert [row["n_batch"] for row in measured] == [64, 128] and len({row["load_ns"] for row in measured}) == 1


def test_a_start_is_timed_cold_and_warm():
    with tempfile.TemporaryDirectory() as folder:
        measured = rows("-p", "2", "-n", "0", "-r", "2", "--load", TMPDIR=folder)
        assert not os.listdir(folder), "the caches of the cold start are still there"
    assert [row["test"] for row in measured] == ["start cold", "start warm", "pp2"]
    assert [len(row["samples_ns"]) for row in measured] == [1, 2, 2]
    for row in measured[:2]:
        assert row["avg_ts"] is None and row["samples_ts"] == [None] * len(row["samples_ns"]), row
        assert 0 < row["load_ns"] < row["ttft_ns"] == row["avg_ns"], row
        assert row["peak_bytes"] > 0 and row["share_of_limit"] is None and row["limit"] is None, row


def test_weights_of_a_folder_are_quantised():
    with tempfile.TemporaryDirectory() as cache:
        measured = rows("-p", "2", "-n", "0", "-r", "1", "--load", "--type", "q8_0", model="tests/data/folders/llama",
                        XDG_CACHE_HOME=cache)
    assert [(row["test"], row["model_type"].split()[-1]) for row in measured] == [
        ("start cold", "Q8_0"), ("start warm", "Q8_0"), ("pp2", "Q8_0")], measured


def test_what_fails_does_not_stop_the_rest():
    done = bench("-p", "4,100000", "-n", "2", "-r", "1", "-o", "jsonl", status=CONTEXT_FULL)
    assert [json.loads(line)["test"] for line in done.stdout.splitlines()] == ["pp4", "tg2"]
    assert "pp100000: " in done.stderr and "more than the model's 512" in done.stderr, done.stderr
    done = bench("-m", "/nonexistent.gguf", "-p", "4", "-n", "0", "-r", "1", "-o", "json", status=NOT_FOUND)
    assert [row["test"] for row in json.loads(done.stdout)] == ["pp4"]
    assert "/nonexistent.gguf" in done.stderr
    done = bench("-r", "1", status=NOT_FOUND, model="/nonexistent.gguf")
    assert not done.stdout


def test_ctrl_c_ends_it_with_what_is_known():
    command = [TOOL, "bench", "-m", TINY, "--device", "cpu", "-p", "4", "-n", "400", "-r", "1000", "-o", "json"]
    with tempfile.NamedTemporaryFile() as out, subprocess.Popen(command, stdout=out, stderr=subprocess.PIPE) as child:
        end = time.monotonic() + 60
        while os.path.getsize(out.name) < 100 and time.monotonic() < end:
            time.sleep(0.01)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=60)
        with open(out.name, encoding="utf-8") as file:
            text = file.read()
    assert child.returncode == CANCELLED and b"cancelled" in err, (child.returncode, err)
    assert [row["test"] for row in json.loads(text)] == ["pp4"]


def test_a_profile_is_of_the_timed_runs_alone():
    for device in ("cpu", "0"):
        said = bench("-p", "0", "-n", "6", "-r", "2", "--profile", device=device).stderr
        assert "profile of tg6, 2 runs:" in said, said
        # The first of six tokens comes out of the run that is the prompt; two runs, whose limits lie between.
        assert re.search(r"^decode: 1[02] tokens in 1[02] steps", said, re.M), said
        assert len(re.findall(r"unexplained", said)) == 2 and "calls are not in the profile" not in said, said


def test_progress_goes_to_standard_error():
    done = bench("-p", "2", "-n", "0", "-r", "2", "--progress", "-o", "jsonl")
    assert "benchmark 1/1: pp2: run 2/2" in done.stderr, done.stderr
    assert len(done.stdout.splitlines()) == 1
    assert "warm-up" in done.stderr
    assert "warm-up" not in bench("-p", "2", "-n", "0", "-r", "1", "--progress", "--no-warmup").stderr


if __name__ == "__main__":
    tap.main(globals())
