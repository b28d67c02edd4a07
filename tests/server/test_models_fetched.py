#!/usr/bin/env python3
"""Models that come and go while `clinfer serve` runs: POST and DELETE /models, /models/sse, /api/copy and /api/delete,
against tests/support/hub_server.py. Prints TAP."""
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

SCRATCH = tempfile.TemporaryDirectory(prefix="clinfer-fetched-")
NAME = "user/own:Q8_0"


class Hub:
    def __enter__(self):
        self.child = subprocess.Popen([sys.executable, "tests/support/hub_server.py", SCRATCH.name], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = json.loads(self.child.stdout.readline())["http"]
        self.ask("put " + json.dumps({"name": "own", "version": 1, "files": {"own-Q8_0.gguf": {"file": serving.TINY, "large": True}}}))
        return self

    def ask(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(10)


class Router(serving.Serve):
    """No -m: models by name alone."""

    def __init__(self, *arguments):
        super().__init__("-m", "-", *arguments, environment={"HF_ENDPOINT": HUB.url, "HF_TOKEN": ""})
        at = self.command.index("-m")
        del self.command[at:at + 2]
        for name in [name for name in self.environment if name.startswith("HF_") and name not in ("HF_ENDPOINT", "HF_HOME")]:
            del self.environment[name]
        self.environment.pop("CLINFER_MODEL", None)
        self.environment["HF_HOME"] = self.home + "/hf"

    def names(self):
        return [entry["id"] for entry in self.ask("GET", "/models")[2]["data"]]


class Follower:
    """What /models/sse says, as it comes."""

    def __init__(self, server):
        self.seen, self.ended = [], False
        self.connection, self.response = server.begin("GET", "/models/sse")
        assert self.response.status == 200
        self.thread = threading.Thread(target=self.read, daemon=True)
        self.thread.start()

    def read(self):
        for line in self.response:
            if line.startswith(b"data: "):
                self.seen.append(json.loads(line[6:]))
        self.ended = True

    def wait_for(self, event, model, seconds=30):
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            for said in self.seen:
                if (said["event"], said["model"]) == (event, model):
                    return said
            time.sleep(0.01)
        raise AssertionError((event, model, self.seen))


def test_a_model_is_fetched_used_and_deleted():
    with Router("--allow-model-changes") as server:
        follower = Follower(server)
        assert server.names() == []
        assert server.post("/models", {"model": NAME})["success"]
        follower.wait_for("download_finished", NAME)
        progress = follower.wait_for("download_progress", NAME)["data"]["progress"]
        (file, numbers), = progress.items()
        assert file.endswith("own-Q8_0.gguf") and 0 <= numbers["done"] <= numbers["total"], progress
        assert server.names() == [NAME]
        status, _, answer = server.ask("POST", "/models", {"model": NAME})
        assert status == 400 and "already" in answer["error"]["message"], (status, answer)
        answer = server.post("/v1/completions", {"model": NAME, "prompt": "a", "max_tokens": 2})
        assert answer["model"] == NAME
        assert follower.wait_for("status_change", NAME)["data"]["status"] == "loading"
        status, _, answer = server.ask("DELETE", "/models?model=" + NAME)
        assert status == 403 and "loaded" in answer["error"]["message"], (status, answer)
        server.post("/models/unload", {"model": NAME})
        end = time.monotonic() + 20
        while server.ask("DELETE", "/models?model=" + NAME)[0] != 200:
            assert time.monotonic() < end
            time.sleep(0.05)
        follower.wait_for("model_remove", NAME)
        assert server.names() == []
        assert server.ask("DELETE", "/models?model=" + NAME)[0] == 404
        assert server.ask("DELETE", "/models")[0] == 400
        assert server.end() == 0  # at once, whoever follows
        follower.thread.join(10)
        assert follower.ended


def test_what_cannot_be_fetched_says_why():
    with Router("--allow-model-changes") as server:
        follower = Follower(server)
        assert server.ask("POST", "/models", {"model": "user/missing:Q8_0"})[0] == 200
        said = follower.wait_for("download_failed", "user/missing:Q8_0")
        assert "user/missing" in said["data"]["message"], said
        assert server.ask("POST", "/models", {"model": "../x"})[0] == 400
        assert server.ask("POST", "/models", {})[0] == 400
        assert server.names() == []


def test_changes_need_leave_and_offline_is_offline():
    HUB.ask("log")
    with Router() as server:
        assert server.ask("POST", "/models", {"model": NAME})[0] == 403
        assert server.ask("DELETE", "/models?model=" + NAME)[0] == 403
    with Router("--allow-model-changes", "--offline") as server:
        for path in ["/models", "/api/pull"]:
            status, _, answer = server.ask("POST", path, {"model": NAME, "stream": False})
            assert status == 403 and "fetch nothing" in str(answer), (path, status, answer)
    assert HUB.ask("log") == []


def test_a_copy_can_be_deleted_again():
    with serving.Serve("--allow-model-changes") as server:
        os.makedirs(server.home + "/clinfer/models", exist_ok=True)
        source = os.path.basename(serving.TINY)
        assert server.ask("POST", "/api/copy", {"source": source, "destination": "again"})[0] == 200
        link = server.home + "/clinfer/models/again.gguf"
        assert os.path.islink(link)
    with Router("--allow-model-changes") as server:
        os.makedirs(server.home + "/clinfer/models", exist_ok=True)
        os.symlink(serving.TINY, server.home + "/clinfer/models/again.gguf")
        assert "again.gguf" in " ".join(server.names()), server.names()
        assert server.ask("DELETE", "/api/delete", {"model": server.names()[0]})[0] == 200
        assert server.names() == [] and os.path.exists(serving.TINY)
        with open(server.home + "/clinfer/models/own.gguf", "wb") as file:
            file.write(open(serving.TINY, "rb").read())
        assert server.ask("DELETE", "/api/delete", {"model": server.names()[0]})[0] == 403
        assert os.path.exists(server.home + "/clinfer/models/own.gguf")


def test_requests_name_no_addresses():
    """Else they would make this machine ask others that only it can reach."""
    with Router("--allow-model-changes") as server:
        for word in ("http://127.0.0.1:1/a.gguf", "https://example.org/a.gguf", "ollama:127.0.0.1:1/library/a"):
            for path in ("/models", "/api/pull"):
                status, _, answer = server.ask("POST", path, {"model": word, "stream": False})
                assert status == 403 and "clinfer pull" in str(answer), (path, word, status, answer)


if __name__ == "__main__":
    with Hub() as HUB:
        tap.main(globals())
