#!/usr/bin/env python3
"""X-Clinfer-Ignored on the routes of every dialect: what of a body changes nothing is named, and nothing else is. Prints TAP."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

HELLO = [{"role": "user", "content": "hello"}]
TOOL = {"name": "get", "description": "gets", "parameters": {"type": "object"}}
SAMPLING = {"temperature": 0, "top_k": 3, "top_p": 0.9, "min_p": 0.1, "typical_p": 1, "top_n_sigma": 0, "repeat_penalty": 1, "repeat_last_n": 8,
            "presence_penalty": 0, "frequency_penalty": 0, "dry_multiplier": 0, "dry_base": 1.75, "dry_allowed_length": 2,
            "dry_penalty_last_n": 8, "dry_sequence_breakers": ["x"], "xtc_probability": 0, "xtc_threshold": 0.1, "mirostat": 0,
            "mirostat_tau": 5, "mirostat_eta": 0.1, "seed": 1, "samplers": ["top_k"]}
OPENAI = {**SAMPLING, "model": "m", "stream": False, "stop": ["x"], "logit_bias": {}, "n": 1, "max_tokens": 2, "ignore_eos": False,
          "cache_prompt": True, "id_slot": 0, "timings_per_token": True, "verbose": False, "num_ctx": 16, "force_bytes": True, "response_format": {"type": "text"}}
OLLAMA = {"model": "qwen2_tiny", "stream": False, "keep_alive": "5m", "format": "", "think": False, "logprobs": False, "top_logprobs": 0,
          "options": {**SAMPLING, "stop": ["x"], "num_predict": 2, "num_ctx": 16, "force_bytes": True}, "force_bytes": False}
# For each route a body in which everything is read, and what it has members of that are looked at, too.
ROUTES = {
    "/v1/chat/completions": ({**OPENAI, "messages": HELLO, "tools": [{"type": "function", "function": TOOL}], "tool_choice": "none",
                              "parallel_tool_calls": True, "stream_options": {"include_usage": True}, "logprobs": True, "top_logprobs": 1,
                              "chat_template_kwargs": {"anything": 1}, "reasoning_effort": "low", "reasoning_format": "auto"}, ["stream_options"]),
    "/v1/completions": ({**OPENAI, "prompt": "a", "echo": False, "logprobs": 1}, []),
    "/completion": ({**OPENAI, "prompt": "a", "n_probs": 1, "response_fields": ["content"], "return_tokens": True}, []),
    "/apply-template": ({"messages": HELLO}, []),
    "/tokenize": ({"content": "a", "add_special": True, "with_pieces": True, "parse_special": True}, []),
    "/detokenize": ({"tokens": [1]}, []),
    "/v1/embeddings": ({"model": "m", "input": "a", "encoding_format": "base64", "dimensions": 4}, []),
    "/embeddings": ({"content": "a", "embd_normalize": 2}, []),
    "/v1/messages": ({"model": "m", "messages": HELLO, "system": "s", "max_tokens": 2, "stream": False, "temperature": 0, "top_p": 1, "top_k": 1,
                      "stop_sequences": ["x"], "tools": [{"name": "get", "input_schema": {"type": "object"}}], "tool_choice": {"type": "auto"},
                      "thinking": {"type": "disabled"}, "output_config": {"effort": "low"}, "num_ctx": 16, "force_bytes": True}, ["thinking", "output_config"]),
    "/v1/messages/count_tokens": ({"model": "m", "messages": HELLO}, []),
    "/v1/responses": ({**SAMPLING, "model": "m", "input": "a", "instructions": "b", "max_output_tokens": 2, "stream": False, "tools": [],
                       "tool_choice": "auto", "text": {"format": {"type": "text"}}, "force_bytes": True, "reasoning": {"effort": "low"}}, ["text", "reasoning"]),
    "/v1/responses/input_tokens": ({"input": "a"}, []),
    "/execute": ({"job_id": "j", "prompt": "a", "max_tokens": 2, "temperature": 0, "top_p": 1, "top_k": 1, "repetition_penalty": 1,
                  "stop": ["x"], "seed": 2 ** 64 - 1}, []),
    "/cancel": ({"job_id": "j"}, []),
    "/api/chat": ({**OLLAMA, "messages": HELLO, "tools": []}, ["options"]),
    "/api/generate": ({**OLLAMA, "prompt": "a", "suffix": "", "system": "s", "template": "", "raw": False, "images": []}, ["options"]),
    "/api/embed": ({"model": "qwen2_tiny", "input": "a", "truncate": True, "keep_alive": 5}, []),
    "/api/embeddings": ({"model": "qwen2_tiny", "prompt": "a"}, []),
    "/api/show": ({"model": "qwen2_tiny"}, []),
}


def test_each_dialect_names_what_changes_nothing():
    for path, (body, holders) in ROUTES.items():
        status, headers, answer = server.ask("POST", path, body)
        assert status in (200, 202) and headers["X-Clinfer-Ignored"] is None, (path, status, headers["X-Clinfer-Ignored"], answer)
        wrong = {**body, "temprature": 2, **{name: {**body[name], "oops": 1} for name in holders}}
        _, headers, _ = server.ask("POST", path, wrong)
        told = (headers["X-Clinfer-Ignored"] or "").split(", ")
        assert set(told) == {"temprature", *(f"{name}.oops" for name in holders)}, (path, told)


def test_streams_and_refusals_name_it_too():
    for path in ("/v1/chat/completions", "/v1/messages", "/api/chat", "/v1/responses"):
        body = {**ROUTES[path][0], "stream": True, "user_id": "me"}
        connection, response = server.begin("POST", path, body)
        assert response.status == 200 and response.getheader("X-Clinfer-Ignored") == "user_id", (path, response.headers)
        response.read()
        connection.close()
    status, headers, _ = server.ask("POST", "/v1/chat/completions", {"mesages": HELLO})
    assert status == 400 and headers["X-Clinfer-Ignored"] == "mesages", headers
    status, headers, _ = server.ask("POST", "/v1/chat/completions", {**ROUTES["/v1/chat/completions"][0], "a\r\nb": 1, "top": None, "speculative.n_max": 0})
    assert status == 200 and headers["X-Clinfer-Ignored"] is None, headers["X-Clinfer-Ignored"]


def test_more_room_than_there_is_is_told():
    """num_ctx: what there is is kept whole, and a wish for more that has no effect is named."""
    for path, (body, _) in ROUTES.items():
        if "num_ctx" in body or "num_ctx" in body.get("options", {}):
            inner = body.get("options", body)
            for wanted, told in ((512, None), (513, "options.num_ctx" if inner is not body else "num_ctx"), (2 ** 31 - 1, ...)):
                changed = {**inner, "num_ctx": wanted}
                status, headers, _ = server.ask("POST", path, {**body, "options": changed} if inner is not body else changed)
                assert status == 200, (path, status)
                assert told is ... or headers["X-Clinfer-Ignored"] == told, (path, wanted, headers["X-Clinfer-Ignored"])
            status, _, answer = server.ask("POST", path, {**body, "options": {"num_ctx": "big"}} if inner is not body else {**body, "num_ctx": "big"})
            assert status == 400 and "num_ctx" in str(answer), (path, status, answer)


def test_forced_bytes_take_no_steps():
    """What force_bytes is for, in every dialect that knows forms, and wrong types of it."""
    schema = {"const": "and then there were several others of which none " * 2}  # no space that goes on until there is no room
    forms = {
        "/v1/chat/completions": {"messages": HELLO, "max_tokens": 99, "response_format": {"type": "json_schema", "json_schema": {"schema": schema}}},
        "/completion": {"prompt": "a", "n_predict": 99, "json_schema": schema},
        "/v1/responses": {"input": "a", "max_output_tokens": 99, "text": {"format": {"type": "json_schema", "schema": schema}}},
        "/v1/messages": {"messages": HELLO, "max_tokens": 99, "output_config": {"format": {"type": "json_schema", "schema": schema}}},
        "/api/chat": {"model": "m", "messages": HELLO, "stream": False, "format": schema},
        "/api/generate": {"model": "m", "prompt": "a", "stream": False, "format": schema},
    }
    with serving.Serve("--metrics", "--temp", "0") as own:
        def steps(path, body):
            def count():
                text = own.ask("GET", "/metrics")[2].decode()
                return next(float(line.split()[1]) for line in text.splitlines() if line.startswith("llamacpp:n_decode_total "))
            before = count()
            own.post(path, body)
            return count() - before

        for path, body in forms.items():
            plain = steps(path, body)
            forced = [{**body, "force_bytes": True}]
            forced += [{**body, "options": {"force_bytes": True}}] if path.startswith("/api/") else []
            for asked in forced:
                taken = steps(path, asked)
                assert taken <= plain / 2, (path, asked, taken, plain)
            status, _, answer = own.ask("POST", path, {**body, "force_bytes": "yes"})
            assert status == 400 and "force_bytes" in str(answer), (path, status, answer)


if __name__ == "__main__":
    with serving.Serve("-c", "512", "--alias", "qwen2_tiny") as server:
        tap.main(globals())
