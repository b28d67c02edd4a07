#!/usr/bin/env python3
"""`clinfer serve` with guessed tokens: the same answers, and counts of what was guessed. Prints TAP."""
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

ASK = {"prompt": [5, 9, 17, 4, 60, 5, 9, 17, 4, 60, 5, 9, 17, 4, 60], "n_predict": 120, "temperature": 0,
       "ignore_eos": True, "return_tokens": True, "cache_prompt": False}


def ask(server, **more):
    status, _, answer = server.ask("POST", "/completion", {**ASK, **more})
    assert status == 200, answer
    return answer


def counted(server, name):
    text = server.ask("GET", "/metrics")[2]
    text = text.decode() if isinstance(text, bytes) else text
    found = [float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if line.startswith(name)]
    assert found, name
    return found[0]


def check(*flags, sure):
    with serving.Serve() as server:
        plain = ask(server)
        assert "draft_n" not in plain["timings"], plain["timings"]
    with serving.Serve("--metrics", *flags) as server:
        drafted = accepted = 0
        # Guessing is tried now and then, and left where it does not pay.
        for _ in range(30):
            one = ask(server)
            assert one["tokens"] == plain["tokens"], (one["tokens"], plain["tokens"])
            drafted += one["timings"].get("draft_n", 0)
            accepted += one["timings"].get("draft_n_accepted", 0)
            if accepted:
                break
        assert accepted <= drafted, one["timings"]
        assert accepted or not sure, "nothing was guessed"
        for prefix in ("llamacpp:", "vllm:"):
            assert counted(server, prefix + "spec_decode_num_draft_tokens_total") == drafted
            assert counted(server, prefix + "spec_decode_num_accepted_tokens_total") == accepted
            assert counted(server, prefix + "spec_decode_num_drafts_total") <= drafted
        none = ask(server, **{"speculative.n_max": 0})
        assert none["tokens"] == plain["tokens"] and "draft_n" not in none["timings"], none["timings"]
        assert server.ask("POST", "/completion", {**ASK, "speculative.n_max": -3})[0] == 400


def test_lookup():
    check("--lookup", sure=True)


def test_smaller_model():
    """As large as the one that it guesses for: no machine has to find that it pays."""
    check("-md", serving.TINY, sure=False)


def test_model_of_another_vocabulary_is_refused():
    try:
        with serving.Serve("-md", os.path.realpath("tests/data/folders/gpt2")):
            pass
    except AssertionError as error:
        assert "vocabulary" in str(error) or "tokens" in str(error), error
        return
    raise AssertionError("it was taken")


if __name__ == "__main__":
    tap.main(globals())
