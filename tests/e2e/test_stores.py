#!/usr/bin/env python3
"""clinfer list, rm and prune as a user meets them: a home with models of several programs, what the three say of it and
which exit statuses they have; questions on a terminal. Prints TAP."""
import json
import os
import pty
import select
import shutil
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.path.realpath(os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer")
TINY = "tests/data/llama_tiny.gguf"
COMMIT, OLDER = "0123456789abcdef" * 2 + "01234567", "fedcba9876543210" * 2 + "fedcba98"
INVALID, NOT_FOUND, IO, CANCELLED, REFUSED = 2, 3, 4, 12, 13  # exit statuses, see clinfer.h


class Home:
    """A folder with nothing but what the test puts there."""

    def __enter__(self):
        self.path = tempfile.mkdtemp(prefix="clinfer-stores-")
        self.hub = os.path.join(self.path, ".cache/huggingface/hub")
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.path)

    def put(self, path, content=b"x" * 1000):
        path = os.path.join(self.path, path)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "wb") as file:
            file.write(content)
        return path

    def blob(self, repo, file, digit, content=b"x" * 1000, commit=COMMIT):
        folder = f"{self.hub}/models--{repo.replace('/', '--')}"
        self.put(f"{folder}/blobs/{digit * 64}", content)
        self.put(f"{folder}/refs/main", COMMIT.encode())
        link = f"{folder}/snapshots/{commit}/{file}"
        os.makedirs(os.path.dirname(link), exist_ok=True)
        os.symlink("../" * (2 + file.count("/")) + f"blobs/{digit * 64}", link)
        return folder

    def environment(self):
        kept = {name: value for name, value in os.environ.items() if name in ("PATH", "LD_LIBRARY_PATH")}
        return dict(kept, HOME=self.path, HF_HUB_OFFLINE="1", **{name: value for name, value in os.environ.items()
                                                                 if name.startswith(("ASAN_", "UBSAN_", "LSAN_"))})

    def run(self, *words, status=0):
        done = subprocess.run([TOOL, *words], env=self.environment(), capture_output=True, text=True, timeout=60,
                              stdin=subprocess.DEVNULL)
        assert done.returncode == status, (words, done.returncode, done.stdout, done.stderr)
        return done

    def answer(self, answer, *words, status=0):
        """On a terminal: what it shows, and what is typed."""
        process, terminal = pty.fork()
        if process == 0:
            os.execve(TOOL, [TOOL, *words], self.environment())
        shown, typed = b"", False
        while select.select([terminal], [], [], 30)[0]:
            try:
                shown += os.read(terminal, 4096)
            except OSError:
                break
            if b"[y/N]" in shown and not typed:
                os.write(terminal, answer)
                typed = True
        os.close(terminal)
        code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
        assert code == status, (words, code, shown)
        return shown.decode(), typed

    def names(self):
        return self.run("list", "--names").stdout.split()

    def bytes(self):
        return sum(os.lstat(os.path.join(folder, name)).st_size for folder, _, names in os.walk(self.path)
                   for name in names if not os.path.islink(os.path.join(folder, name)))


def test_an_empty_home_has_a_hint():
    with Home() as home:
        done = home.run("list")
        assert done.stdout == "" and "clinfer pull NAME" in done.stderr, done
        assert json.loads(home.run("list", "--json").stdout) == {"models": []}
        assert home.run("list", "--names").stdout == "" and os.listdir(home.path) == []
        home.run("rm", "-y", "nix", status=NOT_FOUND)
        assert "nothing to remove" in home.run("prune").stderr


def test_list_shows_all_stores():
    with Home() as home:
        home.blob("user/repo", "m-Q4_K_M.gguf", "a")
        home.blob("user/split", "s-Q8_0-00001-of-00002.gguf", "b")
        home.put(".cache/huggingface/hub/by-hand.gguf")
        home.put(".local/share/clinfer/models/own.gguf")
        home.put(".ollama/models/blobs/sha256-" + "a" * 64)
        layers = [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:" + "a" * 64, "size": 1000}]
        home.put(".ollama/models/manifests/registry.ollama.ai/library/tiny/1b", json.dumps({"layers": layers}).encode())
        lines = home.run("list").stdout.splitlines()
        assert lines[0].split() == ["NAME", "SIZE", "WHEN", "STORE"], lines
        assert [line.split()[0] for line in lines[1:]] == ["by-hand.gguf", "own.gguf", "user/repo:Q4_K_M",
                                                           "user/split:Q8_0"], lines
        assert lines[3].endswith("hub, ollama") and "(incomplete: 1 of 2 parts are missing)" in lines[4], lines
        assert home.names() == ["by-hand.gguf", "ollama:tiny:1b", "own.gguf", "user/repo:Q4_K_M"]
        models = {model["name"]: model for model in json.loads(home.run("list", "--json").stdout)["models"]}
        model = models["user/repo:Q4_K_M"]
        assert model["bytes"] == 1000 and model["available"] and model["quant"] == "Q4_K_M", model
        assert model["digest"] == "a" * 64 and model["commit"] == COMMIT and model["repo"] == "user/repo", model
        assert [place["name"] for place in model["places"]] == ["ollama:tiny:1b"], model
        assert not models["user/split:Q8_0"]["available"] and models["user/split:Q8_0"]["missing_parts"] == 1
        assert models["by-hand.gguf"]["placed_by_hand"] and not models["by-hand.gguf"]["removable"]


def test_what_is_placed_by_hand_is_opened_by_its_name():
    with Home() as home:
        with open(TINY, "rb") as file:
            home.put(".cache/huggingface/hub/wget.gguf", file.read())
        for name in ("wget.gguf", "wget"):
            assert "llama" in home.run("inspect", "-m", name).stdout, name


def test_names_cannot_control_a_terminal():
    with Home() as home:
        home.put(".local/share/clinfer/models/\x1b[31mred\n.gguf")
        shown = home.run("list").stdout
        assert "\x1b" not in shown and len(shown.splitlines()) == 2, shown
        assert home.run("list", "--names").stdout == ""


def test_rm_frees_what_it_says():
    with Home() as home:
        home.blob("user/repo", "m-Q4_K_M.gguf", "a", b"x" * 20000)
        folder = home.blob("user/repo", "m-Q8_0.gguf", "b", b"x" * 40000)
        before = home.bytes()
        done = home.run("rm", "-y", "hf.co/user/repo:q4_k_m")
        assert done.stdout == "user/repo:Q4_K_M: removed, 20.0 kB freed\n", done
        assert before - home.bytes() == 20000 and home.names() == ["user/repo:Q8_0"]
        home.run("rm", "-y", "user/repo")  # the only one that is left
        assert not os.path.exists(folder) and home.names() == []


def test_rm_of_what_is_not_clear_removes_nothing():
    with Home() as home:
        home.blob("user/repo", "m-Q4_K_M.gguf", "a")
        home.blob("user/repo", "m-Q8_0.gguf", "b")
        done = home.run("rm", "-y", "user/repo", status=INVALID)
        assert "user/repo:Q4_K_M, user/repo:Q8_0" in done.stderr, done
        done = home.run("rm", "-y", "user/repo:Q8_0", "user/rep:Q4_K_M", status=NOT_FOUND)
        assert "user/repo:Q4_K_M" in done.stderr, done
        home.run("rm", "user/repo:Q8_0", status=INVALID)  # no terminal, no -y
        home.run("rm", status=INVALID)
        assert len(home.names()) == 2


def test_rm_asks_on_a_terminal():
    with Home() as home:
        home.blob("user/repo", "m-Q4_K_M.gguf", "a")
        for answer in (b"n\n", b"\n", b"\x04"):
            shown, asked = home.answer(answer, "rm", "user/repo:Q4_K_M", status=CANCELLED)
            assert asked and "nothing was removed" in shown, shown
        assert home.names() == ["user/repo:Q4_K_M"]
        shown, asked = home.answer(b"y\n", "rm", "user/repo:Q4_K_M")
        assert asked and "1.00 kB freed" in shown and home.names() == [], shown


def test_rm_refuses_what_is_not_ours():
    with Home() as home:
        home.put(".lmstudio/models/maker/repo/m-Q4_0.gguf")
        home.put(".local/share/clinfer/models/own.gguf")
        for words, text in ((("maker/repo:Q4_0", "--force"), "LM Studio"), (("own",), "--force")):
            assert text in home.run("rm", "-y", *words, status=REFUSED).stderr, words
        assert len(home.names()) == 2
        below = home.put(".local/share/clinfer/models/below/own.gguf", b"y" * 1000)
        assert "may be any of" in home.run("rm", "-y", "--force", "own", status=INVALID).stderr
        home.run("rm", "-y", "--force", "below/own")
        assert not os.path.exists(below)
        home.run("rm", "-y", "--force", "own")
        assert home.names() == ["maker/repo:Q4_0"]


def test_prune_removes_what_is_of_no_use():
    with Home() as home:
        folder = home.blob("user/repo", "m-Q4_K_M.gguf", "a")
        part = home.put(f"{folder}/blobs/{'b' * 64}.clinfer.incomplete")
        other = home.put(f"{folder}/blobs/{'b' * 64}.12345678.incomplete")
        unused = home.put(f"{folder}/blobs/{'c' * 64}")
        dangling = f"{folder}/snapshots/{COMMIT}/gone-F16.gguf"
        os.symlink("../../blobs/" + "d" * 64, dangling)
        assert home.names() == ["user/repo:Q4_K_M"]
        assert "1.00 kB" in home.run("prune", "-n").stdout and os.path.exists(part)
        assert home.run("prune").stdout.endswith("1.00 kB freed\n")
        assert not os.path.exists(part) and not os.path.islink(dangling)
        assert unused in home.run("prune", "--all", status=INVALID).stdout and os.path.exists(unused)
        shown, asked = home.answer(b"n\n", "prune", "--all", status=CANCELLED)
        assert asked and os.path.exists(unused), shown
        home.run("prune", "--all", "-y")
        assert not os.path.exists(unused) and os.path.exists(other)
        assert home.names() == ["user/repo:Q4_K_M"]


def test_a_list_of_two_hundred_is_quick():
    with Home() as home:
        for number in range(200):
            home.blob(f"user/repo-{number}", "m-Q4_K_M.gguf", "a", b"x" * (number + 1))
        best = 1.0
        for _ in range(5):
            before = os.times()
            home.run("list", "--names")
            after = os.times()
            used = after.children_user + after.children_system - before.children_user - before.children_system
            best = min(best, used)
        print(f"# {best * 1000:.0f} ms of the processor")
        assert best < (0.06 if "asan" not in TOOL and "tsan" not in TOOL else 1), best


if __name__ == "__main__":
    tap.main(globals())
