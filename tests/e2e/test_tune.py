#!/usr/bin/env python3
"""clinfer tune as a user meets it: a tiny model on the CPU backend and on the first OpenCL device, with few seconds;
then what may go wrong around it: killed at any moment, a full disk, a folder that cannot be written, two at once,
Ctrl-C, a damaged profile. Prints TAP."""
import glob
import json
import os
import random
import resource
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
MODEL = "tests/data/llama_tiny.gguf"
KILLS = 20
SCRATCH = tempfile.mkdtemp(prefix="clinfer-tune-")

IO_ERROR, CANCELLED = 4, 12  # exit statuses, see clinfer.h


def environment(data):
    env = dict(os.environ, XDG_DATA_HOME=data)
    env.pop("CLINFER_MODEL", None)
    return env


def folder(name):
    path = os.path.join(SCRATCH, name)
    os.makedirs(path, exist_ok=True)
    return path


def command(*words, device="cpu", budget=3):
    return [TOOL, "tune", "-m", MODEL, "--device", device, "--budget", str(budget), *words]


def tune(data, *words, device="cpu", budget=3, timeout=120, **options):
    start = time.monotonic()
    done = subprocess.run(command(*words, device=device, budget=budget), env=environment(data), capture_output=True,
                          text=True, timeout=timeout, **options)
    done.seconds = time.monotonic() - start
    return done


def tune_json(data, *words, **options):
    done = tune(data, "--json", *words, **options)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)["devices"][0], done


def profiles(data):
    """Every profile that lies there, parsed: a torn one is an error."""
    found = {}
    for path in glob.glob(os.path.join(data, "clinfer/profiles/*.json")):
        with open(path, encoding="utf-8") as file:
            found[path] = json.load(file)
    found = {path: profile for path, profile in found.items() if profile["schema"] == "clinfer-profile"}
    assert len(found) <= 1, found.keys()
    return list(found.values())


def first_device():
    done = subprocess.run([TOOL, "devices", "--json"], capture_output=True, text=True, timeout=120)
    if not json.loads(done.stdout)["devices"]:
        raise tap.Skip("no OpenCL device")
    return "0"


def check_tune(data, device, budget):
    log = os.path.join(data, "trials.jsonl")
    for seconds in budget, 20, 60:  # a busy machine gets to nothing in a few seconds
        report, _ = tune_json(data, "--log", log, device=device, budget=seconds)
        if report["changed"]:
            break
    assert report["changed"] and report["searched"] > 0 and report["tried"] > 0, report
    assert report["measured"]["read_bytes_per_second"] > 0
    assert report["models"][0]["covered"] > 0
    for op in report["ops"]:
        assert op["seconds_after"] > 0 and op["variant"] and op["tried"] > 0, op
    [profile] = profiles(data)
    assert len(profile["entries"]) >= report["searched"]
    with open(log, encoding="utf-8") as file:
        trials = [json.loads(line) for line in file]
    assert sum(trial["kind"] == "trial" for trial in trials) == report["tried"]
    assert all(trial["outcome"] for trial in trials if trial["kind"] == "trial")
    assert not os.listdir(os.path.join(data, "clinfer/profiles/trying"))
    return seconds


def check_second_is_quick(data, device, budget):
    before = profiles(data)
    report, done = tune_json(data, device=device, budget=budget)
    assert not report["changed"] and report["searched"] == 0 and report["tried"] == 0, report
    assert report["kept"] > 0
    assert done.seconds < 5, done.seconds
    assert profiles(data) == before
    text = tune(data, device=device, budget=budget).stdout
    assert "0.00x" not in text and text.count("decode:") == text.count("as an earlier tune found") / 2, text


def check_answers_agree(data, device):
    """With the profile and without, the same logits; kernels differ in rounding alone."""
    texts = []
    for tuning in ("none", "auto"):
        words = [TOOL, "run", "-m", MODEL, "--device", device, "--tuning", tuning, "--activations", "f32", "--temp",
                 "0", "-n", "8", "--raw", "the"]
        done = subprocess.run(words, env=environment(data), capture_output=True, timeout=120)
        assert done.returncode == 0, done.stderr
        texts.append(done.stdout)
    assert texts[0] == texts[1], texts


def test_a_small_stack_blames_no_kernel():
    def limit():
        resource.setrlimit(resource.RLIMIT_STACK, (256 << 10, 256 << 10))
    data = folder("stack")
    log = os.path.join(data, "trials.jsonl")
    tune_json(data, "--log", log, budget=5, preexec_fn=limit)
    with open(log, encoding="utf-8") as file:
        trials = [json.loads(line) for line in file]
    crashed = [trial for trial in trials if trial.get("outcome") == "crashed"]
    assert trials and not crashed, crashed[:3]


def test_a_busy_machine_is_told():
    busy, idle = 0.4 * os.cpu_count(), 0.2 * os.cpu_count()
    before = os.getloadavg()[0]
    text = tune(folder("busy"), budget=1).stderr
    after = os.getloadavg()[0]
    if min(before, after) > busy:
        assert "the load average is" in text, text
    elif max(before, after) < idle:
        assert "the load average is" not in text, text
    else:
        raise tap.Skip("the load is neither high nor low")


def test_the_cpu_backend_is_tuned():
    data = folder("cpu")
    check_second_is_quick(data, "cpu", check_tune(data, "cpu", 3))
    check_answers_agree(data, "cpu")


def test_an_opencl_device_is_tuned():
    device, data = first_device(), folder("opencl")
    check_second_is_quick(data, device, check_tune(data, device, 6))
    check_answers_agree(data, device)


def test_a_table_is_printed():
    done = tune(folder("cpu"))
    assert done.returncode == 0, done.stderr
    for words in ("rows x k -> n", "llama_tiny.gguf", "% of its time is in tuned ops", "nothing has changed in"):
        assert words in done.stdout, done.stdout
    assert "at most 3 s, 3 s in all" in done.stderr, done.stderr


def test_an_earlier_gain_has_no_bounds():
    """A tune that measures nothing knows the earlier gain, and not how surely it was one."""
    data = folder("cpu")
    [path] = [path for path in glob.glob(os.path.join(data, "clinfer/profiles/*.json"))]
    [profile] = profiles(data)
    profile["models"][0].update(decode_before=100, decode_after=110, prefill_before=1000, prefill_after=1000)
    with open(path, "w", encoding="utf-8") as file:
        json.dump(profile, file)
    text = tune(data).stdout
    assert "decode 1.10x (as an earlier tune found)" in text and "0.00x" not in text, text


def test_ctrl_c_in_a_tune_of_what_was_tuned():
    """The next tune would find nothing to do, so nobody is told that it goes on."""
    child = subprocess.Popen(command("--again", budget=60), env=environment(folder("cpu")), stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True)
    time.sleep(4)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == CANCELLED, (child.returncode, err)
    assert "`clinfer tune --again` measures all anew" in out and "goes on" not in out, out


def test_killed_at_any_moment():
    """kill -9: no torn profile, and the next tune completes."""
    data, seed = folder("killed"), random.randrange(1 << 30)
    print(f"# seed {seed}")
    moments = random.Random(seed)
    for _ in range(KILLS):
        child = subprocess.Popen(command("--again"), env=environment(data), stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
        time.sleep(moments.uniform(0.02, 1.5))
        child.kill()
        child.wait()
        profiles(data)
    report, _ = tune_json(data, "--again")
    assert report["searched"] > 0 and not report["interrupted"], report
    assert len(profiles(data)) == 1
    assert not os.listdir(os.path.join(data, "clinfer/profiles/trying"))


def test_what_was_tried_when_all_ended_is_skipped():
    data = folder("marked")
    child = subprocess.Popen(command("--again"), env=environment(data), stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)
    marks = os.path.join(data, "clinfer/profiles/trying/*.json")
    mark, end = None, time.monotonic() + 60
    while not mark and time.monotonic() < end and child.poll() is None:
        for path in glob.glob(marks):
            child.send_signal(signal.SIGSTOP)
            try:
                with open(path, encoding="utf-8") as file:
                    mark = json.load(file)
            except (OSError, ValueError):
                child.send_signal(signal.SIGCONT)
        time.sleep(0.001)
    child.kill()
    child.wait()
    assert mark, "no mark was seen"
    report, done = tune_json(data)
    assert report["recovered"] == 1, done.stderr
    with open(os.path.join(data, "clinfer/profiles/quarantine.json"), encoding="utf-8") as file:
        [item] = json.load(file)["items"]
    assert (item["op"], item["variant"], item["types"]) == (mark["op"], mark["variant"], mark["types"])
    assert "stopped while trying it" in item["reason"]
    for op in report["ops"]:
        assert (op["op"], op["variant"], op["types"]) != (mark["op"], mark["variant"], mark["types"]), op


def test_a_wrong_kernel_is_found_and_not_chosen():
    device, data, kernels = first_device(), folder("poisoned"), os.path.join(SCRATCH, "kernels")
    shutil.copytree("clkernels", kernels)
    with open(os.path.join(kernels, "norm_vec.cl"), "r+", encoding="utf-8") as file:
        text = file.read()
        assert "1.0f / sqrt(" in text
        file.seek(0)
        file.write(text.replace("1.0f / sqrt(", "1.02f / sqrt("))
    env, items = dict(environment(data), CLINFER_KERNELS=kernels), []
    for budget in 6, 20, 60:  # a busy machine gets to few kernels in 6 seconds
        words = command("--json", device=device, budget=budget)
        done = subprocess.run(words, env=env, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        wrong = [op for op in json.loads(done.stdout)["devices"][0]["ops"] if op["op"].startswith("rmsnorm")]
        assert all(op["variant"] != "portable" for op in wrong), wrong
        path = os.path.join(data, "clinfer/profiles/quarantine.json")
        if os.path.exists(path):
            with open(path, encoding="utf-8") as file:
                items = [item for item in json.load(file)["items"] if item["op"].startswith("rmsnorm")]
        if items:
            break
    assert any(item["variant"] == "portable" for item in items), items
    words = [TOOL, "run", "-m", MODEL, "--activations", "f32", "--temp", "0", "-n", "8", "--raw", "the", "--device"]
    texts = [subprocess.run([*words, where], env=env, capture_output=True, timeout=120).stdout
             for where in (device, "cpu")]
    assert texts[0] and texts[0] == texts[1], texts


def test_ctrl_c_keeps_what_is_known():
    data = folder("interrupted")
    child = subprocess.Popen(command(budget=60), env=environment(data), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    time.sleep(4)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == CANCELLED, (child.returncode, err)
    assert "written to" in out and "goes on from here" in out, out + err
    assert profiles(data)[0]["entries"]
    assert not os.listdir(os.path.join(data, "clinfer/profiles/trying"))


def test_a_full_disk():
    """Files of this process may not grow, which is how a full disk shows; what was there stays."""
    data = folder("full")
    tune_json(data, budget=2)
    before = profiles(data)

    def no_room():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

    done = tune(data, "--again", preexec_fn=no_room)
    assert done.returncode == IO_ERROR, (done.returncode, done.stderr)
    assert "cannot write" in done.stderr, done.stderr
    assert profiles(data) == before


def test_a_folder_that_cannot_be_written():
    data = os.path.join(folder("unwritable"), "file")
    with open(data, "w", encoding="utf-8"):
        pass
    done = tune(data, budget=60)
    assert done.returncode == IO_ERROR, (done.returncode, done.stderr)
    assert "profiles" in done.stderr and "XDG_DATA_HOME" in done.stderr, done.stderr
    assert done.seconds < 10, "it is said before the work"


def test_two_at_once():
    data = folder("two")
    first = subprocess.Popen(command("--json"), env=environment(data), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    end = time.monotonic() + 60
    while not glob.glob(os.path.join(data, "clinfer/profiles/*.lock")) and time.monotonic() < end:
        time.sleep(0.01)
    second = tune(data, "--json")
    out, err = first.communicate(timeout=60)
    assert first.returncode == 0, err
    assert second.returncode == 0, second.stderr
    assert f"process {first.pid}" in second.stderr and "waiting" in second.stderr, second.stderr
    one, two = (json.loads(text)["devices"][0] for text in (out, second.stdout))
    assert one["changed"] and not two["changed"] and two["kept"] > 0


def test_a_damaged_profile_is_replaced():
    data = folder("damaged")
    check_tune(data, "cpu", 2)
    [path] = [path for path in glob.glob(os.path.join(data, "clinfer/profiles/*.json")) if "quarantine" not in path]
    with open(path, "r+", encoding="utf-8") as file:
        file.truncate(os.path.getsize(path) // 2)
    report, done = tune_json(data, budget=20)
    assert os.path.basename(path) in done.stderr, done.stderr
    assert report["changed"] and profiles(data)[0]["entries"]


def test_mistakes_are_named():
    for words, wanted in ((("--quick", "--thorough"), "one of them"), (("--budget", "0"), "must be 1 to"),
                          (("--device", "nonsense"), "no OpenCL device"), (("-m", "/nonexistent.gguf"), "nonexistent")):
        done = subprocess.run([TOOL, "tune", *words], env=environment(folder("mistakes")), capture_output=True,
                              text=True, timeout=120)
        assert done.returncode != 0 and wanted in done.stderr, (words, done.stderr)


if __name__ == "__main__":
    try:
        tap.main(globals())
    finally:
        shutil.rmtree(SCRATCH, ignore_errors=True)
