#!/usr/bin/env python3
"""Logits of every family beside llama.cpp's, on the random models that its test-llama-archs writes.

  compare_families.py --peer DIR [--tool build/release/clinfer] [--family NAME]... [--device cpu]... [--seeds 1,2,3]
                      [--models DIR | FILE.gguf...] [--sight] [--inspect]

DIR is what `scripts/peer.sh --exact DIR test-llama-archs` makes: libllama.so, whose GELU is computed and not looked up
in a table of 16-bit floats, and test-llama-archs. Families are those of runtime/model, without --family all. Models
come from test-llama-archs -d 0.5 with each seed (with its default deviation of 0.1 whole tensors can be zeroed unseen),
from a folder, or are the files that are named.

Without --sight and --inspect: the NMSE of 120 tokens' logits for each model and device, with f32 caches whole, in
pieces of 7 and one by one (at most 1e-9), and with f16 caches (1e-6); then a table family x device with the worst of
each. Windows of these models are 32 positions. Figures with f16 caches over their limit count from twice on by how much
the peer's own logits move when its caches become f16: some models hold no number so well. Files that clinfer refuses
are named, but no fault here: whether that is right is what --inspect asks.

What the random models do and no other does: factors of RoPE (rope_freqs, rope_factors_*) are drawn around 0, and
frequencies are divided by them, so that a pair turns by 75 radians from one position to the next and by thousands over
a text, of which 32 bits hold three digits. llama.cpp multiplies from pair to pair, clinfer a frequency by a position:
both are right, and differ in the digit that is lost (an NMSE of up to 3e-9). Factors nearer to 0 than 1/4, of which
real models have none, are 1/4 in the copies that are compared.

--sight: what the gate would see. Of one model of each family each tensor is zeroed, and each key changed, in turn.
Where llama.cpp computes the changed file, clinfer refuses it or gives the same (within 100 times the limit: some
changes make the model sensitive). What moves the peer's logits by less than 100 times the limit is printed as unseen:
models of tests/model/families.inc have to tell.

--inspect: all the peer's architectures. `clinfer inspect` has to say that a file runs exactly when its logits pass, and
otherwise what is missing; what it says is printed.

Exit status 1 when anything is over a limit or said wrongly. Needs the Python packages gguf, llama_cpp and numpy."""
import argparse
import collections
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

import numpy as np

from peer_logits import logits as peer_logits

TOKENS, LIMIT, F16_LIMIT, SIGHT = 120, 1e-9, 1e-6, 100
WAYS = [("whole", "f32", 512), ("by 7", "f32", 7), ("by 1", "f32", 1), ("f16", "f16", 512)]
IDS = [int(token) for token in np.random.default_rng(7).integers(0, 128, TOKENS)]


def nmse(truth, other):
    truth, other = truth.astype(np.float64), other.astype(np.float64)
    square = (truth ** 2).sum()
    return float(((truth - other) ** 2).sum() / (square or 1))


def own_logits(tool, model, device, cache="f32", batch=512):
    """(logits, "") or (None, what clinfer said)."""
    with tempfile.NamedTemporaryFile(suffix=".npy") as out:
        child = subprocess.run([tool, "logits", "-q", "-m", model, "--tokens", ",".join(map(str, IDS)), "-o", out.name,
                                "--all", "--device", device, "--activations", "f32", "-ctk", cache, "-ctv", cache,
                                "-b", str(batch)], capture_output=True, text=True, errors="replace")
        if child.returncode:
            return None, child.stderr.strip() or f"status {child.returncode}"
        return np.load(out.name), ""


def families():
    """Architectures that clinfer has."""
    found = []
    for path in glob.glob("runtime/model/*.c"):
        found += re.findall(r'\.architecture = "([^"]+)"', open(path, encoding="utf-8").read())
    return sorted(found)


def family_of(path):
    return re.sub(r"-(dense|moe)$", "", os.path.splitext(os.path.basename(path))[0])


def make_models(peer, family, seed, folder):
    """Files of this family; there is none where test-llama-archs leaves it out."""
    folder = os.path.join(folder, f"seed{seed}")
    os.makedirs(folder, exist_ok=True)
    name = f"^{re.escape(family)}$" if family else ""
    subprocess.run([os.path.join(peer, "test-llama-archs"), "-a", name, "-d", "0.5", "-s", str(seed), "-o", folder],
                   env=dict(os.environ, LD_LIBRARY_PATH=os.path.abspath(peer)), capture_output=True)
    if not family:
        return sorted(glob.glob(f"{folder}/*.gguf"))
    return sorted(path for path in glob.glob(f"{folder}/*.gguf") if family_of(path) == family)


def with_tame_factors(models, folder):
    """The files, or copies of those whose factors of RoPE are nearer to 0 than 1/4."""
    from gguf import GGUFReader
    found = []
    for model in models:
        small = [tensor for tensor in GGUFReader(model).tensors
                 if tensor.name.startswith("rope_f") and (np.abs(tensor.data) < 0.25).any()]
        if small:
            copy = os.path.join(folder, "tame", *model.split(os.sep)[-2:])
            os.makedirs(os.path.dirname(copy), exist_ok=True)
            shutil.copyfile(model, copy)
            with open(copy, "r+b") as file:
                for tensor in small:
                    numbers = np.copysign(np.maximum(np.abs(tensor.data), 0.25), tensor.data).astype("<f4")
                    file.seek(int(tensor.data_offset))
                    file.write(numbers.tobytes())
            model = copy
        found.append(model)
    return found


# ---- the gate ----

def allowance(peer, model, truth):
    """What is nobody's fault with f16 caches beyond the limit, and why."""
    (logits, _), = peer_logits(peer, IDS, [model], "f16")
    own = nmse(truth, logits) if logits is not None else 0.0
    return 2 * own, f"the peer's own f16 caches: {own:.1e}"


def gate(tool, peer, models, devices):
    worst, wrong = collections.defaultdict(dict), 0
    for model, (truth, said) in zip(models, peer_logits(peer, IDS, models)):
        if truth is None:
            print(f"{model}: llama.cpp cannot compute it: {said}")
            wrong += 1
            continue
        known = worst[family_of(model)]
        for device in devices:
            figures = []
            for name, cache, batch in WAYS:
                logits, said = own_logits(tool, model, device, cache, batch)
                if logits is None:
                    figures.append(said)
                    break
                figure = nmse(truth, logits) if logits.shape == truth.shape else np.inf
                note = ""
                if cache == "f32" and not figure <= LIMIT:
                    note, wrong = " OVER", wrong + 1
                elif cache == "f16" and not figure <= F16_LIMIT:
                    allowed, why = allowance(peer, model, truth)
                    fault = not figure <= allowed
                    note, wrong = f" {'OVER' if fault else 'over'} ({why})", wrong + fault
                figures.append(f"{name} {figure:.1e}{note}")
                known[device, cache] = max(known.get((device, cache), 0), figure)
            print(f"{os.sep.join(model.split(os.sep)[-2:]):32} {device:8} {', '.join(figures)}", flush=True)
    columns = [(device, cache) for device in devices for cache in ("f32", "f16")]
    print("\n| family | " + " | ".join(f"{device}, {cache} caches" for device, cache in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for family in sorted(worst):
        cells = (f"{worst[family][column]:.1e}" if column in worst[family] else "refused" for column in columns)
        print(f"| {family} | " + " | ".join(cells) + " |")
    return wrong


# ---- what the gate sees ----

def changed_numbers(field, part):
    """Another value for the numbers of this part: of lists the first, then all."""
    number = np.array(part)
    if number.dtype == bool or field.types[-1].name == "BOOL":
        return number ^ 1
    if number.dtype.kind == "f":
        return np.where(np.isfinite(number) & (number != 0), number * 1.5, 0.37).astype(number.dtype)
    return np.where(number > 1, number // 2, 1 - number).astype(number.dtype)


def changes(path):
    """(what, offset, bytes) for each tensor and for each key that is a number or a list of them."""
    from gguf import GGUFReader
    reader = GGUFReader(path)
    for tensor in reader.tensors:
        yield tensor.name, int(tensor.data_offset), bytes(int(tensor.n_bytes))
    prefix = reader.fields["general.architecture"].contents() + "."
    for key, field in reader.fields.items():
        if not key.startswith(prefix) or field.types[-1].name == "STRING" or not field.data:
            continue
        for name, index in ((key, field.data[0]), (key + " (last)", field.data[-1])):
            offset = field.offset + sum(part.nbytes for part in field.parts[:index])
            yield name, offset, changed_numbers(field, field.parts[index]).tobytes()
            if len(field.data) == 1:
                break


def sight(tool, peer, model, device):
    (truth, said), = peer_logits(peer, IDS, [model])
    if truth is None:
        print(f"{model}: llama.cpp cannot compute it: {said}")
        return 1
    wrong, unseen = 0, []
    whole = list(changes(model))
    for start in range(0, len(whole), 32):
        part = whole[start:start + 32]
        with tempfile.TemporaryDirectory() as folder:
            paths = []
            for i, (_, offset, data) in enumerate(part):
                paths.append(os.path.join(folder, f"{i}.gguf"))
                shutil.copyfile(model, paths[-1])
                with open(paths[-1], "r+b") as file:
                    file.seek(offset)
                    file.write(data)
            for path, (what, _, _), (changed, _) in zip(paths, part, peer_logits(peer, IDS, paths)):
                if changed is None or changed.shape != truth.shape or not np.isfinite(changed).all():
                    continue
                moved = nmse(truth, changed)
                if moved < SIGHT * LIMIT:
                    unseen.append(what)
                logits, said = own_logits(tool, path, device)
                if logits is not None and logits.shape == changed.shape and not nmse(changed, logits) <= SIGHT * LIMIT:
                    print(f"{os.path.basename(model)}: {what} changed: moves the peer by {moved:.1e}, clinfer's NMSE is "
                          f"{nmse(changed, logits):.1e}", flush=True)
                    wrong += 1
    used = [what for what in unseen if not not_used(tool, model, what)]
    print(f"{os.path.basename(model)}: {len(whole)} changes, {len(unseen)} unseen; of these clinfer uses: "
          f"{', '.join(used) or 'none'}", flush=True)
    return wrong


def inspected(tool, model):
    child = subprocess.run([tool, "inspect", "--json", "-m", model], capture_output=True, text=True, errors="replace")
    return json.loads(child.stdout)


def not_used(tool, model, what, known={}):
    """Whether `clinfer inspect` names it as something that changes nothing."""
    if model not in known:
        found = inspected(tool, model)
        known[model] = {entry["name"] for entries in found.values() if isinstance(entries, list) for entry in entries
                        if isinstance(entry, dict) and "name" in entry and "why" in entry}
    return what.removesuffix(" (last)") in known[model]


# ---- what inspect says ----

def inspect(tool, peer, models, device):
    wrong = runs = 0
    for model, (truth, words) in zip(models, peer_logits(peer, IDS, models)):
        found = inspected(tool, model)
        logits, said = own_logits(tool, model, device)
        figure = nmse(truth, logits) if logits is not None and truth is not None else None
        passes = figure is not None and figure <= LIMIT
        text = "runs" if found["runs"] else found["reason"].removeprefix(f"{model}: ")
        runs += found["runs"]
        problem = ""
        if found["runs"] != passes:
            problem = f"WRONG: NMSE {figure}; {said or words} "
        elif not passes and said != f"clinfer: {found['reason']}" and found["reason"] not in said:
            problem = f"WRONG: a run says otherwise: {said} "
        wrong += bool(problem)
        print(f"{os.path.basename(model):28} {problem}{text}", flush=True)
    print(f"{len(models)} models, {runs} run, of {wrong} inspect says something wrong")
    return wrong


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--peer", required=True)
    parser.add_argument("--tool", default="build/release/clinfer")
    parser.add_argument("--family", action="append")
    parser.add_argument("--device", action="append")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--models")
    parser.add_argument("--sight", action="store_true")
    parser.add_argument("--inspect", action="store_true")
    parser.add_argument("files", nargs="*")
    words = parser.parse_args()
    devices = words.device or ["cpu"]
    names = words.family or families()
    with tempfile.TemporaryDirectory() as folder:
        seeds = [int(seed) for seed in words.seeds.split(",")][:1 if words.sight or words.inspect else None]
        if words.files or words.models:
            models = words.files or sorted(glob.glob(f"{words.models}/*.gguf"))
        elif words.inspect:
            models = make_models(words.peer, "", seeds[0], folder)
        else:
            models = [path for name in names for seed in seeds for path in make_models(words.peer, name, seed, folder)]
        if words.models and not words.inspect:
            models = [path for path in models if family_of(path) in names]
        if not models:
            raise SystemExit("there is no such model")
        models = with_tame_factors(models, folder)
        if words.inspect:
            return inspect(words.tool, words.peer, models, devices[0]) > 0
        if words.sight:
            return sum(sight(words.tool, words.peer, model, devices[0]) for model in models) > 0
        return gate(words.tool, words.peer, models, devices) > 0


if __name__ == "__main__":
    sys.exit(main())
