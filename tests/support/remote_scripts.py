"""What remote_server.py plays, by the name that a URL's path begins with: SCRIPTS.

A script gets a connection and a request, sends what it likes and returns whether the connection stays open. A request
is its script, path, headers by name, lines, body, the connection's number, and "count": 1 when it is the first for this
script since the last log."""
import email.utils
import gzip
import json
import socket
import struct
import time

TEXT = ["Hel", "lo ", "w\u00f6rld"]
SCRIPTS = {}


def script(function):
    SCRIPTS[function.__name__] = function
    return function


class Connection:
    def __init__(self, sock, number):
        self.sock, self.number = sock, number

    def send(self, data):
        self.sock.sendall(data.encode("utf-8") if isinstance(data, str) else data)

    def drip(self, data, seconds=0.03):
        """Byte by byte, until the other side has had enough."""
        for byte in data:
            self.send(bytes([byte]))
            time.sleep(seconds)

    def reset(self):
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def wait_for_end(self):
        """Until the other side hangs up; at most a minute."""
        self.sock.settimeout(60)
        while self.sock.recv(4096):
            pass


def head(status=200, content_type="application/json", *lines):
    text = f"HTTP/1.1 {status} Because\r\n"
    if content_type:
        text += f"Content-Type: {content_type}\r\n"
    return text + "".join(line + "\r\n" for line in lines)


def answer(connection, body, status=200, content_type="application/json", *lines):
    body = body if isinstance(body, bytes) else body.encode("utf-8")
    connection.send((head(status, content_type, *lines) + f"Content-Length: {len(body)}\r\n\r\n").encode() + body)
    return True


def key_of(request):
    return request["headers"].get("x-api-key") or request["headers"].get("authorization", "").replace("Bearer ", "")


def is_anthropic(request):
    return request["path"].endswith("/messages")


# ---- good answers ----

def whole_body(request, text="".join(TEXT)):
    if is_anthropic(request):
        return json.dumps({"type": "message", "role": "assistant", "content": [
            {"type": "thinking", "thinking": "hm"}, {"type": "text", "text": text}], "stop_reason": "end_turn",
            "usage": {"input_tokens": 7, "cache_read_input_tokens": 4, "output_tokens": 3}})
    return json.dumps({"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop", "message": {
        "role": "assistant", "reasoning_content": "hm", "content": text}}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3}})


def events(request, texts=TEXT, end=True):
    """A stream's events, each as bytes; `end` False: without what ends it."""
    if is_anthropic(request):
        found = [("message_start", {"message": {"usage": {"input_tokens": 7, "cache_read_input_tokens": 4,
                                                          "output_tokens": 1}}}),
                 ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": ""}}), ("ping", {})]
        found += [("content_block_delta", {"index": 0, "delta": {"type": "text_delta", "text": text}})
                  for text in texts]
        if end:
            found += [("content_block_stop", {"index": 0}),
                      ("message_delta", {"delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}}),
                      ("message_stop", {})]
        return [f"event: {name}\ndata: {json.dumps(dict(data, type=name))}\n\n".encode() for name, data in found]
    found = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": None}}]}]
    found += [{"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]} for text in texts]
    lines = [f"data: {json.dumps(data)}\n\n".encode() for data in found]
    if end:
        lines += [b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n', b": a comment\n\n",
                  b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3}}\n\n', b"data: [DONE]\n\n"]
    return lines


def begin_stream(connection, *lines):
    connection.send(head(200, "text/event-stream; charset=utf-8", "Transfer-Encoding: chunked", *lines) + "\r\n")


def chunk(data):
    return f"{len(data):x}\r\n".encode() + data + b"\r\n"


def stream(connection, parts):
    begin_stream(connection)
    for part in parts:
        connection.send(chunk(part))
    connection.send(b"0\r\n\r\n")
    return True


CALLS = [("call_1", "weather", ['{"city": "P', 'aris"}']), ("call_2", "time", [])]


def call_events(request):
    """A stream with a word and CALLS, each as bytes."""
    if is_anthropic(request):
        found = [("message_start", {"message": {"usage": {"input_tokens": 7, "output_tokens": 1}}}),
                 ("content_block_start", {"index": 0, "content_block": {"type": "text", "text": "Well."}}),
                 ("content_block_stop", {"index": 0})]
        for index, (call, name, pieces) in enumerate(CALLS, 1):
            found += [("content_block_start", {"index": index, "content_block": {
                "type": "tool_use", "id": call, "name": name, "input": {}}})]
            found += [("content_block_delta", {"index": index, "delta": {
                "type": "input_json_delta", "partial_json": piece}}) for piece in pieces]
            found += [("content_block_stop", {"index": index})]
        found += [("message_delta", {"delta": {"stop_reason": "tool_use"}, "usage": {"output_tokens": 3}}),
                  ("message_stop", {})]
        return [f"event: {name}\ndata: {json.dumps(dict(data, type=name))}\n\n".encode() for name, data in found]
    deltas = [{"role": "assistant", "content": "Well."}]
    for index, (call, name, pieces) in enumerate(CALLS):
        deltas += [{"tool_calls": [{"index": index, "id": call, "type": "function",
                                    "function": {"name": name, "arguments": ""}}]}]
        deltas += [{"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces]
    lines = [f"data: {json.dumps({'choices': [{'index': 0, 'delta': delta}]})}\n\n".encode() for delta in deltas]
    return lines + [b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"tool_calls"}]}\n\n',
                    b"data: [DONE]\n\n"]


def whole_calls(request):
    calls = [(call, name, "".join(pieces) or "{}") for call, name, pieces in CALLS]
    if is_anthropic(request):
        return json.dumps({"type": "message", "role": "assistant", "content": [{"type": "text", "text": "Well."}] + [
            {"type": "tool_use", "id": call, "name": name, "input": json.loads(arguments)}
            for call, name, arguments in calls], "stop_reason": "tool_use", "usage": {"output_tokens": 3}})
    return json.dumps({"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "tool_calls", "message": {
        "role": "assistant", "content": "Well.", "tool_calls": [
            {"id": call, "type": "function", "function": {"name": name, "arguments": arguments}}
            for call, name, arguments in calls]}}]})


@script
def calls(connection, request):
    if request["body"].get("stream"):
        return stream(connection, call_events(request))
    return answer(connection, whole_calls(request))


@script
def good(connection, request):
    if request["body"].get("stream"):
        return stream(connection, events(request))
    return answer(connection, whole_body(request))


def json_script(*texts):
    """One text after the other, the last for all that come later."""
    def play(connection, request):
        text = texts[min(request["count"], len(texts)) - 1]
        if request["body"].get("stream"):
            return stream(connection, events(request, [text[:5], text[5:]]))
        return answer(connection, whole_body(request, text))
    return play


SCRIPTS["json"] = json_script('{"cmd": "ls"}')
SCRIPTS["json_second"] = json_script("Here you are: ls", '{"cmd": "ls"}')
SCRIPTS["json_never"] = json_script('{"cmd": 7}')


@script
def bytewise(connection, request):
    return stream(connection, [bytes([byte]) for byte in b"".join(events(request)).replace(b"\n", b"\r\n")])


@script
def never_streams(connection, request):
    return answer(connection, whole_body(request))


@script
def untyped(connection, request):
    return answer(connection, b"".join(events(request)), 200, None)


@script
def compressed(connection, request):
    return answer(connection, gzip.compress(whole_body(request).encode()), 200, "application/json",
                  "Content-Encoding: gzip")


@script
def stays_open(connection, request):
    """Everything is said, and the connection stays as it is."""
    begin_stream(connection)
    connection.send(chunk(b"".join(events(request))))
    connection.wait_for_end()


@script
def no_done(connection, request):
    return stream(connection, [event for event in events(request) if b"[DONE]" not in event])


@script
def reason_length(connection, request):
    return answer(connection, whole_body(request).replace('"stop"', '"length"').replace("end_turn", "max_tokens"))


@script
def refusal(connection, request):
    return answer(connection, json.dumps({"choices": [{"finish_reason": "stop", "message": {
        "content": None, "refusal": "I would rather not."}}]}))


@script
def logprobs(connection, request):
    """Tokens with their probabilities; the second one is half a character, and has one other alone."""
    told = [{"token": "He", "bytes": [72, 101], "logprob": -0.5, "top_logprobs": [
        {"token": "He", "bytes": [72, 101], "logprob": -0.5}, {"token": "She", "logprob": -1.5}]},
            {"token": "\ufffd", "bytes": [195], "logprob": -0.25, "top_logprobs": [
                {"token": "\ufffd", "bytes": [195], "logprob": -0.25}]}]
    if not request["body"].get("logprobs") or request["body"].get("top_logprobs") != 2:
        return answer(connection, json.dumps({"choices": []}))
    return answer(connection, json.dumps({"choices": [{"finish_reason": "stop", "logprobs": {"content": told},
                                                       "message": {
        "content": "He\u00e9"}}]}))


@script
def says_closed(connection, request):
    """Keep-alive as far as anybody can tell, and then the connection is gone."""
    good(connection, request)
    return False


# ---- HTTP says what is wrong; the key comes back in the words ----

def error(request, words):
    return {"error": {"message": f"{words}: {key_of(request)} \x1b[31mred", "type": "some_error"}}


def status_script(status, *lines, again=None):
    def play(connection, request):
        if again and request["count"] > again:
            return good(connection, request)
        extra = [line() if callable(line) else line for line in lines]
        return answer(connection, json.dumps(error(request, f"no {status}")), status, "application/json", *extra)
    return play


def in_a_second():
    return "Retry-After: " + email.utils.formatdate(time.time() + 2, usegmt=True)


for code in (400, 401, 402, 403, 404, 405, 408, 409, 413, 422, 429, 500, 501, 502, 503, 504, 529):
    SCRIPTS[f"status_{code}"] = status_script(code)
for code in (401, 429, 500, 503, 529):
    SCRIPTS[f"once_{code}"] = status_script(code, again=1)
SCRIPTS["after_seconds"] = status_script(429, "Retry-After: 1", again=1)
SCRIPTS["after_date"] = status_script(503, in_a_second, again=1)
SCRIPTS["after_an_hour"] = status_script(429, "Retry-After: 3600")
SCRIPTS["after_nonsense"] = status_script(429, "Retry-After: soon", again=1)


def refuse_sampling(connection, request):
    words = {"error": {"message": "`temperature` is deprecated for this model.", "type": "invalid_request_error"}}
    return answer(connection, json.dumps(words), 400)


SCRIPTS["never_cold"] = refuse_sampling


@script
def own_sampling(connection, request):
    """As current models of several makers: any temperature is one too many."""
    if "temperature" in request["body"] or "top_p" in request["body"]:
        return refuse_sampling(connection, request)
    return good(connection, request)


for code in (301, 302, 303, 307, 308):
    SCRIPTS[f"redirect_{code}"] = status_script(code, "Location: /trap/v1/chat/completions")


@script
def trap(connection, request):
    return good(connection, request)


ERROR_BODIES = {
    "error_text": '{"error": "model \\"x\\" not found"}',
    "error_vllm": '{"object": "error", "message": "model x not found", "type": "NotFoundError", "code": 404}',
    "error_detail": '{"detail": [{"loc": ["body"], "msg": "model x not found"}]}',
    "error_anthropic": '{"type": "error", "error": {"type": "not_found_error", "message": "model x not found"}}',
    "error_plain": "model x not found",
    "error_html": "<html><body>secret internals</body></html>",
    "error_empty": "",
}
for name, body in ERROR_BODIES.items():
    SCRIPTS[name] = (lambda text: lambda connection, request: answer(connection, text, 404, "text/plain"))(body)


@script
def error_endless(connection, request):
    connection.send(head(400, "text/plain", "Transfer-Encoding: chunked") + "\r\n")
    while True:
        connection.send(chunk(b"x" * 4096))


# ---- a 200, and then ----

BODIES = {
    "json_truncated": '{"choices": [{"index": 0, "message": {"role": "assistant", "content": "Hel',
    "json_malformed": '{"choices": nope}',
    "json_array": "[1, 2, 3]",
    "json_nothing": "{}",
    "json_no_choice": '{"choices": []}',
    "json_number": '{"choices": [{"message": {"content": 5}, "finish_reason": "stop"}]}',
    "json_no_reason": '{"choices": [{"message": {"content": "Hello"}}]}',
    "json_nul": '{"choices": [{"message": {"content": "a\x00b"}, "finish_reason": "stop"}]}',
    "json_utf8": b'{"choices": [{"message": {"content": "a\xff\xfeb"}, "finish_reason": "stop"}]}',
    "json_deep": "[" * 100000,
    "json_error": '{"error": {"message": "the model is gone", "code": 404}}',
    "empty": "",
}
for name, body in BODIES.items():
    SCRIPTS[name] = (lambda text: lambda connection, request: answer(connection, text))(body)

STREAMS = {
    "sse_malformed": b"data: {nope\n\n",
    "sse_no_object": b"data: 5\n\n",
    "sse_utf8": b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n',
    "sse_nul": b'data: {"choices":[{"delta":{"content":"a\x00b"}}]}\n\n',
    "sse_wrong_shape": b'data: {"choices": 5}\n\n',
    "sse_no_delta": b'data: {"choices": [{"index": 0}]}\n\n',
    "sse_garbage": b"What is this?\n\nNobody knows.\n\n",
    "sse_error": b'data: {"error": {"message": "the model is gone", "code": 404}}\n\n',
    "sse_error_text": b'data: {"error": "out of slots"}\n\n',
    "sse_error_vllm": b'data: {"object": "error", "message": "out of slots", "code": 503}\n\n',
    "sse_overloaded": b'event: error\ndata: {"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}\n\n',
    "sse_event_error": b'event: error\ndata: {"unknown": "form"}\n\n',
    "sse_filtered": b'data: {"choices":[{"delta":{},"finish_reason":"content_filter"}]}\n\n',
}
for name, body in STREAMS.items():
    SCRIPTS[name] = (lambda data: lambda connection, request: stream(connection, [data]))(body)


@script
def late_error(connection, request):
    """event: error after text."""
    return stream(connection, events(request, end=False) + [STREAMS["sse_overloaded"]])


@script
def no_end(connection, request):
    return stream(connection, events(request, end=False))


@script
def cut_in_event(connection, request):
    return stream(connection, [b"".join(events(request))[:-90]])


@script
def broken_after_text(connection, request):
    begin_stream(connection)
    connection.send(chunk(b"".join(events(request, end=False))))
    time.sleep(0.05)
    connection.reset()


@script
def html(connection, request):
    return answer(connection, "<html>Welcome</html>", 200, "text/html; charset=utf-8")


@script
def huge_whole(connection, request):
    connection.send(head(200, "application/json", "Transfer-Encoding: chunked") + "\r\n")
    connection.send(chunk(b'{"choices": [{"message": {"content": "'))
    while True:
        connection.send(chunk(b"x" * 65536))


@script
def huge_event(connection, request):
    begin_stream(connection)
    connection.send(chunk(b"data: "))
    while True:
        connection.send(chunk(b"x" * 65536))


@script
def huge_headers(connection, request):
    connection.send("HTTP/1.1 200 OK\r\n")
    while True:
        connection.send("X-Filler: " + "y" * 1000 + "\r\n")


@script
def huge_header_line(connection, request):
    connection.send("HTTP/1.1 200 OK\r\nX-Filler: ")
    while True:
        connection.send("y" * 4096)


@script
def bomb(connection, request):
    return answer(connection, gzip.compress(b" " * (64 << 20)), 200, "application/json", "Content-Encoding: gzip")


@script
def gzip_broken(connection, request):
    return answer(connection, b"\x1f\x8b" + b"nonsense" * 9, 200, "application/json", "Content-Encoding: gzip")


# ---- slow ----

@script
def slow_headers(connection, request):
    connection.drip(b"HTTP/1.1 200 OK\r\nX-Filler: " + b"y" * 10000)


@script
def slow_body(connection, request):
    begin_stream(connection)
    connection.drip(chunk(b": ping\n") * 1000)


@script
def slow_pings(connection, request):
    begin_stream(connection)
    while True:
        connection.send(chunk(b": ping\n\n"))
        time.sleep(0.05)


@script
def silent(connection, request):
    connection.wait_for_end()


@script
def idle(connection, request):
    begin_stream(connection)
    connection.send(chunk(b"".join(events(request, end=False))))
    connection.wait_for_end()


@script
def slow_words(connection, request):
    """A word each 50 ms, for a minute."""
    begin_stream(connection)
    for event in events(request, ["word "] * 1200):
        connection.send(chunk(event))
        time.sleep(0.05)


# ---- no HTTP ----

@script
def hangs_up(connection, request):
    return False


@script
def resets(connection, request):
    connection.reset()


@script
def no_http(connection, request):
    connection.send("220 mail.example.org ready\r\n")


@script
def bad_status_line(connection, request):
    connection.send("HTTP/1.1 banana\r\n\r\n")


@script
def chunk_garbage(connection, request):
    begin_stream(connection)
    connection.send("zz\r\nnonsense\r\n")


@script
def chunk_cut(connection, request):
    begin_stream(connection)
    connection.send(b"ffff\r\n" + events(request, end=False)[0])


def length_script(said, sent):
    """Its length is wrong by `said` bytes, and so many of it come."""
    def play(connection, request):
        body = whole_body(request).encode()
        connection.send(head(200, "application/json", f"Content-Length: {len(body) + said}") + "\r\n")
        connection.send(body[:len(body) + sent])
    return play


SCRIPTS["length_too_long"] = length_script(100, 0)
SCRIPTS["length_cut"] = length_script(0, -20)
SCRIPTS["length_too_short"] = length_script(-30, 0)


@script
def length_negative(connection, request):
    connection.send(head(200, "application/json", "Content-Length: -5") + "\r\n{}")


def short_answer():
    """All that reset_at_N may send: ends with its last byte."""
    body = b'data: {"choices":[{"delta":{"content":"Hi"}}]}\n\n' \
           b'data: {"choices":[{"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    return (head(200, "text/event-stream", f"Content-Length: {len(body)}") + "\r\n").encode() + body


def reset_at(count):
    def play(connection, request):
        connection.send(short_answer()[:count])
        connection.reset()
    return play


def script_of(name):
    """SCRIPTS, and one for each N of reset_at_N."""
    return reset_at(int(name.split("_")[-1])) if name.startswith("reset_at_") else SCRIPTS[name]
