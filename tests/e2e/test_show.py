#!/usr/bin/env python3
"""`clinfer show`: where a model lies, its licence and template, which of its values are taken, what would run, whether
it fits. Beside what other commands say of the same: inspect, ops. Prints TAP."""
import hashlib
import json
import os
import resource
import shutil
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.path.realpath(os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer")
TINY = "tests/data/llama_tiny.gguf"
COMMIT = "0123456789abcdef0123456789abcdef01234567"
work = tempfile.TemporaryDirectory(prefix="clinfer-test-")
FOLDER = work.name
CACHE = f"{FOLDER}/hub"
ENVIRONMENT = {**os.environ, "HOME": f"{FOLDER}/home", "XDG_DATA_HOME": f"{FOLDER}/data",
               "XDG_CONFIG_HOME": f"{FOLDER}/config", "HF_HUB_CACHE": CACHE, "OLLAMA_MODELS": f"{FOLDER}/ollama",
               "HF_HUB_OFFLINE": "1"}
for name in ("LLAMA_CACHE", "HF_HOME", "CLINFER_MODEL", "HUGGINGFACE_HUB_CACHE"):
    ENVIRONMENT.pop(name, None)

TEMPLATE = ("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"
            "{% if tools %}{% for tool in tools %}{{ tool.function.name }}{% endfor %}{% endif %}<|im_start|>assistant\n"
            "{% if enable_thinking is defined and enable_thinking is false %}<think>\n\n</think>\n\n{% endif %}")


def show(*arguments, status=0, **how):
    done = subprocess.run([TOOL, "show", "--device", "cpu", *arguments], env=ENVIRONMENT, capture_output=True,
                          text=True, timeout=100, **how)
    assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
    return done


def facts(*arguments):
    return json.loads(show("--json", *arguments).stdout)


# ---- GGUF files with other values ----

def text(value):
    raw = value.encode()
    return struct.pack("<Q", len(raw)) + raw


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 24

    def take(self, form):
        values = struct.unpack_from("<" + form, self.data, self.at)
        self.at += struct.calcsize("<" + form)
        return values[0]

    def skip_text(self):
        length = self.take("Q")
        self.at += length

    def skip_value(self, kind):
        sizes = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
        if kind == 8:
            self.skip_text()
        elif kind == 9:
            inner, count = self.take("I"), self.take("Q")
            for _ in range(count):
                self.skip_value(inner)
        else:
            self.at += sizes[kind]


def with_values(target, pairs, without=()):
    """TINY with these values, and without those."""
    with open(TINY, "rb") as file:
        data = file.read()
    version, tensors, count = struct.unpack_from("<IQQ", data, 4)
    reader, kept = Reader(data), []
    for _ in range(count):
        begin = reader.at
        length = reader.take("Q")
        name = data[reader.at:reader.at + length].decode()
        reader.at += length
        reader.skip_value(reader.take("I"))
        if name not in pairs and name not in without:
            kept.append(data[begin:reader.at])
    for name, value in pairs.items():
        kind = (8, text(value)) if isinstance(value, str) else (6, struct.pack("<f", value))
        kept.append(text(name) + struct.pack("<I", kind[0]) + kind[1])
    infos = reader.at
    for _ in range(tensors):
        reader.skip_text()
        for _ in range(reader.take("I")):
            reader.take("Q")
        reader.take("I"), reader.take("Q")
    head = data[:4] + struct.pack("<IQQ", version, tensors, len(kept)) + b"".join(kept) + data[infos:reader.at]
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + data[reader.at + -reader.at % 32:])


# ---- tests ----

def test_show_says_what_inspect_says():
    shown = facts(TINY)
    inspected = json.loads(subprocess.run([TOOL, "inspect", "--json", TINY], env=ENVIRONMENT,
                                          capture_output=True).stdout)
    for name, value in inspected.items():
        assert shown[name] == value, name
    said = show(TINY, "--metadata", "--tensors").stdout
    assert "general.architecture" in said and "token_embd.weight" in said and "general.architecture" not in show(TINY).stdout


def test_what_would_run_is_what_runs():
    """`clinfer ops` loads the model and proves its kernels."""
    done = subprocess.run([TOOL, "ops", "--json", "--device", "cpu", "-m", TINY], env=ENVIRONMENT, capture_output=True,
                          text=True)
    real = {}
    for op in json.loads(done.stdout)["decode"]["ops"]:
        key = op["op"], op["variant"], op["place"]
        real[key] = real.get(key, 0) + op["count"]
    seen = {}
    for op in facts(TINY)["here"]["ops"]:
        key = op["op"], op["variant"], op["place"]
        seen[key] = seen.get(key, 0) + op["count"]
    assert seen and seen == real, (seen, real)


def test_values_of_the_file_are_told_apart():
    path = f"{FOLDER}/files/own.gguf"
    with_values(path, {"general.sampling.temp": 0.25, "general.license": "mit", "tokenizer.chat_template": TEMPLATE})
    shown = facts(path)
    assert shown["sampling"]["temperature"] == {"value": 0.25, "of_file": True}, shown["sampling"]
    assert shown["sampling"]["top_k"] == {"value": 40, "of_file": False}, shown["sampling"]
    assert shown["licence"] == {"name": "mit", "from": "general.license", "file": None}, shown["licence"]
    assert shown["template"] == {"of_file": True, "name": None, "system": True, "history": True, "tools": True,
                                 "thinking": True, "thinking_can_be_switched": True}, shown["template"]
    assert "<|im_end|>" in shown["end_tokens"]
    said = show(path).stdout
    assert "temp 0.25 (of the file); top-k 40, top-p 0.95, min-p 0.05, repeat penalty 1 (clinfer's)" in said, said


def test_built_in_templates_are_named():
    path = f"{FOLDER}/files/plain.gguf"
    with_values(path, {}, without=["tokenizer.chat_template"])
    template = facts(path)["template"]
    assert (template["of_file"], template["name"], template["tools"]) == (False, "chatml", False), template
    assert "none in the file, built-in chatml" in show(path).stdout


def test_a_model_of_the_hub_s_cache():
    """With all its places, commit and digest; the licence is that of its card."""
    with open(TINY, "rb") as file:
        data = file.read()
    digest = hashlib.sha256(data).hexdigest()
    repo = f"{CACHE}/models--someone--tiny-GGUF"
    snapshot = f"{repo}/snapshots/{COMMIT}"
    for folder in (f"{repo}/blobs", f"{repo}/refs", snapshot):
        os.makedirs(folder)
    with open(f"{repo}/blobs/{digest}", "wb") as file:
        file.write(data)
    os.symlink(f"../../blobs/{digest}", f"{snapshot}/tiny-Q4_0.gguf")
    with open(f"{snapshot}/README.md", "w") as file:
        file.write("---\nlanguage: en\nlicense: apache-2.0\n---\n# Tiny\nlicense: not this\n")
    with open(f"{snapshot}/LICENSE", "w") as file:
        file.write("...")
    with open(f"{repo}/refs/main", "w") as file:
        file.write(COMMIT)
    os.makedirs(f"{FOLDER}/ollama/blobs")
    shutil.copy(TINY, f"{FOLDER}/ollama/blobs/sha256-{digest}")
    manifest = f"{FOLDER}/ollama/manifests/registry.ollama.ai/library/tiny"
    os.makedirs(manifest)
    with open(f"{manifest}/latest", "w") as file:
        json.dump({"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}",
                               "size": len(data)}]}, file)
    shown = facts(f"{snapshot}/tiny-Q4_0.gguf")
    assert (shown["name"], shown["store"], shown["repo"]) == ("someone/tiny-GGUF:Q4_0", "hub",
                                                              "someone/tiny-GGUF"), shown["name"]
    assert (shown["commit"], shown["digest"]) == (COMMIT, digest)
    assert [place["store"] for place in shown["places"]] == ["ollama"], shown["places"]
    assert shown["licence"] == {"name": "apache-2.0", "from": "README.md",
                                "file": f"{snapshot}/LICENSE"}, shown["licence"]
    said = show(f"{snapshot}/tiny-Q4_0.gguf").stdout
    assert f"{COMMIT} of someone/tiny-GGUF (main)" in said and digest in said and "also" in said, said


def test_a_folder_with_safetensors():
    """Its own card, and the sampling of its generation_config.json."""
    folder = f"{FOLDER}/files/folder"
    shutil.copytree("tests/data/folders/llama", folder)
    with open(f"{folder}/generation_config.json", "w") as file:
        json.dump({"temperature": 0.5, "top_p": 0.75}, file)
    with open(f"{folder}/README.md", "w") as file:
        file.write("---\nlicense: other\n---\n")
    shown = facts(folder)
    assert shown["runs"] and shown["format"] == "safetensors" and shown["here"]["fits"], shown
    assert shown["sampling"]["temperature"] == {"value": 0.5, "of_file": True}, shown["sampling"]
    assert shown["licence"]["name"] == "other", shown["licence"]


def test_a_model_that_does_not_fit():
    """With the numbers, and what would fit; that is no failure of show."""
    def little(most=300 << 20):
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if "asan" in TOOL:
        raise tap.Skip("AddressSanitizer wants terabytes of addresses")
    path = f"{FOLDER}/files/long.gguf"
    with_values(path, {})
    done = show(TINY, "-c", "4000000", "--rope-scaling", "linear", "--rope-scale", "8000", preexec_fn=little)
    assert "fits          no: " in done.stdout and " MiB" in done.stdout and "-c " in done.stdout, done.stdout


def test_a_model_that_does_not_run_says_why():
    path = f"{FOLDER}/files/odd.gguf"
    with_values(path, {"general.architecture": "mamba"})
    shown = facts(path)
    assert not shown["runs"] and "mamba" in shown["reason"] and "here" not in shown, shown
    assert "runs          no: " in show(path).stdout


class Hub:
    """hub_server.py for as long as this lives; asks nobody else."""

    def __enter__(self):
        path = os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support/hub_server.py")
        self.child = subprocess.Popen([sys.executable, path, FOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                      text=True)
        self.address = json.loads(self.child.stdout.readline())["http"]
        return self

    def ask(self, *arguments, status=0):
        environment = {**ENVIRONMENT, "HF_ENDPOINT": self.address, "HF_HUB_OFFLINE": "0", "HF_HUB_ETAG_TIMEOUT": "5"}
        done = subprocess.run([TOOL, "show", *arguments], env=environment, capture_output=True, text=True, timeout=100)
        assert done.returncode == status, (done.returncode, done.stdout, done.stderr)
        return done

    def __exit__(self, *_):
        self.child.stdin.close()
        self.child.wait(10)
        self.child.stdout.close()


def test_a_name_that_is_not_here_says_what_it_would_fetch():
    """By the tree: nothing is downloaded."""
    with Hub() as hub:
        said = hub.ask("user/quants").stdout
        assert "user/quants: not on this machine; `clinfer pull user/quants:Q4_K_M` fetches it" in said, said
        shown = json.loads(hub.ask("user/quants:q8_0", "--json").stdout)
        assert [file["file"] for file in shown["would_fetch"]["files"]] == ["quants-Q8_0.gguf"], shown
        assert shown["here"] is False and shown["name"] == "user/quants:Q8_0", shown
        assert {"Q2_K", "Q8_0", "TQ1_0"} <= {model["quant"] for model in shown["models"]}, shown
        assert not [model for model in shown["models"] if "mmproj" in model["file"]], shown
        split = json.loads(hub.ask("user/split", "--json").stdout)
        assert len(split["would_fetch"]["files"]) > 1, split
        weights = json.loads(hub.ask("user/weights", "--json").stdout)
        assert any(file["file"] == "config.json" for file in weights["would_fetch"]["files"]), weights
        for arguments, status in ((["user/quants:Q7_X"], 3), (["user/nothing-like-it"], 3),
                                  (["user/quants", "--offline"], 3)):
            failed = hub.ask(*arguments, status=status)
            assert not failed.stdout and "; " in failed.stderr, failed
        assert not os.path.exists(f"{CACHE}/models--user--quants"), os.listdir(CACHE)


def test_several_models_are_refused():
    assert "one model" in show("a", "b", status=2).stderr


if __name__ == "__main__":
    tap.main(globals())
