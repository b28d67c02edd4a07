#!/usr/bin/env python3
"""Logits of llama.cpp for token ids: the truth of scripts/reference_families.py and scripts/compare_families.py.

  peer_logits.py PEER IDS f32|f16 MODEL.gguf OUT.npy [MODEL.gguf OUT.npy ...]

PEER is a folder with libllama.so. `--exact` of scripts/peer.sh makes one whose GELU reads no table of 16-bit floats;
without it, families with GELU differ from it by an NMSE of 1e-8. KV caches are of that type, and all tokens are
computed at once: float32 [tokens, vocabulary]; of encoders [tokens, width], the vectors of the tokens. Needs the Python
packages llama_cpp and numpy.

llama.cpp ends the process at what it cannot compute, and says on standard error why it does not load a file: logits()
has each of its models computed in a child, many in one, and gives None and the peer's words for what failed."""
import ctypes
import os
import subprocess
import sys
import tempfile

import numpy as np


ENCODERS = ("bert", "nomic-bert", "jina-bert-v3", "modern-bert", "gemma-embedding", "eurobert", "neo-bert",
            "llama-embed")


def is_encoder(llama, model):
    """By what its family is called: llama.cpp tells only encoders that have decoders."""
    name = ctypes.create_string_buffer(64)
    llama.llama_model_meta_val_str(model, b"general.architecture", name, len(name))
    return name.value.decode() in ENCODERS


def compute(llama, model_path, ids, cache):
    parameters = llama.llama_model_default_params()
    parameters.n_gpu_layers = 0
    model = llama.llama_model_load_from_file(model_path.encode(), parameters)
    if not model:
        return None
    parameters = llama.llama_context_default_params()
    parameters.n_ctx = parameters.n_batch = parameters.n_ubatch = max(64, len(ids))
    parameters.n_threads = parameters.n_threads_batch = 1
    parameters.type_k = parameters.type_v = {"f32": 0, "f16": 1}[cache]  # of enum ggml_type
    parameters.flash_attn_type = 0
    encoder = is_encoder(llama, model)
    parameters.embeddings, parameters.pooling_type = encoder, 0 if encoder else -1
    context = llama.llama_init_from_model(model, parameters)
    width = llama.llama_model_n_embd(model) if encoder else llama.llama_n_vocab(llama.llama_model_get_vocab(model))
    row_of = llama.llama_get_embeddings_ith if encoder else llama.llama_get_logits_ith
    batch = llama.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for i, token in enumerate(ids):
        batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0], batch.logits[i] = token, i, 1, 0, 1
    out = None
    if llama.llama_decode(context, batch) == 0:
        rows = (row_of(context, i) for i in range(len(ids)))
        out = np.stack([np.ctypeslib.as_array(row, shape=(width,)).copy() for row in rows])
    llama.llama_batch_free(batch)
    llama.llama_free(context)
    llama.llama_model_free(model)
    return out


def main(peer, ids, cache, *files):
    os.environ["LLAMA_CPP_LIB_PATH"] = peer
    import llama_cpp as llama

    @llama.llama_log_callback
    def log(level, text, _):
        if level == 4:  # GGML_LOG_LEVEL_ERROR
            sys.stderr.write(text.decode(errors="replace"))

    llama.llama_log_set(log, ctypes.c_void_p(0))
    llama.llama_backend_init()
    for model, out in zip(files[::2], files[1::2]):
        print(model, file=sys.stderr, flush=True)
        logits = compute(llama, model, [int(token) for token in ids.split(",")], cache)
        if logits is not None:
            np.save(out, logits)


def logits(peer, ids, models, cache="f32", patience=60):
    """[(logits or None, what the peer said)] of the models, which have `patience` seconds and ten more each."""
    peer, found, at = os.path.abspath(peer), [], 0
    env = dict(os.environ, LD_LIBRARY_PATH=peer, LLAMA_CPP_LIB_PATH=peer)
    with tempfile.TemporaryDirectory() as folder:
        while at < len(models):
            rest = models[at:at + 64]
            outs = [os.path.join(folder, f"{at + i}.npy") for i in range(len(rest))]
            files = [word for pair in zip(rest, outs) for word in pair]
            child = subprocess.run([sys.executable, __file__, peer, ",".join(map(str, ids)), cache, *files], env=env,
                                   capture_output=True, text=True, errors="replace", timeout=patience + 10 * len(rest))
            words, current = {}, None
            for line in child.stderr.splitlines():
                if line in rest:
                    current = line
                elif current and line.strip():
                    words.setdefault(current, []).append(line.strip())
            if current is None:
                raise SystemExit(f"{peer}: llama.cpp cannot be used: {child.stderr.strip()}")
            done = len(rest) if child.returncode == 0 else rest.index(current) + 1
            for model, out in list(zip(rest, outs))[:done]:
                said = " ".join(words.get(model, [])) or f"it ended with status {child.returncode}"
                found.append((np.load(out), "") if os.path.exists(out) else (None, said))
            at += done
    return found


if __name__ == "__main__":
    if len(sys.argv) < 6:
        raise SystemExit(__doc__)
    main(*sys.argv[1:])
