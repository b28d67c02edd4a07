#!/usr/bin/env python3
"""Holds the includes of runtime/ and tuner/ to the order of docs/layers.txt. Prints one line per violation.

usage: check_layers.py [LAYERS.txt [ROOT]]      (made for: check_layers.py docs/layers.txt .)

Reads the quoted and angled includes as text: no compiler is needed, and what is inside #if counts too."""
import glob
import os
import re
import sys

INCLUDE = re.compile(r'^\s*#\s*include\s*(["<])([^">]+)[">]')
PUBLIC_HEADER = "clinfer.h"


def read_table(path):
    level, confined, public = {}, {}, set()
    with open(path, encoding="utf-8") as table:
        for number, line in enumerate(table, 1):
            words = line.split("#")[0].split()
            if not words:
                continue
            kind, rest = words[0], words[1:]
            if kind == "layer" and rest:
                level.update({folder: number for folder in rest})
            elif kind == "confine" and len(rest) >= 2:
                confined[rest[0]] = set(rest[1:])
            elif kind == "public" and rest:
                public.update(rest)
            else:
                sys.exit(f"{path}:{number}: expected: layer FOLDER..., confine HEADER FOLDER..., public FILE...")
    return level, confined, public


def read_sources(root):
    """{folder/file: [(line, is quoted, included name)]} of everything that is C."""
    sources = {}
    for base in ("runtime/*/*", "tuner/*"):
        for path in glob.glob(os.path.join(root, base)):
            if os.path.splitext(path)[1] not in (".c", ".h", ".inc"):
                continue
            name = "/".join(path.split(os.sep)[-2:])
            with open(path, encoding="utf-8") as text:
                found = [(number, INCLUDE.match(line)) for number, line in enumerate(text, 1)]
            sources[name] = [(number, match[1] == '"', match[2]) for number, match in found if match]
    return sources


def resolve(name, included, sources):
    """The source that an include means: from runtime/, or from the including file's own folder."""
    if included in sources:
        return included
    beside = os.path.dirname(name) + "/" + included
    return beside if beside in sources else None


def reached(name, sources):
    """Every source that `name` includes, directly or not, with the file that does it."""
    ways, waiting = {}, [name]
    while waiting:
        current = waiting.pop()
        for _, _, included in sources.get(current, []):
            target = resolve(current, included, sources)
            if target and target not in ways:
                ways[target] = current
                waiting.append(target)
    return ways


def main():
    table = sys.argv[1] if len(sys.argv) > 1 else "docs/layers.txt"
    root = sys.argv[2] if len(sys.argv) > 2 else "."
    level, confined, public = read_table(table)
    sources = read_sources(root)
    errors = []
    for name, includes in sorted(sources.items()):
        folder = os.path.dirname(name)
        if folder not in level:
            errors.append(f"{name}: the folder {folder} stands in no line of {table}")
            continue
        for number, _, included in includes:
            target = resolve(name, included, sources)
            other = os.path.dirname(target) if target else None
            if other and other != folder and level.get(other, 0) >= level[folder]:
                errors.append(f"{name}:{number}: includes {target}, which is no layer below {folder}")
            for header, allowed in confined.items():
                if not target and (included == header or included.startswith(header)) and folder not in allowed:
                    errors.append(f"{name}:{number}: <{included}> belongs to {', '.join(sorted(allowed))} only")
    for name in sorted(public):
        for target, by in sorted(reached(name, sources).items()):
            if os.path.dirname(target) != os.path.dirname(name):
                errors.append(f"{name}: reaches {target} through {by}, but may use <{PUBLIC_HEADER}> only")
    print("\n".join(errors) if errors else f"layers: {len(sources)} files in order")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
