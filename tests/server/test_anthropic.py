#!/usr/bin/env python3
"""Anthropic's Messages API over loopback: shapes, streams, tools, usage, failures. Prints TAP."""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

TOOL = {"name": "get_weather", "description": "the weather", "input_schema": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}
# Opens what the model thinks itself, so that all of an answer of random weights is that.
THINKS = ("{% for message in messages %}<|im_start|>{{ message['role'] }}: {{ message['content'] }}<|im_end|>{% endfor %}"
          "<|im_start|>assistant:{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}")
SERVER = None
ROOM = ("--rope-scaling", "linear", "--rope-scale", "4", "-c", "2048")  # for prompts with tools, a token a byte


def body(**more):
    return {"model": "any", "max_tokens": 24, "temperature": 0, "messages": [{"role": "user", "content": "Say hello"}], **more}


def stream(**more):
    events = [(event, json.loads(data)) for event, data in SERVER.events("/v1/messages", body(stream=True, **more))]
    for event, data in events:
        assert event == data["type"], (event, data)
    return events


def blocks_of(events):
    """The content blocks that a stream builds, and what is wrong with its order."""
    names = [event for event, _ in events]
    assert names[0] == "message_start" and names[-2:] == ["message_delta", "message_stop"], names
    blocks, open_block = [], None
    for event, data in events[1:-2]:
        if event == "content_block_start":
            assert open_block is None and data["index"] == len(blocks), data
            open_block = dict(data["content_block"], parts=[])
        elif event == "content_block_delta":
            assert data["index"] == len(blocks), data
            delta = data["delta"]
            open_block["parts"].append(delta.get("text", delta.get("partial_json", delta.get("thinking", ""))))
        elif event == "content_block_stop":
            assert data["index"] == len(blocks), data
            blocks.append(open_block)
            open_block = None
    assert open_block is None
    return blocks


def total(usage):
    return usage["input_tokens"] + usage["cache_read_input_tokens"] + usage["cache_creation_input_tokens"]


def test_a_message():
    status, headers, answer = SERVER.ask("POST", "/v1/messages", body())
    assert status == 200, answer
    assert answer["type"] == "message" and answer["role"] == "assistant" and answer["id"].startswith("msg_"), answer
    assert [block["type"] for block in answer["content"]] == ["text"], answer
    assert answer["stop_reason"] in ("max_tokens", "end_turn") and answer["stop_sequence"] is None
    assert answer["usage"]["output_tokens"] > 0 and "timings" not in answer
    assert headers["request-id"].startswith("req_")
    again = SERVER.post("/v1/messages", body())
    assert again["id"] != answer["id"]
    assert total(again["usage"]) == total(answer["usage"])


def test_a_stream_says_the_same():
    SERVER.post("/v1/messages", body())  # a prompt out of the cache is computed otherwise, to the last digit
    answer = SERVER.post("/v1/messages", body())
    events = stream()
    blocks = blocks_of(events)
    assert [block["type"] for block in blocks] == ["text"] and blocks[0]["text"] == ""
    assert "".join(blocks[0]["parts"]) == answer["content"][0]["text"]
    start, end = events[0][1]["message"], events[-2][1]
    assert start["content"] == [] and start["stop_reason"] is None and start["id"].startswith("msg_")
    assert end["delta"] == {"stop_reason": answer["stop_reason"], "stop_sequence": None}, end
    assert end["usage"]["output_tokens"] == answer["usage"]["output_tokens"]
    assert total(start["usage"]) == total(end["usage"]) == total(answer["usage"])


def test_a_stop_sequence_is_said():
    text = SERVER.post("/v1/messages", body(max_tokens=100))["content"][0]["text"]
    stop = next(letter for letter in text[2:] if letter.isascii() and letter.isprintable())
    answer = SERVER.post("/v1/messages", body(max_tokens=100, stop_sequences=["never comes at all", stop]))
    assert (answer["stop_reason"], answer["stop_sequence"]) == ("stop_sequence", stop), answer
    assert answer["content"][0]["text"] == text[:text.index(stop)]
    delta = stream(max_tokens=100, stop_sequences=[stop])[-2][1]["delta"]
    assert delta == {"stop_reason": "stop_sequence", "stop_sequence": stop}, delta


def test_a_tool_that_has_to_be_called():
    more = {"tools": [TOOL, {"type": "web_search_20250305", "name": "web_search"}], "max_tokens": 200,
            "tool_choice": {"type": "tool", "name": "get_weather"}}
    answer = SERVER.post("/v1/messages", body(**more))
    call = answer["content"][-1]
    assert answer["stop_reason"] == "tool_use" and call["type"] == "tool_use" and call["name"] == "get_weather", answer
    assert call["id"].startswith("toolu_") and call["input"]["city"] in ("Paris", "Rome"), call
    blocks = blocks_of(stream(**more))
    assert blocks[-1]["type"] == "tool_use" and blocks[-1]["input"] == {} and blocks[-1]["name"] == "get_weather"
    assert json.loads("".join(blocks[-1]["parts"])) == call["input"]
    history = body()["messages"] + [{"role": "assistant", "content": answer["content"]}, {"role": "user", "content": [
        {"type": "text", "text": "so?"}, {"type": "tool_result", "tool_use_id": call["id"], "content": "rain"}]}]
    assert SERVER.post("/v1/messages", body(messages=history, tools=[TOOL]))["type"] == "message"


def test_an_answer_by_a_schema():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["n"],
              "additionalProperties": False}
    answer = SERVER.post("/v1/messages", body(max_tokens=100, output_config={"format": {"type": "json_schema", "schema": schema}}))
    assert 1 <= json.loads(answer["content"][0]["text"])["n"] <= 9, answer


def test_tokens_are_counted():
    wanted = total(SERVER.post("/v1/messages", body())["usage"])
    count = {key: value for key, value in body().items() if key != "max_tokens"}
    assert SERVER.post("/v1/messages/count_tokens", count) == {"input_tokens": wanted}
    longer = SERVER.post("/v1/messages/count_tokens", dict(count, system="You are terse.", tools=[TOOL]))["input_tokens"]
    assert longer > wanted


def test_the_stamp_of_claude_code_changes_no_prompt():
    def count(stamp):
        system = [{"type": "text", "text": f"x-anthropic-billing-header: cc_version=2.1; cch={stamp};You are terse"}]
        return SERVER.post("/v1/messages", body(system=system))["content"]
    assert count("a5145") == count("99999")


def test_no_messages_and_no_tokens_are_well():
    assert SERVER.post("/v1/messages", body(messages=[]))["type"] == "message"
    answer = SERVER.post("/v1/messages", body(max_tokens=0))
    assert answer["usage"]["output_tokens"] == 0 and answer["stop_reason"] == "max_tokens", answer


def test_failures_have_their_shape():
    image = [{"role": "user", "content": [{"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aa"}}]}]
    cases = [("/v1/messages", b"{", 400, "invalid_request_error", ""), ("/v1/messages", {"max_tokens": 5}, 400, "invalid_request_error", "messages"),
             ("/v1/messages", body(messages=image), 400, "invalid_request_error", "image input is not supported"),
             ("/v1/messages", body(temperature="hot"), 400, "invalid_request_error", "temperature"),
             ("/v1/messages", body(tools=[TOOL], tool_choice={"type": "tool", "name": "other"}), 400, "invalid_request_error", "other"),
             ("/v1/messages", body(messages=[{"role": "user", "content": "word " * 9000}]), 400, "invalid_request_error",
              "prompt is too long"),
             ("/v1/messages", body(stream=True, messages=[{"role": "user", "content": "word " * 9000}]), 400,
              "invalid_request_error", "prompt is too long")]
    for path, data, wanted, kind, word in cases:
        status, headers, answer = SERVER.ask("POST", path, data)
        assert status == wanted and answer["type"] == "error" and answer["error"]["type"] == kind, (status, answer)
        assert word in answer["error"]["message"], answer
        assert answer["request_id"] == headers["request-id"]


def test_what_is_thought_is_a_block_of_its_own():
    with serving.Serve("--chat-template", THINKS) as server:
        answer = server.post("/v1/messages", body(max_tokens=40, thinking={"type": "enabled", "budget_tokens": 1024}))
        assert answer["content"][0]["type"] == "thinking" and answer["content"][0]["signature"] == "", answer
        events = [json.loads(data) for _, data in server.events("/v1/messages", body(max_tokens=40, stream=True))]
        kinds = [event["delta"]["type"] for event in events if event["type"] == "content_block_delta" and event["index"] == 0]
        assert set(kinds[:-1]) == {"thinking_delta"} and kinds[-1] == "signature_delta", kinds
        answer = server.post("/v1/messages", body(max_tokens=40, thinking={"type": "disabled"}))
        assert [block["type"] for block in answer["content"]] == ["text"], answer


def test_both_headers_bring_the_key():
    with serving.Serve("--api-key", "secret") as server:
        assert server.ask("POST", "/v1/messages", body(), headers={"x-api-key": "secret"})[0] == 200
        assert server.ask("POST", "/v1/messages", body(), headers={"Authorization": "Bearer secret"})[0] == 200
        status, _, answer = server.ask("POST", "/v1/messages", body())
        assert status == 401 and answer["error"]["type"] == "authentication_error", answer
        assert server.ask("POST", "/v1/messages", body(), headers={"x-api-key": "guess"})[0] == 401


if __name__ == "__main__":
    with serving.Serve(*ROOM) as SERVER:
        tap.main(globals())
