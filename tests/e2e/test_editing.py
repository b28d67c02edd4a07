#!/usr/bin/env python3
"""A chat on a terminal: what is typed and pasted arrives whole, is edited and remembered. How many tokens a message has
tells whether it is the one that was meant: as many as of `clinfer run` with the same text. Prints TAP."""
import fcntl
import os
import pty
import re
import select
import signal
import subprocess
import sys
import tempfile
import termios
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
RUN = [TOOL, "run", "-m", "tests/data/llama_tiny.gguf", "--device", "cpu", "--temp", "0", "-n", "2", "-co", "off"]
PROMPT = rb"(?:^|\n)(?:\x1b\[\?2004h)?> $"
state = tempfile.TemporaryDirectory(prefix="clinfer-test-")
HISTORY = os.path.join(state.name, "clinfer/history")


class Chat:
    """On a terminal of its own, which is read while something is typed, as a real one is."""

    def __init__(self, *flags, stdout=None, **environment):
        self.ours, theirs = pty.openpty()
        environment = {**os.environ, "TERM": "xterm", "XDG_STATE_HOME": state.name, "LC_ALL": "C", **environment}
        self.child = subprocess.Popen([*RUN, *flags], stdin=theirs, stdout=stdout or theirs, stderr=theirs,
                                      env=environment, start_new_session=True, preexec_fn=take_terminal)
        self.name = os.ttyname(theirs)
        os.close(theirs)
        os.set_blocking(self.ours, False)
        self.shown = b""
        self.expect(PROMPT)

    def exchange(self, text, seconds):
        readable, writable, _ = select.select([self.ours], [self.ours] if text else [], [], seconds)
        if readable:
            try:
                self.shown += os.read(self.ours, 65536)
            except OSError:
                return None
        return text[os.write(self.ours, text[:1024]):] if writable else text

    def type(self, text):
        self.shown = b""
        deadline = time.monotonic() + 100
        while text:
            text = self.exchange(text, 10)
            assert text is not None and time.monotonic() < deadline, self.shown[-500:]

    def expect(self, pattern):
        deadline = time.monotonic() + 100
        while not re.search(pattern, self.shown.replace(b"\r", b"")):
            assert self.exchange(b"", 1) is not None and time.monotonic() < deadline, (pattern, self.shown[-500:])
        return self.shown

    def say(self, text):
        """Types a message and waits for its answer, or for why there is none: what was shown."""
        self.type(text)
        return self.expect(rb"clinfer: [^\n]*\n(?:[^\n]*\n)*" + PROMPT[len(rb"(?:^|\n)"):])

    def leave(self):
        self.type(b"\x04")
        while self.exchange(b"", 1) is not None and self.child.poll() is None:
            pass
        os.close(self.ours)
        assert self.child.wait(30) == 0, self.child.returncode


def take_terminal():
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def tokens(shown):
    """Of the prompt that an answer is for, or that is too long for one."""
    found = re.search(rb"the prompt has (\d+) tokens|(\d+) prompt tokens(?: \(\+(\d+) cached\))?", shown)
    assert found, shown[-500:]
    return int(found[1]) if found[1] else int(found[2]) + int(found[3] or 0)


def tokens_of(text):
    with tempfile.NamedTemporaryFile() as file:
        file.write(text + b"\n")
        file.flush()
        return tokens(subprocess.run([*RUN, "-f", file.name], capture_output=True, timeout=100).stderr)


def check_alone(typed, text, **environment):
    chat = Chat("--no-history", **environment)
    assert tokens(chat.say(typed)) == tokens_of(text), (typed[:100], chat.shown[-500:])
    chat.leave()


def test_long_lines_arrive_whole():
    for size in (4095, 4096, 5000, 100000):
        check_alone(b"a " * (size // 2) + b"b" * (size % 2) + b"\n", b"a " * (size // 2) + b"b" * (size % 2))
    check_alone(b"a " * 2500 + b"\n", b"a " * 2500, TERM="dumb")
    check_alone(b"a " * 2500 + b"\n", b"a " * 2500, TERM="")


def test_what_is_pasted_is_one_message():
    check_alone(b"\x1b[200~line one\rline two\nline three\x1b[201~\r", b"line one\nline two\nline three")
    check_alone(b"see: \x1b[200~one\r\x1b[201~\x1b[200~two\x1b[201~!\r", b"see: one\ntwo!")
    text = b"many words\r" * 10000
    check_alone(b"\x1b[200~" + text + b"end\x1b[201~\r", text.replace(b"\r", b"\n") + b"end")


def test_several_lines_by_hand():
    check_alone(b"one\x1b\rtwo\r", b"one\ntwo")
    check_alone(b"one\\\rtwo\\\rthree\r", b"one\ntwo\nthree")


def test_keys_edit_the_line():
    check_alone(b"helo\x1b[Dl\r", b"hello")
    check_alone(b"ello\x01h\x05!\r", b"hello!")
    check_alone(b"ello\x1b[Hh\x1b[F!\r", b"hello!")
    check_alone("\u00e9t\u00e9\u4f60\U0001f600\x7f\x7f\x7f\u00ea\r".encode(), "\u00e9t\u00ea".encode())
    check_alone(b"one two\x17three\r", b"one three")
    check_alone(b"hello\x1b[D\x1b[3~\r", b"hell")


def test_a_message_comes_back_from_the_history():
    if os.path.exists(HISTORY):
        os.remove(HISTORY)
    chat = Chat()
    text = b"the first\nof \\ two"
    first = tokens(chat.say(b"\x1b[200~" + text + b"\x1b[201~\r"))
    chat.say(b"/clear\r")
    chat.say(b"\x1b[A\x1b[A\r")
    assert tokens(chat.shown) == first == tokens_of(text), chat.shown
    chat.leave()
    assert os.stat(HISTORY).st_mode & 0o777 == 0o600, oct(os.stat(HISTORY).st_mode)
    with open(HISTORY, "rb") as file:
        assert file.read() == b"the first\\nof \\\\ two\n/clear\nthe first\\nof \\\\ two\n"
    chat = Chat()
    assert tokens(chat.say(b"\x1b[A\r")) == first, chat.shown
    chat.leave()
    chat = Chat("--no-history")
    chat.type(b"\x1b[A\x1b[Aa\r")
    chat.expect(PROMPT)
    assert tokens(chat.shown) == tokens_of(b"a"), chat.shown
    chat.leave()


def test_a_history_stays_small():
    with open(HISTORY, "wb") as file:
        file.writelines(b"message %d %s\n" % (i, b"x" * 3000) for i in range(900))
    chat = Chat()
    chat.say(b"\x1b[A\x15new\r")
    chat.leave()
    with open(HISTORY, "rb") as file:
        lines = file.read().splitlines()
    assert 100 < len(lines) < 400 and lines[-1] == b"new" and lines[-2].startswith(b"message 899"), len(lines)
    os.remove(HISTORY)


def test_a_history_that_cannot_be_kept_is_said_once():
    chat = Chat(XDG_STATE_HOME="/dev/null")
    first, second = chat.say(b"one\r"), chat.say(b"two\r")
    assert b"/dev/null/clinfer/history: cannot write: Not a directory; the messages of this chat are not kept" in first
    assert b"not kept" not in second and tokens(second), second
    chat.leave()


def test_a_zero_is_an_error_and_other_bytes_are_kept():
    chat = Chat("--no-history")
    assert b"byte 1 of the message is zero; it was not sent" in chat.say(b"q\0w\r"), chat.shown
    assert b"is not UTF-8" in chat.say(b"h\xff\xfei\r"), chat.shown
    assert tokens(chat.say(b"after\r")) == tokens_of(b"after")
    chat.leave()


def test_escapes_are_read_in_messages_too():
    chat = Chat("--no-history", "-e")
    assert tokens(chat.say(b"a\\nb\r")) == tokens_of(b"a\nb")
    chat.leave()


def test_a_paste_is_asked_for_only_while_a_line_is_read():
    chat = Chat("--no-history")
    before = termios.tcgetattr(chat.ours)
    chat.say(b"hello\r")
    assert re.search(rb"hello\r+\n\x1b\[\?2004l.*\x1b\[\?2004h> $", chat.shown, re.S), chat.shown
    assert termios.tcgetattr(chat.ours) == before
    chat.leave()
    assert chat.shown.rindex(b"\x1b[?2004l") > chat.shown.rfind(b"\x1b[?2004h")
    chat = Chat("--no-history", TERM="dumb")
    assert b"\x1b" not in chat.say(b"hello\r"), chat.shown
    chat.leave()


def test_what_is_typed_during_an_answer_comes_after_it():
    chat = Chat("--no-history", "-n", "3000", "--ignore-eos", "--context-shift")
    chat.type(b"hello\r")
    chat.expect(rb"hello\n")
    for typed in (b"world\r", b"\x04"):  # the terminal makes lines of it by itself
        os.write(chat.ours, typed)
    while chat.exchange(b"", 1) is not None and chat.child.poll() is None:
        pass
    assert chat.child.wait(30) == 0 and len(re.findall(rb"prompt tokens", chat.shown)) == 2, chat.shown[-500:]
    os.close(chat.ours)


def test_a_signal_leaves_the_terminal_as_it_was():
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGABRT):
        chat = Chat("--no-history")
        assert not termios.tcgetattr(chat.ours)[3] & termios.ICANON
        theirs = os.open(chat.name, os.O_RDWR | os.O_NOCTTY)
        chat.type(b"half")
        chat.expect(b"half")
        chat.child.send_signal(number)
        assert chat.child.wait(30) == -number, chat.child.returncode
        while chat.exchange(b"", 0.2) is not None and not chat.shown.endswith(b"\x1b[?2004l"):
            pass
        modes = termios.tcgetattr(theirs)[3]
        assert modes & termios.ICANON and modes & termios.ECHO, hex(modes)
        os.close(theirs)
        os.close(chat.ours)


def test_an_answer_on_a_terminal_cannot_control_it():
    chat = Chat("--no-history", "-n", "60", "--ignore-eos")
    shown = chat.say(b"hello\r")
    answer = shown[shown.index(b"\x1b[?2004l") + len(b"\x1b[?2004l"):shown.index(b"\r\nclinfer: ")]
    chat.leave()
    plain = subprocess.run([*RUN, "-n", "60", "--ignore-eos", "hello"], capture_output=True, timeout=100).stdout
    assert re.search(rb"[\x00-\x08\x0b-\x1f\x7f]", plain) and re.search(rb"[\x80-\xff]", plain), plain
    assert not re.search(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]", answer) and answer.decode(), answer
    spelled = "".join(f"\\x{byte:02x}" if character == "\ufffd" else character
                      for character, byte in characters(plain.rstrip(b"\n")))
    spelled = re.sub("[\\x00-\\x08\\x0b-\\x1f\\x7f-\\x9f]", lambda c: r"\r" if c[0] == "\r" else f"\\u{ord(c[0]):04x}",
                     spelled)
    assert answer.decode().replace("\r\n", "\n") == spelled, (answer, spelled)


def characters(text):
    """(character, its byte) of the text; of a byte that is no UTF-8 (U+FFFD, the byte)."""
    at = 0
    while at < len(text):
        size = next((n for n in range(1, 5) if decodes(text[at:at + n])), 0)
        yield (text[at:at + size].decode() if size else "\ufffd"), text[at]
        at += size or 1


def decodes(text):
    try:
        return len(text.decode()) == 1
    except UnicodeDecodeError:
        return False


def test_an_answer_alone_goes_to_standard_output():
    with tempfile.TemporaryFile() as file:
        chat = Chat("--no-history", stdout=file)
        chat.say(b"hello\r")
        chat.say(b"\x1b[200~a\rb\x1b[201~\r")
        chat.leave()
        file.seek(0)
        answers = file.read()
    with tempfile.TemporaryFile() as file:
        subprocess.run([*RUN, "hello"], stdout=file, stderr=subprocess.DEVNULL, timeout=100)
        file.seek(0)
        alone = file.read()
    assert answers.startswith(alone) and b"2004" not in answers and b">" not in answers, (answers, alone)


def test_lines_of_a_pipe_may_come_from_windows():
    def counts(text):
        done = subprocess.run([*RUN, "-cnv"], input=text, capture_output=True, timeout=100)
        assert done.returncode == 0, done
        return re.findall(rb"(\d+) prompt tokens", done.stderr)

    plain = counts(b"hello\n/clear\nyou\n/exit\nmore\n")
    assert len(plain) == 2, plain
    assert counts(b"\xef\xbb\xbfhello\r\n/clear\r\nyou\r\n/exit\r\nmore\r\n") == plain


if __name__ == "__main__":
    tap.main(globals())
