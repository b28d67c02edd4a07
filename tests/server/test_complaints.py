#!/usr/bin/env python3
"""What users of other servers complain of, as far as no other test here has it: templates that refuse, a lost space at the first token, tokens counted twice, keep_alive without effect. Prints TAP."""
import json
import os
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

HELLO = [{"role": "user", "content": "hello there"}]
REFUSES = """{% set n = namespace(last='') %}{% for m in messages %}{% if m.role == n.last %}
{{ raise_exception('roles must alternate, dear client') }}{% endif %}{% set n.last = m.role %}<{{ m.role }}>{{ m.content }}{% endfor %}"""


def test_a_template_that_refuses_is_the_clients_mistake():
    """400 with the template's words, in every dialect; a second system message becomes part of the first."""
    with serving.Serve("--chat-template", REFUSES) as server:
        wrong = [*HELLO, *HELLO]
        for path, body in (("/v1/chat/completions", {"messages": wrong}), ("/api/chat", {"model": "qwen2_tiny", "messages": wrong}),
                           ("/apply-template", {"messages": wrong}),
                           ("/v1/chat/completions", {"messages": wrong, "stream": True})):
            status, _, answer = server.ask("POST", path, {**body, "max_tokens": 2})
            assert status == 400 and "roles must alternate, dear client" in str(answer["error"]), (path, status, answer)
        two = [{"role": "system", "content": "be terse"}, {"role": "system", "content": "be kind"}, *HELLO]
        prompt = server.post("/apply-template", {"messages": two})["prompt"]
        assert prompt.count("<system>") == 1 and "be terse" in prompt and "be kind" in prompt, prompt
        assert server.post("/v1/chat/completions", {"messages": two, "max_tokens": 2})["choices"]


def test_the_first_token_keeps_its_space():
    """Where a vocabulary has spaces in front of its words, and where it has them as bytes."""
    for model in ("tests/data/llama_tiny.gguf", "tests/data/qwen2_tiny.gguf"):
        with serving.Serve("-m", model) as server:
            spaced = seen = 0
            for seed in range(24):
                body = {"prompt": "the sky is", "n_predict": 3, "seed": seed, "temperature": 3, "n_probs": 1, "top_k": 0}
                answer = server.post("/completion", body)
                pieces = bytes(byte for entry in answer["completion_probabilities"] for byte in entry["bytes"])
                assert pieces.decode(errors="replace").strip("\ufffd").startswith(answer["content"].strip("\ufffd")[:2]), answer
                chunks = [json.loads(data) for _, data in server.events("/completion", {**body, "stream": True})]
                assert "".join(chunk["content"] for chunk in chunks) == answer["content"], (answer, chunks)
                spaced += answer["content"].startswith(" ") and pieces.startswith(b" ")
                seen += pieces.startswith(b" ")
            assert spaced == seen, (spaced, seen)


def test_cached_tokens_are_counted_once():
    with serving.Serve() as server:
        prompt = [{"role": "user", "content": "a story of a dog and a cat and of what they did in the park"}]
        sums = set()
        for turn in range(3):
            usage = server.post("/v1/messages", {"model": "m", "messages": prompt, "max_tokens": 2})["usage"]
            cached = usage["cache_read_input_tokens"]
            assert (cached > 0) == (turn > 0) and usage["cache_creation_input_tokens"] == 0, (turn, usage)
            sums.add(usage["input_tokens"] + cached)
            usage = server.post("/v1/chat/completions", {"messages": prompt, "max_tokens": 2})["usage"]
            assert 0 < usage["prompt_tokens_details"]["cached_tokens"] < usage["prompt_tokens"], usage
            sums.add(usage["prompt_tokens"])
        count = server.post("/v1/messages/count_tokens", {"model": "m", "messages": prompt})["input_tokens"]
        assert sums == {count}, (sums, count)


def loaded(server):
    return [model["model"] for model in server.ask("GET", "/api/ps")[2]["models"]]


def test_keep_alive_is_kept():
    folder = os.path.join(os.path.dirname(serving.TINY), "nothing-here")
    with serving.Serve("--alias", "tiny", environment={"HOME": folder}) as server:  # one that was named stays for ever
        for keep in ("5m", -1, 300):
            body = {"model": "tiny", "prompt": "a", "options": {"num_predict": 1}, "keep_alive": keep, "stream": False}
            assert server.post("/api/generate", body)["done"]
            assert loaded(server) == ["tiny:latest"], (keep, loaded(server))
        assert server.ask("POST", "/api/generate", {**body, "keep_alive": "soon"})[0] == 400


if __name__ == "__main__":
    tap.main(globals())
