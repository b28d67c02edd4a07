"""Writes the files of the server's web page as a C table to stdout.
usage: embed_page.py FILE...
Each comes with its type and its ETag, a hash of its bytes."""
import hashlib
import os
import sys

TYPES = {".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8",
         ".css": "text/css; charset=utf-8", ".svg": "image/svg+xml"}

print('/* Made by scripts/embed_page.py; do not edit. */\n#include "server/page.h"\n')
print("const struct ci_page_file ci_page_files[] = {")
for path in sys.argv[1:]:
    data = open(path, "rb").read()
    name, tag = os.path.basename(path), hashlib.sha256(data).hexdigest()[:16]
    print(f'    {{"/{name}", "{TYPES[os.path.splitext(name)[1]]}", "\\"{tag}\\"", {len(data)},')
    for line in data.splitlines(keepends=True):
        text = "".join(chr(b) if 32 <= b < 127 and b not in b'"\\?' else f"\\{b:03o}" for b in line)
        print(f'     "{text}"')
    print("    },")
print("    {0, 0, 0, 0, 0}};")
