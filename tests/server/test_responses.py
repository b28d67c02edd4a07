#!/usr/bin/env python3
"""OpenAI's Responses API over loopback: items, events with their numbers and places, failures. Prints TAP."""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

TOOL = {"type": "function", "name": "get_weather", "description": "the weather", "strict": True, "parameters": {
    "type": "object", "properties": {"city": {"enum": ["Paris", "Rome"]}}, "required": ["city"], "additionalProperties": False}}
# Opens what the model thinks itself, so that all of an answer of random weights is that.
THINKS = ("{% for message in messages %}<|im_start|>{{ message['role'] }}: {{ message['content'] }}<|im_end|>{% endfor %}"
          "<|im_start|>assistant:{% if enable_thinking is not defined or enable_thinking %}<think>\n{% else %}<think>\n\n</think>\n\n{% endif %}")
SERVER = None
ROOM = ("--rope-scaling", "linear", "--rope-scale", "4", "-c", "2048")  # for prompts with tools, a token a byte


def body(**more):
    return {"model": "any", "max_output_tokens": 24, "temperature": 0, "input": "Say hello", **more}


def stream(**more):
    """All events, of which each has its number and stands where items and parts say."""
    events = []
    for event, data in SERVER.events("/v1/responses", body(stream=True, **more)):
        data = json.loads(data)
        assert data["type"] == event and data["sequence_number"] == len(events), (event, data)
        events.append(data)
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    items = 0
    for event in events[2:-1]:
        assert event["output_index"] == items, event
        if event["type"] == "response.output_item.added":
            item = event["item"]["id"]
        elif event["type"] == "response.output_item.done":
            assert event["item"]["id"] == item
            items += 1
        else:
            assert event["item_id"] == item, event
            assert "content_index" in event or "function_call" in event["type"], event
    return events


def test_an_answer():
    answer = SERVER.post("/v1/responses", body(metadata={"a": "b"}, instructions="be brief", store=True))
    assert answer["object"] == "response" and answer["id"].startswith("resp_"), answer
    message, = answer["output"]
    assert message["id"].startswith("msg_") and message["role"] == "assistant" and message["content"][0]["type"] == "output_text"
    assert message["content"][0]["annotations"] == [] and message["status"] == answer["status"]
    if answer["status"] == "incomplete":
        assert answer["incomplete_details"] == {"reason": "max_output_tokens"}
    usage = answer["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"] and usage["output_tokens"] > 0
    assert "cached_tokens" in usage["input_tokens_details"] and "reasoning_tokens" in usage["output_tokens_details"]
    assert answer["metadata"] == {"a": "b"} and answer["instructions"] == "be brief" and answer["tools"] == []
    assert answer["temperature"] == 0 and answer["top_p"] is None and answer["store"] is False, answer  # nothing is kept
    assert SERVER.post("/responses", body(metadata={"a": "b"}, instructions="be brief"))["output"][0]["content"] == message["content"]


def test_a_stream_says_the_same():
    SERVER.post("/v1/responses", body())  # a prompt out of the cache is computed otherwise, to the last digit
    answer = SERVER.post("/v1/responses", body())
    events = stream()
    last = events[-1]
    assert last["type"] == f"response.{answer['status']}", last
    text = answer["output"][0]["content"][0]["text"]
    assert "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta") == text
    assert last["response"]["output"][0]["content"][0]["text"] == text
    assert last["response"]["id"] == events[0]["response"]["id"] and last["response"]["usage"]["output_tokens"] == answer["usage"]["output_tokens"]
    assert [event["type"] for event in events[2:4]] == ["response.output_item.added", "response.content_part.added"]
    assert [event["type"] for event in events[-4:-1]] == ["response.output_text.done", "response.content_part.done",
                                                          "response.output_item.done"]


def test_a_function_that_has_to_be_called():
    more = {"tools": [TOOL, {"type": "web_search"}], "tool_choice": {"type": "function", "name": "get_weather"}, "max_output_tokens": 200}
    answer = SERVER.post("/v1/responses", body(**more))
    call = answer["output"][-1]
    assert call["type"] == "function_call" and call["id"].startswith("fc_") and call["name"] == "get_weather", answer
    assert json.loads(call["arguments"])["city"] in ("Paris", "Rome")
    events = stream(**more)
    deltas = [event["delta"] for event in events if event["type"] == "response.function_call_arguments.delta"]
    done = next(event for event in events if event["type"] == "response.function_call_arguments.done")
    assert "".join(deltas) == done["arguments"] == call["arguments"] and done["name"] == "get_weather"
    begun = next(event["item"] for event in events if event["type"] == "response.output_item.added" and event["item"]["type"] == "function_call")
    assert begun["arguments"] == "" and begun["call_id"].startswith("call_")
    history = [{"role": "user", "content": "hi"}, *answer["output"],
               {"type": "function_call_output", "call_id": call["call_id"], "output": "rain"}]
    assert SERVER.post("/v1/responses", body(input=history, tools=[TOOL]))["object"] == "response"


def test_what_is_thought_is_an_item_of_its_own():
    global SERVER
    usual = SERVER
    with serving.Serve("--chat-template", THINKS) as SERVER:
        answer = SERVER.post("/v1/responses", body(max_output_tokens=40))
        assert answer["output"][0]["type"] == "reasoning" and answer["output"][0]["id"].startswith("rs_"), answer
        assert answer["usage"]["output_tokens_details"]["reasoning_tokens"] > 0
        events = stream(max_output_tokens=40)
        thought = "".join(event["delta"] for event in events if event["type"] == "response.reasoning_text.delta")
        assert thought and events[-1]["response"]["output"][0]["content"] == [{"type": "reasoning_text", "text": thought}]
        answer = SERVER.post("/v1/responses", body(reasoning={"effort": "none"}))
        assert [item["type"] for item in answer["output"]] == ["message"], answer
    SERVER = usual


def test_an_answer_by_a_schema():
    schema = {"type": "object", "properties": {"n": {"type": "integer", "minimum": 1, "maximum": 9}}, "required": ["n"],
              "additionalProperties": False}
    answer = SERVER.post("/v1/responses", body(max_output_tokens=100, text={"format": {
        "type": "json_schema", "name": "n", "schema": schema, "strict": True}}))
    assert 1 <= json.loads(answer["output"][0]["content"][0]["text"])["n"] <= 9, answer


def test_what_llama_server_adds():
    events = [json.loads(data) for _, data in SERVER.events("/v1/responses", body(
        stream=True, timings_per_token=True, return_progress=True, input="This is a test " * 20))]
    assert any("prompt_progress" in event for event in events if event["type"] == "response.in_progress")
    assert all("predicted_per_second" in event["timings"] for event in events if event["type"] == "response.output_text.delta")
    assert events[-1]["type"] == "response.completed" and "timings" in events[-1]


def test_tokens_are_counted():
    count = SERVER.post("/v1/responses/input_tokens", {"model": "any", "input": "Say hello"})
    assert count["input_tokens"] == SERVER.post("/v1/responses", body())["usage"]["input_tokens"]


def test_failures_have_their_shape():
    cases = [(b"[]", ""), ({"model": "any"}, "input"), (body(previous_response_id="resp_1"), "previous_response_id"),
             (body(text={"format": {"type": "xml"}}), "text.format"), (body(temperature="hot"), "temperature"),
             (body(input=[{"type": "computer_call"}]), "input")]
    for data, param in cases:
        status, _, answer = SERVER.ask("POST", "/v1/responses", data)
        assert status == 400 and answer["error"]["type"] == "invalid_request_error", (status, answer)
        assert param == "" or answer["error"]["param"] == param, answer
    status, _, answer = SERVER.ask("POST", "/v1/responses", body(stream=True, input="word " * 9000))
    assert status == 400 and answer["error"]["type"] == "exceed_context_size_error", answer


if __name__ == "__main__":
    with serving.Serve(*ROOM) as SERVER:
        tap.main(globals())
