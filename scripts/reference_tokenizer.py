#!/usr/bin/env python3
"""The truth about tokenizing: Hugging Face's `tokenizers` on SmolLM2's vocabulary.

    reference_tokenizer.py MODEL.gguf        writes tests/data/tokenizer.bin, which tests/unit/test_tokenizer.c reads

Other vocabularies are compared with llama.cpp by compare_tokenizers.py.

The file (little endian, 32 bits where not said otherwise): "CITOKEN1", number of strings, number of ranges, the strings
(16-bit length, UTF-8), the ranges (first and last code point: all of them in order are one more string); for every
string, ranges last, a hash of SmolLM2's ids; then three times 16-bit hashes of the words that the pre-tokenizers of
GPT-2, Llama 3 and Qwen2 make of it. A hash is FNV-1a (64 bits, its parts of 32 or 16 bits added) over 32-bit numbers:
ids, or lengths of words in bytes.

The ranges are all code points assigned in Unicode 14 (what Debian's PCRE2 knows) but for private ones. The strings are
made by a seeded generator: all Unicode blocks, white space, contractions, numbers, text, code, special tokens inside
text, long runs. Needs the Python
packages gguf and tokenizers, and a Python whose own Unicode is 14 or newer (the extra code points are left out by age).
"""
import os, random, struct, sys, unicodedata

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

LLAMA3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
          r"|\s+(?!\S)|\s+")
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")

# Ranges whose 16-code-point windows are too many to take each: every 16th window does.
LARGE = [(0x3400, 0x9fff), (0xac00, 0xd7a3), (0xe000, 0xf8ff), (0x17000, 0x18cff), (0x20000, 0x323af),
         (0xf0000, 0x10ffff), (0x12000, 0x123ff), (0x13000, 0x1342f), (0x14400, 0x1467f), (0x1b170, 0x1b2ff),
         (0x1e800, 0x1e8df), (0xa000, 0xa48f), (0xa500, 0xa63f), (0x16800, 0x16a3f), (0x1400, 0x167f)]

# Assigned after Unicode 14, for Pythons that know them: blocks and gaps filled by 15.0 to 16.0.
NEWER = [(0x0cf3, 0x0cf3), (0x0ece, 0x0ece), (0x10efd, 0x10eff), (0x1123f, 0x11241), (0x11b00, 0x11b09),
         (0x11f00, 0x11f59), (0x1342f, 0x1342f), (0x13439, 0x13455), (0x1b132, 0x1b132), (0x1b155, 0x1b155),
         (0x1d2c0, 0x1d2d3), (0x1df25, 0x1df2a), (0x1e030, 0x1e08f), (0x1e4d0, 0x1e4f9), (0x1f6dc, 0x1f6dc),
         (0x1f774, 0x1f776), (0x1f77b, 0x1f77f), (0x1f7d9, 0x1f7d9), (0x1fa75, 0x1fa77), (0x1fa87, 0x1fa88),
         (0x1faad, 0x1faaf), (0x1fabb, 0x1fabd), (0x1fabf, 0x1fabf), (0x1face, 0x1facf), (0x1fada, 0x1fadb),
         (0x1fae8, 0x1fae8), (0x1faf7, 0x1faf8), (0x2b739, 0x2b739), (0x31350, 0x323af), (0x2ebf0, 0x2ee5d),
         (0x2ffc, 0x2fff), (0x31ef, 0x31ef)]

SPACES = [" ", " ", " ", "\n", "\n", "\t", "\r", "\r\n", "\u00a0", "\u3000", "\u2003", "\u2028", "\u2029", "\u0085",
          "\x0b", "\x0c", "\u1680", "\u202f", "\u205f", "\u180e", "\u200b", "\ufeff", "\x1c", "\x1f"]
WORDS = ("the of and Sky blue why don't it's We'll I'd you're they've I'm HE'S 'tis rock'n'roll naïve Größe façade "
         "日本語 привет мир שלום مرحبا नमस्ते สวัสดี 你好 한국어 ελληνικά 42 1234567 3.14 x1 A/B <a> {b} [c] == -> // # "
         "foo_bar fooBar HTTPServer e.g. U.S.A. 🙂 👩‍👩‍👧 🇩🇪 é").split()


def assigned(code_point):
    if unicodedata.category(chr(code_point)) in ("Cn", "Cs"): return False
    if unicodedata.unidata_version.split(".")[0] == "14": return True
    return not any(first <= code_point <= last for first, last in NEWER)


def block_strings(rng):
    """One string for every 16 code points with something assigned, blocks being multiples of 16."""
    result = []
    for begin in range(0, 0x110000, 16):
        if any(first <= begin <= last for first, last in LARGE) and begin % 256: continue
        characters = [chr(c) for c in range(begin, begin + 16) if assigned(c)]
        if not characters: continue
        rng.shuffle(characters)
        take = lambda: "".join(rng.choice(characters) for _ in range(rng.randint(1, 3)))
        result.append(rng.choice(["", " ", "  ", "a", "\n", "9", "'", "."]) + take() +
                      rng.choice(["", " ", "x", "1", "'s", "\n"]) + rng.choice(["", take()]))
    return result


def space_strings(rng, count):
    result = []
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 5)):
            parts.append("".join(rng.choice(SPACES) for _ in range(rng.randint(1, 4))))
            parts.append(rng.choice(["", "a", "b.", "7", "'s", "é", "!?", "日"]))
        result.append("".join(parts))
    return result


def word_strings(rng, count):
    return [rng.choice(["", " ", "  "]) + rng.choice([" ", " ", "", "\n", "  "]).join(
        rng.choice(WORDS) for _ in range(rng.randint(1, 6))) for _ in range(count)]


def contraction_strings(rng, count):
    tails = ["s", "t", "re", "ve", "m", "ll", "d", "S", "T", "RE", "Ve", "M", "lL", "D", "ſ", "l", "r", "x", "ss",
             "ve2"]
    return [rng.choice(["I", "we", "WE", "é", " ", "1", "", "they "]) + rng.choice(["'", "’", "''", " '"]) +
            rng.choice(tails) + rng.choice(["", " a", "'s", "1", "\n"]) for _ in range(count)]


def number_strings(rng, count):
    digits = ["0", "1", "2", "9", "٣", "५", "３", "Ⅷ", "½", "²", "①", "一"]
    result = []
    for _ in range(count):
        result.append("".join(rng.choice(digits + [" ", ".", ",", "-", "e", "%"] * (rng.random() < 0.5) or digits)
                              for _ in range(rng.randint(1, 12))))
    return result


def special_strings(rng, count, specials):
    pieces = ["user\n", "Hi", " ", "\n", "", "<|", "|>", "<|im_", "im_end|>", "<", "1", "é", "<|im_start", "  x"]
    result = []
    for _ in range(count):
        parts = []
        for _ in range(rng.randint(1, 4)):
            parts.append(rng.choice(pieces))
            parts.append(rng.choice(specials))
        result.append("".join(parts) + rng.choice(pieces))
    return result


def long_strings():
    result = []
    for piece in [" ", "a", "\n", "ab", "1", ".", "=", "é", "日", " a", "\t", "-", "\r\n", "the", " the", "🙂", "'s"]:
        for times in (7, 16, 33, 100, 257):
            result.append(piece * times)
            result.append("x" + piece * times + "y")
    return result


def text_strings(rng, count):
    with open(os.path.join(ROOT, "tests/data/mixed.txt"), encoding="utf-8") as file: text = file.read()
    result = []
    for _ in range(count):
        begin = rng.randrange(len(text) - 60)
        result.append(text[begin:begin + rng.randint(5, 60)])
    return result


def code_point_ranges():
    """At most 64 code points each."""
    result, begin = [], None
    for c in range(0x110001):
        inside = c < 0x110000 and assigned(c) and not (0xe010 <= c <= 0xf8ef or c >= 0xf0000)
        if begin is not None and (not inside or c - begin == 64):
            result.append((begin, c - 1))
            begin = None
        if inside and begin is None: begin = c
    return result


def strings(specials):
    rng = random.Random(20240229)
    result = [""] + block_strings(rng)
    result += space_strings(rng, 1500) + word_strings(rng, 1300) + contraction_strings(rng, 600)
    result += number_strings(rng, 500) + special_strings(rng, 700, specials) + long_strings() + text_strings(rng, 700)
    return result


def fnv(numbers):
    value = 0xcbf29ce484222325
    for byte in b"".join(struct.pack("<I", number) for number in numbers):
        value = (value ^ byte) * 0x100000001b3 & 0xffffffffffffffff
    return value


def fold(value, bits):
    result = 0
    while value:
        result += value & ((1 << bits) - 1)
        value >>= bits
    return result & ((1 << bits) - 1)


def read_vocabulary(path):
    import gguf
    fields = gguf.GGUFReader(path).fields
    return (fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.merges"].contents(),
            fields["tokenizer.ggml.token_type"].contents())


def smollm2(path):
    from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers
    tokens, merges, types = read_vocabulary(path)
    model = models.BPE(vocab={token: i for i, token in enumerate(tokens)},
                       merges=[tuple(merge.split(" ")) for merge in merges])
    tokenizer = Tokenizer(model)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)])
    specials = [token for token, kind in zip(tokens, types) if kind == 3]
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in specials])
    return tokenizer, specials


def splitters():
    from tokenizers import Regex, pre_tokenizers
    def split(pattern): return pre_tokenizers.Split(Regex(pattern), behavior="isolated", invert=False)
    return [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True), split(LLAMA3), split(QWEN2)]


def record(model):
    tokenizer, specials = smollm2(model)
    texts, ranges = strings(specials), code_point_ranges()
    with open(os.path.join(ROOT, "tests/data/tokenizer.bin"), "wb") as file:
        file.write(b"CITOKEN1" + struct.pack("<II", len(texts), len(ranges)))
        for text in texts:
            data = text.encode("utf-8")
            file.write(struct.pack("<H", len(data)) + data)
        for first, last in ranges: file.write(struct.pack("<II", first, last))
        texts += ["".join(map(chr, range(first, last + 1))) for first, last in ranges]
        for text in texts:
            file.write(struct.pack("<I", fold(fnv(tokenizer.encode(text, add_special_tokens=False).ids), 32)))
        for splitter in splitters():
            for text in texts:
                lengths = [len(text[begin:end].encode("utf-8"))
                           for _, (begin, end) in (splitter.pre_tokenize_str(text) if text else [])]
                assert sum(lengths) == len(text.encode("utf-8")), text
                file.write(struct.pack("<H", fold(fnv(lengths), 16)))
        print(f"{len(texts)} strings, {file.tell()} bytes")


if __name__ == "__main__":
    if len(sys.argv) != 2: sys.exit(__doc__)
    record(sys.argv[1])
