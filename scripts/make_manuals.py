#!/usr/bin/env python3
"""A man page for a command, of what is written already: its --help, which comes from the tables of its options, and its
paragraphs in docs/clinfer.1.

  scripts/make_manuals.py --tool build/release/clinfer --manual docs/clinfer.1 --folder DIR COMMAND...

Writes DIR/clinfer-COMMAND.1 for each. Paths of whoever runs it stand in none of them."""
import argparse
import os
import re
import subprocess
import sys


def help_of(tool, command):
    variables = {name: value for name, value in os.environ.items()
                 if name in ("PATH", "LD_LIBRARY_PATH", "ASAN_OPTIONS", "LSAN_OPTIONS")}
    text = subprocess.run([tool, command, "--help"], env={**variables, "HOME": "/home/you", "LC_ALL": "C.UTF-8"},
                          check=True, stdout=subprocess.PIPE, text=True, encoding="utf-8").stdout
    return text.replace("/home/you/", "~/")


def roff(text):
    """As text of a line of its own."""
    text = text.replace("\\", "\\e").replace("-", "\\-").replace("'",
                                                                 "\\(aq").replace("^", "\\(ha").replace("~", "\\(ti")
    return "\\&" + text if text.startswith(".") else text


def sections_of(text):
    """[(title, lines)] of a help's text; the first one has no title. A title stands at the margin behind an empty line,
    and what follows is indented."""
    sections, lines = [("", [])], text.rstrip("\n").split("\n")
    for i, line in enumerate(lines):
        behind_empty = i > 0 and not lines[i - 1]
        if line and line[0] != " " and behind_empty and i + 1 < len(lines) and lines[i + 1].startswith("  "):
            sections.append((line.rstrip(":"), []))
        else:
            sections[-1][1].append(line)
    return sections


def options_of(lines):
    """[(what stands left, text)] of lines "  -p, --prompt TEXT   words", which may go on below the words."""
    options = []
    for line in lines:
        if re.match(r"  -", line):
            left, _, words = line[2:].partition("  ")
            options.append([left.strip(), [words.strip()]])
        elif options and line.startswith("   "):
            options[-1][1].append(line.strip())
    return [(left, " ".join(word for word in words if word)) for left, words in options]


def bold_flags(left):
    """Flags bold, what they take in italics."""
    out = []
    for word in left.split(" "):
        bare = word.rstrip(",")
        out.append(f"\\f{'B' if bare.startswith('-') else 'I'}{roff(bare)}\\fR{word[len(bare):]}")
    return " ".join(out)


def body(lines):
    """Sections that are no list of options: as they stand where they are indented, else as text."""
    out, kept = [], False
    for line in [*lines, ""]:
        indented = line.startswith("  ")
        if indented != kept and (indented or line):
            out.append(".nf" if indented else ".fi")
            kept = indented
        if not line and not kept and out and out[-1] != ".PP":
            out.append(".PP")
        elif line:
            out.append(roff(line[2:] if indented else line))
    if kept:
        out.append(".fi")
    while out and out[-1] == ".PP":
        out.pop()
    return out


def paragraphs_of(manual, command):
    """What the manual's list of commands says of it."""
    lines = manual.split("\n")
    begin = lines.index(".SH COMMANDS")
    end = next(i for i in range(begin + 1, len(lines)) if lines[i].startswith(".SH"))
    for i in range(begin, end):
        if lines[i] == ".TP" and lines[i + 1] == f".B {command}":
            stop = next((k for k in range(i + 2, end) if lines[k] == ".TP" and lines[k + 1].startswith(".B ") and
                         not lines[k + 1].startswith(".B \\-") and is_command(lines, k, begin, end)), end)
            return [".PP" if line == ".IP" else line for line in lines[i + 2:stop]]
    sys.exit(f"docs/clinfer.1: COMMANDS says nothing of {command}")


def is_command(lines, k, begin, end):
    """Nested lists stand between .RS and .RE."""
    return lines[begin:k].count(".RS") == lines[begin:k].count(".RE") and k < end


def page(tool, manual, command, summary):
    sections = sections_of(help_of(tool, command))
    first = sections[0][1]
    usage = [line for line in first if line.startswith("Usage:") or line.startswith("       clinfer")]
    out = [f".TH CLINFER\\-{command.upper()} 1 \"\" \"clinfer\" \"User Commands\"", ".SH NAME",
           f"clinfer\\-{command} \\- {roff(summary)}", ".SH SYNOPSIS"]
    for i, line in enumerate(usage):
        out += [".br"] if i else []
        out.append("\\fBclinfer " + command + "\\fR " + roff(re.sub(r"^(Usage:|) *clinfer \S+ ?", "", line)))
    out += [".SH DESCRIPTION", *paragraphs_of(manual, command)]
    examples = []
    if any(options_of(lines) for _, lines in sections):
        out.append(".SH OPTIONS")
    for title, lines in sections[1:]:
        if title == "Examples":
            examples = [line for line in lines if line]
            continue
        out.append(f".SS {roff(title)}")
        options = options_of(lines)
        if not options:
            out += body(lines)
        for left, words in options:
            out += [".TP", bold_flags(left), roff(words[:1].upper() + words[1:]) if words else "\\&"]
    if examples:
        out += [".SH EXAMPLES", ".nf", *(roff(line.strip()) for line in examples), ".fi"]
    out += [".SH SEE ALSO", ".BR clinfer (1)", "has the sections that are named here, and all that commands have in common.", ""]
    return "\n".join(out)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("tool", "manual", "folder"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("commands", nargs="+")
    arguments = parser.parse_args()
    with open(arguments.manual, encoding="utf-8") as file:
        manual = file.read()
    known = subprocess.run([arguments.tool, "--help"], check=True, stdout=subprocess.PIPE, text=True).stdout
    for command in arguments.commands:
        line = re.search(rf"^  {command}  +(.*)$", known, re.M)
        if not line:
            sys.exit(f"clinfer --help does not name {command}")
        with open(os.path.join(arguments.folder, f"clinfer-{command}.1"), "w", encoding="utf-8") as file:
            file.write(page(arguments.tool, manual, command, line[1]))


if __name__ == "__main__":
    main()
