#!/usr/bin/env python3
"""docs/profile-format.md against the tables in runtime/profile that read and write the files: every field, its type and
its range. Prints nothing when both agree."""
import re
import sys

NAMES = {"TEXT": "text", "NAME": "name", "HASH": "hash", "INT": "integer", "INT64": "integer", "UNSIGNED": "integer",
         "NUMBER": "number", "BOOL": "bool"}
SIZES = {"CI_PROFILE_NAME_BYTES": 48, "CI_PROFILE_TEXT_BYTES": 128, "CI_SETTING_WORD_BYTES": 16}


def read(path):
    with open(path, encoding="utf-8") as file:
        return file.read()


def members():
    """{(struct, member): bytes of a text}"""
    found = {}
    for header in ("profile.h", "settings.h", "quarantine.h"):
        for name, body in re.findall(r"struct (\w+) \{(.*?)\n\};", read("runtime/profile/" + header), re.S):
            for member, size in re.findall(r"(\w+)\[(\w+)\]", body):
                found[name, member] = SIZES.get(size) or (int(size) if size.isdigit() else 0)
    return found


def documented():
    """{field: (type, range)} of all tables, and the fields that may be missing somewhere; a field of the same name in two
    tables must not differ in type."""
    rows, optional = {}, set()
    for names, kind, limits in re.findall(r"^\| (`.*?`) \|([^|]*)\|([^|]*)\|", read("docs/profile-format.md"), re.M):
        for name in re.findall(r"`([\w.]+)`", names):
            rows.setdefault(name.split(".")[-1], []).append((kind.split(",")[0].strip(), limits.strip()))
            if "optional" in kind or "may be missing" in kind:
                optional.add(name.split(".")[-1])
    return rows, optional


def main():
    sizes, (rows, optional), errors, fields = members(), documented(), [], 0
    table = r"(TEXT|NAME|NUMBER|WHOLE)\((?:(\w+), )?(ci_\w+), (\w+)(?:, (\w+))?"
    sources = {"profile.c": table,
               "settings.c": table,
               "clblast.c": r"(XGEMM|DIRECT|ROUTINE)\(()()(\w+), (\d+), (\d+)\)",
               "quarantine.c": r"(TEXT|NAME|HASH)\(()()(\w+)(?:, (\w+))?\)"}
    for source, pattern in sources.items():
        text = re.sub(r"#define.*?[^\\]\n", "", read("runtime/profile/" + source), flags=re.S)
        for macro, kind, struct, member, least, *most in re.findall(pattern, text):
            fields += 1
            if most:
                if ("integer", f"{least}-{most[0]}") not in rows.get(member, []):
                    errors.append(f"{source}: {member} is no integer of {least}-{most[0]} in docs/profile-format.md")
                continue
            wanted = NAMES[kind or macro]
            struct = struct or "ci_quarantined"
            here = [limits for doc, limits in rows.get(member, []) if doc == wanted]
            if not here:
                errors.append(f"{source}: {member} is no {wanted} in docs/profile-format.md")
            elif wanted in ("text", "name") and f"{least}-{sizes[struct, member] - 1}" not in here:
                errors.append(f"{source}: {member} has {least}-{sizes[struct, member] - 1} bytes, the page says {here}")
    # Those that may be missing are written out, without a macro.
    written = r"\{\"(\w+)\", CI_FIELD_(\w+), offsetof\([^{}]*, (true|false)\}"
    for name, kind, missing in re.findall(written, read("runtime/profile/profile.c")):
        fields += 1
        if NAMES[kind] not in [doc for doc, _ in rows.get(name, [])]:
            errors.append(f"profile.c: {name} is no {NAMES[kind]} in docs/profile-format.md")
        if missing == "true" and name not in optional:
            errors.append(f"profile.c: {name} may be missing, and not in docs/profile-format.md")
    if fields < 40:
        errors.append(f"only {fields} fields found: the tables have another form than this test reads")
    print("\n".join(errors), end="")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
