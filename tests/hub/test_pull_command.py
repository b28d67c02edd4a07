#!/usr/bin/env python3
"""clinfer pull as a user meets it, against tests/support/hub_server.py: what is fetched and what is not, what is said
where, what is left when something fails. Prints TAP."""
import json
import os
import pty
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer"
SCRATCH = tempfile.mkdtemp(prefix="clinfer-pull-")
NOT_FOUND, BAD, UNSUPPORTED, MEMORY, CANCELLED, REFUSED, REMOTE = 3, 5, 6, 7, 12, 13, 14


class Server:
    def __init__(self):
        self.child = subprocess.Popen([sys.executable, "tests/support/hub_server.py", SCRATCH], text=True,
                                      stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.ready = json.loads(self.child.stdout.readline())
        self.port = self.ready["http"].rpartition(":")[2]

    def ask(self, line):
        self.child.stdin.write(line + "\n")
        self.child.stdin.flush()
        return json.loads(self.child.stdout.readline())

    def log(self):
        entries = self.ask("log")
        assert not [entry for entry in entries if "exception" in entry], entries
        return entries

    def bodies(self):
        """Where bytes of files came from since the last time."""
        return [entry for entry in self.log() if entry["where"] in ("cdn", "small", "plain", "blob")
                and entry["method"] == "GET"]

    def end(self):
        self.child.stdin.close()
        self.child.wait(10)


class Home:
    """A user who has nothing yet."""

    def __init__(self):
        self.path = tempfile.mkdtemp(dir=SCRATCH)
        self.hub = os.path.join(self.path, "cache/huggingface/hub")
        self.models = os.path.join(self.path, "data/clinfer/models")

    def environment(self, **variables):
        environment = {name: value for name, value in os.environ.items()
                       if not name.startswith(("HF_", "HUGGING", "LLAMA_", "OLLAMA", "TRANSFORMERS", "XDG_",
                                               "CLINFER_MODEL"))
                       and "proxy" not in name.lower()}
        folders = {f"XDG_{kind.upper()}_HOME": os.path.join(self.path, kind)
                   for kind in ("cache", "data", "config", "state")}
        environment.update(folders, HOME=self.path, HF_ENDPOINT=server.ready["http"], **variables)
        return environment

    def run(self, *words, status=0, **variables):
        done = subprocess.run([TOOL, *words], env=self.environment(**variables), capture_output=True, text=True,
                              stdin=subprocess.DEVNULL, timeout=120)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def pull(self, *words, **more):
        return self.run("pull", *words, **more)

    def names(self):
        return self.run("list", "--names").stdout.split()

    def files(self):
        return sorted(os.path.relpath(os.path.join(folder, name), self.path)
                      for folder, _, names in os.walk(self.path) for name in names)


def path_of(done):
    lines = done.stdout.splitlines()
    assert len(lines) == 1 and os.path.exists(lines[0]), done.stdout
    return lines[0]


def test_a_second_pull_fetches_nothing():
    home = Home()
    server.log()
    done = home.pull("user/tiny")
    path = path_of(done)
    assert path.startswith(home.hub) and path.endswith("/tiny-Q4_K_M.gguf"), path
    assert "fetching tiny-Q4_K_M.gguf" in done.stderr and "user/tiny:Q4_K_M is here" in done.stderr, done.stderr
    assert len(server.bodies()) == 1
    done = home.pull("user/tiny:q4_k_m")
    assert path_of(done) == path and "nothing is fetched" in done.stderr, done.stderr
    assert not server.bodies()
    home.pull("user/tiny", "--offline")
    assert not server.log()
    assert home.names() == ["user/tiny:Q4_K_M"]


def test_the_choice_is_said():
    done = Home().pull("user/quants")
    assert path_of(done).endswith("/quants-Q4_K_M.gguf")
    assert "Q4_K_M (112 kB): of 12 in the repo" in done.stderr, done.stderr
    assert "Q2_K" in Home().pull("user/quants:Q9", status=NOT_FOUND).stderr
    home = Home()
    home.pull("user/quants/quants-IQ3_S.gguf")
    assert home.names() == ["user/quants:IQ3_S"], home.names()


def test_what_cannot_be_pulled_is_told_by_its_status():
    home = Home()
    for name, status, words in (
            ("user/pickles", UNSUPPORTED, "pickle"), ("user/split-short", NOT_FOUND, "2 of its 3 parts"),
            ("user/nothing", NOT_FOUND, "no model"), ("user/empty", BAD, "0 bytes"), ("user/page", BAD, "web page"),
            ("user/vast", MEMORY, "user/vast:Q4_K_M"), ("tiny", NOT_FOUND, "user/repo"), ("user/..", 2, "user/.."),
            ("x.gated_auto/tiny", REFUSED, "HF_TOKEN"), ("ollama:nosuch", REMOTE, "")):
        more = {"HF_ENDPOINT": server.ready["http"]} if not name.startswith("ollama") else {"https_proxy": server.ready["closed"]}
        environment = home.environment()
        environment.update(more)
        done = subprocess.run([TOOL, "pull", name], env=environment, capture_output=True, text=True, timeout=60)
        assert done.returncode == status and words in done.stderr and not done.stdout, (name, done)
        assert done.stderr.strip().splitlines()[-1].startswith("clinfer: "), done.stderr
    assert "smollm2-135m" in home.pull("smollm2", status=NOT_FOUND).stderr
    assert home.names() == []


def test_all_files_of_a_folder_come_and_no_pickle():
    home = Home()
    server.log()
    folder = path_of(home.pull("user/weights"))
    there = sorted(os.listdir(folder))
    assert "model-00002-of-00002.safetensors" in there and "tokenizer.json" in there, there
    assert not [name for name in there if name.endswith(".bin")] and "README.md" not in there, there
    assert len(server.bodies()) == len(there) == 9
    assert home.names() == ["user/weights"], home.names()


def put(name, version, files):
    """A repo of the test's own: texts, or bytes of GGUF files."""
    described = {}
    for path, content in files.items():
        if isinstance(content, bytes):
            local = os.path.join(SCRATCH, f"{name}-{version}-{path}")
            with open(local, "wb") as file:
                file.write(b"GGUF\3" + bytes(19) + content * 2000)  # no keys, no tensors
            content = {"file": local, "large": True}
        described[path] = content
    server.ask("put " + json.dumps({"name": name, "version": version, "files": described}))


def test_an_upgrade_fetches_new_blobs_only():
    put("two", 1, {"config.json": "{}", "two-Q4_K_M.gguf": b"first 4", "two-Q8_0.gguf": b"both 8"})
    put("two", 2, {"config.json": "{}", "two-Q4_K_M.gguf": b"second 4", "two-Q8_0.gguf": b"both 8"})
    server.ask("version user/two 1")
    home = Home()
    first = path_of(home.pull("user/two:Q4_K_M"))
    eight = path_of(home.pull("user/two:Q8_0"))
    server.ask("version user/two 2")
    server.log()
    second = path_of(home.pull("user/two"))
    assert second != first and os.path.exists(first) and not os.path.samefile(first, second)
    assert len(server.bodies()) == 1
    # The other quant is the new commit's, too, without being asked for.
    new_eight = path_of(home.pull("user/two:Q8_0", "--offline"))
    assert new_eight != eight and os.path.samefile(new_eight, eight)
    assert path_of(home.pull(f"user/two:Q4_K_M@{first.split('/')[-2]}", "--offline")) == first


def test_the_same_bytes_elsewhere_are_linked():
    digest = server.ask("files tiny")["files"]["tiny-Q4_K_M.gguf"]["sha256"]
    first = Home()
    path = path_of(first.pull("user/tiny"))
    for store in ("other/hub/models--some--thing/blobs/" + digest, "ollama/blobs/sha256-" + digest):
        home = Home()
        target = os.path.join(home.path, store)
        os.makedirs(os.path.dirname(target))
        shutil.copy(os.path.realpath(path), target)
        server.log()
        done = home.pull("user/tiny", HF_HOME=os.path.join(home.path, "other"),
                         LLAMA_CACHE=os.path.join(home.path, "llama"), OLLAMA_MODELS=os.path.join(home.path, "ollama"))
        assert not server.bodies() and "linked, not fetched" in done.stderr, done.stderr
        assert os.path.samefile(path_of(done), target)


def test_stores_without_digests_are_looked_into():
    first = Home()
    path = path_of(first.pull("user/large"))
    for changed in (False, True):
        home = Home()
        target = os.path.join(home.path, ".lmstudio/models/somebody/large/large-Q4_K_M.gguf")
        os.makedirs(os.path.dirname(target))
        shutil.copy(os.path.realpath(path), target)
        if changed:  # the same name and size, and another byte
            with open(target, "r+b") as file:
                file.seek(-1, 2)
                byte = file.read(1)
                file.seek(-1, 2)
                file.write(bytes([byte[0] ^ 1]))
        server.log()
        done = home.pull("user/large")
        assert len(server.bodies()) == changed and ("linked, not fetched" in done.stderr) != changed, done.stderr
        assert os.path.samefile(path_of(done), target) != changed


def test_caches_without_links_are_upgraded():
    put("three", 1, {"three-Q4_K_M.gguf": b"weights " * 100, "README.md": "one"})
    put("three", 2, {"three-Q4_K_M.gguf": b"weights " * 100, "README.md": "two"})
    server.ask("version user/three 1")
    home = Home()
    first = path_of(home.pull("user/three", HF_HUB_DISABLE_SYMLINKS="1"))
    assert not os.path.islink(first)
    server.ask("version user/three 2")
    server.log()
    second = path_of(home.pull("user/three", HF_HUB_DISABLE_SYMLINKS="1"))
    assert not server.bodies() and first != second and os.path.exists(first) and not os.path.islink(second)


def test_without_the_hub_what_is_here_is_used():
    home = Home()
    path = path_of(home.pull("user/tiny"))
    done = subprocess.run([TOOL, "pull", "user/tiny"], env=dict(home.environment(), HF_ENDPOINT=server.ready["closed"]),
                          capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stdout.strip() == path and "is used" in done.stderr, done
    done = home.pull("user/quants", status=NOT_FOUND, HF_HUB_OFFLINE="1")
    assert "HF_HUB_OFFLINE" in done.stderr, done.stderr


def test_a_mirror_without_lists_has_files():
    for name, listed in (("x.api-garbage/tiny/tiny-Q4_K_M.gguf", ":Q4_K_M"),
                         ("x.api-status_404/split/split-Q4_K_M-00002-of-00003.gguf", ":Q4_K_M")):
        home = Home()
        path_of(home.pull(name))
        assert home.names() == ["/".join(name.split("/")[:2]) + listed], home.names()
    assert "no such" in Home().pull("user/nosuch/x-Q4_K_M.gguf", status=NOT_FOUND).stderr


def test_what_failed_is_not_listed_and_goes_on():
    home = Home()
    size = server.ask("files large")["files"]["large-Q4_K_M.gguf"]["size"]
    server.log()
    child = subprocess.Popen([TOOL, "pull", "x.rate_2000000/large"], env=home.environment(), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    wait_for(lambda: [name for name in home.files() if name.endswith(".clinfer.incomplete")])
    time.sleep(0.5)
    child.send_signal(signal.SIGINT)
    out, errors = child.communicate(timeout=30)
    assert child.returncode == CANCELLED and not out, (child.returncode, errors)
    assert "what has come is kept, and `clinfer pull x.rate_2000000/large` goes on with it" in errors, errors
    assert home.names() == []
    assert [name for name in home.files() if name.endswith(".clinfer.incomplete")], home.files()
    path = path_of(home.pull("x.rate_2000000/large"))
    assert os.path.getsize(path) == size
    entries = server.bodies()
    assert any(entry["range"] and not entry["range"].startswith("bytes=0-") for entry in entries), entries
    assert not [name for name in home.files() if "incomplete" in name], home.files()


def test_json_is_lines():
    home = Home()
    lines = [json.loads(line) for line in home.pull("user/split", "--json").stdout.splitlines()]
    assert all("status" in line for line in lines), lines
    pulling = [line for line in lines if line["status"].startswith("pulling ")]
    assert pulling and all(line["digest"].startswith("sha256:") and line["completed"] <= line["total"]
                           for line in pulling)
    last = lines[-1]
    assert last["status"] == "success" and last["name"] == "user/split:Q4_K_M" and last["fetched_files"] == 3, last
    assert os.path.exists(last["path"])
    done = home.pull("user/nosuch", "--json", status=NOT_FOUND)
    assert "nosuch" in json.loads(done.stdout)["error"], done.stdout


def test_a_terminal_gets_one_line_a_file():
    home = Home()
    began = time.time()
    pid, terminal = pty.fork()
    if pid == 0:
        os.execve(TOOL, [TOOL, "pull", "x.rate_2000000/large"], home.environment(TERM="xterm"))
    text = b""
    while True:
        try:
            piece = os.read(terminal, 4096) if select.select([terminal], [], [], 30)[0] else b""
        except OSError:
            piece = b""
        if not piece:
            break
        text += piece
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, text
    drawn = text.count(b"large-Q4_K_M.gguf  ")
    assert 3 <= drawn <= (time.time() - began) * 10 + 2, (drawn, time.time() - began)
    assert b"of 4.19 MB (" in text and b"MB/s, " in text and b" left" in text, text
    assert b"large-Q4_K_M.gguf: 4.19 MB in " in text, text


def test_bars_can_be_off():
    done = Home().pull("user/tiny", "-q")
    assert not done.stderr.replace("clinfer: warning:", "").strip() or "holds no tokenizer" in done.stderr, done.stderr
    assert "fetching" not in done.stderr
    Home().pull("user/tiny", HF_HUB_DISABLE_PROGRESS_BARS="1")


def test_several_names_and_one_that_fails():
    home = Home()
    done = home.pull("user/tiny", "user/nosuch", "user/quants:Q8_0", status=NOT_FOUND)
    assert len(done.stdout.splitlines()) == 2, done.stdout
    assert home.names() == ["user/quants:Q8_0", "user/tiny:Q4_K_M"], home.names()


def test_the_tokenizer_chain_says_its_steps():
    home = Home()
    done = home.pull("user/base", "--tokenizer")
    assert path_of(done).endswith("/tokenizer.json") and "2. in the repo user/base on the Hub: found" in done.stderr, done.stderr
    # The Hub fails: what a cache has.
    done = subprocess.run([TOOL, "pull", "user/base", "--tokenizer"], capture_output=True, text=True, timeout=60,
                          env=dict(home.environment(), HF_ENDPOINT=server.ready["closed"]))
    assert done.returncode == 0 and "in the cache of user/base: found" in done.stderr, done.stderr
    # Neither: the repo that the model was made from.
    done = Home().pull("user/without-tokenizer", "--tokenizer")
    assert "/models--user--base/" in path_of(done) and "in the repo user/base on the Hub: found" in done.stderr, done.stderr
    # Nothing at all.
    done = Home().pull("user/words", "--tokenizer", status=NOT_FOUND)
    for step in ("1. in the model's GGUF file", "2. in the repo user/words", "3. in the cache", "user/words-GGUF"):
        assert step in done.stderr.splitlines()[-1], done.stderr
    # The list of files is gone, the files are not.
    done = Home().pull("x.api-garbage/base", "--tokenizer")
    assert "by the address of the file" in done.stderr, done.stderr


def test_a_model_without_a_tokenizer_gets_what_was_found():
    home = Home()
    done = home.pull("user/without-tokenizer")
    assert "holds no tokenizer; `clinfer pull user/without-tokenizer --tokenizer`" in done.stderr, done.stderr
    done = home.run("tokenize", "-m", "user/without-tokenizer", "ab", status=BAD)
    assert "--tokenizer` looks for one" in done.stderr, done.stderr
    home.pull("user/without-tokenizer", "--tokenizer")
    done = home.run("tokenize", "-m", "user/without-tokenizer", "--ids", "ab")
    assert "models--user--base" in done.stderr and "is used" in done.stderr, done.stderr
    assert done.stdout.strip() == "[97, 98]", done.stdout


def test_ollama_models_lie_in_the_models_folder():
    home = Home()
    name = f"ollama:127.0.0.1:{server.port}/x.auth/tiny"
    server.log()
    path = path_of(home.pull(name))
    assert path == os.path.join(home.models, f"ollama/127.0.0.1:{server.port}/x.auth/tiny:latest.gguf"), path
    log = server.log()
    assert len([entry for entry in log if entry["where"] == "token"]) == 1, log
    done = home.pull(name)
    assert path_of(done) == path and "nothing is fetched" in done.stderr and not server.bodies()
    assert home.pull(name + ":9b", status=NOT_FOUND)
    # What Ollama has itself is not fetched again.
    digest = server.ask("files tiny")["files"]["tiny-Q4_K_M.gguf"]["sha256"]
    other = Home()
    blob = os.path.join(other.path, "ollama/blobs/sha256-" + digest)
    os.makedirs(os.path.dirname(blob))
    shutil.copy(path, blob)
    done = other.pull(name, OLLAMA_MODELS=os.path.join(other.path, "ollama"))
    assert "linked, not fetched" in done.stderr and not server.bodies(), done.stderr


def test_addresses_lie_in_the_models_folder():
    home = Home()
    base = f"http://localhost:{server.port}/plain/user"
    server.log()
    path = path_of(home.pull(f"{base}/tiny/tiny-Q4_K_M.gguf?download=true"))
    assert path == os.path.join(home.models, "tiny-Q4_K_M.gguf")
    assert len(server.bodies()) == 1
    home.pull(f"{base}/tiny/tiny-Q4_K_M.gguf?download=true")
    assert not server.bodies()
    parts = path_of(home.pull(f"{base}/split/split-Q4_K_M-00003-of-00003.gguf"))
    assert parts.endswith("split-Q4_K_M-00001-of-00003.gguf")
    assert len([name for name in os.listdir(home.models) if name.startswith("split")]) == 3
    # A file that somebody has put there is not overwritten; one that was pulled and has changed is.
    with open(path, "w", encoding="utf-8") as file:
        file.write("mine")
    assert "no pull has brought" in home.pull(f"{base}/tiny/tiny-Q4_K_M.gguf", status=REFUSED).stderr
    with open(path, encoding="utf-8") as file:
        assert file.read() == "mine"


def test_a_file_of_an_address_is_renewed_and_removed():
    put("site", 1, {"site-Q8_0.gguf": b"one"})
    put("site", 2, {"site-Q8_0.gguf": b"a second"})
    server.ask("version user/site 1")
    home = Home()
    address = f"http://localhost:{server.port}/plain/user/site/site-Q8_0.gguf"
    path = path_of(home.pull(address + "?signature=secret"))
    size = os.path.getsize(path)
    server.ask("version user/site 2")
    assert "has changed since it was pulled" in home.pull(address).stderr
    assert os.path.getsize(path) > size
    # Another file that is called so neither takes its place nor is taken for it.
    other, size = address.replace("/user/", "/other/"), os.path.getsize(path)
    assert "from another address" in home.pull(other, status=REFUSED).stderr
    assert os.path.getsize(path) == size
    assert "from another address" in home.run("run", "-mu", other, "hi", status=REFUSED).stderr
    assert not [name for name in home.files() if name.endswith(".new")], home.files()
    with open(os.path.join(home.models, ".site-Q8_0.gguf.source.json"), encoding="utf-8") as file:
        assert "secret" not in file.read()
    home.run("rm", "-y", "--force", "site-Q8_0.gguf")
    assert os.listdir(home.models) == [], os.listdir(home.models)


def test_the_help_teaches():
    text = Home().run("pull", "--help").stdout
    for word in ("smollm2-135m", "user/repo:Q4_K_M", "HF_TOKEN", "HF_HUB_CACHE", "ollama:", "cache/huggingface/hub",
                 "--tokenizer"):
        assert word in text, (word, text)


def wait_for(condition):
    end = time.time() + 30
    while not condition():
        assert time.time() < end, "waited in vain"
        time.sleep(0.02)


if __name__ == "__main__":
    server = Server()
    try:
        tap.main(globals())
    finally:
        server.end()
        shutil.rmtree(SCRATCH, ignore_errors=True)
