"""Writes the OpenCL sources and the shipped profiles as C tables to stdout.
usage: embed_kernels.py KERNEL... --hashed SOURCE... --profiles PROFILE...
Names are relative to clkernels/, so that a folder named by CLINFER_KERNELS can stand in for the table.
Each comes with its hash (FNV-1a, base/hash.h), so that nobody has to read the text to know whether it changed; the C sources that results on the CPU depend on have one hash together, and those of its kernels another, of which comments and spacing are no part."""
import hashlib
import re
import sys


def fnv1a(data):
    value = 0xCBF29CE484222325
    for byte in data:
        value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return value


LITERAL = rb'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''
DIRECTIVE = rb"^[ \t]*#(?:\\\n|/\*.*?\*/|[^\n])*\n"
BLANK = rb"(?:/\*.*?\*/|//[^\n]*|[^\S\n]|\n(?![ \t]*#))+"


def code_of(path):
    """Without comments, and with one space for each blank; literals and the preprocessor's lines as they are."""
    pattern = b"(" + DIRECTIVE + b"|" + LITERAL + b")|" + BLANK
    return re.sub(pattern, lambda found: found[1] or b" ", open(path, "rb").read(), flags=re.S | re.M)


def literals(text):
    """The text as lines of C string literals."""
    for line in text.splitlines():
        escaped = line.replace("\\", "\\\\").replace('"', '\\"').replace("??", "?\\?")
        print(f'     "{escaped}\\n"')


print("/* Made by scripts/embed_kernels.py; do not edit. */")
print('#include "device/kernels.h"\n#include "profile/shipped.h"\n')
print("const struct ci_kernel_source ci_kernel_sources[] = {")
kernels = sys.argv[1 : sys.argv.index("--hashed")]
hashed = sys.argv[sys.argv.index("--hashed") + 1 : sys.argv.index("--profiles")]
profiles = sys.argv[sys.argv.index("--profiles") + 1 :]
for path in kernels:
    name = path.split("clkernels/", 1)[1]
    print(f'    {{"{name}",')
    literals(open(path).read())
    print(f"     , UINT64_C(0x{fnv1a(open(path, 'rb').read()):x})}},")
print("    {0, 0, 0}};")
for name, paths in (("sources", hashed), ("kernels", [path for path in hashed if not path.startswith("runtime/ops/")])):
    together = hashlib.sha256(b"\n".join(code_of(path) for path in paths)).hexdigest()[:16]
    print(f"\nconst uint64_t ci_cpu_{name}_hash = UINT64_C(0x{together});")
print("\nconst struct ci_profile_shipped ci_profiles_shipped[] = {")
for path in profiles:
    text = "".join(line + "\n" for line in open(path, encoding="utf-8").read().splitlines())
    print(f'    {{"{path.rsplit("/", 1)[-1].removesuffix(".json")}",')
    literals(text)
    print(f"     , {len(text.encode())}}},")
print("    {0, 0, 0}};")
