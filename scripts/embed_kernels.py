"""Writes the OpenCL sources as a C table to stdout. usage: embed_kernels.py FILE...
Names are relative to clkernels/, so that a folder named by CLINFER_KERNELS can stand in for the table."""
import sys

print("/* Made by scripts/embed_kernels.py; do not edit. */")
print('#include "device/kernels.h"\n')
print("const struct ci_kernel_source ci_kernel_sources[] = {")
for path in sys.argv[1:]:
    name = path.split("clkernels/", 1)[1]
    print(f'    {{"{name}",')
    for line in open(path):
        text = line.rstrip("\n").replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?")
        print(f'     "{text}\\n"')
    print("    },")
print("    {0, 0}};")
