#!/usr/bin/env python3
"""`clinfer serve` follows "model" of config.json while it runs. Prints TAP."""
import json
import os
import shutil
import signal
import sys
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402


class Configured(serving.Serve):
    """No -m: the model is that of config.json."""

    def __init__(self, model, *arguments):
        super().__init__("-m", "-", *arguments, wait=False)
        at = self.command.index("-m")
        del self.command[at:at + 2]
        self.environment.pop("CLINFER_MODEL", None)
        for folder in ["models", ""]:
            os.makedirs(os.path.join(self.home, "clinfer", folder), exist_ok=True)
        for name in ["one", "two"]:
            shutil.copy(serving.TINY, os.path.join(self.home, f"clinfer/models/{name}.gguf"))
        with open(os.path.join(self.home, "clinfer/models/broken.gguf"), "wb") as broken:
            broken.write(b"GGUF\3" + bytes(64))
        self.configure(model)

    def configure(self, model):
        path = os.path.join(self.home, "clinfer/config.json")
        with open(path + ".new", "w", encoding="utf-8") as file:
            json.dump({"model": model}, file)
        os.rename(path + ".new", path)

    def answers(self):
        """The model that answers where none is named."""
        return self.post("/v1/completions", {"prompt": "a", "max_tokens": 2})["model"]

    def await_answers(self, model, seconds=20):
        end = time.monotonic() + seconds
        while self.answers() != model:
            assert time.monotonic() < end, (model, self.answers(), self.said())
            time.sleep(0.05)

    def await_said(self, text, seconds=20):
        end = time.monotonic() + seconds
        while text not in self.said():
            assert time.monotonic() < end, (text, self.said())
            time.sleep(0.05)


def test_the_model_that_config_names_is_followed():
    with Configured("one") as server:
        server.wait_until_ready()
        assert server.answers() == "one.gguf", server.answers()
        server.configure("two")
        server.await_answers("two.gguf")  # without a signal
        server.configure("one")
        server.process.send_signal(signal.SIGHUP)
        server.await_answers("one.gguf")
        states = {entry["id"]: entry["status"]["value"] for entry in server.ask("GET", "/v1/models")[2]["data"]}
        assert states["one.gguf"] == "loaded", states
        assert server.post("/v1/completions", {"model": "two", "prompt": "a", "max_tokens": 2})["model"].startswith("two")


def test_what_cannot_be_loaded_disturbs_nothing():
    with Configured("one") as server:
        server.wait_until_ready()
        for model in ["broken", "nobody"]:
            server.configure(model)
            server.process.send_signal(signal.SIGHUP)
            server.await_said("the model stays as it was: ")
            assert server.answers() == "one.gguf", (model, server.answers())
            server.await_said(model)
        server.configure("two")
        server.await_answers("two.gguf")
        assert server.end() == 0


def test_a_name_of_its_own_stays():
    with Configured("one", "--alias", "mine") as server:
        server.wait_until_ready()
        assert server.answers() == "mine"
        server.configure("two")
        server.await_said("config.json names now")
        assert server.answers() == "mine"
        assert server.ask("GET", "/props")[2]["model_path"].endswith("two.gguf")


def test_a_model_of_the_command_line_stays():
    with Configured("one", "-m", serving.TINY) as server:
        server.wait_until_ready()
        name = server.answers()
        server.configure("two")
        server.process.send_signal(signal.SIGHUP)
        time.sleep(2.5)
        assert server.answers() == name


if __name__ == "__main__":
    tap.main(globals())
