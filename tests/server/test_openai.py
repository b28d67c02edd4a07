#!/usr/bin/env python3
"""OpenAI's dialect of `clinfer serve`, asked by hand: what answers, streams and errors look like, and the facts that
clients and llama-server's own tests rest on. Prints TAP."""
import codecs
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

CHAT, COMPLETIONS = "/v1/chat/completions", "/v1/completions"
HELLO = [{"role": "user", "content": "hello there"}]
GREEDY = {"messages": HELLO, "max_tokens": 12, "temperature": 0}


codecs.register_error("each", lambda error: ("\ufffd" * (error.end - error.start), error.end))


def text_of(answer):
    return answer["choices"][0]["message"]["content"]


def shown(data):
    """What an answer that was cut says of its tokens' bytes: those that are no UTF-8 one by one, half a character at its end
    not at all."""
    return codecs.getincrementaldecoder("utf-8")("each").decode(data)


def content(chunks):
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


# ---- chat ----


def test_an_answer_has_what_clients_read():
    answer = server.post(CHAT, {**GREEDY, "user": "x", "store": True, "metadata": {"a": 1}, "unknown": [1]})
    assert answer["object"] == "chat.completion" and answer["id"].startswith("chatcmpl-"), answer
    assert answer["system_fingerprint"].startswith("b") and abs(answer["created"] - time.time()) < 60, answer
    choice, usage = answer["choices"][0], answer["usage"]
    assert choice["index"] == 0 and choice["finish_reason"] in ("stop", "length"), choice
    assert choice["message"]["role"] == "assistant" and isinstance(choice["message"]["content"], str), choice
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"], usage
    assert 0 <= usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"], usage
    timings = answer["timings"]
    assert timings["cache_n"] + timings["prompt_n"] == usage["prompt_tokens"], answer
    assert timings["predicted_n"] == usage["completion_tokens"], answer
    assert answer["route"] == "cpu", answer
    assert all(isinstance(value, (int, float)) and value >= 0 for value in timings.values()), timings


def test_a_stream_has_the_order_that_clients_want():
    whole = server.post(CHAT, GREEDY)
    chunks = list(server.stream(CHAT, {**GREEDY, "stream_options": {"include_usage": True}}))
    first, last = chunks[0], chunks[-1]
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": None}, first
    assert last["choices"] == [] and last["usage"]["completion_tokens"] == whole["usage"]["completion_tokens"], last
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert all(chunk["object"] == "chat.completion.chunk" for chunk in chunks)
    end = chunks[-2]["choices"][0]
    assert end["delta"] == {} and end["finish_reason"] == whole["choices"][0]["finish_reason"], end
    for chunk in chunks[1:-2]:
        delta = chunk["choices"][0]["delta"]
        assert delta.get("content") and "role" not in delta and chunk["choices"][0]["finish_reason"] is None, chunk
    assert content(chunks) == text_of(whole)
    assert chunks[-2]["route"] == whole["route"], chunks[-2]


def test_without_include_usage_every_chunk_has_a_choice():
    chunks = list(server.stream(CHAT, GREEDY))
    assert all(len(chunk["choices"]) == 1 and "usage" not in chunk for chunk in chunks), chunks


def test_pieces_are_whole_characters():
    """The tiny model writes bytes at random, so that many of its characters come in halves, and some are none."""
    for seed in range(4):
        asked = {"messages": HELLO, "max_tokens": 48, "seed": seed, "temperature": 1.5}
        chunks = list(server.stream(CHAT, asked))  # each was decoded as UTF-8 on the way
        assert content(chunks) == text_of(server.post(CHAT, asked)), seed


def test_an_answer_that_is_cut_ends_with_a_whole_character():
    cut = 0
    for seed in range(40):
        asked = {"messages": HELLO, "max_tokens": 1 + seed % 3, "seed": seed, "temperature": 3, "top_k": 0, "logprobs": True}
        answer = server.post(CHAT, asked)
        data = bytes(byte for entry in answer["choices"][0]["logprobs"]["content"] for byte in entry["bytes"])
        if answer["choices"][0]["finish_reason"] != "length":
            continue
        assert text_of(answer) == shown(data) == content(list(server.stream(CHAT, asked))), (seed, answer)
        cut += shown(data) != data.decode(errors="each")
    assert cut, "none of them ended in the middle of a character"


def test_several_choices_share_the_prompt():
    one, two = server.post(CHAT, GREEDY), server.post(CHAT, {**GREEDY, "n": 2, "temperature": 1})
    assert [choice["index"] for choice in two["choices"]] == [0, 1], two
    assert two["usage"]["prompt_tokens"] == one["usage"]["prompt_tokens"], (one, two)
    parts = {0: "", 1: ""}
    ends = set()
    for chunk in server.stream(CHAT, {**GREEDY, "n": 2, "temperature": 1, "seed": 7}):
        choice = chunk["choices"][0]
        parts[choice["index"]] += choice["delta"].get("content") or ""
        ends |= {choice["index"]} if choice["finish_reason"] else set()
    assert ends == {0, 1}, ends
    again = server.post(CHAT, {**GREEDY, "n": 2, "temperature": 1, "seed": 7})
    assert [parts[0], parts[1]] == [choice["message"]["content"] for choice in again["choices"]]


def test_logprobs_are_those_of_the_text():
    asked = {**GREEDY, "logprobs": True, "top_logprobs": 3}
    whole = server.post(CHAT, asked)
    entries = whole["choices"][0]["logprobs"]["content"]
    assert shown(bytes(byte for entry in entries for byte in entry["bytes"])) == text_of(whole)
    for entry in entries:
        assert entry["logprob"] <= 0 and len(entry["top_logprobs"]) == 3, entry
        assert entry["top_logprobs"][0]["token"] == entry["token"], entry  # greedy
    streamed = [entry for chunk in server.stream(CHAT, asked)
                for entry in (chunk["choices"][0].get("logprobs") or {"content": []})["content"]]
    assert [entry["bytes"] for entry in streamed] == [entry["bytes"] for entry in entries]
    assert server.post(CHAT, {**GREEDY, "logprobs": True})["choices"][0]["logprobs"]["content"][0]["top_logprobs"] == []


def test_stop_texts_never_leak():
    whole = text_of(server.post(CHAT, {**GREEDY, "max_tokens": 40}))
    for length in (1, 2, 4):
        stop = whole[len(whole) // 2:][:length]
        if not stop or "\ufffd" in stop:
            continue
        asked = {**GREEDY, "max_tokens": 40, "stop": [stop, "never comes"]}
        answer = server.post(CHAT, asked)
        assert answer["choices"][0]["finish_reason"] == "stop", answer
        assert text_of(answer) == whole[:whole.index(stop)], (stop, text_of(answer), whole)
        pieces = [chunk["choices"][0]["delta"].get("content") or "" for chunk in server.stream(CHAT, asked)]
        assert "".join(pieces) == text_of(answer), (stop, pieces)


def test_prefixes_are_reused_to_the_token():
    asked = {"messages": [{"role": "user", "content": "one two three four five six seven eight"}], "max_tokens": 1}
    first = server.post(CHAT, asked)["usage"]
    second = server.post(CHAT, asked)["usage"]
    assert second["prompt_tokens_details"]["cached_tokens"] == first["prompt_tokens"] - 1, (first, second)
    third = server.post(CHAT, {**asked, "cache_prompt": False})["usage"]
    assert third["prompt_tokens_details"]["cached_tokens"] == 0, third


def test_answers_are_held_to_schemas_and_grammars():
    schema = {"type": "object", "properties": {"a": {"enum": [1, 2]}}, "required": ["a"], "additionalProperties": False}
    forms = [{"response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}},
             {"response_format": {"type": "json_object", "schema": schema}}, {"json_schema": schema}]
    for form in forms:
        answer = server.post(CHAT, {**GREEDY, "max_tokens": 40, **form})
        assert json.loads(text_of(answer))["a"] in (1, 2), answer
    answer = server.post(CHAT, {**GREEDY, "grammar": 'root ::= "a"{5,5}'})
    assert text_of(answer) == "aaaaa", answer
    assert isinstance(json.loads(text_of(server.post(CHAT, {**GREEDY, "response_format": {"type": "json_object"}}))), dict)


def test_bias_keeps_tokens_away():
    first = server.post(CHAT, {**GREEDY, "logprobs": True, "max_tokens": 1, "n_probs": 1})
    entry = first["choices"][0]["logprobs"]["content"][0]
    tokens = server.post("/completion", {"prompt": "x", "n_predict": 1, "temperature": 0, "n_probs": 1})
    assert tokens["completion_probabilities"][0]["id"] >= 0
    biased = server.post(CHAT, {**GREEDY, "max_tokens": 1, "logprobs": True, "logit_bias": {str(entry["id"]): -100}})
    assert biased["choices"][0]["logprobs"]["content"][0]["id"] != entry["id"]


def test_tools_that_must_be_called_are():
    tools = [{"type": "function", "function": {"name": "look", "description": "looks", "parameters": {
        "type": "object", "properties": {"at": {"enum": ["a", "b"]}}, "required": ["at"],
        "additionalProperties": False}}}]
    for choice in ("required", {"type": "function", "function": {"name": "look"}}):
        asked = {**GREEDY, "max_tokens": 200, "tools": tools, "tool_choice": choice}
        answer = server.post(CHAT, asked)["choices"][0]
        call = answer["message"]["tool_calls"][0]
        assert answer["finish_reason"] == "tool_calls" and answer["message"]["content"] is None, answer
        assert call["type"] == "function" and call["id"] and call["function"]["name"] == "look", call
        assert json.loads(call["function"]["arguments"])["at"] in ("a", "b"), call
        deltas = [delta for chunk in server.stream(CHAT, asked)
                  for delta in chunk["choices"][0]["delta"].get("tool_calls", [])]
        assert deltas[0]["id"] and deltas[0]["type"] == "function" and deltas[0]["function"]["name"] == "look", deltas
        assert all("id" not in delta["function"] for delta in deltas)
        assert "".join(d["function"].get("arguments", "") for d in deltas) == call["function"]["arguments"]
    for stop in ["\""], ["at\"", "\n"]:  # in a call they are arguments
        answer = server.post(CHAT, {**asked, "stop": stop})["choices"][0]
        assert answer["finish_reason"] == "tool_calls", answer
        assert json.loads(answer["message"]["tool_calls"][0]["function"]["arguments"])["at"] in ("a", "b"), answer
    asked = {**GREEDY, "tools": tools, "tool_choice": "none"}
    assert "tool_calls" not in server.post(CHAT, asked)["choices"][0]["message"]
    conversation = HELLO + [
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{\"at\": \"a\"}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": [{"type": "text", "text": "seen"}]}]
    assert "seen" in server.post("/apply-template", {"messages": conversation, "tools": tools})["prompt"]


# ---- prompts ----


def test_templates_are_applied_and_prompts_counted():
    messages = [{"role": "developer", "content": "be brief"}, {"role": "user", "content": [
        {"type": "text", "text": "one"}, {"type": "text", "text": "two"}]}]
    prompt = server.post("/apply-template", {"messages": messages})["prompt"]
    assert prompt.endswith("<|im_start|>assistant\n") and "be brief" in prompt and "one\ntwo" in prompt, prompt
    bare = server.post("/apply-template", {"messages": messages, "add_generation_prompt": False})["prompt"]
    assert prompt == bare + "<|im_start|>assistant\n", bare
    counted = server.post(CHAT + "/input_tokens", {"messages": messages})["input_tokens"]
    assert counted == server.post(CHAT, {"messages": messages, "max_tokens": 1})["usage"]["prompt_tokens"]


def test_answers_that_have_begun_go_on():
    begun = HELLO + [{"role": "assistant", "content": "I was say"}]
    for more in ({}, {"continue_final_message": True, "add_generation_prompt": False}):
        prompt = server.post("/apply-template", {"messages": begun, **more})["prompt"]
        assert prompt.endswith("<|im_start|>assistant\nI was say"), prompt
    both = {"messages": begun, "continue_final_message": True, "add_generation_prompt": True}
    assert server.ask("POST", CHAT, both)[0] == 400


# ---- completions and models ----


def test_completions_take_prompts_of_all_kinds():
    one = server.post(COMPLETIONS, {"prompt": "hello", "max_tokens": 4, "temperature": 0})
    assert one["object"] == "text_completion" and one["route"] == "cpu" and one["choices"][0]["finish_reason"] in ("length", "stop"), one
    ids = [72, 69, 76, 76, 79]
    many = server.post(COMPLETIONS, {"prompt": [ids, ids, "hello"], "max_tokens": 4, "temperature": 0})["choices"]
    assert [choice["index"] for choice in many] == [0, 1, 2] and many[0]["text"] == many[1]["text"], many
    mixed = server.post(COMPLETIONS, {"prompt": [72, "hello", 69], "max_tokens": 4, "temperature": 0})
    assert len(mixed["choices"]) == 1, mixed
    echoed = server.post(COMPLETIONS, {"prompt": "hello", "max_tokens": 4, "temperature": 0, "echo": True})
    assert echoed["choices"][0]["text"] == "hello" + one["choices"][0]["text"], (echoed, one)
    chunks = list(server.stream(COMPLETIONS, {"prompt": "hello", "max_tokens": 4, "temperature": 0}))
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == one["choices"][0]["text"], chunks
    assert chunks[-1]["choices"][0]["finish_reason"] == one["choices"][0]["finish_reason"], chunks
    logprobs = server.post(COMPLETIONS, {"prompt": "hello", "max_tokens": 3, "logprobs": 2})["choices"][0]["logprobs"]
    assert len(logprobs["tokens"]) == len(logprobs["token_logprobs"]) == len(logprobs["top_logprobs"]), logprobs


def test_models_please_both_clients():
    listed = server.ask("GET", "/v1/models")[2]
    entry = listed["data"][0]
    assert listed["object"] == "list" and listed["has_more"] is False and listed["first_id"] == entry["id"], listed
    assert entry["object"] == entry["type"] == "model" and entry["display_name"] and entry["created_at"][10] == "T"
    assert entry["lifecycle"] == "active" and isinstance(entry["created"], int), entry
    assert server.ask("GET", "/v1/models/" + entry["id"])[2]["id"] == entry["id"]
    assert server.ask("GET", "/models")[2]["data"][0]["id"] == entry["id"]


# ---- llama-server's own ----


def test_native_completion_says_how_it_was_made():
    asked = {"prompt": "hello", "n_predict": 6, "temperature": 0, "seed": 42}
    answer = server.post("/completion", {**asked, "return_tokens": True, "n_probs": 2})
    assert answer["stop"] is True and answer["stop_type"] in ("limit", "eos") and answer["truncated"] is False, answer
    assert answer["generation_settings"]["n_predict"] == 6 and answer["generation_settings"]["seed"] == 42, answer
    assert answer["prompt"].endswith("hello") and len(answer["tokens"]) == answer["tokens_predicted"], answer
    assert all(len(entry["top_logprobs"]) == 2 for entry in answer["completion_probabilities"]), answer
    chunks = [json.loads(data) for _, data in server.events("/completion", {**asked, "stream": True})]
    assert [chunk["stop"] for chunk in chunks] == [False] * (len(chunks) - 1) + [True], chunks
    assert "".join(chunk["content"] for chunk in chunks) == answer["content"], chunks
    picked = server.post("/completion", {**asked, "response_fields": ["content", "generation_settings/n_predict"]})
    assert picked == {"content": answer["content"], "generation_settings/n_predict": 6}, picked
    drawn = server.post("/completion", {**asked, "temperature": 1, "n_probs": 64, "post_sampling_probs": True})
    for entry in drawn["completion_probabilities"]:
        assert 0 < entry["prob"] <= 1 and abs(sum(one["prob"] for one in entry["top_probs"]) - 1) < 1e-3, entry


def test_progress_of_prompts_is_told():
    asked = {"messages": [{"role": "user", "content": "word " * 60}], "max_tokens": 2, "return_progress": True}
    told = [chunk["prompt_progress"] for chunk in server.stream(CHAT, asked) if "prompt_progress" in chunk]
    assert told[0]["processed"] == told[0]["cache"] and told[-1]["processed"] == told[-1]["total"], told
    assert all(a["processed"] < b["processed"] for a, b in zip(told, told[1:])), told


def test_props_and_slots():
    props = server.ask("GET", "/props")[2]
    assert props["model_path"].endswith(".gguf") and props["total_slots"] > 0, props
    slots = server.ask("GET", "/slots")[2]
    assert len(slots) == props["total_slots"] and slots[0]["is_processing"] is False, slots
    assert slots[0]["n_ctx"] == props["default_generation_settings"]["n_ctx"], (slots, props)
    assert not any("prompt" in slot for slot in slots)
    assert server.ask("POST", "/slots/0?action=save", {"filename": "x"})[0] in (401, 403, 501)


# ---- errors ----


def error_of(path, body, wanted=400):
    status, _, answer = server.ask("POST", path, body)
    assert status == wanted, (status, answer, body)
    assert answer["error"]["message"] and answer["error"]["type"], answer
    return answer["error"]


def test_what_cannot_be_held_is_told_to_who_asked_for_it():
    schemas = [{"not": {}}, {"type": "string", "pattern": "((a|b){1,900}c){1,900}"}, {"type": "string", "pattern": "(?=a)b"}]
    for schema in schemas:
        called = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "required": ["a"], "properties": {
            "a": schema}}}}
        for path, body, param in [
                (CHAT, {**GREEDY, "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}},
                 "response_format.json_schema.schema"),
                (CHAT, {**GREEDY, "tools": [called], "tool_choice": "required"}, "tools"),
                ("/completion", {"prompt": "x", "json_schema": schema}, "json_schema"),
                ("/v1/responses", {"input": "x", "text": {"format": {"type": "json_schema", "name": "n", "schema": schema}}},
                 "text.format.schema"),
                ("/v1/messages", {**GREEDY, "output_config": {"format": {"type": "json_schema", "schema": schema}}}, None),
                ("/api/chat", {"model": "any", "messages": HELLO, "format": schema}, None)]:
            status, _, answer = server.ask("POST", path, body)
            assert status == 400 and "error" in answer, (path, body, status, answer)
            error = answer["error"]
            assert path == "/api/chat" or error["type"] == "invalid_request_error", (path, body, answer)
            assert not param or error["param"] == param, (path, body, answer)


def test_failures_speak_of_requests():
    long = {"type": "object", "required": ["aaaaaaaaa"], "properties": {"aaaaaaaaa": {"type": "string"}}}
    error = error_of("/completion", {"prompt": "x", "n_predict": 1, "json_schema": long})
    assert "room for 1; raise max_tokens" in error["message"], error
    error = error_of(CHAT, {"messages": [{"role": "user", "content": "word " * 9000}]})
    assert "exceeds the available context size" in error["message"] and "-c" not in error["message"], error


def test_too_many_prompts_are_told_as_that():
    status, _, answer = server.ask("POST", COMPLETIONS, {"prompt": ["a"] * 1025, "max_tokens": 1})
    assert status == 400 and "1025" in answer["error"]["message"] and "1024" in answer["error"]["message"], answer


def test_wrong_bodies_are_named():
    for body, param in [
            ({"messages": None}, "messages"), ({"messages": "text"}, "messages"), ({"messages": []}, "messages"),
            ({"messages": [123]}, "messages[0]"), ({"messages": [{}]}, "messages[0].role"),
            ({"messages": [{"role": 123}]}, "messages[0].role"),
            ({"messages": [{"role": "system", "content": 123}]}, "messages[0].content"),
            ({"messages": HELLO + [{"role": "user"}]}, "messages[1].content"),
            ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, "messages[0].content[0]"),
            ({**GREEDY, "temperature": "hot"}, "temperature"), ({**GREEDY, "top_p": 3}, "top_p"),
            ({**GREEDY, "max_tokens": "8"}, "max_tokens"), ({**GREEDY, "stream": "yes"}, "stream"),
            ({**GREEDY, "n": 0}, "n"), ({**GREEDY, "stop": {}}, "stop"), ({**GREEDY, "logprobs": 3}, "logprobs"),
            ({**GREEDY, "response_format": {"type": "sound"}}, "response_format.type"),
            ({**GREEDY, "tools": 3}, "tools"), ({**GREEDY, "tool_choice": 3}, "tool_choice"),
            ({**GREEDY, "logit_bias": {"99999999": 1}}, "logit_bias"), ({**GREEDY, "samplers": ["none"]}, "samplers"),
            ({**GREEDY, "tool_choice": "required"}, "tool_choice"), ({**GREEDY, "grammar": "root ::= ("}, "grammar"),
            ({**GREEDY, "model": 3}, "model")]:
        assert error_of(CHAT, body)["param"] == param, (body, error_of(CHAT, body))
    two = [{"role": "assistant", "content": "a"}, {"role": "assistant", "content": "b"}]
    error_of(CHAT, {"messages": HELLO + two})
    error_of(CHAT, {**GREEDY, "grammar": "root ::= this is (not valid GBNF"})
    error_of(CHAT, {**GREEDY, "response_format": {"type": "json_object", "schema": {"type": "hiccup"}}})
    error_of(CHAT, b"{not json")
    error_of(COMPLETIONS, {"prompt": {}})
    assert error_of(COMPLETIONS, {"prompt": [99999999]})["param"] == "prompt"
    error_of(COMPLETIONS, {"prompt": [1, None]})
    error_of(COMPLETIONS, {})
    error_of(COMPLETIONS, {"prompt": [1 << 40]})
    error_of(COMPLETIONS, {"prompt": [[1], [1000000]]})


def test_a_prompt_beyond_the_context_is_refused_with_its_numbers():
    for more in ({}, {"stream": True}):
        error = error_of(CHAT, {"messages": [{"role": "user", "content": "word " * 5000}], **more})
        assert error["type"] == "exceed_context_size_error" and error["n_prompt_tokens"] > error["n_ctx"] > 0, error


# ---- clients that leave ----


def running(asked):
    return sum(slot["is_processing"] for slot in asked.ask("GET", "/slots")[2])


def wait_until_idle(seconds, asked=None):
    end = time.monotonic() + seconds
    while running(asked or server):
        assert time.monotonic() < end, "the answer goes on though nobody reads it"
        time.sleep(0.01)


def leave_after(path, body, seconds, asked=None):
    connection = (asked or server).connect()
    connection.request("POST", path, json.dumps(body), {"Content-Type": "application/json"})
    time.sleep(seconds)
    connection.sock.shutdown(socket.SHUT_RDWR)
    connection.close()


def test_a_client_that_leaves_frees_its_rows():
    endless = {"prompt": "hello", "n_predict": -1, "ignore_eos": True}
    for more in ({}, {"stream": True}):
        leave_after("/completion", {**endless, **more}, 0.1)
        wait_until_idle(1.5)


def test_a_client_that_leaves_during_its_prompt_ends_it():
    """The prompt takes some ten seconds: nobody waits for it once its client has gone."""
    stretched = ("--rope-scaling", "linear", "--rope-scale", "32", "-c", "16384", "--parallel", "1", "-b", "64")
    with serving.Serve(*stretched) as slow:
        for more in ({}, {"stream": True}):
            leave_after("/completion", {"prompt": "word " * 3500, "n_predict": 1, **more}, 0.2, slow)
            wait_until_idle(3, slow)


def test_clients_that_leave_while_they_wait_never_start():
    slots = len(server.ask("GET", "/slots")[2])
    body = {"prompt": "hello", "n_predict": -1, "ignore_eos": True}
    threads = [threading.Thread(target=leave_after, args=("/completion", body, 0.3)) for _ in range(3 * slots)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    wait_until_idle(2)
    assert server.post(CHAT, GREEDY)["choices"]


def test_a_stream_that_breaks_says_so():
    with serving.Serve("-c", "512", "--parallel", "1", "--context-shift", "--drain", "0") as ending:
        body = json.dumps({"messages": HELLO, "stream": True, "ignore_eos": True}).encode()
        with socket.create_connection(("127.0.0.1", ending.port), 30) as raw:
            raw.sendall(b"POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n%s" %
                        (CHAT.encode(), len(body), body))
            got, ends = b"", False
            while piece := raw.recv(65536):
                got += piece
                if len(got) > 4096 and not ends:  # a second signal would end it at once
                    ending.process.terminate()
                    ends = True
        assert b"chat.completion.chunk" in got and b"[DONE]" not in got, got[-400:]
        last = got[got.rindex(b"data: ") + 6:].split(b"\n")[0]
        assert json.loads(last)["error"]["message"], last
        assert not got.endswith(b"0\r\n\r\n"), got[-400:]  # without its final chunk it is not whole


def test_numbers_beyond_all_integers_are_numbers():
    def ask(**more):
        text = json.dumps({**GREEDY, **more}).encode()
        return server.ask("POST", CHAT, text)

    for extra in [{"unknown": 2 ** 70}, {"metadata": {"a": [2 ** 64, 5, {"b": -2 ** 80}]}, "max_tokens": 3}]:
        status, _, answer = ask(**extra)
        assert status == 200, (extra, answer)
    for name in ["max_tokens", "n", "top_k", "seed"]:
        status, _, answer = ask(**{name: 2 ** 70})
        assert status == 400 and answer["error"]["param"] == name, (name, answer)
    status, _, answer = server.ask("POST", CHAT, b'{"messages": [1e999]}')
    assert status == 400 and "no JSON" in answer["error"]["message"], answer


def test_probabilities_after_sampling_are_told_in_chats():
    wanted = {**GREEDY, "temperature": 0.8, "top_k": 10, "top_p": 1, "min_p": 0, "seed": 1, "logprobs": True, "top_logprobs": 10, "post_sampling_probs": True}
    whole = server.post(CHAT, wanted)["choices"][0]["logprobs"]["content"]
    assert whole and all(0 < entry["prob"] <= 1 and "logprob" not in entry for entry in whole), whole
    assert all(abs(sum(top["prob"] for top in entry["top_probs"]) - 1) < 1e-4 for entry in whole), whole
    streamed = [entry for chunk in server.stream(CHAT, wanted) for choice in chunk["choices"]
                for entry in (choice.get("logprobs") or {}).get("content", [])]
    assert streamed == whole
    status, _, answer = server.ask("POST", CHAT, {**wanted, "presence_penalty": 1})
    assert status == 400 and answer["error"]["param"] == "post_sampling_probs", answer
    with serving.Serve("--top-k", "100") as many:  # more than are looked at: never cut in silence
        for path, body in ((CHAT, {key: value for key, value in wanted.items() if key != "top_k"}),
                           ("/completion", {"prompt": "a", "n_predict": 1, "n_probs": 3, "post_sampling_probs": True})):
            status, _, answer = many.ask("POST", path, body)
            assert status == 400 and "top_k from 1 to 64" in answer["error"]["message"], (path, status, answer)
            assert many.ask("POST", path, {**body, "top_k": 20})[0] == 200, path
    status, _, answer = server.ask("POST", "/v1/completions", {"prompt": "a", "post_sampling_probs": True, "logprobs": 3})
    assert status == 400 and answer["error"]["param"] == "post_sampling_probs", answer


def test_fields_that_change_nothing_are_named():
    known = {**GREEDY, "stream": False, "top_k": 3, "n": 1, "seed": 5, "tools": [], "stop": ["x"], "logit_bias": {}, "force_bytes": True, "store": None}
    for path, body in [(CHAT, known), ("/v1/completions", {"prompt": "a", "max_tokens": 1}), ("/completion", {"prompt": "a", "n_predict": 1})]:
        _, headers, _ = server.ask("POST", path, body)
        assert headers["X-Clinfer-Ignored"] is None, (path, headers["X-Clinfer-Ignored"])
        status, headers, _ = server.ask("POST", path, {**body, "temprature": 2, "user": "me", "a\r\nb": 1, "x" * 80: 1})
        assert status == 200 and headers["X-Clinfer-Ignored"] == "temprature, user", (path, headers["X-Clinfer-Ignored"])
    _, headers, _ = server.ask("POST", CHAT, {**GREEDY, **{f"field{i}": 1 for i in range(500)}})
    assert headers["X-Clinfer-Ignored"].startswith("field0, field1, ") and len(headers["X-Clinfer-Ignored"]) < 512


if __name__ == "__main__":
    with serving.Serve("-c", "1024", "--parallel", "2", "--seed", "1", "--context-shift") as server:
        tap.main(globals())
