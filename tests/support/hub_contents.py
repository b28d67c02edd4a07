"""What the repos of hub_server.py hold: CONTENTS by the repo's name (without its namespace), each a function of the
version that returns files by path. Bytes are made from the path, so that no two files are equal unless they are meant
to be."""
import hashlib
import json
import os
import struct
import threading

KIB, MIB = 1 << 10, 1 << 20
CONTENTS = {}
own_contents = {}  # what the tests put there: name -> version -> files


class File:
    """Bytes in memory, or of a file on disk (sparse ones of any size). Its digests are made when first asked for."""

    def __init__(self, data=None, local=None, large=None):
        self.data, self.local = data, local
        self.size = len(data) if local is None else os.path.getsize(local)
        self.said_size = self.size  # what trees and headers say
        self.is_large = self.size > 10 * KIB if large is None else large
        self.lock, self.digests = threading.Lock(), None

    def read(self, offset, length):
        if self.local is None:
            return self.data[offset:offset + length]
        with open(self.local, "rb") as stream:
            stream.seek(offset)
            return stream.read(length)

    def digest_both(self):
        with self.lock:
            if not self.digests:
                sha256, git = hashlib.sha256(), hashlib.sha1(b"blob %d\0" % self.size)
                for offset in range(0, self.size, MIB):
                    block = self.read(offset, MIB)
                    sha256.update(block)
                    if not self.is_large:
                        git.update(block)
                if self.is_large:  # git holds a pointer of it
                    pointer = (f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256.hexdigest()}\n"
                               f"size {self.size}\n").encode()
                    git = hashlib.sha1(b"blob %d\0" % len(pointer) + pointer)
                self.digests = sha256.hexdigest(), git.hexdigest()
            return self.digests

    @property
    def sha256(self):
        return self.digest_both()[0]

    @property
    def oid(self):
        return self.digest_both()[1]

    @property
    def etag(self):
        return self.sha256 if self.is_large else self.oid


def some_bytes(seed, size):
    return hashlib.shake_256(seed.encode()).digest(size)


def gguf(seed, size, pairs=()):
    """A GGUF file of about `size` bytes: a few names and values, one tensor of float32."""
    def text(value):
        raw = value.encode()
        return struct.pack("<Q", len(raw)) + raw

    values = [("general.architecture", "llama"), ("general.name", seed)] + list(pairs)
    body = b"".join(text(name) + struct.pack("<I", 8) + text(value) for name, value in values)
    count = max(size // 4 - 256, 8)
    tensor = text("output.weight") + struct.pack("<IQIQ", 1, count, 0, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(values)) + body + tensor
    head += b"\0" * (-len(head) % 32)
    return File(head + some_bytes(seed, 4 * count))


def safetensors(seed, size):
    head = json.dumps({"model.norm.weight": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size // 4 * 4]}})
    head = head.encode() + b" " * (-len(head) % 8)
    return File(struct.pack("<Q", len(head)) + head + some_bytes(seed, size // 4 * 4), large=True)


def small(text):
    return File(text.encode() if isinstance(text, str) else json.dumps(text).encode(), large=False)


def content(function):
    CONTENTS[function.__name__.replace("_", "-")] = function
    return function


CONFIG = {"architectures": ["LlamaForCausalLM"], "model_type": "llama"}
BYTES = [chr(256 + byte) for byte in range(33)] + [chr(byte) for byte in range(33, 127)]  # as byte-level BPE spells them
TOKENIZER = {"version": "1.0", "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False, "use_regex": True},
             "decoder": {"type": "ByteLevel"},
             "model": {"type": "BPE", "vocab": {text: number for number, text in enumerate(BYTES)}, "merges": []}}


@content
def tiny(version):
    """One model and what stands about it."""
    return {"README.md": small("# Tiny\n"), "config.json": small(dict(CONFIG, version=version)),
            "tiny-Q4_K_M.gguf": gguf(f"tiny {version}", 200 * KIB)}


@content
def large(version):
    return {"README.md": small("# Large\n"), "large-Q4_K_M.gguf": gguf(f"large {version}", 4 * MIB)}


@content
def quants(_):
    sizes = {"Q2_K": 60, "IQ2_XXS": 50, "IQ3_S": 70, "Q3_K_M": 80, "Q4_0": 100, "Q4_K_S": 104, "Q4_K_M": 110,
             "Q5_K_M": 130, "Q6_K": 150, "Q8_0": 200, "F16": 380, "TQ1_0": 40}
    files = {f"quants-{quant}.gguf": gguf(quant, size * KIB) for quant, size in sizes.items()}
    files["README.md"] = small("# Many\n")
    for other in ("mmproj-quants-F16", "quants.imatrix", "mtp-quants-Q8_0", "quants-eagle3-Q4_K_M",
                  "dflash-quants-Q4_K_M"):
        files[other + ".gguf"] = gguf(other, 20 * KIB)
    return files


@content
def folders(_):
    """A folder per quant, one of them in parts."""
    files = {f"Q8_0/model-Q8_0-0000{part}-of-00003.gguf": gguf(f"part {part}", 60 * KIB) for part in (1, 2, 3)}
    files["Q4_K_M/model-Q4_K_M.gguf"] = gguf("one", 90 * KIB)
    return files


@content
def split(_):
    return {f"split-Q4_K_M-0000{part}-of-00003.gguf": gguf(f"split {part}", 100 * KIB) for part in (1, 2, 3)}


@content
def split_short(_):
    """The second of three parts is not there."""
    return {f"split-Q4_K_M-0000{part}-of-00003.gguf": gguf(f"split {part}", 100 * KIB) for part in (1, 3)}


@content
def weights(_):
    """A SafeTensors folder, with pickles beside it that nobody should want."""
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    index = {"metadata": {}, "weight_map": {"a": names[0], "model.norm.weight": names[1]}}
    return dict({name: safetensors(name, 80 * KIB) for name in names}, **{
        "model.safetensors.index.json": small(index), "config.json": small(CONFIG), "tokenizer.json": small(TOKENIZER),
        "tokenizer_config.json": small({"chat_template": "{{ messages[0].content }}"}),
        "generation_config.json": small({"eos_token_id": 1}), "special_tokens_map.json": small({}),
        "chat_template.jinja": small("{{ messages[0].content }}"), "README.md": small("# Weights\n"),
        "pytorch_model.bin": File(b"PK\3\4" + some_bytes("pickle", 20 * KIB)),
        "training_args.bin": File(some_bytes("t", 20 * KIB)), "model.safetensors.md5": small("0"),
        "original/consolidated.00.pth": File(some_bytes("pth", 20 * KIB))})


@content
def pickles(_):
    return {"config.json": small(CONFIG), "tokenizer.json": small(TOKENIZER),
            "pytorch_model.bin": File(b"PK\3\4" + some_bytes("pickles", 20 * KIB)),
            "model.pt": File(some_bytes("pt", 20 * KIB)), "model.ckpt": File(some_bytes("ckpt", 20 * KIB))}


@content
def words(_):
    """No model at all."""
    return {"README.md": small("# Words\n"), "data.csv": File(some_bytes("csv", 30 * KIB))}


@content
def base(_):
    """Only what a tokenizer is read from."""
    return {"tokenizer.json": small(TOKENIZER), "tokenizer_config.json": small({}), "config.json": small(CONFIG)}


@content
def without_tokenizer(_):
    """Its metadata and its card name another repo of the server as what it was made of."""
    base_of = [("general.base_model.0.repo_url", "https://huggingface.co/user/base")]
    return {"README.md": small("---\nbase_model: user/base\n---\n# Without\n"),
            "without-Q4_K_M.gguf": gguf("without", 60 * KIB, base_of)}


@content
def names(_):
    """Every one of them is right, and needs its care."""
    return {path: gguf(path, 40 * KIB) for path in
            ("a folder/with spaces Q4_K_M.gguf", "\u00fcml\u00e4ut/\u6a21\u578b-Q8_0.gguf",
             "per%cent+plus#hash?query&Q5_K_M.gguf", "deep/er/and/deeper/x-Q6_K.gguf")}


def evil(path):
    """A repo with one good model and one whose path leads elsewhere."""
    return lambda version: {"good-Q4_K_M.gguf": gguf("good", 40 * KIB), path: gguf("evil", 40 * KIB)}


for name, path in {"dotdot": "../../../../evil-Q8_0.gguf", "inner-dotdot": "a/../../../evil-Q8_0.gguf",
                   "absolute": "/tmp/evil-Q8_0.gguf", "empty-part": "a//evil-Q8_0.gguf", "dot": "./evil-Q8_0.gguf",
                   "backslash": "..\\..\\evil-Q8_0.gguf", "control": "evil\n-Q8_0.gguf",
                   "escape": "evil\x1b[2J-Q8_0.gguf", "long": "e" * 3000 + "-Q8_0.gguf", "zero": "evil\0-Q8_0.gguf",
                   "last-dotdot": "evil-Q8_0.gguf/..", "surrogate": "evil\ud800-Q8_0.gguf"}.items():
    CONTENTS["evil-" + name] = evil(path)


@content
def nothing(_):
    return {}


@content
def empty(_):
    return {"empty-Q4_K_M.gguf": File(b"", large=True), "README.md": small("")}


@content
def page(_):
    """A file that is called a model and holds something else; its digest is right."""
    return {"page-Q4_K_M.gguf": File(b"<!DOCTYPE html><html>" + some_bytes("page", 40 * KIB))}


@content
def shared_one(_):
    return {"shared-Q4_K_M.gguf": gguf("shared", 120 * KIB), "README.md": small("# One\n")}


@content
def shared_two(_):
    return {"other-Q4_K_M.gguf": gguf("shared", 120 * KIB), "README.md": small("# Two\n")}


@content
def vast(_):
    """More than any disk has, in what the tree says of it; its bytes are few."""
    file = gguf("vast", 40 * KIB)
    file.said_size = 1 << 50
    return {"vast-Q4_K_M.gguf": file}


class Content:
    """The files of a repo's name at a version, and its commit."""

    made, lock = {}, threading.Lock()

    def __init__(self, name, version, files):
        self.files = files
        self.commit = hashlib.sha1(f"{name} {version}".encode()).hexdigest()

    @classmethod
    def find(cls, name, version):
        """None: there is no repo of that name."""
        with cls.lock:
            if (name, version) not in cls.made:
                files = own_contents.get(name, {}).get(version)
                if files is None and name in own_contents:
                    files = own_contents[name].get(1)
                if files is None and name in CONTENTS:
                    files = CONTENTS[name](version)
                if files is None:
                    return None
                cls.made[name, version] = cls(name, version, files)
            return cls.made[name, version]

    @classmethod
    def put(cls, name, version, described):
        """`described`: path -> text, or {"file": path}, or {"size": bytes} of a GGUF; "large" as well."""
        files = {}
        for path, value in described.items():
            if isinstance(value, str):
                files[path] = small(value)
            elif "file" in value:
                files[path] = File(local=value["file"], large=value.get("large"))
            else:
                files[path] = gguf(value.get("seed", f"{name} {version} {path}"), value["size"])
        with cls.lock:
            own_contents.setdefault(name, {})[version] = files
            cls.made.pop((name, version), None)
