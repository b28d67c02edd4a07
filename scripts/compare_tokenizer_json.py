#!/usr/bin/env python3
"""Ids that clinfer makes by a tokenizer.json beside those of Hugging Face's tokenizers, and by a tokenizer.model beside
those of SentencePiece.

    compare_tokenizer_json.py TEST VOCABULARIES [--strings N] [FOLDER...]

TEST is build/release/tests/unit/test_tokenizer. Each FOLDER with a tokenizer.json is compared; so are folders that are
made here, with llama.cpp's vocabularies (VOCABULARIES/ggml-vocab-*.gguf) and the steps that published models have:
GPT-2, Llama 3, Qwen 2, DeepSeek, StarCoder, Gemma, TinyLlama, Mistral (Metaspace), XLM-RoBERTa, BERT. N (5,000) random
strings of valid UTF-8 each. Exit status 1 when any differ. Needs the Python packages gguf and tokenizers."""
import argparse, json, os, sys, tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
from compare_tokenizers import compare, our_ids, random_strings, words_of

GPT4 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}%s| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
        r"|\s+(?!\S)|\s+")


def fields_of(folder, name):
    from gguf import GGUFReader
    return {key: field.contents() for key, field in
            GGUFReader(os.path.join(folder, f"ggml-vocab-{name}.gguf")).fields.items()
            if key.startswith("tokenizer.ggml.")}


def added(fields, **more):
    tokens, types = fields["tokenizer.ggml.tokens"], fields["tokenizer.ggml.token_type"]
    return [dict(id=i, content=token, single_word=False, lstrip=False, rstrip=False, normalized=False,
                 special=kind != 4) |
            more for i, (token, kind) in enumerate(zip(tokens, types)) if kind in (2, 3, 4)]


def bpe(fields, **more):
    vocab = {token: i for i, token in enumerate(fields["tokenizer.ggml.tokens"])}
    return dict(type="BPE", dropout=None, unk_token=None, continuing_subword_prefix=None, end_of_word_suffix=None,
                fuse_unk=False, byte_fallback=False, vocab=vocab, merges=fields.get("tokenizer.ggml.merges", [])) | more


def split(pattern, behavior="Isolated", invert=False):
    return dict(type="Split", pattern={"Regex": pattern}, behavior=behavior, invert=invert)


def byte_level(use_regex):
    return dict(type="ByteLevel", add_prefix_space=False, trim_offsets=True, use_regex=use_regex)


def sequence(kind, *parts): return {"type": "Sequence", kind: list(parts)}


def merges_of(tokens, scores, types):
    """As Hugging Face converts SentencePiece: all pairs that make a token, those of the best first."""
    ids, merges = {token: i for i, (token, kind) in enumerate(zip(tokens, types)) if kind == 1}, []
    for token, i in ids.items():
        merges += [(-scores[i], ids[token[:at]], ids[token[at:]], token[:at], token[at:]) for at in range(1, len(token))
                   if token[:at] in ids and token[at:] in ids]
    return [[left, right] for _, _, _, left, right in sorted(merges)]


REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}


def published(folder):
    """Name, what tokenizer.json has beside its added tokens, and tokenizer_config.json."""
    gpt2 = fields_of(folder, "gpt-2")
    yield "gpt-2", gpt2, dict(model=bpe(gpt2), pre_tokenizer=byte_level(True)), {}
    llama = fields_of(folder, "llama-bpe")
    yield "llama-3", llama, dict(
        model=bpe(llama, ignore_merges=True), pre_tokenizer=sequence("pretokenizers", split(GPT4 % "{1,3}"),
                                                                     byte_level(False)),
        post_processor=sequence("processors", byte_level(True), {"type": "TemplateProcessing", "single": [
            {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}],
            "pair": [], "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [128000],
                                                                 "tokens": ["<|begin_of_text|>"]}}})), {}
    qwen = fields_of(folder, "qwen2")
    yield "qwen-2", qwen, dict(model=bpe(qwen), normalizer={"type": "NFC"}, pre_tokenizer=sequence(
        "pretokenizers", split(GPT4 % ""), byte_level(False))), {}
    yield "qwen-2-removed", qwen, dict(model=bpe(qwen), pre_tokenizer=sequence(
        "pretokenizers", split(GPT4 % "", "Removed", True), byte_level(False))), {}
    deepseek = fields_of(folder, "deepseek-coder")
    yield "deepseek-coder", deepseek, dict(model=bpe(deepseek), pre_tokenizer=sequence(
        "pretokenizers", split("[\r\n]"), split(r"\s?\p{L}+"), split(r"\s?\p{P}+"),
        split("[一-龥ࠀ-一가-\ud7ff]+"), dict(type="Digits", individual_digits=True), byte_level(False))), {}
    star = fields_of(folder, "starcoder")
    yield "starcoder", star, dict(model=bpe(star), pre_tokenizer=sequence(
        "pretokenizers", dict(type="Digits", individual_digits=True), byte_level(True))), {}
    yield "punctuation", star, dict(model=bpe(star), pre_tokenizer=sequence(
        "pretokenizers", dict(type="Punctuation", behavior="Isolated"), dict(type="Split", pattern={"String": "a.+"},
        behavior="Isolated", invert=False), byte_level(True))), {}
    gemma = fields_of(folder, "gemma-4")
    yield "gemma", gemma, dict(
        model=bpe(gemma, byte_fallback=True, unk_token="<unk>", fuse_unk=True), normalizer=REPLACE,
        pre_tokenizer=dict(type="Split", pattern={"String": " "}, behavior="MergedWithPrevious", invert=False)), {}
    spm = fields_of(folder, "llama-spm")
    pairs = merges_of(spm["tokenizer.ggml.tokens"], spm["tokenizer.ggml.scores"], spm["tokenizer.ggml.token_type"])
    tiny = dict(byte_fallback=True, unk_token="<unk>", fuse_unk=True, merges=pairs)
    yield "tinyllama", spm, dict(model=bpe(spm, **tiny), normalizer=sequence(
        "normalizers", dict(type="Prepend", prepend="\u2581"), REPLACE), pre_tokenizer=None), {}
    for scheme in ("first", "always", "never"):
        yield f"mistral-{scheme}", spm, dict(model=bpe(spm, **tiny), pre_tokenizer=dict(
            type="Metaspace", replacement="\u2581", prepend_scheme=scheme, split=scheme == "never")), {}
    phi = fields_of(folder, "phi-3")
    yield "phi-3", phi, dict(model=bpe(phi, **tiny), normalizer=sequence(
        "normalizers", dict(type="Prepend", prepend="\u2581"), REPLACE), rstrip=True), {}
    xlm = fields_of(folder, "nomic-bert-moe")
    import base64
    charsmap = base64.b64encode(bytes(byte & 255 for byte in xlm["tokenizer.ggml.precompiled_charsmap"])).decode()
    yield "xlm-roberta", xlm, dict(
        model=dict(type="Unigram", unk_id=3, vocab=[[t, float(s)] for t, s in zip(xlm["tokenizer.ggml.tokens"],
                                                                                 xlm["tokenizer.ggml.scores"])]),
        normalizer=dict(type="Precompiled", precompiled_charsmap=charsmap),
        pre_tokenizer=sequence("pretokenizers", dict(type="WhitespaceSplit"),
                               dict(type="Metaspace", replacement="\u2581", add_prefix_space=True))), {}
    bert = fields_of(folder, "bert-bge")
    from gguf import GGUFReader
    yield "bert", bert, dict(
        model=dict(type="WordPiece", unk_token="[UNK]", continuing_subword_prefix="##", max_input_chars_per_word=100,
                   vocab=words_of(GGUFReader(os.path.join(folder, "ggml-vocab-bert-bge.gguf")).fields)),
        normalizer=dict(type="BertNormalizer", clean_text=True, handle_chinese_chars=True, strip_accents=None,
                        lowercase=True), pre_tokenizer=dict(type="BertPreTokenizer")), {}


def write_folder(folder, fields, parts, config):
    os.makedirs(folder)
    rstrip = parts.pop("rstrip", False)
    parts = dict(version="1.0", truncation=None, padding=None, added_tokens=added(fields, rstrip=rstrip),
                 normalizer=None, pre_tokenizer=None, post_processor=None, decoder=None) | parts
    with open(os.path.join(folder, "tokenizer.json"), "w") as file: json.dump(parts, file)
    with open(os.path.join(folder, "tokenizer_config.json"), "w") as file: json.dump(config, file)


def compare_folder(options, folder):
    from tokenizers import Tokenizer
    path = os.path.join(folder, "tokenizer.json")
    tokenizer = Tokenizer.from_file(path)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    with open(path, encoding="utf-8") as file: specials = [token["content"]
                                                           for token in json.load(file)["added_tokens"]]
    texts = [text.encode() for text in random_strings(options.strings, specials[:200])]
    wanted = [tokenizer.encode(text.decode(), add_special_tokens=False).ids for text in texts]
    wrong, _ = compare(os.path.basename(folder), texts, wanted, our_ids(options.test, folder, texts), options.most,
                       names=("tokenizers", "clinfer"))
    print(f"{os.path.basename(folder)}: {len(texts) - wrong} of {len(texts)} random strings", flush=True)
    return wrong


def write_sentencepiece(folder, fields):
    """As published models have it: what SentencePiece trained, and a token that somebody added."""
    from sentencepiece import sentencepiece_model_pb2 as proto
    os.makedirs(folder)
    model = proto.ModelProto()
    for text, score, kind in zip(*(fields["tokenizer.ggml." + key] for key in ("tokens", "scores", "token_type"))):
        model.pieces.add(piece=text, score=score, type=kind)
    model.trainer_spec.model_type, model.trainer_spec.byte_fallback = proto.TrainerSpec.BPE, True
    model.trainer_spec.vocab_size = len(model.pieces)
    model.normalizer_spec.name, model.normalizer_spec.remove_extra_whitespaces = "identity", False
    with open(os.path.join(folder, "tokenizer.model"), "wb") as file: file.write(model.SerializeToString())
    with open(os.path.join(folder, "added_tokens.json"), "w") as file: json.dump({"<|added|>": len(model.pieces)}, file)


def compare_sentencepiece(options, top, name):
    import sentencepiece
    folder = os.path.join(top, name + "-model")
    write_sentencepiece(folder, fields_of(options.vocabularies, name))
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=os.path.join(folder, "tokenizer.model"))
    # What it does with a zero byte in a text is not ours to know; signs of control tokens are text to it.
    texts = [text.encode() for text in random_strings(options.strings, []) if "\0" not in text and "<" not in text]
    wanted = [tokenizer.encode(text.decode()) for text in texts]
    wrong, _ = compare(os.path.basename(folder), texts, wanted, our_ids(options.test, folder, texts), options.most,
                       names=("sentencepiece", "clinfer"))
    print(f"{os.path.basename(folder)}: {len(texts) - wrong} of {len(texts)} random strings", flush=True)
    return wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("test")
    parser.add_argument("vocabularies")
    parser.add_argument("folders", nargs="*")
    parser.add_argument("--strings", type=int, default=5000)
    parser.add_argument("--most", type=int, default=5, help="differences to print for each")
    parser.add_argument("--only", default="", help="of those that are made here, a word of the name")
    options = parser.parse_args()
    wrong = sum(compare_folder(options, folder) for folder in options.folders)
    with tempfile.TemporaryDirectory() as top:
        for name, fields, parts, config in published(options.vocabularies):
            if options.only not in name: continue
            folder = os.path.join(top, name)
            write_folder(folder, fields, parts, config)
            wrong += compare_folder(options, folder)
        wrong += sum(compare_sentencepiece(options, top, name) for name in ("llama-spm",) if options.only in name
                     + "-model")
    return wrong != 0


if __name__ == "__main__": sys.exit(main())
