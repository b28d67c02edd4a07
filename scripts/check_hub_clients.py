#!/usr/bin/env python3
"""What other clients of the Hub and clinfer fetch, the other one runs: no byte twice, in both directions.

usage: check_hub_clients.py [--tool build/release/clinfer] [--peer build/peer/bin] [--python PYTHON] [--model FILE]

The clients are Python's huggingface_hub (of PYTHON; without it, of an environment that is made in build/hub-clients,
from PyPI) and llama.cpp's llama-server in --peer; what is not there is left out, and that is said. The Hub is
tests/support/hub_server.py. Each direction has a cache of its own. Truth is what these clients say: scan_cache_dir()
without a warning, hf_hub_download(local_files_only=True) returns the file, llama-server --offline -hf answers."""
import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

ROOT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
MODEL, FILE = "user/smollm2", "smollm2-135m-instruct-Q4_1.gguf"
PROMPT = ["run", "-n", "4", "--temp", "0", "--device", "cpu", "-p", "Why is the sky blue?"]
failed = []


class Hub:
    def __init__(self, folder, model):
        self.process = subprocess.Popen([sys.executable, "tests/support/hub_server.py", folder], cwd=ROOT, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.url = json.loads(self.process.stdout.readline())["http"]
        self.ask("put " + json.dumps({"name": "smollm2", "files": {FILE: {"file": model, "large": True},
                                                                   "README.md": "# SmolLM2\n"}}))

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def fetched(self):
        """GETs of bytes since the last call."""
        return sum(entry.get("method") == "GET" and entry.get("where") in ("cdn", "small") for entry in self.ask("log"))

    def close(self):
        self.process.stdin.close()
        self.process.wait(10)


def environment(hub, home, **more):
    os.makedirs(home, exist_ok=True)
    kept = {name: value for name, value in os.environ.items()
            if not name.startswith(("HF_", "HUGGING", "XDG_", "LLAMA_", "OLLAMA_")) and "proxy" not in name.lower()}
    return dict(kept, HOME=home, HF_ENDPOINT=hub.url, HF_HUB_DISABLE_XET="1", HF_HUB_DISABLE_TELEMETRY="1",
                HF_HUB_DISABLE_PROGRESS_BARS="1", **more)


def say(what, good, detail=""):
    print(("ok    " if good else "FAILS ") + what + (f": {detail}" if detail else ""), flush=True)
    if not good:
        failed.append(what)


def run(command, env, seconds=300):
    return subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False)


def last_line(result):
    return (result.stderr.strip() or result.stdout.strip() or "nothing said").splitlines()[-1][:300]


# ---- huggingface_hub ----

def python_with_hub(python):
    """One that has huggingface_hub; None: there is none to be had."""
    made = os.path.join(ROOT, "build", "hub-clients", "bin", "python")
    for candidate in [python] if python else [sys.executable, made]:
        if os.path.exists(candidate) and run([candidate, "-c", "import huggingface_hub"], os.environ).returncode == 0:
            return candidate
    if python:
        return None
    run([sys.executable, "-m", "venv", os.path.join(ROOT, "build", "hub-clients")], os.environ)
    installed = run([made, "-m", "pip", "-q", "install", "huggingface_hub"], os.environ)
    return made if installed.returncode == 0 else None


def ask_hub(python, env, code):
    """What huggingface_hub's calls return, as JSON."""
    script = "import json, huggingface_hub as h\n" + code
    result = run([python, "-c", script], env)
    try:
        return json.loads(result.stdout.strip().splitlines()[-1])
    except (ValueError, IndexError):
        return {"error": last_line(result)}


def sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        for block in iter(lambda: stream.read(1 << 20), b""):
            digest.update(block)
    return digest.hexdigest()


SCAN = ("i = h.scan_cache_dir()\nprint(json.dumps({'warnings': [str(w) for w in i.warnings], 'repos': "
        "sorted([r.repo_id, len(r.revisions), r.size_on_disk] for r in i.repos)}))")


def check_scan(python, env, what, wanted):
    found = ask_hub(python, env, SCAN)
    repos = [repo for repo, _, _ in found.get("repos", [])]
    say(what, found.get("warnings") == [] and repos == wanted, json.dumps(found))


def hub_fetches_we_run(hub, tool, python, home):
    env = environment(hub, home)
    code = (f"h.hf_hub_download('{MODEL}', '{FILE}')\nh.snapshot_download('user/weights')\n"
            "h.snapshot_download('user/split')\nprint(json.dumps({'good': 1}))")
    found = ask_hub(python, env, code)
    say("huggingface_hub fetches", found == {"good": 1}, found.get("error", ""))
    hub.fetched()
    names = run([tool, "list", "--names"], env).stdout.split()
    say("clinfer list has them", all(any(name.startswith(repo) for name in names) for repo in
                                     (MODEL, "user/weights", "user/split")), " ".join(names))
    result = run([tool, *PROMPT, "--offline", "-m", MODEL], env)
    say("clinfer run --offline of what huggingface_hub fetched", result.returncode == 0 and result.stdout.strip(),
        last_line(result) if result.returncode else result.stdout.strip()[:60])
    hub.fetched()
    for repo in (MODEL, "user/weights", "user/split"):
        result = run([tool, "pull", repo], env)
        say(f"clinfer pull {repo} fetches nothing more", result.returncode == 0 and hub.fetched() == 0,
            last_line(result))
    check_scan(python, env, "scan_cache_dir after clinfer's pulls", [MODEL, "user/split", "user/weights"])


def we_fetch_hub_runs(hub, tool, python, home):
    env = environment(hub, home)
    files = {MODEL: FILE, "user/tiny": "tiny-Q4_K_M.gguf", "user/split": "split-Q4_K_M-00002-of-00003.gguf",
             "user/names:Q8_0": "\u00fcml\u00e4ut/\u6a21\u578b-Q8_0.gguf", "user/weights": "tokenizer.json"}
    for name in files:
        result = run([tool, "pull", name], env)
        say(f"clinfer pull {name}", result.returncode == 0, last_line(result) if result.returncode else "")
    hub.fetched()
    for name, file in files.items():
        repo = name.split(":")[0]
        truth = hub.ask(f"files {repo.split('/')[1]}")["files"][file]["sha256"]
        found = ask_hub(python, env, f"print(json.dumps({{'path': h.hf_hub_download('{repo}', {file!r}, "
                                     "local_files_only=True)}))")
        good = "path" in found and sha256(found["path"]) == truth
        say(f"hf_hub_download({repo}, local_files_only=True)", good, found.get("error", ""))
        found = ask_hub(python, env, f"print(json.dumps({{'path': h.hf_hub_download('{repo}', {file!r})}}))")
        say(f"hf_hub_download({repo}) fetches nothing more", "path" in found and hub.fetched() == 0,
            found.get("error", ""))
    found = ask_hub(python, env, "print(json.dumps({'path': h.snapshot_download('user/tiny', local_files_only=True)}))")
    say("snapshot_download(local_files_only=True)", "path" in found, found.get("error", ""))
    check_scan(python, env, "scan_cache_dir of clinfer's cache",
               sorted(name.split(":")[0] for name in files))
    result = run([tool, "rm", "-y", "user/tiny"], env)
    say("clinfer rm", result.returncode == 0, last_line(result))
    check_scan(python, env, "scan_cache_dir after clinfer rm",
               sorted(name.split(":")[0] for name in files if name != "user/tiny"))


# ---- llama-server ----

def llama_answers(peer, env, *words):
    """Whether llama-server -hf MODEL comes up and answers."""
    port = 18000 + os.getpid() % 10000
    with tempfile.TemporaryFile(mode="w+") as log:
        process = subprocess.Popen([os.path.join(peer, "llama-server"), "-hf", MODEL, "--port", str(port), "-c", "256",
                                    "--no-warmup", *words], env=env, cwd=ROOT, stdout=log, stderr=log)
        text, end = "", time.monotonic() + 120
        body = json.dumps({"prompt": "Why", "n_predict": 2, "temperature": 0}).encode()
        while time.monotonic() < end and process.poll() is None and not text:
            try:
                request = urllib.request.Request(f"http://127.0.0.1:{port}/completion", body,
                                                 {"Content-Type": "application/json"})
                text = json.load(urllib.request.urlopen(request, timeout=60)).get("content", "")
            except (urllib.error.URLError, OSError, ValueError):
                time.sleep(0.3)
        process.terminate()
        process.wait(30)
        log.seek(0)
        return text, log.read().strip().splitlines()[-1:]


def llama_fetches_we_run(hub, tool, peer, home):
    env = environment(hub, home)
    text, said = llama_answers(peer, env)
    say("llama-server -hf fetches and answers", bool(text), repr(text) if text else str(said))
    hub.fetched()
    result = run([tool, *PROMPT, "--offline", "-m", MODEL], env)
    say("clinfer run --offline of what llama-server fetched", result.returncode == 0 and result.stdout.strip(),
        last_line(result) if result.returncode else result.stdout.strip()[:60])
    result = run([tool, "pull", MODEL], env)
    say("clinfer pull fetches nothing more", result.returncode == 0 and hub.fetched() == 0, last_line(result))


def we_fetch_llama_runs(hub, tool, peer, home):
    env = environment(hub, home)
    result = run([tool, "pull", MODEL], env)
    say("clinfer pull", result.returncode == 0, last_line(result) if result.returncode else "")
    hub.fetched()
    text, said = llama_answers(peer, env, "--offline")
    say("llama-server --offline -hf of what clinfer fetched", bool(text) and hub.fetched() == 0,
        repr(text) if text else str(said))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--tool", default="build/release/clinfer")
    parser.add_argument("--peer", default="build/peer/bin")
    parser.add_argument("--python")
    parser.add_argument("--model", default=os.path.join(
        os.environ.get("XDG_DATA_HOME", os.path.expanduser("~/.local/share")),
        "clinfer/models/smollm2-135m-instruct-q4_1.gguf"))
    options = parser.parse_args()
    tool, peer = os.path.abspath(options.tool), os.path.abspath(options.peer)
    with tempfile.TemporaryDirectory(prefix="clinfer-clients-") as folder:
        hub = Hub(folder, os.path.abspath(options.model))
        python = python_with_hub(options.python)
        if python:
            print("huggingface_hub " + ask_hub(python, os.environ, "print(json.dumps(h.__version__))"), flush=True)
            hub_fetches_we_run(hub, tool, python, folder + "/hub-we")
            we_fetch_hub_runs(hub, tool, python, folder + "/we-hub")
        else:
            print("left out: huggingface_hub is not to be had")
        if os.path.exists(os.path.join(peer, "llama-server")):
            llama_fetches_we_run(hub, tool, peer, folder + "/llama-we")
            we_fetch_llama_runs(hub, tool, peer, folder + "/we-llama")
        else:
            print(f"left out: there is no llama-server in {peer}")
        hub.close()
    print(f"{len(failed)} failed" if failed else "all as it should be")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
