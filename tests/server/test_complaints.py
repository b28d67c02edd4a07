#!/usr/bin/env python3
"""What users of other servers complain of, as far as no other test here has it: templates that refuse, a lost space at the first token, tokens counted twice, keep_alive without effect. Prints TAP."""
import contextlib
import http.client
import json
import os
import socket
import sys
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

HELLO = [{"role": "user", "content": "hello there"}]
REFUSES = """{% set n = namespace(last='') %}{% for m in messages %}{% if m.role == n.last %}
{{ raise_exception('roles must alternate, dear client') }}{% endif %}{% set n.last = m.role %}<{{ m.role }}>{{ m.content }}{% endfor %}"""


def test_a_template_that_refuses_is_the_clients_mistake():
    """400 with the template's words, in every dialect; a second system message becomes part of the first."""
    with serving.Serve("--chat-template", REFUSES) as server:
        wrong = [*HELLO, *HELLO]
        for path, body in (("/v1/chat/completions", {"messages": wrong}), ("/api/chat", {"model": "qwen2_tiny", "messages": wrong}),
                           ("/apply-template", {"messages": wrong}),
                           ("/v1/chat/completions", {"messages": wrong, "stream": True})):
            status, _, answer = server.ask("POST", path, {**body, "max_tokens": 2})
            assert status == 400 and "roles must alternate, dear client" in str(answer["error"]), (path, status, answer)
        two = [{"role": "system", "content": "be terse"}, {"role": "system", "content": "be kind"}, *HELLO]
        prompt = server.post("/apply-template", {"messages": two})["prompt"]
        assert prompt.count("<system>") == 1 and "be terse" in prompt and "be kind" in prompt, prompt
        assert server.post("/v1/chat/completions", {"messages": two, "max_tokens": 2})["choices"]


def test_the_first_token_keeps_its_space():
    """Where a vocabulary has spaces in front of its words, and where it has them as bytes."""
    for model in ("tests/data/llama_tiny.gguf", "tests/data/qwen2_tiny.gguf"):
        with serving.Serve("-m", model) as server:
            spaced = seen = 0
            for seed in range(24):
                body = {"prompt": "the sky is", "n_predict": 3, "seed": seed, "temperature": 3, "n_probs": 1, "top_k": 0}
                answer = server.post("/completion", body)
                pieces = bytes(byte for entry in answer["completion_probabilities"] for byte in entry["bytes"])
                assert pieces.decode(errors="replace").strip("\ufffd").startswith(answer["content"].strip("\ufffd")[:2]), answer
                chunks = [json.loads(data) for _, data in server.events("/completion", {**body, "stream": True})]
                assert "".join(chunk["content"] for chunk in chunks) == answer["content"], (answer, chunks)
                spaced += answer["content"].startswith(" ") and pieces.startswith(b" ")
                seen += pieces.startswith(b" ")
            assert spaced == seen, (spaced, seen)


def test_cached_tokens_are_counted_once():
    with serving.Serve() as server:
        prompt = [{"role": "user", "content": "a story of a dog and a cat and of what they did in the park"}]
        sums = set()
        for turn in range(3):
            usage = server.post("/v1/messages", {"model": "m", "messages": prompt, "max_tokens": 2})["usage"]
            cached = usage["cache_read_input_tokens"]
            assert (cached > 0) == (turn > 0) and usage["cache_creation_input_tokens"] == 0, (turn, usage)
            sums.add(usage["input_tokens"] + cached)
            usage = server.post("/v1/chat/completions", {"messages": prompt, "max_tokens": 2})["usage"]
            assert 0 < usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"], usage
            sums.add(usage["prompt_tokens"])
        count = server.post("/v1/messages/count_tokens", {"model": "m", "messages": prompt})["input_tokens"]
        assert sums == {count}, (sums, count)


def loaded(server):
    return [model["model"] for model in server.ask("GET", "/api/ps")[2]["models"]]


def test_keep_alive_is_kept():
    folder = os.path.join(os.path.dirname(serving.TINY), "nothing-here")
    with serving.Serve("--alias", "tiny", environment={"HOME": folder}) as server:  # one that was named stays for ever
        for keep in ("5m", -1, 300):
            body = {"model": "tiny", "prompt": "a", "options": {"num_predict": 1}, "keep_alive": keep, "stream": False}
            assert server.post("/api/generate", body)["done"]
            assert loaded(server) == ["tiny:latest"], (keep, loaded(server))
        assert server.ask("POST", "/api/generate", {**body, "keep_alive": "soon"})[0] == 400


ENDLESS = {"prompt": "a", "max_tokens": 1000000, "ignore_eos": True, "temperature": 0, "stream": True}
WAITERS = {"/v1/chat/completions": {"messages": HELLO, "max_tokens": 2, "stream": True}, "/v1/completions": {"prompt": "a", "max_tokens": 2, "stream": True},
           "/completion": {"prompt": "a", "n_predict": 2, "stream": True}, "/v1/messages": {"messages": HELLO, "max_tokens": 2, "stream": True},
           "/v1/responses": {"input": "a", "max_output_tokens": 2, "stream": True}, "/execute": {"job_id": "j", "prompt": "a", "max_tokens": 2}}


@contextlib.contextmanager
def occupied(server):
    """The server's one sequence answers somebody who reads it all, without an end, as long as the block lasts."""
    connection, stream = server.begin("POST", "/v1/completions", ENDLESS)

    def read():  # who does not read loses the stream, and soon on a fast machine
        with contextlib.suppress(http.client.IncompleteRead, ConnectionResetError):
            while stream.read(65536):
                pass

    stream.readline()
    wire, reader = connection.sock, threading.Thread(target=read)
    reader.start()
    try:
        yield reader
    finally:
        wire.shutdown(socket.SHUT_RDWR)
        reader.join()
        connection.close()


def test_a_stream_that_waits_is_not_silent():
    """Proxies give up what says nothing: events that wait for their turn are comment lines, and whole when it comes. Lines of JSON
    have no comments: Ollama's clients wait for theirs as they always did."""
    with serving.Serve("--parallel", "1", "--sse-ping-interval", "1", "--context-shift") as server:
        waiting = {}
        with occupied(server) as running:
            for path, body in WAITERS.items():
                waiting[path] = server.connect()
                waiting[path].request("POST", path, json.dumps(body))
            lines = server.connect()
            lines.request("POST", "/api/chat", json.dumps({"model": "m", "messages": HELLO, "options": {"num_predict": 2}}))
            begun = time.monotonic()
            streams = {path: connection.getresponse() for path, connection in waiting.items()}
            for path, stream in streams.items():
                assert stream.status == 200 and stream.getheader("Content-Type") == "text/event-stream", (path, stream.status, stream.headers)
                assert stream.getheader("X-Accel-Buffering") == "no" and stream.getheader("Cache-Control") == "no-cache", stream.headers
                said = [stream.readline() for _ in range(4)]
                assert said == [b": still here\n", b"\n"] * 2, (path, said)
            assert time.monotonic() - begun < 6 and running.is_alive()
            assert streams["/v1/messages"].getheader("request-id").startswith("req_"), streams["/v1/messages"].headers
        for path, stream in streams.items():
            rest = stream.read().decode()
            assert "data: " in rest and "event: error" not in rest and '"error":{' not in rest, (path, rest)
            waiting[path].close()
        answers = lines.getresponse().read().splitlines()
        assert json.loads(answers[-1])["done"], answers
        lines.close()


def test_what_fails_after_comments_breaks_its_stream():
    with serving.Serve("--parallel", "1", "--sse-ping-interval", "1", "--context-shift", "-c", "128") as server:
        waiting = {}
        with occupied(server):
            for path, body in WAITERS.items():
                waiting[path] = server.connect()
                waiting[path].request("POST", path, json.dumps({**body, **{key: "a dog " * 400 for key in ("prompt", "input") if key in body}, **(
                    {"messages": [{"role": "user", "content": "a dog " * 400}]} if "messages" in body else {})}))
            streams = {path: connection.getresponse() for path, connection in waiting.items()}
        for path, stream in streams.items():
            try:
                rest = stream.read().decode()
            except http.client.IncompleteRead as broken:
                rest = broken.partial.decode()
            assert stream.status == 200 and rest.startswith(": still here") and "128" in rest, (path, stream.status, rest)
            assert "error" in rest and "[DONE]" not in rest and "message_stop" not in rest, (path, rest)
            waiting[path].close()


def test_large_tools_hold_up_no_answer():
    """Megabytes of parameters, of a tool that may be called and of one that must, beside an answer that runs: its pieces go on coming."""
    schema = {"type": "object", "properties": {f"property_{i}": {"enum": [f"value {k} of {i}" for k in range(32)]} for i in range(6000)}}
    tools = [{"type": "function", "function": {"name": "look", "parameters": schema}}]
    body = {"messages": HELLO, "tools": tools, "max_tokens": 1}
    body["tools"][0]["function"]["parameters"]["required"] = ["property_1"]
    assert len(json.dumps(body)) > 3.6e6
    template = "{% set marks = '<tool_call></tool_call>' %}{% if tools %}{{ tools[0].function.name }}{% endif %}{{ messages[-1].content }}"
    with serving.Serve("--parallel", "2", "--context-shift", "--chat-template", template) as server:
        times, ended = [], threading.Event()

        def read():
            for _ in server.events("/v1/completions", ENDLESS):
                times.append(time.monotonic())
                if ended.is_set():
                    break

        reader = threading.Thread(target=read)
        reader.start()
        while not times:
            time.sleep(0.01)
        for choice, wanted in (("auto", 200), ("required", 400)):  # the shortest call has more than one token
            begun = time.monotonic()
            status, _, answer = server.ask("POST", "/v1/chat/completions", {**body, "tool_choice": choice})
            over = time.monotonic()
            assert status == wanted, (choice, status, answer)
            inside = [at for at in times if begun < at < over]
            longest = max(later - earlier for earlier, later in zip(inside, inside[1:]))
            assert longest < (over - begun) / 4, (choice, longest, over - begun)
        ended.set()
        reader.join()


def test_nothing_is_cut_in_silence():
    """What num_ctx and max_tokens wish for does not change: a prompt that does not fit is refused with the numbers, an answer that
    the context ends says so, in each dialect."""
    with serving.Serve("--parallel", "1", "-c", "128", "--temp", "0") as server:
        long = [{"role": "user", "content": "a dog " * 400}]
        for path, body in (("/v1/chat/completions", {"messages": long}), ("/v1/completions", {"prompt": "a dog " * 400}),
                           ("/completion", {"prompt": "a dog " * 400}), ("/v1/messages", {"messages": long, "max_tokens": 2}),
                           ("/v1/responses", {"input": "a dog " * 400}), ("/api/chat", {"model": "m", "messages": long, "options": {"num_ctx": 4096}}),
                           ("/execute", {"job_id": "j", "prompt": "a dog " * 400, "max_tokens": 2})):
            for stream in (False, True):
                status, headers, answer = server.ask("POST", path, {**body, "stream": stream, "num_ctx": 4096})
                assert status == 400 and "128" in json.dumps(answer), (path, status, answer)
                assert "num_ctx" in headers["X-Clinfer-Ignored"], (path, headers["X-Clinfer-Ignored"])
        ends = {"ignore_eos": True}
        chat = server.post("/v1/chat/completions", {"messages": HELLO, **ends})
        assert chat["choices"][0]["finish_reason"] == "length" and chat["usage"]["total_tokens"] >= 127, chat
        whole = server.post("/completion", {"prompt": "a", **ends})
        assert whole["stop_type"] == "limit" and whole["truncated"], {key: whole[key] for key in ("stop_type", "truncated")}
        lines = server.post("/api/generate", {"model": "m", "prompt": "a", "stream": False, "options": {"num_predict": -1}})
        assert lines["done_reason"] in ("length", "stop"), lines


if __name__ == "__main__":
    tap.main(globals())
