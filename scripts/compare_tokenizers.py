#!/usr/bin/env python3
"""Ids of clinfer's tokenizers beside those of llama.cpp, over vocabularies that are too large to commit.

    compare_tokenizers.py TEST PEER [--strings N] [--speed FILE] [--pre NAMES] VOCABULARY.gguf...

TEST is build/release/tests/unit/test_tokenizer, whose `--ids` prints ids; PEER a folder with libllama. Compared are the
texts beside a vocabulary (VOCABULARY.gguf.inp and .out, as llama.cpp's sources have them) and N (20,000) random strings
of valid UTF-8, the same on every run; control tokens count as such, none are added. `--speed FILE` also says how fast
the text of FILE is read. `--pre llama3,tekken` takes copies of the vocabularies with these pre-tokenizers, `--pre all`
with one name of each row of runtime/text/pretokenizer.c. Differences are printed; exit status 1 when there are any that
Hugging Face's tokenizers do not share with clinfer: where llama.cpp only comes near a model's own tokenizer (WordPiece,
DeepSeek's expressions), that one is asked too. Needs the Python packages gguf, llama_cpp and tokenizers."""
import argparse, ctypes, os, random, re, struct, subprocess, sys, tempfile

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# Blocks that scripts of the world use, white space and controls among them; each string takes from one to four.
BLOCKS = [(0x20, 0x7e)] * 8 + [
    (0x00, 0x1f), (0x80, 0xff), (0x100, 0x24f), (0x250, 0x2ff), (0x300, 0x36f), (0x370, 0x3ff), (0x400, 0x52f),
    (0x590, 0x5ff), (0x600, 0x6ff), (0x900, 0x97f), (0x980, 0x9ff), (0xe00, 0xe7f), (0xe80, 0xeff), (0x1000, 0x109f),
    (0x10a0, 0x10ff), (0x1100, 0x11ff), (0x13a0, 0x13ff), (0x1780, 0x17ff), (0x1e00, 0x1eff), (0x2000, 0x206f),
    (0x2070, 0x209f), (0x2100, 0x214f), (0x2150, 0x218f), (0x2190, 0x22ff), (0x2460, 0x24ff), (0x2500, 0x25ff),
    (0x2e80, 0x2fdf), (0x3000, 0x303f), (0x3040, 0x30ff), (0x3130, 0x318f), (0x3400, 0x4dbf), (0x4e00, 0x9fff),
    (0xac00, 0xd7a3), (0xe000, 0xe0ff), (0xf900, 0xfaff), (0xfe30, 0xfe6f), (0xff00, 0xffef), (0x10400, 0x1044f),
    (0x1d400, 0x1d7ff), (0x1f300, 0x1faff), (0x20000, 0x2a6df), (0xfff0, 0xfffd)]
SPACES = [" ", "  ", "   ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\u00a0", "\u2009", "\u3000",
          "\u2581", "\u200b", "\u0085"]
WORDS = ("the of and to in is Hello world don't I'M you'll we're they've he'd it's 'S 'LL ' '' ''t naïve café ÉCOLE "
         "straße Größe 1 12 123 1234 12345 1234567890 3.14 1,000 2024-01-01 0x1F ½ ٣٤ ४५ main(){} return; #include "
         "<stdio.h> /* */ // -> == != :: https://example.org/a?b=c user@example.org 日本語 中文 한국어 русский العربية "
         "עברית हिन्दी ไทย 🦙 👩‍👩‍👧 🇩🇪 é ... !!! ??? --- ___ *** \\n \\\\ ${x} %d <0x41> <s> </s> <unk> ACGTACGT <dna>ACGTAC</dna> "
         "snake_case camelCase HTTPServer XMLHttpRequest aaaaaaaa AAAAAA").split(" ")


def random_strings(count, specials, seed=1):
    rng = random.Random(seed)
    texts = []
    for _ in range(count):
        blocks = [rng.choice(BLOCKS) for _ in range(rng.randint(1, 4))]
        parts = []
        for _ in range(rng.choice((1, 2, 4, 8, 16, 32))):
            kind = rng.random()
            if kind < 0.35: parts.append("".join(chr(rng.randint(*rng.choice(blocks)))
                                                 for _ in range(rng.randint(1, 6))))
            elif kind < 0.65: parts.append(rng.choice(WORDS))
            elif kind < 0.95 or not specials: parts.append(rng.choice(SPACES))
            else: parts.append(rng.choice(specials))
        texts.append("".join(parts))
    return texts


class Peer:
    """llama.cpp's vocabulary of a file, nothing else of it loaded."""

    def __init__(self, path):
        import llama_cpp as L
        self.L = L
        parameters = L.llama_model_default_params()
        parameters.vocab_only, parameters.n_gpu_layers = True, 0
        self.model = L.llama_model_load_from_file(path.encode(), parameters)
        if not self.model: sys.exit(f"{path}: llama.cpp does not load it")
        self.vocabulary = L.llama_model_get_vocab(self.model)

    def ids(self, text):
        capacity = 3 * len(text) + 16
        tokens = (ctypes.c_int32 * capacity)()
        count = self.L.llama_tokenize(self.vocabulary, text, len(text), tokens, capacity, False, True)
        assert count >= 0
        return list(tokens[:count])

    def specials(self):
        L = self.L
        texts = []
        for token in range(L.llama_vocab_n_tokens(self.vocabulary)):
            if L.llama_vocab_get_attr(self.vocabulary, token) & (2 | 8 | 16):  # unknown, control, user-defined
                texts.append(L.llama_vocab_get_text(self.vocabulary, token).decode("utf-8", "replace"))
        return texts[:200]


def our_ids(test, vocabulary, texts):
    with tempfile.NamedTemporaryFile() as file:
        file.write(b"".join(struct.pack("<I", len(text)) + text for text in texts))
        file.flush()
        run = subprocess.run([test, "--ids", vocabulary, file.name], capture_output=True)
    if run.returncode: sys.exit(f"{vocabulary}: {run.stderr.decode()}")
    return [[int(word) for word in line.split()] for line in run.stdout.decode().split("\n")[:-1]]


def words_of(fields):
    """WordPiece as Hugging Face has it: "##" before what goes on, nothing before what begins."""
    words = []
    for token, kind in zip(fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()):
        words.append(token if kind != 1 else token[1:] if token[0] == "\u2581" else "##" + token)
    return {word: i for i, word in enumerate(words)}


# The letters that DeepSeek's tokenizer.json names, and what else its expressions hold.
DEEPSEEK = {
    "deepseek-llm": ["[\r\n]", "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
                     "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
                     "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
                     "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
                     "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
                     "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102"
                     "\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
                     "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
                     "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
                     "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
                     "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
                     "\U0001e900-\U0001e943]+", "\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+",
                     "\\s+$", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}+"],
    "deepseek-coder": ["[\r\n]", r"\s?\p{L}+", r"\s?\p{P}+", "[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+", r"\p{N}"],
}


def hugging_face(path):
    """The same vocabulary in Hugging Face's tokenizers, for those that llama.cpp does not reproduce; else None."""
    from gguf import GGUFReader
    fields = GGUFReader(path).fields
    model, pre = (fields[key].contents() if key in fields else ""
                  for key in ("tokenizer.ggml.model", "tokenizer.ggml.pre"))
    if model != "bert" and pre not in DEEPSEEK: return None
    from tokenizers import AddedToken, Regex, Tokenizer, models, normalizers, pre_tokenizers
    tokens, types = fields["tokenizer.ggml.tokens"].contents(), fields["tokenizer.ggml.token_type"].contents()
    if model == "bert":
        tokenizer = Tokenizer(models.WordPiece(vocab=words_of(fields), unk_token="[UNK]",
                                               max_input_chars_per_word=10000))
        tokenizer.normalizer = normalizers.BertNormalizer()
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    else:
        merges = [tuple(merge.split(" ")) for merge in fields["tokenizer.ggml.merges"].contents()]
        tokenizer = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate(tokens)}, merges=merges))
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Split(Regex(part), behavior="isolated") for part in DEEPSEEK[pre]] +
            [pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.add_special_tokens([AddedToken(token, special=True, normalized=False)
                                  for token, kind in zip(tokens, types) if kind in (2, 3, 4)])
    return tokenizer


def compare(what, texts, wanted, found, most, other=None, names=("llama.cpp", "clinfer")):
    """Those that differ, and those of them that Hugging Face's tokenizer differs from llama.cpp in as well."""
    wrong = shared = 0
    for text, a, b in zip(texts, wanted, found):
        if a == b: continue
        if other and other.encode(text.decode(), add_special_tokens=False).ids == b:
            shared += 1
            continue
        wrong += 1
        if wrong > most: continue
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        print(f"  {what}: {text.decode()!r}: at token {at}: {names[0]} {a[max(0, at - 1):at + 6]}, "
              f"{names[1]} {b[max(0, at - 1):at + 6]}")
    assert len(texts) == len(wanted) == len(found)
    return wrong, shared


def measure(test, vocabulary, path):
    """Processor time for the text four times, less that for nothing; the printing of ids is in it."""
    with open(path, "rb") as file: text = file.read()
    seconds = []
    for count in (0, 4):
        with tempfile.NamedTemporaryFile() as file:
            file.write((struct.pack("<I", len(text)) + text) * count)
            file.flush()
            begin = os.times()
            subprocess.run([test, "--ids", vocabulary, file.name], stdout=subprocess.DEVNULL, check=True)
            end = os.times()
        seconds.append(end.children_user + end.children_system - begin.children_user - begin.children_system)
    return len(text) * 4 / (seconds[1] - seconds[0]) / 1e6


def pre_tokenizers(names):
    if names != "all": return names.split(",")
    with open(os.path.join(ROOT, "runtime/text/pretokenizer.c")) as file: source = file.read()
    rows = re.search(r"\} kinds\[\] = \{(.*?)\n\};", source, re.S).group(1)
    return [row.split(" ")[0] for row in re.findall(r'^    \{"([^"]+)', rows, re.M)]


def with_pre_tokenizer(path, name, folder):
    """A copy of a vocabulary that is cut into words otherwise; of its tokens, types and merges alone."""
    from gguf import GGUFReader, GGUFWriter
    fields = GGUFReader(path).fields
    copy = os.path.join(folder, f"{name}.gguf")
    writer = GGUFWriter(copy, "llama")
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(name)
    writer.add_token_list(fields["tokenizer.ggml.tokens"].contents())
    writer.add_token_types(fields["tokenizer.ggml.token_type"].contents())
    writer.add_token_merges(fields["tokenizer.ggml.merges"].contents())
    writer.add_bos_token_id(0)
    writer.add_eos_token_id(0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    return copy


def compare_vocabulary(options, path):
    name, peer = os.path.basename(path), Peer(path)
    report, differ = [], 0
    if os.path.exists(path + ".inp"):
        with open(path + ".inp", encoding="utf-8", newline="") as file:
            texts = [text.encode() for text in file.read().split("\n__ggml_vocab_test__\n")]
        with open(path + ".out", encoding="utf-8") as file: lines = file.read().split("\n")
        wanted = [[int(word) for word in line.split()] for line in lines][:len(texts)]
        differ, _ = compare(name + ".inp", texts, wanted, our_ids(options.test, path, texts), options.most)
        report.append(f"{len(texts) - differ} of {len(texts)} recorded texts")
    texts = [text.encode() for text in random_strings(options.strings, peer.specials())]
    wrong, shared = compare(name, texts, [peer.ids(text) for text in texts], our_ids(options.test, path, texts),
                            options.most, hugging_face(path))
    report.append(f"{len(texts) - wrong - shared} of {len(texts)} random strings")
    if shared: report.append(f"{shared} others as Hugging Face's tokenizers")
    if options.speed: report.append(f"{measure(options.test, path, options.speed):.1f} MB/s")
    print(f"{name}: " + ", ".join(report), flush=True)
    return differ + wrong


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("test")
    parser.add_argument("peer")
    parser.add_argument("vocabularies", nargs="+")
    parser.add_argument("--strings", type=int, default=20000)
    parser.add_argument("--speed", metavar="FILE")
    parser.add_argument("--pre", metavar="NAMES")
    parser.add_argument("--most", type=int, default=5, help="differences to print for each vocabulary")
    options = parser.parse_args()
    os.environ["LLAMA_CPP_LIB_PATH"] = options.peer
    import llama_cpp as L
    quiet = L.llama_log_callback(lambda level, text, data: None)
    L.llama_log_set(quiet, ctypes.c_void_p(0))
    with tempfile.TemporaryDirectory() as folder:
        paths = options.vocabularies
        if options.pre:
            paths = [with_pre_tokenizer(path, name, folder) for path in paths for name in pre_tokenizers(options.pre)]
        return sum(compare_vocabulary(options, path) for path in paths) != 0


if __name__ == "__main__": sys.exit(main())
