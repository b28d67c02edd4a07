#!/usr/bin/env python3
"""A clinfer that names other clinfers as remotes: where it has no model itself, the first one answers, and the second one when
the first is killed; a stream that had begun breaks off visibly. Prints TAP."""
import http.client
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

CHAT = {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 8, "temperature": 0}


class Front(serving.Serve):
    """One without a model, whose remotes are others."""

    def __init__(self, *others):
        super().__init__("-m", "/nowhere/model.gguf", environment={"CLINFER_NO_REMOTE": ""})
        remotes = [{"name": name, "url": f"http://127.0.0.1:{other.port}/v1", "model": "tiny", "allow": True}
                   for name, other in zip(("one", "two"), others)]
        os.makedirs(os.path.join(self.home, "clinfer"))
        with open(os.path.join(self.home, "clinfer", "config.json"), "w", encoding="utf-8") as file:
            json.dump({"remotes": remotes}, file)


def kill(server):
    server.process.kill()
    server.process.wait()


def chat(front):
    """(route, text)"""
    status, headers, answer = front.ask("POST", "/v1/chat/completions", CHAT)
    assert status == 200, (status, answer, front.said())
    return headers["X-Clinfer-Route"], answer["choices"][0]["message"]["content"]


def test_the_second_answers_when_the_first_is_killed():
    with serving.Serve() as one, serving.Serve() as two, Front(one, two) as front:
        expected = two.post("/v1/chat/completions", CHAT)["choices"][0]["message"]["content"]
        status, _, ready = front.ask("GET", "/ready")
        assert status == 200 and ready["status"] == "degraded", ready
        assert chat(front) == ("one", expected), (chat(front), expected)
        kill(one)
        for _ in range(2):
            assert chat(front) == ("two", expected), (chat(front), expected)
        events = list(front.stream("/v1/chat/completions", CHAT))
        assert "".join(event["choices"][0]["delta"].get("content") or "" for event in events if event["choices"]), events
        kill(two)
        status, _, answer = front.ask("POST", "/v1/chat/completions", CHAT)
        assert status >= 500, (status, answer)
        assert front.ask("GET", "/health")[0] == 200


def test_a_stream_that_had_begun_breaks_off_visibly():
    with serving.Serve("--context-shift") as one, serving.Serve() as two, Front(one, two) as front:
        body = {**CHAT, "max_tokens": 1000000, "ignore_eos": True, "stream": True}
        connection, response = front.begin("POST", "/v1/chat/completions", body)
        assert response.status == 200, response.read()
        seen = response.readline() + response.readline()
        kill(one)
        try:
            seen += response.read()
        except http.client.IncompleteRead as error:
            seen += error.partial
        connection.close()
        assert b"[DONE]" not in seen and b'"finish_reason":"stop"' not in seen, seen[-500:]
        assert b'"error"' in seen, seen[-500:]
        assert chat(front)[0] == "two"


if __name__ == "__main__":
    tap.main(globals())
