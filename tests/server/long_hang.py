"""A device that hangs under a running `clinfer serve`: within the watchdog's time everybody's answers go on elsewhere,
what is out stays, the device is never asked again, and what there is to see says so; the server still ends when it is
told to, with a thread in the driver. In a prompt, in answers, while it loads, at the first step after a pause, while
vectors are made, and with two models."""
import os
import shutil
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402
import tiny_bert  # noqa: E402

LAYER = os.path.join(os.path.dirname(serving.TOOL), "tests/fault/fake_layer.so")
MODEL, OTHER = "tests/data/qwen2_tiny.gguf", "tests/data/llama_tiny.gguf"
folder = tempfile.mkdtemp(prefix="clinfer-hang-")
BERT = os.path.join(folder, "bert.gguf")
tiny_bert.write(BERT)
# Programs that all tests share, where scripts/run_tests.py has them: building takes a minute on a busy machine.
cache = os.environ.get("XDG_CACHE_HOME") or folder
serving.START_SECONDS = serving.END_SECONDS = 300  # programs that were built are saved before the end
# On a busy machine a step may wait for seconds; as building it would take ten times as long to be found out.
WATCHDOG = 5
PATIENCE = 8 * WATCHDOG
TOKENS = 48
PROMPTS = ["Why is the sky blue?", "One day", "Lily and the ball", "a", "the park is", "He said"]
known = {}


def serve(*arguments, faults="", wait=True):
    """f32 and one kind of kernels, so that devices agree to the token."""
    if not os.path.exists(LAYER):
        raise tap.Skip("tests/fault/fake_layer.so is not built")
    environment = {"OPENCL_LAYERS": LAYER, "FAKE_LAYER": faults, "XDG_CACHE_HOME": cache, "CLINFER_RETRY_SECONDS": "0.2"}
    flags = ["-m", MODEL] if "-m" not in arguments and "--models-dir" not in arguments else []
    return serving.Serve(*flags, *arguments, "--device", "0", "--activations", "f32", "--watchdog", str(WATCHDOG),
                         "--metrics", "--slots", environment=environment, wait=wait)


def body(prompt, **more):
    return {"prompt": prompt, "max_tokens": TOKENS, "temperature": 0, "ignore_eos": True, **more}


def ask(server, prompt, **more):
    return server.post("/v1/completions", body(prompt, **more), timeout=120)["choices"][0]["text"]


def texts():
    """What the prompts give undisturbed; kernels are built and cached by then."""
    if not known:
        with serve() as server:
            if "no OpenCL device" in server.said():
                raise tap.Skip("there is no OpenCL device")
            for prompt in PROMPTS:
                known[prompt] = ask(server, prompt)
    return known


def all_at_once(server, path="/v1/completions"):
    """{prompt: text of its stream} and the longest that a stream was silent."""
    came, silences, wrong = {}, [], []

    def run(prompt):
        last, parts = time.monotonic(), []
        try:
            for event in server.stream(path, body(prompt, stream=True), timeout=120):
                silences.append(time.monotonic() - last)
                last = time.monotonic()
                parts += [choice["text"] for choice in event["choices"]]
            came[prompt] = "".join(parts)
        except Exception as failure:  # pylint: disable=broad-except
            wrong.append(f"{prompt}: {failure}")
    threads = [threading.Thread(target=run, args=(prompt,)) for prompt in PROMPTS]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong, wrong
    return came, max(silences)


def assert_left(server):
    """It has been told, is seen everywhere, and is not asked again."""
    said = server.said()
    assert "it hangs and is left behind" in said, said[-2000:]
    time.sleep(1)  # longer than it takes to try one again that failed
    assert "it works again" not in server.said(), server.said()[-2000:]
    assert server.ask("GET", "/health")[0] == 200
    status, _, ready = server.ask("GET", "/ready")
    assert status == 200 and ready["route"] == "cpu" and "hangs" in ready["message"], ready
    metrics = server.ask("GET", "/metrics")[2].decode()
    assert 'clinfer:rung_answers_total{rung="cpu"}' in metrics, metrics
    in_use = [line[-1] for line in metrics.splitlines() if line.startswith("clinfer:rung_in_use{")]
    assert in_use[0] == "0" and in_use[-1] == "1", metrics
    rungs = server.ask("GET", "/props")[2]["rungs"]
    assert rungs[0]["in_use"] is False and "hangs" in rungs[0]["reason"] and rungs[0]["again_seconds"] == -1, rungs
    assert rungs[-1] == {"name": "cpu", "kind": "cpu", "in_use": True}, rungs


def assert_ends(server):
    """With a thread in the driver that never returns."""
    begun = time.monotonic()
    assert server.end(PATIENCE) == 0, server.said()[-2000:]
    assert time.monotonic() - begun < PATIENCE / 2, time.monotonic() - begun


def test_answers_go_on_elsewhere():
    expected = texts()
    with serve(faults="clEnqueueNDRangeKernel/sample_merge@30:hang") as server:
        assert server.ask("GET", "/ready")[2]["route"].startswith("0:"), server.said()
        came, silence = all_at_once(server)
        assert came == expected, (came, expected)
        assert WATCHDOG / 2 < silence < PATIENCE, silence
        assert_left(server)
        status, headers, answer = server.ask("POST", "/v1/completions", body(PROMPTS[0]))
        assert status == 200 and headers["X-Clinfer-Route"] == "cpu", (status, headers.items())
        assert answer["choices"][0]["text"] == expected[PROMPTS[0]]
        assert_ends(server)


def test_the_first_step_after_a_pause_is_a_step():
    expected = texts()
    with serve(faults="clEnqueueNDRangeKernel/sample_merge@4:hang") as server:
        time.sleep(1)
        begun = time.monotonic()
        assert ask(server, PROMPTS[0]) == expected[PROMPTS[0]]
        assert time.monotonic() - begun < PATIENCE, time.monotonic() - begun
        assert_left(server)
        assert_ends(server)


def test_a_long_prompt():
    prompt = "the park is a big park " * 20
    with serve("-b", "16") as server:
        expected = ask(server, prompt)
    with serve("-b", "16", faults="clEnqueueNDRangeKernel/rmsnorm@200:hang") as server:
        begun = time.monotonic()
        assert ask(server, prompt) == expected
        assert time.monotonic() - begun < PATIENCE, time.monotonic() - begun
        assert_left(server)
        assert_ends(server)


def test_vectors_are_made_elsewhere():
    request = {"input": [f"{'the sky is blue ' * (i % 5)} {i}" for i in range(40)]}
    with serve("-m", BERT) as server:
        if "no OpenCL device" in server.said():
            raise tap.Skip("there is no OpenCL device")
        expected = [item["embedding"] for item in server.post("/v1/embeddings", request)["data"]]
    with serve("-m", BERT, faults="clEnqueueNDRangeKernel@150:hang") as server:
        answers, begun = [], time.monotonic()

        def run():
            answers.append(server.ask("POST", "/v1/embeddings", request, timeout=120))
        threads = [threading.Thread(target=run) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert time.monotonic() - begun < PATIENCE, time.monotonic() - begun
        for status, _, answer in answers:
            assert status == 200, (status, answer)
            for item, vector in zip(answer["data"], expected):
                assert all(abs(a - b) < 1e-3 for a, b in zip(item["embedding"], vector)), item
        assert "it hangs and is left behind" in server.said(), server.said()
        assert server.ask("GET", "/ready")[2]["route"] == "cpu"
        assert_ends(server)


def test_a_device_that_hangs_while_it_loads():
    texts()
    with serve(faults="clEnqueueNDRangeKernel@3:hang") as server:  # waited for: it answers in the end
        assert server.ask("GET", "/ready")[2]["route"] == "cpu", server.said()
        assert ask(server, PROMPTS[0]) == known[PROMPTS[0]]
        assert "while the model was loaded and kernels were built" in server.said() or \
            "in the middle of a request" in server.said(), server.said()
        assert_ends(server)


def test_another_model_is_not_disturbed():
    """Each has its device's queue; the other's answers go on where they are."""
    expected = texts()
    with tempfile.TemporaryDirectory() as models:
        shutil.copy(MODEL, os.path.join(models, "one.gguf"))
        shutil.copy(OTHER, os.path.join(models, "two.gguf"))
        with serve("--models-dir", models) as server:
            other = ask(server, PROMPTS[0], model="two")
        with serve("--models-dir", models, faults="clEnqueueNDRangeKernel/sample_merge@60:hang") as server:
            assert ask(server, PROMPTS[0], model="one", max_tokens=2) is not None
            assert ask(server, PROMPTS[0], model="two", max_tokens=2) is not None
            answers = {}

            def run(name):
                answers[name] = ask(server, PROMPTS[0], model=name)
            threads = [threading.Thread(target=run, args=(name,)) for name in ("one", "two")]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            assert answers == {"one": expected[PROMPTS[0]], "two": other}, answers
            assert server.said().count("it hangs and is left behind") == 1, server.said()
            assert_ends(server)


if __name__ == "__main__":
    try:
        tap.main(globals())
    finally:
        shutil.rmtree(folder, ignore_errors=True)
