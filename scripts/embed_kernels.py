"""Writes the OpenCL sources as a C table to stdout. usage: embed_kernels.py KERNEL... --hashed SOURCE...
Names are relative to clkernels/, so that a folder named by CLINFER_KERNELS can stand in for the table.
Each comes with its hash (FNV-1a, base/hash.h), so that nobody has to read the text to know whether it changed; the C sources of the CPU's kernels have one hash together."""
import hashlib
import sys


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


print("/* Made by scripts/embed_kernels.py; do not edit. */")
print('#include "device/kernels.h"\n')
print("const struct ci_kernel_source ci_kernel_sources[] = {")
kernels = sys.argv[1 : sys.argv.index("--hashed")]
hashed = sys.argv[sys.argv.index("--hashed") + 1 :]
for path in kernels:
    name = path.split("clkernels/", 1)[1]
    print(f'    {{"{name}",')
    for line in open(path):
        text = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?")
        print(f'     "{text}\\n"')
    print(f"     , UINT64_C(0x{fnv1a(open(path, 'rb').read()):x})}},")
print("    {0, 0, 0}};")
together = hashlib.sha256(b"".join(open(path, "rb").read() for path in hashed)).hexdigest()[:16]
print(f"\nconst uint64_t ci_cpu_sources_hash = UINT64_C(0x{together});")
