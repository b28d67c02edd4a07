#!/usr/bin/env python3
"""Records what the Python package `gguf` makes of random blocks of every weight type: tests/data/types.bin.

usage: types_reference.py OUTPUT        (needs: pip install gguf numpy)

For each type, in the order of TYPES below: its blocks, then their numbers as float32; nothing between. What a block's
scales are is random too, but kept finite, since no comparison of NaN says anything; f16 and bf16 keep all bits."""
import sys

import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import GGML_QUANT_SIZES
from gguf.quants import dequantize

# (type, blocks, offsets of half-precision fields)
TYPES = [(T.F16, 256, []), (T.BF16, 256, []), (T.Q4_0, 8, [0]), (T.Q4_1, 8, [0, 2]), (T.Q5_0, 8, [0]),
         (T.Q5_1, 8, [0, 2]), (T.Q8_0, 8, [0]), (T.Q6_K, 3, [208]),
         (T.Q4_K, 3, [0, 2]), (T.Q5_K, 3, [0, 2]), (T.Q3_K, 3, [108]),
         (T.Q2_K, 3, [80, 82])]


def main():
    generator = np.random.default_rng(1)
    with open(sys.argv[1], "wb") as output:
        for kind, blocks, halves in TYPES:
            size = GGML_QUANT_SIZES[kind][1]
            data = generator.integers(0, 256, (blocks, size), dtype=np.uint8)
            for at in halves:
                scales = generator.normal(0, 0.1, (blocks, 1)).astype(np.float16)
                data[:, at:at + 2] = scales.view(np.uint8)
            output.write(data.tobytes())
            output.write(dequantize(data.reshape(1, -1), kind).astype(np.float32).tobytes())


if __name__ == "__main__":
    main()
