#!/usr/bin/env python3
"""The scripts of `clinfer completion`, each in its shell: commands, flags of the command, choices, names of models and
paths. zsh runs on a terminal of its own (zpty), as it must; bash is tried as a function and at a prompt. Prints TAP."""
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import tap  # noqa: E402

TOOL = os.path.realpath(os.environ.get("CLINFER_TEST_BINARY") or "build/release/clinfer")
NAMES = ["small.gguf", "someone/smol-lm-GGUF:Q4_K_M", "someone/smol-lm-GGUF:Q8_0", "it's; $(touch broken).gguf"]
work = tempfile.TemporaryDirectory(prefix="clinfer-test-")
FOLDER = work.name
ENVIRONMENT = {"PATH": f"{FOLDER}/bin:{os.environ['PATH']}", "HOME": FOLDER, "LC_ALL": "C.UTF-8", "TERM": "dumb"}


def prepare():
    """A home with these models, in the models folder and in the Hub's cache, and files to be completed."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    repo = f"{FOLDER}/.cache/huggingface/hub/models--someone--smol-lm-GGUF"
    models, snapshot = f"{FOLDER}/.local/share/clinfer/models", f"{repo}/snapshots/{commit}"
    for folder in ("bin", "here/folder"):
        os.makedirs(f"{FOLDER}/{folder}")
    for folder in (models, snapshot, f"{repo}/refs"):
        os.makedirs(folder)
    with open(f"{repo}/refs/main", "w") as file:
        file.write(commit)
    for path in (f"{models}/{NAMES[0]}", f"{models}/{NAMES[3]}", f"{snapshot}/smol-lm-Q4_K_M.gguf",
                 f"{snapshot}/smol-lm-Q8_0.gguf", f"{FOLDER}/here/my.gguf", f"{FOLDER}/here/question.txt"):
        with open(path, "w") as file:
            file.write("GGUF" + path)
    os.symlink(TOOL, f"{FOLDER}/bin/clinfer")
    assert sorted(run("clinfer", "list", "--names").split("\n")[:-1]) == sorted(NAMES), run("clinfer", "list", "--names")


def run(*command, text=None):
    done = subprocess.run(command, input=text, env=ENVIRONMENT, cwd=f"{FOLDER}/here", capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, (command, done.returncode, done.stderr)
    assert not done.stderr, done.stderr
    return done.stdout


def script(shell):
    path = f"{FOLDER}/script.{shell}"
    if not os.path.exists(path):
        if not shutil.which(shell):
            raise tap.Skip(f"no {shell} here")
        with open(path, "w") as file:
            file.write(run(TOOL, "completion", shell))
    return path


def check(complete):
    """What each shell has to offer; complete(line) gives the list."""
    commands = complete("clinfer ")
    assert {"run", "inspect", "bench", "config", "completion", "help"} <= set(commands), commands
    assert "tune_worker" not in commands, "for no one to type"
    assert complete("clinfer insp") == ["inspect"], complete("clinfer insp")
    flags = complete("clinfer run --chat-t")
    assert sorted(flags) == ["--chat-template", "--chat-template-file", "--chat-template-kwargs"], flags
    assert "--tensors" in complete("clinfer inspect --t"), complete("clinfer inspect --t")
    assert "--tensors" not in complete("clinfer run --t"), "a flag of another command"
    assert complete("clinfer run --fallback n") == ["none"], complete("clinfer run --fallback n")
    assert sorted(complete("clinfer profile ")) == ["export", "import", "list", "quarantine", "rm", "show"]
    assert "chat_template" in complete("clinfer config get cha"), complete("clinfer config get cha")
    assert "small.gguf" in complete("clinfer inspect sm"), complete("clinfer inspect sm")
    assert "mistral-v3" in complete("clinfer run --chat-template mistral-v")
    assert "smollm2-135m" in complete("clinfer pull smol"), complete("clinfer pull smol")
    assert complete("clinfer run -n ") == [], "no number is known"
    assert not os.path.exists(f"{FOLDER}/here/broken"), "the name of a model was executed"


# ---- bash ----

BASH = """source {script}
COMP_LINE=$1 COMP_POINT=${{#1}} COMP_WORDBREAKS=$2
_clinfer clinfer
for reply in "${{COMPREPLY[@]}}"; do printf '%s\\n' "$reply"; done
"""


def bash(line, breaks=" \t\n"):
    return run("bash", "--norc", "-c", BASH.format(script=script("bash")), "bash", line, breaks).split("\n")[:-1]


def test_bash_completes():
    check(bash)
    assert run("bash", "--norc", "-c", f"source {script('bash')}; complete -p clinfer") == "complete -F _clinfer clinfer\n"


def test_bash_completes_names_of_models():
    assert bash("clinfer run -m someone/") == NAMES[1:3], bash("clinfer run -m someone/")
    assert "my.gguf" in bash("clinfer run -m m"), bash("clinfer run -m m")
    assert bash("clinfer run -m it") == ["it\\'s\\;\\ \\$\\(touch\\ broken\\).gguf"], bash("clinfer run -m it")
    # Bash takes what is behind the last ':' and '=' for the word.
    assert bash("clinfer run -m someone/smol-lm-GGUF:", " :=") == ["Q4_K_M", "Q8_0"]
    assert bash("clinfer run --model=someone/smol-lm-GGUF:Q8", " :=") == ["Q8_0"]
    assert bash("clinfer run --fallback=r", " :=") == ["remote"]


def test_bash_completes_behind_flags_and_their_values():
    assert bash("clinfer config --log-file list get cha")[:1] == ["chat_template"]
    assert bash("clinfer inspect --json smal") == ["small.gguf"]
    assert bash("clinfer profile show --device ") == ["auto", "cpu"]


def test_bash_completes_at_a_prompt():
    """What readline makes of it: the name of a model with a colon, and a path."""
    path = script("bash")
    for typed, wanted in ((b"clinfer inspect someone/smol-lm-GGUF:Q8\t", rb"someone/smol-lm-GGUF:Q8_0 "),
                          (b"clinfer run -f que\t", rb"question\.txt ")):
        child, terminal = pty.fork()
        if child == 0:
            os.chdir(f"{FOLDER}/here")
            os.execvpe("bash", ["bash", "--norc", "-i"], {**ENVIRONMENT, "PS1": "$ "})
        os.write(terminal, b"bind 'set enable-bracketed-paste off'; source " + path.encode() + b"; echo rea''dy\n")
        wait_for(terminal, rb"ready")
        os.write(terminal, typed)
        wait_for(terminal, wanted)
        os.write(terminal, b"\x15exit\n")
        os.close(terminal)
        os.waitpid(child, 0)


def wait_for(terminal, pattern):
    shown, deadline = b"", time.monotonic() + 30
    while not re.search(pattern, shown):
        assert time.monotonic() < deadline, shown[-500:]
        if select.select([terminal], [], [], 1)[0]:
            shown += os.read(terminal, 65536)


# ---- zsh ----

# What is added is told, each with a mark before it: by the inner shell, whose Tab asks our function.
ZSH_INNER = r"""
PS1= PS2= RPS1= zle_bracketed_paste=
fpath=(FOLDER/zsh $fpath)
autoload -Uz compinit
compinit -u -d FOLDER/zcompdump
bindkey '^I' complete-word
zstyle ':completion:*' verbose no
compadd() {
    local -a added
    builtin compadd -A added "$@"
    if [[ " $* " != *" -"[OAD]" "* ]]; then
        local one
        for one in $added; do print -r -- "HIT:$one" >>FOLDER/hits; done
    fi
    builtin compadd "$@"
}
comppostfuncs=(told)
told() { print -r -- END: >>FOLDER/hits }
cd FOLDER/here
print READY:
"""
ZSH = r"""
zmodload zsh/zpty
zpty z zsh -f -i
zpty -w z 'source FOLDER/inner.zsh'
while zpty -r z line; do [[ $line = *READY:* ]] && break; done
zpty -n -w z "$1"$'\t'
until grep -q END: FOLDER/hits; do zpty -r -t z line || sleep 0.02; done
zpty -d z
"""


def zsh(line):
    path = script("zsh")
    os.makedirs(f"{FOLDER}/zsh", exist_ok=True)
    shutil.copy(path, f"{FOLDER}/zsh/_clinfer")
    with open(f"{FOLDER}/inner.zsh", "w") as file:
        file.write(ZSH_INNER.replace("FOLDER", FOLDER))
    open(f"{FOLDER}/hits", "w").close()
    run("zsh", "-f", "-c", ZSH.replace("FOLDER", FOLDER), "zsh", line)
    with open(f"{FOLDER}/hits") as file:
        return sorted({told[4:-1] for told in file if told.startswith("HIT:")})


def test_zsh_completes():
    check(zsh)


def test_zsh_completes_names_of_models_and_paths():
    assert [name for name in zsh("clinfer run -m someone/")
            if ":" in name] == NAMES[1:3], zsh("clinfer run -m someone/")
    assert "my.gguf" in zsh("clinfer run -m m"), zsh("clinfer run -m m")
    assert "question.txt" in zsh("clinfer run -f que"), zsh("clinfer run -f que")
    assert zsh("clinfer run --fallback=r") == ["remote"], zsh("clinfer run --fallback=r")


# ---- fish ----

def fish(line):
    output = run("fish", "--no-config", "-c", f"source {script('fish')}; complete -C $argv[1]", line)
    return [reply.split("\t")[0] for reply in output.split("\n") if reply]


def test_fish_completes():
    check(fish)


def test_fish_completes_names_of_models_and_paths():
    assert [name for name in fish("clinfer run -m someone/")
            if ":" in name] == NAMES[1:3], fish("clinfer run -m someone/")
    assert "my.gguf" in fish("clinfer run -m my"), fish("clinfer run -m my")
    assert "question.txt" in fish("clinfer run -f que"), fish("clinfer run -f que")
    assert fish("clinfer run --fallback=r") == ["--fallback=remote"], fish("clinfer run --fallback=r")


# ---- the command ----

def test_a_shell_that_is_not_known_is_refused():
    for words in ([], ["tcsh"], ["bash", "zsh"]):
        done = subprocess.run([TOOL, "completion", *words], capture_output=True, text=True)
        assert done.returncode == 2 and "bash, zsh or fish" in done.stderr and not done.stdout, done


def test_the_flag_of_llama_cli_prints_it_too():
    assert run(TOOL, "--completion-bash") == run(TOOL, "completion", "bash")


if __name__ == "__main__":
    prepare()
    tap.main(globals())
