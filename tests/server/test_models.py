#!/usr/bin/env python3
"""The models of `clinfer serve`: by name, on demand, in turn, let go of, asleep, read again. Prints TAP."""
import os
import shutil
import signal
import sys
import tempfile
import threading
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402
import tiny_bert  # noqa: E402

FOLDER = tempfile.TemporaryDirectory(prefix="clinfer-models-")
MODELS = os.path.join(FOLDER.name, "models")
os.mkdir(MODELS)
for name in ["one", "two", "three"]:
    shutil.copy(serving.TINY, os.path.join(MODELS, f"{name}.gguf"))
tiny_bert.write(os.path.join(MODELS, "bert.gguf"))
with open(os.path.join(MODELS, "broken.gguf"), "wb") as broken:
    broken.write(b"GGUF\3" + bytes(64))


class Router(serving.Serve):
    """No -m: models by name alone."""

    def __init__(self, *arguments, **more):
        super().__init__("-m", "-", *arguments, **more)
        at = self.command.index("-m")
        del self.command[at:at + 2]


def state(server, model):
    status, _, answer = server.ask("GET", "/v1/models")
    assert status == 200, answer
    return next(entry["status"]["value"] for entry in answer["data"] if entry["id"] == model)


def await_state(server, model, wanted, seconds=30):
    end = time.monotonic() + seconds
    while state(server, model) != wanted:
        assert time.monotonic() < end, (model, state(server, model), wanted)
        time.sleep(0.02)


def complete(server, model):
    return server.ask("POST", "/v1/completions", {"model": model, "prompt": "a", "max_tokens": 2})


def test_models_of_a_folder_are_loaded_on_demand():
    with Router("--models-dir", MODELS, "--models-max", "2") as server:
        _, _, listed = server.ask("GET", "/v1/models")
        assert sorted(m["id"] for m in listed["data"]) == ["bert", "broken", "one", "three", "two"], listed
        assert all(m["status"]["value"] == "unloaded" for m in listed["data"])
        for model in ["one", "two", "three"]:
            status, _, answer = complete(server, model)
            assert status == 200 and answer["model"] == model, (status, answer)
        await_state(server, "one", "unloaded")
        assert state(server, "two") == state(server, "three") == "loaded"
        assert complete(server, "nobody")[0] == 404
        assert complete(server, "../models/one.gguf")[0] == 404
        assert complete(server, os.path.join(MODELS, "one.gguf"))[0] == 404
        status, _, answer = complete(server, "broken")
        assert status == 500 and "broken" in answer["error"]["message"], (status, answer)
        assert state(server, "broken") == "failed"
        assert complete(server, "two")[0] == 200
        assert server.ask("GET", "/props")[2]["role"] == "router"


def test_many_who_want_the_same_and_others():
    with Router("--models-dir", MODELS, "--models-max", "1") as server:
        wrong = []

        def ask(model):
            for _ in range(3):
                status, _, answer = complete(server, model)
                if status != 200 or answer["model"] != model:
                    wrong.append((model, status, answer))
        threads = [threading.Thread(target=ask, args=(model,)) for model in ["one", "two", "one", "three", "two"]]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not wrong, wrong[0]


def test_loading_by_hand_needs_leave():
    with Router("--models-dir", MODELS, "--no-models-autoload") as server:
        assert server.ask("POST", "/models/load", {"model": "one"})[0] == 403
        assert complete(server, "one")[0] == 400
    with Router("--models-dir", MODELS, "--no-models-autoload", "--allow-model-changes") as server:
        assert server.post("/models/load", {"model": "one"})["success"]
        await_state(server, "one", "loaded")
        assert complete(server, "one")[0] == 200
        assert server.post("/models/unload", {"model": "one"})["success"]
        await_state(server, "one", "unloaded")
        assert server.ask("POST", "/models/load", {"model": "nobody"})[0] == 404
        assert server.ask("POST", "/models/load", {})[0] == 400


def cached(home, repo, name):
    """A model as a download of its repo leaves it in the cache: what may be deleted."""
    folder = os.path.join(home, "hub", "models--" + repo.replace("/", "--"))
    for part in ["refs", "blobs", "snapshots/0123456789abcdef0123456789abcdef01234567"]:
        os.makedirs(os.path.join(folder, part))
    with open(os.path.join(folder, "refs/main"), "w", encoding="utf-8") as ref:
        ref.write("0123456789abcdef0123456789abcdef01234567")
    blob = os.path.join(folder, "blobs", "ab" * 32)
    shutil.copy(serving.TINY, blob)
    link = os.path.join(folder, "snapshots/0123456789abcdef0123456789abcdef01234567", name)
    os.symlink("../../blobs/" + "ab" * 32, link)
    return link


def test_another_name_answers_and_changes_nothing():
    home = os.path.join(FOLDER.name, "only")
    path = cached(home, "nobody/only-GGUF", "only-Q4_0.gguf")
    with serving.Serve("-m", "nobody/only-GGUF", "--allow-model-changes", environment={"HF_HOME": home}) as server:
        name, = [entry["id"] for entry in server.ask("GET", "/v1/models")[2]["data"]]
        assert complete(server, "some-other:7b")[0] == 200
        for other in ["some-other:7b", ""]:
            for method, route in [("DELETE", "/api/delete"), ("POST", "/models/load"), ("POST", "/models/unload"), ("POST", "/api/show")]:
                status, _, answer = server.ask(method, route, {"model": other})
                assert status in ([404] if other else [400, 404]), (route, other, status, answer)
        assert server.ask("GET", "/v1/models/some-other:7b")[0] == 404
        assert server.ask("POST", "/api/copy", {"source": "some-other:7b", "destination": "copied"})[0] == 404
        assert server.ask("POST", "/api/generate", {"model": "some-other:7b", "keep_alive": 0})[0] == 404
        assert state(server, name) == "loaded"
        for said in [name, name.upper()]:
            status, _, answer = server.ask("DELETE", "/api/delete", {"model": said})
            assert status == 403 and "was started with" in answer["error"], (status, answer)
        assert server.ask("POST", "/models/unload", {"model": name})[0] == 200
        await_state(server, name, "unloaded")
        assert server.ask("DELETE", "/api/delete", {"model": name})[0] == 403 and os.path.exists(path)
        assert server.ask("GET", "/v1/models/" + name)[2]["id"] == name
        assert "model_path" in server.ask("GET", "/props?model=some-other:7b")[2]


def test_a_loaded_model_is_not_deleted():
    home = os.path.join(FOLDER.name, "several")
    paths = {name: cached(home, f"nobody/{name}-GGUF", f"{name}-Q4_0.gguf") for name in ["first", "second"]}
    snapshot = os.path.dirname(paths["second"])
    shutil.copy(serving.TINY, os.path.join(snapshot, "../../blobs", "cd" * 32))
    os.symlink("../../blobs/" + "cd" * 32, os.path.join(snapshot, "second-Q8_0.gguf"))
    by_hand = os.path.join(home, "data/clinfer/models/mine.gguf")
    os.makedirs(os.path.dirname(by_hand))
    shutil.copy(os.path.join(MODELS, "bert.gguf"), by_hand)
    with Router("--allow-model-changes", environment={"HF_HOME": home, "XDG_DATA_HOME": home + "/data"}) as server:
        names = [entry["id"] for entry in server.ask("GET", "/v1/models")[2]["data"]]
        first, second = [next(name for name in names if part in name and "Q8_0" not in name) for part in ["first", "second"]]
        assert complete(server, first)[0] == 200
        status, _, answer = server.ask("DELETE", "/api/delete", {"model": first})
        assert status == 403 and "is loaded" in answer["error"] and os.path.exists(paths["first"]), (status, answer)
        status, _, answer = server.ask("DELETE", "/api/delete", {"model": "mine.gguf"})
        assert status == 403 and os.path.exists(by_hand), (status, answer)
        assert home not in answer["error"] and "--" not in answer["error"], answer
        status, _, answer = server.ask("DELETE", "/api/delete", {"model": "nobody/second-GGUF"})
        assert status == 400 and "say which" in answer["error"], (status, answer)
        assert len(os.listdir(snapshot)) == 2
        assert server.ask("DELETE", "/api/delete", {"model": second})[0] == 200 and not os.path.lexists(paths["second"])
        assert os.listdir(snapshot) == ["second-Q8_0.gguf"]
        assert server.ask("POST", "/models/unload", {"model": first})[0] == 200
        await_state(server, first, "unloaded")
        assert server.ask("DELETE", "/api/delete", {"model": first})[0] == 200 and not os.path.lexists(paths["first"])
        assert server.ask("DELETE", "/api/delete", {"model": first})[0] == 404
        assert complete(server, first)[0] == 404


def metrics(server):
    text = server.ask("GET", "/metrics")[2]
    return text if isinstance(text, str) else text.decode()


def test_metrics_stay_while_a_model_sleeps():
    with serving.Serve("--sleep-idle-seconds", "0.3", "--alias", "tiny", "--metrics") as server:
        for _ in range(2):
            assert server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 4})[0] == 200
            metrics(server)  # rates are those since the last look
            awake = metrics(server)
            assert any(line.startswith("clinfer:rung_in_use{") for line in awake.splitlines()), awake
            await_state(server, "tiny", "sleeping")
            assert metrics(server) == awake
    with Router("--models-dir", MODELS, "--metrics", "--allow-model-changes") as server:
        assert complete(server, "one")[0] == 200
        assert "clinfer:rung_in_use{" in metrics(server)
        assert server.ask("POST", "/models/unload", {"model": "one"})[0] == 200
        await_state(server, "one", "unloaded")
        assert "clinfer:rung_in_use{" not in metrics(server)


def test_counters_never_fall():
    def steps():
        text = metrics(server)
        return float(next(line for line in text.splitlines() if line.startswith("llamacpp:n_decode_total ")).split()[1])

    with serving.Serve("--sleep-idle-seconds", "0.3", "--alias", "tiny", "--metrics") as server:
        for _ in range(2):
            before = steps()
            assert server.ask("POST", "/v1/completions", {"prompt": "a", "max_tokens": 4})[0] == 200
            awake = steps()
            assert awake > before, (before, awake)
            await_state(server, "tiny", "sleeping")
            assert steps() == awake == steps()


def test_an_idle_model_goes_out_or_sleeps():
    with Router("--models-dir", MODELS, "--keep-alive", "100ms") as server:
        assert complete(server, "one")[0] == 200
        await_state(server, "one", "unloaded")
    with serving.Serve("--sleep-idle-seconds", "0.2", "--alias", "tiny") as server:
        await_state(server, "tiny", "sleeping")
        for _ in range(3): # nor does who looks wake it
            assert server.ask("GET", "/props")[2]["is_sleeping"]
            assert server.ask("GET", "/health")[0] == 200
        assert complete(server, "anything")[2]["model"] == "tiny"
        assert state(server, "tiny") == "loaded"


def test_keep_alive_of_a_request_goes_before_the_servers():
    def ask(model, keep):
        body = {"model": model, "prompt": "a", "stream": False, "options": {"num_predict": 1}, "keep_alive": keep}
        assert server.post("/api/generate", body)["done"]

    with Router("--models-dir", MODELS, "--keep-alive", "100ms") as server:
        ask("one", -1)
        ask("two", "1h")
        ask("three", 0)
        await_state(server, "three", "unloaded")
        time.sleep(0.5)
        assert state(server, "one") == state(server, "two") == "loaded"
        ask("two", "50ms")
        await_state(server, "two", "unloaded")
        assert server.post("/api/generate", {"model": "one", "keep_alive": 0})
        await_state(server, "one", "unloaded")
    with Router("--models-dir", MODELS, "--keep-alive", "-1") as server:
        ask("one", 0.1)
        await_state(server, "one", "unloaded")


def test_presets_are_read_again():
    presets = os.path.join(FOLDER.name, "presets.ini")

    def write(text):
        with open(presets, "w", encoding="utf-8") as file:
            file.write(text)
    path = os.path.join(MODELS, "one.gguf")
    write(f"[first]\nmodel = {path}\nctx-size = 48\n[second]\nmodel = {path}\nalias = uno\n")
    with Router("--models-preset", presets) as server:
        assert server.ask("GET", "/props?model=first")[2]["default_generation_settings"]["n_ctx"] == 0
        assert complete(server, "uno")[2]["model"] == "second"
        assert complete(server, "first")[0] == 200
        assert server.ask("GET", "/props?model=first")[2]["default_generation_settings"]["n_ctx"] == 48
        write(f"[second]\nmodel = {path}\nalias = uno\n[third]\nmodel = {path}\n")
        ids = [entry["id"] for entry in server.ask("GET", "/models?reload=1")[2]["data"]]
        assert ids == ["second", "third"], ids
        assert complete(server, "first")[0] == 404
        assert state(server, "second") == "loaded" # which stayed as it was
        write("[fourth\n")
        server.process.send_signal(signal.SIGHUP)
        end = time.monotonic() + 10
        while "stay as they were" not in server.said() and time.monotonic() < end:
            time.sleep(0.02)
        assert complete(server, "third")[0] == 200


if __name__ == "__main__":
    tap.main(globals())
