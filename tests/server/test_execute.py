#!/usr/bin/env python3
"""Jobs of a worker over loopback: events, validation, cancelling. Prints TAP."""
import json
import os
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

SERVER = None
ALICE, BOB = {"Authorization": "Bearer alice"}, {"Authorization": "Bearer bob"}


def body(**more):
    return {"job_id": "story", "prompt": "Once upon a time", "max_tokens": 20, "temperature": 0.7, "seed": 42, **more}


def run(data, headers=None):
    return [json.loads(text) for _, text in SERVER.events("/execute", data, headers=headers or ALICE)]


def test_a_story():
    events = run(body())
    assert events[0]["type"] == "started" and events[0]["job_id"] == "story" and events[0]["started_at"].endswith("Z"), events
    assert {event["type"] for event in events[1:-1]} == {"token"}, events
    end = events[-1]
    assert end["type"] == "end" and end["stop_reason"] in ("MAX_TOKENS", "EOS") and end["tokens_out"] <= 20, end
    assert end["decode_time_ms"] > 0
    assert [event["i"] for event in events[1:-1]] == sorted(event["i"] for event in events[1:-1])
    assert run(body())[1:-1] == events[1:-1], "the same seed gives another story"
    assert run(body(seed=2 ** 64 - 1))[-1]["type"] == "end"


def test_prompts_and_lengths_of_one_and_more():
    for prompt in ("a", "Once upon a time"):
        for most in (1, 50):
            end = run(body(prompt=prompt, max_tokens=most))[-1]
            assert end["type"] == "end" and 1 <= end["tokens_out"] <= most, end


def test_a_stop_sequence():
    text = "".join(event["t"] for event in run(body(temperature=0)) if event["type"] == "token")
    stop = next(letter for letter in text[2:] if letter.isascii() and letter.isprintable())
    events = run(body(temperature=0, stop=[stop]))
    assert events[-1]["stop_reason"] == "STOP_SEQUENCE", events[-1]
    assert "".join(event["t"] for event in events if event["type"] == "token") == text[:text.index(stop)]


def test_all_that_is_wrong_is_said():
    status, _, answer = SERVER.ask("POST", "/execute", {"prompt": "", "max_tokens": 9999, "stop": "x"}, headers=ALICE)
    assert status == 400 and {error["field"] for error in answer["errors"]} == {"job_id", "prompt", "max_tokens", "stop"}, answer
    assert all(error["constraint"] and error["message"] for error in answer["errors"])


def long_job(name, headers, into):
    into.append(run(body(job_id=name, max_tokens=2048, temperature=0), headers))
    into.append(time.monotonic())


def cancel(name, headers):
    status, _, answer = SERVER.ask("POST", "/cancel", {"job_id": name}, headers=headers)
    assert status == 202, (status, answer)
    return time.monotonic()


def wait_for_a_token(name, headers, seed):
    """Begins a job and returns its connection and response after the first token."""
    connection, response = SERVER.begin("POST", "/execute", body(job_id=name, max_tokens=2048, temperature=1, seed=seed), headers)
    assert response.status == 200, response.read()
    while b'"token"' not in response.readline():
        pass
    return connection, response


def cancel_a_story(seed):
    """What its last event says, and how long that took to come."""
    connection, response = wait_for_a_token("long", ALICE, seed)
    cancel("long", BOB)
    cancel("nobody's", ALICE)
    time.sleep(0.01)
    told = []
    reader = threading.Thread(target=lambda: told.extend([response.read().decode(), time.monotonic()]))
    reader.start()
    begun = cancel("long", ALICE)
    cancel("long", ALICE)
    reader.join(20)
    last = json.loads(told[0].strip().splitlines()[-1][6:])
    connection.close()
    assert last["type"] == "end", last
    return last["stop_reason"], told[1] - begun


def test_a_job_is_cancelled_at_once():
    for seed in range(20):  # a story may be over before
        reason, seconds = cancel_a_story(seed)
        if reason == "CANCELLED":
            break
    assert reason == "CANCELLED", reason
    assert seconds < 0.5, seconds
    assert SERVER.ask("POST", "/cancel", {}, headers=ALICE)[0] == 400


if __name__ == "__main__":
    with serving.Serve("--api-key", "alice,bob") as SERVER:
        tap.main(globals())
