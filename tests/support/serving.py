"""A `clinfer serve` of a test's own: started on a free port of the loopback, waited for, asked, ended.

    with serving.Serve("--metrics") as server:
        status, headers, body = server.ask("POST", "/v1/chat/completions", {"messages": [...]})
        for event in server.stream("/v1/chat/completions", {...}):
            ...
"""
import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

TOOL = os.path.realpath(os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer")
TINY = os.path.realpath("tests/data/qwen2_tiny.gguf")  # random weights: bytes of all kinds, half characters among them
START_SECONDS, END_SECONDS = 60, 20


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def running(command, port, seconds=300, **more):
    """Any server that has /health, from when that says 200 to the end of the block; `more` goes to Popen."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, **more)
        try:
            end = time.monotonic() + seconds
            while not is_healthy(port):
                if process.poll() is not None or time.monotonic() > end:
                    log.seek(0)
                    raise SystemExit(f"{command[0]} is not ready: {log.read()[-2000:].decode(errors='replace')}")
                time.sleep(0.05)
            yield process
        finally:
            process.terminate()
            process.wait()


def is_healthy(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


class Serve:
    """Arguments of `serve`; a model and a device come first where they are not among them."""

    def __init__(self, *arguments, wait=True, environment=None):
        self.port, self.wait, self.home = free_port(), wait, tempfile.mkdtemp(prefix="clinfer-serve-")
        known = " ".join(arguments).split()
        self.command = [TOOL, "serve", "--port", str(self.port)]
        self.command += [] if "-m" in known or "--model" in known else ["-m", TINY]
        self.command += [] if "--device" in known else ["--device", "cpu"]
        self.command += list(arguments)
        # No models of this machine, nor anything else that its user has.
        homes = ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "HF_HOME", "OLLAMA_MODELS")
        self.environment = {**os.environ, **dict.fromkeys(homes, self.home), **(environment or {})}

    def __enter__(self):
        self.log = open(os.path.join(self.home, "log"), "w+b")
        self.process = subprocess.Popen(self.command, env=self.environment, stdin=subprocess.DEVNULL, stdout=self.log,
                                        stderr=subprocess.STDOUT)
        if self.wait:
            self.wait_until_ready()
        return self

    def __exit__(self, failure, *_):
        try:
            if failure:  # it may well have left a stream under way: the failure is the news, not what ends late after it
                self.process.kill()
                self.process.wait()
            self.end()
        finally:
            self.log.close()
            shutil.rmtree(self.home, ignore_errors=True)

    def said(self):
        self.log.flush()
        with open(self.log.name, "rb") as log:
            return log.read().decode(errors="replace")

    def wait_until_ready(self):
        end = time.monotonic() + START_SECONDS
        while time.monotonic() < end:
            if self.process.poll() is not None:
                raise AssertionError(f"serve ended with {self.process.returncode}: {self.said()[-2000:]}")
            try:
                if self.ask("GET", "/health")[0] == 200:
                    return
            except OSError:
                pass
            time.sleep(0.02)
        raise AssertionError(f"serve is not ready: {self.said()[-2000:]}")

    def end(self, seconds=None):
        """SIGTERM, and what it ends with."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(seconds or END_SECONDS)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
                raise AssertionError(f"serve did not end: {self.said()[-2000:]}") from None
        return self.process.returncode

    def connect(self, timeout=60):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout)

    def begin(self, method, path, body=None, headers=None, timeout=60):
        """The connection and its response, whose body has not been read."""
        connection = self.connect(timeout)
        data = body if isinstance(body, (bytes, type(None))) else json.dumps(body).encode()
        connection.request(method, path, data, {"Content-Type": "application/json", **(headers or {})})
        return connection, connection.getresponse()

    def ask(self, method, path, body=None, headers=None, timeout=60):
        """(status, headers, body): the body as JSON where it is that, else as bytes."""
        connection, response = self.begin(method, path, body, headers, timeout)
        data = response.read()
        connection.close()
        if "json" in (response.getheader("Content-Type") or "") and data:
            data = json.loads(data)
        return response.status, response.headers, data

    def post(self, path, body, **more):
        """The JSON of an answer that has to be a 200."""
        status, _, answer = self.ask("POST", path, body, **more)
        assert status == 200, (status, answer)
        return answer

    def events(self, path, body, **more):
        """(event, data) of each event of a stream, as texts; what breaks it off is raised."""
        connection, response = self.begin("POST", path, body, **more)
        assert response.status == 200, (response.status, response.read())
        assert response.getheader("Content-Type", "").startswith("text/event-stream"), response.headers
        event, data = None, []
        for line in response:
            line = line.decode().rstrip("\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                data.append(line[6:])
            elif not line and data:
                yield event, "\n".join(data)
                event, data = None, []
        connection.close()

    def stream(self, path, body, **more):
        """The JSON of each event; [DONE] has to be the last one."""
        done = False
        for _, data in self.events(path, {**body, "stream": True}, **more):
            assert not done, data
            done = data == "[DONE]"
            if not done:
                yield json.loads(data)
        assert done, "the stream ends without [DONE]"
