#!/usr/bin/env python3
"""Ids of clinfer's tokenizers beside those of llama.cpp, over vocabularies that are too large to commit.

    compare_tokenizers.py TEST PEER [--strings N] [--speed FILE] [--pre NAMES] VOCABULARY.gguf...

TEST is build/release/tests/unit/test_tokenizer, whose `--ids` prints ids; PEER a folder with libllama. Compared are the
texts beside a vocabulary (VOCABULARY.gguf.inp and .out, as llama.cpp's sources have them) and N (20,000) random strings
of valid UTF-8, the same on every run; control tokens count as such, none are added. `--speed FILE` also says how fast
the text of FILE is read. `--pre llama3,tekken` takes copies of the vocabularies with these pre-tokenizers, `--pre all`
with one name of each row of runtime/text/pretokenizer.c. Differences are printed; exit status 1 when there are any.
Needs the Python packages gguf and llama_cpp."""
import argparse, ctypes, os, random, re, struct, subprocess, sys, tempfile, time

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
SPACES = [" ", "  ", "   ", "    ", "\t", "\n", "\n\n", "\r\n", "\r", " \n", "\n ", "\u00a0", "\u2009", "\u3000", "\u2581",
          "\u200b", "\u0085"]
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
            if kind < 0.35: parts.append("".join(chr(rng.randint(*rng.choice(blocks))) for _ in range(rng.randint(1, 6))))
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


def compare(what, texts, wanted, found, most):
    wrong = 0
    for text, a, b in zip(texts, wanted, found):
        if a == b: continue
        wrong += 1
        if wrong > most: continue
        at = next((i for i, (x, y) in enumerate(zip(a, b)) if x != y), min(len(a), len(b)))
        print(f"  {what}: {text.decode()!r}: at token {at}: llama.cpp {a[max(0, at - 1):at + 6]}, "
              f"clinfer {b[max(0, at - 1):at + 6]}")
    assert len(texts) == len(wanted) == len(found)
    return wrong


def measure(test, vocabulary, path):
    """Seconds for the text four times, less those for nothing."""
    text = open(path, "rb").read()
    times = []
    for count in (0, 4):
        begin = time.perf_counter()
        our_ids(test, vocabulary, [text] * count)
        times.append(time.perf_counter() - begin)
    return len(text) * 4 / (times[1] - times[0]) / 1e6


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
        differ = compare(name + ".inp", texts, wanted, our_ids(options.test, path, texts), options.most)
        report.append(f"{len(texts) - differ} of {len(texts)} recorded texts")
    texts = [text.encode() for text in random_strings(options.strings, peer.specials())]
    wrong = compare(name, texts, [peer.ids(text) for text in texts], our_ids(options.test, path, texts), options.most)
    report.append(f"{len(texts) - wrong} of {len(texts)} random strings")
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
