#!/usr/bin/env python3
"""The scripts that judge the rest: what the test runner counts as failed, and what the check of the layers refuses.
Prints TAP."""
import glob
import os
import re
import subprocess
import sys
import tempfile

sys.path[:0] = [os.path.join(os.path.dirname(__file__), folder) for folder in ("../../scripts", "../support")]
sys.dont_write_bytecode = True
import check_soak  # noqa: E402
import run_tests  # noqa: E402
import tap  # noqa: E402

LAYERS = "layer base\nlayer left right\nlayer top\nconfine CL/ left\npublic top/run.c\n"


def results(output, status):
    return [(test.result, test.reason) for test in run_tests.parse(output, status)]


def layers_refuse(files):
    """What check_layers.py prints for runtime/ with these files, "" when it is content."""
    with tempfile.TemporaryDirectory() as root:
        for name, text in files.items():
            path = os.path.join(root, "runtime", name)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with open(path, "w", encoding="utf-8") as file:
                file.write(text)
        table = os.path.join(root, "layers.txt")
        with open(table, "w", encoding="utf-8") as file:
            file.write(LAYERS)
        done = subprocess.run([sys.executable, "scripts/check_layers.py", table, root], capture_output=True, text=True)
        return done.stdout if done.returncode else ""


def soaked(count, left, unloaded=None, opened=None, files=10, threads=10):
    """A mark of check_soak.py; memory in MiB."""
    memory = {"memory": left, "unloaded": unloaded, "opened": opened}
    memory = {what: size * check_soak.MEBIBYTE for what, size in memory.items() if size is not None}
    return count, {**memory, "files": files, "threads": threads}


def test_the_soak_run_judges_memory_as_it_was_left_and_unloaded():
    first, second = soaked(700, 80, 20, 40), soaked(1200, 50)
    assert check_soak.grown([first]) == []
    assert check_soak.grown([first, second, soaked(10000, 66, 36, 56), soaked(20000, 100, 36, 56)]) == []
    assert check_soak.grown([first, second, soaked(10000, 67, 20, 40)]) == [
        "after 10000 requests: memory, as clients left it, grew by 17.0 MiB"]
    assert check_soak.grown([first, second, soaked(20000, 50, 37, 57)]) == [
        "after 20000 requests: memory, unloaded, grew by 17.0 MiB",
        "after 20000 requests: memory, opened again, grew by 17.0 MiB"]
    wrong = check_soak.grown([first, second, soaked(20000, 50, 20, 40, files=15, threads=23)])
    assert len(wrong) == 2 and "descriptors" in wrong[0] and "threads" in wrong[1], wrong


def test_a_finished_program_is_counted_line_by_line():
    assert results("1..2\nok 1 - a\nnot ok 2 - b\n", 1) == [("passed", ""), ("failed", "")]


def test_a_crash_fails_the_tests_that_did_not_run():
    assert [result for result, _ in results("1..3\nok 1 - a\n", -11)] == ["passed", "failed", "failed"]
    assert "SIGSEGV" in results("1..3\nok 1 - a\n", -11)[1][1]


def test_a_bad_status_after_good_lines_is_a_failure():
    assert [result for result, _ in results("1..1\nok 1 - a\n", 1)] == ["passed", "failed"]


def test_a_program_that_says_nothing_is_judged_by_its_status():
    assert results("", 0)[0][0] == "passed"
    assert results("", 3)[0][0] == "failed"
    assert results("", "timeout")[0] == ("failed", "took too long")


def test_a_skip_needs_a_reason():
    assert results("1..1\nskip: no GPU\nnot ok 1 # SKIP a\n", 0) == [("skipped", "no GPU")]
    assert results("1..1\nok 1 - a # SKIP no GPU\n", 0) == [("skipped", "no GPU")]
    assert results("1..1\nnot ok 1 # SKIP a\n", 0)[0][0] == "failed"


def run_scripts(**scripts):
    """The lines of run_tests.py for these shell scripts, in this order; each may wait for files of the others."""
    with tempfile.TemporaryDirectory() as folder:
        paths = [os.path.join(folder, name + ".sh") for name in scripts]
        for path, text in zip(paths, scripts.values()):
            with open(path, "w", encoding="utf-8") as file:
                file.write(f"cd {folder}\n{text}\n")
        command = [sys.executable, "scripts/run_tests.py", "--build", os.path.join(folder, "build"), "--jobs", "2",
                   "--timeout", "30", "--seed", "5"]
        env = {name: value for name, value in os.environ.items() if name != "CLINFER_TEST_ALL"}
        return subprocess.run([*command, *paths], env=env, capture_output=True, text=True).stdout.splitlines()


def test_programs_run_at_once_and_are_printed_in_order():
    lines = run_scripts(a="while [ ! -e b ]; do sleep 0.05; done", b="touch b", c="exit 3")
    verdicts = [re.search(r"(\w+) +\S*/(\w)\.sh", line).groups() for line in lines if ".sh: " in line]
    assert verdicts == [("ok", "a"), ("ok", "b"), ("FAILED", "c")], lines
    assert lines[0].split() == ["seed", "5"] and "SEED=5" in lines[-2] and "make check-all" in lines[-2], lines
    assert re.fullmatch(r"\d+ passed, \d+ failed, 0 skipped", lines[-1]), lines


def test_a_program_has_empty_folders_and_the_users_models():
    empty = 'for name in CONFIG STATE; do eval "ls -A \\$XDG_${name}_HOME"; done | grep . && exit 1'
    lines = run_scripts(a=empty + '\n[ "$(ls -A "$XDG_DATA_HOME/clinfer")" = models ] || exit 1')
    assert any("ok" in line and "a.sh" in line for line in lines), lines


def test_what_takes_longest_begins_and_what_measures_ends():
    usual = ["tests/unit/test_a", "tests/e2e/test_b"]
    given = [*run_tests.ALONE, usual[0], *reversed(run_tests.LONGEST), usual[1]]
    assert run_tests.in_order(given) == [*run_tests.LONGEST, *usual, *run_tests.ALONE]
    sources = {os.path.splitext(path)[0] for path in glob.glob("tests/*/test_*.*")}
    for name in (*run_tests.ALONE, *run_tests.LONGEST):
        assert os.path.splitext(name[name.index("tests/"):])[0] in sources, f"{name} is no test"


def test_kernels_of_all_models_are_compiled_first():
    commands = list(run_tests.warm_commands("tests/data/llama_tiny.gguf", 2, "prompts"))
    assert ["doctor", "--device", "0"] in commands and ["doctor", "--device", "1"] in commands
    for path in glob.glob("tests/data/*.gguf"):
        for activations in "f32", "q8":
            for words in "-p", "--batch":
                assert any({path, "1", activations, words} < set(command) for command in commands), (path, words)


def test_a_seed_is_another_each_time_but_for_ci():
    before = os.environ.pop("CI", None)
    try:
        assert run_tests.seed_of("17") == "17" and int(run_tests.seed_of("")) > 1000
        os.environ["CI"] = "true"
        assert run_tests.seed_of("17") == "17" and run_tests.seed_of("") == "1"
    finally:
        os.environ.pop("CI")
        if before is not None:
            os.environ["CI"] = before


def test_layers_accept_what_looks_down():
    assert layers_refuse({"base/a.h": "", "left/b.c": '#include "base/a.h"\n#include <CL/cl.h>\n'}) == ""


def test_layers_refuse_an_include_upwards():
    assert "base/a.c:1" in layers_refuse({"base/a.c": '#include "top/t.h"\n', "top/t.h": ""})


def test_layers_refuse_a_sibling():
    assert "left/b.c:2" in layers_refuse({"left/b.c": '\n#include "right/c.h"\n', "right/c.h": ""})


def test_layers_refuse_an_unknown_folder():
    assert "other" in layers_refuse({"other/a.c": ""})


def test_layers_keep_a_header_where_it_belongs():
    assert "CL/cl.h" in layers_refuse({"right/a.c": "#include <CL/cl.h>\n"})


def test_layers_follow_includes_of_a_public_file():
    files = {"top/run.c": '#include "top/help.h"\n', "top/help.h": '#include "base/a.h"\n', "base/a.h": ""}
    assert "top/run.c: reaches base/a.h through top/help.h" in layers_refuse(files)


if __name__ == "__main__":
    tap.main(globals())
