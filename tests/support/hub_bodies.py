"""Bodies of hub_server.py: files with ranges, whole or as the switches want them broken."""
import gzip
import re
import socket
import threading
import time

from hub_contents import File

BLOCK = 1 << 18
lock = threading.Lock()
next_at = {}  # repo -> when its next byte may go (rate)
first_range = {}


class End(Exception):
    """This connection is over."""


def text_file(text):
    return File(text.encode(), large=True)


def head(status, kind, *lines):
    return "".join([f"HTTP/1.1 {status} As it is\r\n", f"Content-Type: {kind}\r\n", *[line + "\r\n" for line in lines],
                    "\r\n"]).encode("utf-8")


def send_whole(connection, request, status, body, kind, *lines):
    """A short answer; to HEAD without its body."""
    request["status"] = status
    is_head = request["method"] == "HEAD"
    if not is_head:
        request["sent"] = len(body)
    connection.send(head(status, kind, *lines, f"Content-Length: {len(body)}") + (b"" if is_head else body))


def asked_range(request, size):
    """(from, to) of a request's range, within the file; None: there is none that one understands."""
    match = re.fullmatch(r"bytes=(\d+)-(\d*)", request["range"] or "")
    if not match:
        return None
    start = int(match[1])
    return start, min(int(match[2]) + 1 if match[2] else size, size)


class Body:
    """What is about to be sent: status, lines of the head, a span of the file."""

    def __init__(self, asked, file, lines):
        self.asked, self.file, self.lines = asked, file, list(lines)
        self.status, self.start, self.end = 200, 0, file.size
        self.choose_range()

    def refuse(self, total):
        self.status, self.start, self.end = 416, 0, 0
        self.lines.append(f"Content-Range: bytes */{total}")

    def choose_range(self):
        asked, size = self.asked, self.file.size
        no_ranges = asked.on("range-none")
        if not no_ranges:
            self.lines.append("Accept-Ranges: bytes")
        span = asked_range(asked.request, size)
        if not span or no_ranges or asked.on("range-ignored"):
            return
        if_range = asked.request["headers"].get("if-range")
        if if_range and f"ETag: {if_range}" not in self.lines:
            return
        if span[0] >= size or asked.on("range-416"):
            self.refuse(size + 7 if asked.on("range-total") else size)
            return
        if asked.on("range-complete"):
            self.refuse(span[0])
            return
        self.status, (self.start, self.end) = 206, span
        if asked.on("range-other"):
            self.start, self.end = (0, self.end - self.start) if self.start else (1, self.end)
        if asked.on("range-short"):
            self.end = max(self.start + 1, (self.start + self.end) // 2)
        total = "*" if asked.on("range-no-total") else size + 7 if asked.on("range-total") else size
        self.lines.append(f"Content-Range: bytes {self.start}-{self.end - 1}/{total}")

    def blocks(self):
        """Bytes of the span, the flipped bit in them."""
        flip = self.asked.on("flip")
        for offset in range(self.start, self.end, BLOCK):
            block = self.file.read(offset, min(BLOCK, self.end - offset))
            if flip and offset <= flip.number() < offset + len(block):
                block = bytearray(block)
                block[flip.number() - offset] ^= 1
                block = bytes(block)
            yield block


def send_file(asked, file, lines):
    body, request, connection = Body(asked, file, lines), asked.request, asked.connection
    request["status"] = body.status
    kind, length = "application/octet-stream", body.end - body.start
    is_head = request["method"] == "HEAD"
    if asked.on("gzip"):
        packed = gzip.compress(b"".join(body.blocks()), 1)
        send_whole(connection, request, body.status, packed, kind, *body.lines, "Content-Encoding: gzip")
        return
    extra = asked.on("extra")
    is_chunked = asked.on("chunked")
    length += extra.number(7) if extra else 0
    length_line = "Transfer-Encoding: chunked" if is_chunked else f"Content-Length: {length}"
    connection.send(head(body.status, kind, *body.lines, length_line))
    if not is_head and body.status != 416:
        Sender(asked, is_chunked).send_all(body, b"\xee" * extra.number(7) if extra else b"")


class Sender:
    """Sends blocks at the speed and up to the byte that the switches ask for."""

    def __init__(self, asked, is_chunked):
        self.asked, self.connection, self.is_chunked = asked, asked.connection, bool(is_chunked)
        self.stops = [(word, switch.number()) for word in ("cut", "reset-after", "silent-after")
                      for switch in [asked.on(word)] if switch]
        self.slow, self.rate, self.rate_each = (asked.on(word) for word in ("slow", "rate", "rate-each"))
        self.sent, self.own_next = 0, 0.0
        if asked.on("first-slow"):
            with lock:
                if first_range.setdefault(asked.repo, asked.request["connection"]) == asked.request["connection"]:
                    self.slow_first = True
        self.slow_first = getattr(self, "slow_first", False)

    def send_all(self, body, extra):
        is_simple = not (self.stops or self.slow or self.slow_first or self.rate or self.rate_each or self.is_chunked)
        if is_simple and body.file.local and not self.asked.on("flip") and not self.asked.request["tls"]:
            with open(body.file.local, "rb") as stream:
                self.asked.request["sent"] = self.connection.sock.sendfile(stream, body.start, body.end - body.start)
            return
        for block in body.blocks():
            self.send_block(block)
        if extra:
            self.send_block(extra)
        if self.is_chunked:
            self.connection.send(b"0\r\n\r\n")

    def send_block(self, block):
        for word, at in self.stops:
            if self.sent + len(block) >= at:
                self.put(block[:at - self.sent])
                self.stop(word)
        if self.slow or self.slow_first:
            pause = (self.slow.number(100) if self.slow else 500) / 1000
            for byte in block:
                self.put(bytes([byte]))
                time.sleep(pause)
        elif self.rate or self.rate_each:
            rate = (self.rate or self.rate_each).number(1000000)
            step = max(rate // 100, 1000)
            for at in range(0, len(block), step):
                part = block[at:at + step]
                self.wait_turn(len(part) / rate)
                self.put(part)
        else:
            self.put(block)

    def wait_turn(self, seconds):
        now = time.monotonic()
        if self.rate:
            with lock:
                turn = max(next_at.get(self.asked.repo, 0.0), now - 0.02)
                next_at[self.asked.repo] = turn + seconds
        else:
            turn = max(self.own_next, now - 0.02)
            self.own_next = turn + seconds
        time.sleep(max(turn + seconds - now, 0))

    def put(self, data):
        if data:
            self.connection.send(b"%x\r\n%s\r\n" % (len(data), data) if self.is_chunked else data)
            self.sent += len(data)
            self.asked.request["sent"] = self.sent

    def stop(self, word):
        if word == "reset-after":
            time.sleep(0.02)  # what was sent is to arrive
            self.connection.reset()
        if word == "silent-after":
            self.connection.wait_for_end()
        self.connection.sock.shutdown(socket.SHUT_RDWR)
        raise End
