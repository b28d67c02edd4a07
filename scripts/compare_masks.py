#!/usr/bin/env python3
"""What it costs to know which tokens a grammar lets come next: clinfer beside llama.cpp and llguidance.

    compare_masks.py TEST PEER MODEL.gguf [GRAMMAR.gbnf ANSWER]

TEST is build/release/tests/unit/test_grammar; PEER a folder with libllama.so. Each follows ANSWER token by token, the
model's own, and makes the mask before each: mean and largest milliseconds, three rounds in turn, each with nothing
learned before. Without GRAMMAR: any JSON object, and an object of ten members. llguidance, which has no GBNF, takes a
grammar of its own for the same language. Needs the Python packages llama_cpp, numpy, gguf and llguidance."""
import ctypes
import json
import os
import re
import subprocess
import sys
import tempfile
import time

GRAMMAR = r'''root ::= object
value ::= object | array | string | number | "true" | "false" | "null"
object ::= "{" ws (string ":" ws value ("," ws string ":" ws value)*)? "}"
array ::= "[" ws (value ("," ws value)*)? "]"
string ::= "\"" ([^"\\\x7F\x00-\x1F] | "\\" (["\\bfnrt/] | "u" [0-9a-fA-F]{4}))* "\""
number ::= "-"? ([0-9] | [1-9] [0-9]{0,15}) ("." [0-9]+)? ([eE] [-+]? [0-9]{1,15})?
ws ::= " "?
'''
LARK = r'''start: object
value: object | array | STRING | NUMBER | "true" | "false" | "null"
object: "{" WS? (STRING ":" WS? value ("," WS? STRING ":" WS? value)*)? "}"
array: "[" WS? (value ("," WS? value)*)? "]"
STRING: /"([^"\\\x7F\x00-\x1F]|\\(["\\bfnrt\/]|u[0-9a-fA-F]{4}))*"/
NUMBER: /-?([0-9]|[1-9][0-9]{0,15})(\.[0-9]+)?([eE][-+]?[0-9]{1,15})?/
WS: " "
'''


def make_answer():
    words = "the quick brown fox jumps over a lazy dog while \u00e9v\u00e9nements pass by and nobody counts them".split()
    items = [{"id": i, "name": " ".join(words[i % 7:i % 7 + 5]), "score": i * 1.25 - 3, "tags": words[i % 5:i % 5 + 3],
              "nested": {"deep": [i, [i + 1, {"end": None}]], "ok": i % 2 == 0}} for i in range(8)]
    return json.dumps({"items": items, "text": " ".join(words * 4)}, ensure_ascii=False)


def ours(test, model, grammar, answer):
    out = subprocess.run([test, "--time", model, grammar, answer], capture_output=True, text=True, check=True).stdout
    found = re.search(r"(\d+) tokens: ([0-9.]+) ms each, at most ([0-9.]+) ms", out)
    if "not allowed" in out: sys.exit("clinfer: " + out)
    return int(found[1]), float(found[2]), float(found[3])


def peers(llama, vocab, grammar, tokens):
    sampler = llama.llama_sampler_init_grammar(vocab, grammar.encode(), b"root")
    count = llama.llama_vocab_n_tokens(vocab)
    data = (llama.llama_token_data * count)()
    times = []
    for token in tokens:
        for i in range(count): data[i].id, data[i].logit, data[i].p = i, 0.0, 0.0
        array = llama.llama_token_data_array(data, count, -1, False)
        start = time.perf_counter()
        llama.llama_sampler_apply(sampler, ctypes.byref(array))
        llama.llama_sampler_accept(sampler, token)
        times.append((time.perf_counter() - start) * 1e3)
        if data[token].id == token and data[token].logit == float("-inf"): sys.exit(f"llama.cpp: token {token} is not allowed")
    llama.llama_sampler_free(sampler)
    return len(tokens), sum(times) / len(times), max(times)


def guidance(model, tokens):
    import llguidance
    from gguf import GGUFReader
    fields = GGUFReader(model).fields
    pieces, kinds = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    alphabet = byte_alphabet()
    if fields["tokenizer.ggml.model"].contents() == "gpt2":
        raw = [bytes(alphabet[c] for c in piece) if kind == 1 and all(c in alphabet for c in piece) else b"\xff"
               + piece.encode()
               for piece, kind in zip(pieces, kinds)]
    else:
        raw = [bytes([int(piece[3:5], 16)]) if kind == 6 else piece.replace("\u2581", " ").encode() if kind in (1, 4)
               else b"\xff" + piece.encode() for piece, kind in zip(pieces, kinds)]
    class Tokens:
        eos_token_id, bos_token_id = fields["tokenizer.ggml.eos_token_id"].contents(), None
        tokens, special_token_ids = raw, [i for i, kind in enumerate(kinds) if kind not in (1, 4, 6)]
        def __call__(self, text): return []
    wrapped = llguidance.LLTokenizer(llguidance.TokenizerWrapper(Tokens()))
    matcher = llguidance.LLMatcher(wrapped, llguidance.LLMatcher.grammar_from_lark(LARK))
    times = []
    for token in tokens:
        start = time.perf_counter()
        matcher.compute_bitmask()
        fine = matcher.consume_token(token)
        times.append((time.perf_counter() - start) * 1e3)
        if not fine: sys.exit("llguidance: " + str(matcher.get_error()))
    return len(tokens), sum(times) / len(times), max(times)


def byte_alphabet():
    """GPT-2's spelling of bytes."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in plain]
    return {chr(byte): byte for byte in plain} | {chr(256 + i): byte for i, byte in enumerate(others)}


def main(test, peer, model, *more):
    os.environ["LLAMA_CPP_LIB_PATH"] = peer
    import llama_cpp as llama
    quiet = llama.llama_log_callback(lambda *_: None)  # kept: it is called until the end
    llama.llama_log_set(quiet, None)
    parameters = llama.llama_model_default_params()
    parameters.vocab_only = True
    vocab = llama.llama_model_get_vocab(llama.llama_model_load_from_file(model.encode(), parameters))
    with tempfile.TemporaryDirectory() as folder:
        grammar, answer = more or (os.path.join(folder, "json.gbnf"), os.path.join(folder, "answer.json"))
        if not more:
            with open(grammar, "w") as file: file.write(GRAMMAR)
            with open(answer, "w") as file: file.write(make_answer())
        with open(grammar) as file: text = file.read()
        with open(answer, "rb") as file: content = file.read()
        ids = (llama.llama_token * (len(content) + 8))()
        count = llama.llama_tokenize(vocab, content, len(content), ids, len(ids), False, False)
        tokens = list(ids[:count])
        for _ in range(3):
            rows = [("clinfer", ours(test, model, grammar, answer)), ("llama.cpp", peers(llama, vocab, text, tokens))]
            if not more: rows.append(("llguidance", guidance(model, tokens)))
            for name, (length, mean, worst) in rows:
                print(f"{name:10} {length} tokens: mask and step {mean:.3f} ms each, at most {worst:.2f} ms",
                      flush=True)


if __name__ == "__main__":
    if len(sys.argv) not in (4, 6): sys.exit(__doc__)
    main(*sys.argv[1:])
