#!/usr/bin/env python3
"""Records what the Python package `gguf` makes of random blocks of every weight type: tests/data/types.bin.

usage: types_reference.py OUTPUT        (needs: pip install gguf numpy)

For each type, in the order of TYPES below: some blocks, then their numbers as float32; then, but for f16 and bf16, the
hash (FNV-1a) of the numbers of HASHED more blocks, which the test makes itself by the same generator (base/random.h),
seeded with the type's number. What a block's scales are is random too, but kept finite, since no comparison of NaN says
anything; f16 and bf16 keep all bits."""
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize

# (type, blocks, bytes with the uppermost bit of a scale's exponent below their own)
TYPES = [(T.F16, 256, []), (T.BF16, 256, []), (T.Q4_0, 8, [1]), (T.Q4_1, 8, [1, 3]), (T.Q5_0, 8, [1]),
         (T.Q5_1, 8, [1, 3]), (T.Q8_0, 8, [1]), (T.Q6_K, 3, [209]), (T.Q4_K, 3, [1, 3]), (T.Q5_K, 3, [1, 3]),
         (T.Q3_K, 3, [109]), (T.Q2_K, 3, [81, 83]),
         (T.IQ4_NL, 4, [1]), (T.IQ4_XS, 1, [1]), (T.MXFP4, 4, [0]), (T.NVFP4, 2, []), (T.TQ1_0, 1, [53]),
         (T.TQ2_0, 1, [65]), (T.IQ1_S, 1, [1]), (T.IQ1_M, 1, [55]), (T.IQ2_XXS, 1, [1]), (T.IQ2_XS, 1, [1]),
         (T.IQ2_S, 1, [1]), (T.IQ3_XXS, 1, [1]), (T.IQ3_S, 1, [1])]
HASHED = 600
PLAIN = (T.F16, T.BF16)


def random_bytes(seed, count):
    """The upper bytes of SplitMix64."""
    state = np.uint64(seed) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return ((state ^ (state >> np.uint64(31))) >> np.uint64(56)).astype(np.uint8)


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


def numbers(data, kind):
    return dequantize(data.reshape(1, -1), kind).astype(np.float32).tobytes()


def main():
    generator = np.random.default_rng(1)
    with open(sys.argv[1], "wb") as output:
        for kind, blocks, exponents in TYPES:
            size = GGML_QUANT_SIZES[kind][1]
            data = generator.integers(0, 256, (blocks, size), dtype=np.uint8)
            more = random_bytes(int(kind), HASHED * size).reshape(HASHED, size)
            for at in exponents:
                data[:, at] &= 0xBF
                more[:, at] &= 0xBF
            output.write(data.tobytes() + numbers(data, kind))
            if kind not in PLAIN:
                output.write(fnv1a(numbers(more, kind)).to_bytes(8, "little"))


if __name__ == "__main__":
    main()
