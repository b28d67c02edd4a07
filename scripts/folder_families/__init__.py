"""The families that make_folder.py knows: each a function that says how the Hub has it and what its twin is called."""
from . import experts, gated, normed
from .parts import CONTEXT, FAMILIES, HEADS, LAYERS, WIDTH, merged
