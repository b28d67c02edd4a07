#!/usr/bin/env python3
"""Ollama's API over loopback: answers as streams and whole, models, failures. Prints TAP."""
import json
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

TOOL = {"type": "function", "function": {"name": "get_weather", "description": "the weather", "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}}
# Opens what the model thinks itself, so that all of an answer of random weights is that.
THINKS = ("{% for message in messages %}<|im_start|>{{ message['role'] }}: {{ message['content'] }}<|im_end|>{% endfor %}"
          "<|im_start|>assistant:{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}")
SERVER = None
ROOM = ("--rope-scaling", "linear", "--rope-scale", "4", "-c", "2048")  # for prompts with tools, a token a byte
MODEL = None  # its name


def lines(path, data, headers=None):
    """The objects of a stream; data as it is, without a Content-Type."""
    connection, response = SERVER.begin("POST", path, json.dumps(data).encode(), headers={"Content-Type": "", **(headers or {})})
    assert response.status == 200, (response.status, response.read())
    assert response.getheader("Content-Type").startswith("application/x-ndjson"), response.headers
    objects = [json.loads(line) for line in response.read().splitlines()]
    connection.close()
    return objects


def options(**more):
    return {"temperature": 0, "num_predict": 16, "num_ctx": 2048, "use_mmap": True, **more}


def check_end(last):
    assert last["done"] is True and last["done_reason"] in ("stop", "length"), last
    for name in ("total_duration", "load_duration", "prompt_eval_count", "prompt_eval_duration", "eval_count", "eval_duration"):
        assert isinstance(last[name], int) and last[name] > 0, (name, last)


def test_a_chat():
    request = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "tools": [], "options": options()}
    chunks = lines("/api/chat", request)
    for chunk in chunks:
        assert chunk["model"] == MODEL and chunk["created_at"].endswith("Z") and chunk["message"]["role"] == "assistant", chunk
        assert isinstance(chunk["message"]["content"], str)
    assert [chunk["done"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    check_end(chunks[-1])
    whole = SERVER.post("/api/chat", {**request, "stream": False})
    check_end(whole)
    assert whole["message"]["content"] == "".join(chunk["message"]["content"] for chunk in chunks)


def test_a_prompt():
    request = {"model": MODEL + ":latest", "prompt": "why", "options": options()}
    chunks = lines("/api/generate", request)
    check_end(chunks[-1])
    whole = SERVER.post("/api/generate", {**request, "stream": False})
    assert whole["response"] == "".join(chunk["response"] for chunk in chunks) and whole["model"] == MODEL + ":latest"
    assert len(whole["context"]) == whole["prompt_eval_count"] + whole["eval_count"], whole
    further = SERVER.post("/api/generate", {**request, "stream": False, "context": whole["context"]})
    assert further["prompt_eval_count"] == len(whole["context"]) + whole["prompt_eval_count"], further
    assert SERVER.post("/api/generate", {**request, "stream": False, "raw": True})["done"] is True


def test_nothing_asked_loads():
    for path, content in (("/api/generate", {}), ("/api/chat", {"messages": []})):
        answer = SERVER.post(path, {"model": MODEL, **content})
        assert answer["done"] is True and answer["done_reason"] == "load", answer


def test_a_tool_is_called_whole():
    # The model's weights are random: an answer by the schema of a call stands for what another model would say.
    schema = {"type": "object", "properties": {"name": {"const": "get_weather"}, "arguments": TOOL["function"]["parameters"]},
              "required": ["name", "arguments"], "additionalProperties": False}
    request = {"model": MODEL, "messages": [{"role": "user", "content": "weather?"}, {"role": "assistant", "content": "", "tool_calls": [
        {"function": {"name": "get_weather", "arguments": {"city": "Rome"}}}]}, {"role": "tool", "content": "rain", "tool_name": "get_weather"}],
        "tools": [TOOL], "format": schema, "options": options(num_predict=200), "stream": False}
    answer = SERVER.post("/api/chat", request)
    calls = answer["message"].get("tool_calls")
    if calls:
        assert calls[0]["function"]["name"] == "get_weather" and isinstance(calls[0]["function"]["arguments"], dict), calls
    else:
        assert json.loads(answer["message"]["content"])["name"] == "get_weather", answer


def test_what_is_thought_stands_apart():
    with serving.Serve("--chat-template", THINKS) as server:
        request = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "options": options(), "stream": False}
        message = server.post("/api/chat", {**request, "think": True})["message"]
        assert message["thinking"] and "<think>" not in message["content"], message
        message = server.post("/api/chat", {**request, "think": False})["message"]
        assert "thinking" not in message and message["content"], message
        assert server.post("/api/generate", {"model": MODEL, "prompt": "hi", "think": True, "options": options(), "stream": False})["thinking"]


def test_an_answer_by_a_schema():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["n"],
              "additionalProperties": False}
    answer = SERVER.post("/api/chat", {"model": MODEL, "messages": [{"role": "user", "content": "a number"}], "format": schema,
                                       "options": options(num_predict=100), "stream": False})
    assert 1 <= json.loads(answer["message"]["content"])["n"] <= 9, answer


def test_logprobs():
    answer = SERVER.post("/api/generate", {"model": MODEL, "prompt": "why", "options": options(), "stream": False, "logprobs": True,
                                           "top_logprobs": 2})
    assert answer["logprobs"] and all(entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 2 for entry in answer["logprobs"]), answer


def test_vectors():
    one = SERVER.post("/api/embed", {"model": MODEL, "input": "why"})
    two = SERVER.post("/api/embed", {"model": MODEL, "input": ["why", "word " * 3000], "dimensions": 8, "keep_alive": "5m"})
    assert len(one["embeddings"]) == 1 and len(two["embeddings"]) == 2 and {len(row) for row in two["embeddings"]} == {8}
    for row in one["embeddings"] + two["embeddings"]:
        assert abs(sum(number * number for number in row) - 1) < 1e-4, row
    assert one["prompt_eval_count"] > 0 and one["total_duration"] > 0 and one["load_duration"] > 0 and one["model"] == MODEL
    assert len(SERVER.post("/api/embeddings", {"model": MODEL, "prompt": "why"})["embedding"]) == len(one["embeddings"][0])
    for data in ({"input": 7}, {"input": [7]}, {"input": "x", "dimensions": 0}, {"input": "x", "truncate": False, "keep_alive": "soon"},
                 {"input": "word " * 3000, "truncate": False}):
        status, _, answer = SERVER.ask("POST", "/api/embed", {"model": MODEL, **data})
        assert status == 400 and "error" in answer, (status, answer)


def test_a_gap_needs_a_model_that_fills_it():
    status, _, answer = SERVER.ask("POST", "/api/generate", {"model": MODEL, "prompt": "a", "suffix": "b", "stream": False})
    assert status == 400 and "error" in answer, (status, answer)


def test_models_are_shown():
    assert "." in SERVER.ask("GET", "/api/version")[2]["version"]
    model = next(model for model in SERVER.ask("GET", "/api/tags")[2]["models"] if model["name"].split(":")[0] == MODEL)
    assert model["size"] > 0 and model["modified_at"] and model["details"]["format"] == "gguf", model
    assert re.fullmatch("[0-9a-f]{64}", model["digest"]), model  # `ollama list` takes its first twelve digits as they are
    running, = SERVER.ask("GET", "/api/ps")[2]["models"]
    assert running["expires_at"] and running["context_length"] > 0 and "size_vram" in running, running
    assert running["digest"] == model["digest"], running
    for name in ("model", "name"):
        show = SERVER.post("/api/show", {name: MODEL})
        assert show["model_info"]["general.architecture"] == "qwen2" and show["model_info"]["qwen2.context_length"] > 0
        assert show["model_info"]["tokenizer.ggml.tokens"] is None and "completion" in show["capabilities"], show
        assert show["details"]["family"] == "qwen2" and "im_start" in show["template"]
        for line in show["parameters"].splitlines():
            assert len(line.split()) == 2, line


def test_what_changes_models_needs_to_be_allowed():
    for method, path in (("POST", "/api/pull"), ("POST", "/api/copy"), ("DELETE", "/api/delete")):
        status, _, answer = SERVER.ask(method, path, {"model": "x", "source": "x", "destination": "y"})
        assert status == 403 and "error" in answer, (path, status, answer)
    for path in ("/api/create", "/api/push", "/api/blobs/sha256:00"):  # no leave would help
        assert SERVER.ask("POST", path, {"model": "x"})[0] == 501, path


def test_copies_and_deletes_keep_to_the_limits():
    with serving.Serve("--allow-model-changes", environment={"XDG_DATA_HOME": SERVER.home + "/data"}) as server:
        os.makedirs(SERVER.home + "/data/clinfer/models", exist_ok=True)
        status, _, answer = server.ask("DELETE", "/api/delete", {"model": MODEL})
        assert status == 403 and os.path.exists(serving.TINY), (status, answer)
        assert server.ask("POST", "/api/copy", {"source": MODEL, "destination": "other"})[0] == 200
        assert os.path.samefile(SERVER.home + "/data/clinfer/models/other.gguf", serving.TINY)
        assert server.ask("POST", "/api/copy", {"source": MODEL, "destination": "../other"})[0] == 400
        assert server.ask("POST", "/api/copy", {"source": "missing", "destination": "another"})[0] == 404


def test_failures_have_their_shape():
    cases = [(b"{", 400), ({"messages": []}, 400), ({"model": MODEL, "messages": 5}, 400),
             ({"model": MODEL, "messages": [{"role": "user", "content": "x"}], "options": {"temperature": "hot"}}, 400),
             ({"model": MODEL, "messages": [{"role": "user", "content": "word " * 9000}]}, 400)]
    for data, wanted in cases:
        status, _, answer = SERVER.ask("POST", "/api/chat", data)
        assert status == wanted and list(answer) == ["error"] and isinstance(answer["error"], str), (data if len(str(data)) < 200 else "", status, answer)


if __name__ == "__main__":
    with serving.Serve(*ROOM) as SERVER:
        MODEL = os.path.basename(serving.TINY)
        tap.main(globals())
