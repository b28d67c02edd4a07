"""A BERT of one layer with random weights, of words that its file names; with a head that scores texts if so wanted."""
import random
import struct

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "▁the", "▁sky", "▁is", "▁blue", "s", "▁.", "▁learning", "▁machine"]
WIDTH, INNER, CONTEXT = 32, 64, 64
U32, F32, BOOL, STRING, ARRAY, INT32 = 4, 6, 7, 8, 9, 5


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def value(kind, item):
    if kind == STRING:
        return text(item)
    return struct.pack({U32: "<I", F32: "<f", BOOL: "<?", INT32: "<i"}[kind], item)


def write(path, rank=False):
    """Its file; vectors are those of the first token."""
    draw = random.Random(7)
    keys = [("general.architecture", STRING, "bert"), ("bert.context_length", U32, CONTEXT),
            ("bert.embedding_length", U32, WIDTH), ("bert.feed_forward_length", U32, INNER),
            ("bert.block_count", U32, 1), ("bert.attention.head_count", U32, 2),
            ("bert.attention.layer_norm_epsilon", F32, 1e-12), ("bert.attention.causal", BOOL, False),
            ("bert.pooling_type", U32, 4 if rank else 2), ("tokenizer.ggml.model", STRING, "bert"),
            ("tokenizer.ggml.unknown_token_id", U32, 1), ("tokenizer.ggml.cls_token_id", U32, 2),
            ("tokenizer.ggml.seperator_token_id", U32, 3), ("tokenizer.ggml.token_type_count", U32, 2)]
    lists = [("tokenizer.ggml.tokens", STRING, WORDS),
             ("tokenizer.ggml.token_type", INT32, [3, 1, 3, 3] + [1] * (len(WORDS) - 4))]
    tensors = [("token_embd.weight", WIDTH, len(WORDS)), ("token_types.weight", WIDTH, 2),
               ("position_embd.weight", WIDTH, CONTEXT), ("token_embd_norm.weight", WIDTH, 0),
               ("token_embd_norm.bias", WIDTH, 0)]
    for name, columns, rows in [("attn_q", WIDTH, WIDTH), ("attn_k", WIDTH, WIDTH), ("attn_v", WIDTH, WIDTH),
                                ("attn_output", WIDTH, WIDTH), ("ffn_up", WIDTH, INNER), ("ffn_down", INNER, WIDTH),
                                ("attn_output_norm", WIDTH, 0), ("layer_output_norm", WIDTH, 0)]:
        tensors += [(f"blk.0.{name}.weight", columns, rows), (f"blk.0.{name}.bias", rows or columns, 0)]
    if rank:
        tensors += [("cls.weight", WIDTH, WIDTH), ("cls.bias", WIDTH, 0), ("cls.output.weight", WIDTH, 1),
                    ("cls.output.bias", 1, 0)]
    head = b"GGUF" + struct.pack("<IQQ", 3, len(tensors), len(keys) + len(lists))
    for name, kind, item in keys:
        head += text(name) + struct.pack("<I", kind) + value(kind, item)
    for name, kind, items in lists:
        head += text(name) + struct.pack("<IIQ", ARRAY, kind, len(items)) + b"".join(value(kind, i) for i in items)
    data = b""
    for name, columns, rows in tensors:
        head += text(name) + struct.pack("<I", 2 if rows else 1) + struct.pack("<Q", columns)
        head += (struct.pack("<Q", rows) if rows else b"") + struct.pack("<IQ", 0, len(data))
        numbers = [draw.gauss(0, 0.5) for _ in range(columns * (rows or 1))]
        data += struct.pack(f"<{len(numbers)}f", *numbers)
        data += b"\0" * (-len(data) % 32)
    with open(path, "wb") as file:
        file.write(head + b"\0" * (-len(head) % 32) + data)
