#!/usr/bin/env python3
"""llama-server's own pytest suite, unmodified, against `clinfer serve`; a table by file beside what llama-server
passes.

  scripts/check_suite.py --peer build/peer [--hub DIR] [--tool PATH] [--python PATH] [--device cpu] [FILE...]

--peer     a folder of scripts/peer.sh: the suite is that of its source tree
--hub      a cache in the Hub's layout with the models that the suite names (default PEER/hub); stand-ins will do
--python   one that has what tools/server/tests/requirements.txt lists, and pytest-timeout (default
           PEER/venv/bin/python)
--floor    how many tests have to pass; less is an error
FILE       chat_completion, completion, ... (default: all that clinfer means to answer)

The server gets llama-server's flags as the suite has them; only --allow-model-changes and, without --tools,
--cors-origins '*' are added, since clinfer's defaults let no foreign page in, and nobody without a key load and unload
models. What a router is told to fetch comes from a Hub on loopback (HF_ENDPOINT), for which its --offline is left out.
What llama-server passes was counted with the same stand-ins, without such a Hub: there two tests of router fail."""
import argparse
import glob
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import xml.etree.ElementTree as xml

# Passed by llama-server, of how many. Two of compat_anthropic want a 500 for images, which here is a 400.
PEER = {"basic": (6, 8), "chat_completion": (52, 52), "completion": (38, 39), "ctx_shift": (5, 5), "ignore_eos": (2, 2),
        "template": (35, 35), "metrics": (10, 10), "security": (23, 29), "tool_call": (6, 6), "tokenize": (3, 3),
        "compat_oai_responses": (3, 3), "compat_anthropic": (27, 28), "sleep": (4, 4), "router": (15, 17),
        "embedding": (33, 33), "rerank": (12, 16), "infill": (7, 8)}

# llama-server lets every page in unless it has --tools. A router of the suite's is --offline and then told to fetch a
# model; clinfer would refuse that.
WRAPPER = """#!/bin/sh
set -- --allow-model-changes {device}"$@"
case " $* " in *" --tools "*|*" --cors-origins "*) ;; *) set -- --cors-origins '*' "$@" ;; esac
case " $* " in
*" --hf-repo "*|*" --model "*) ;;
*) for word; do shift; [ "$word" = --offline ] || set -- "$@" "$word"; done; unset HF_HUB_OFFLINE ;;
esac
exec '{tool}' serve "$@"
"""
# A router is told to fetch it. Its stand-in is that of stories260K but for a byte: the same bytes would only be linked.
FETCHED = "test-model-router-download"


def start_hub(hub):
    """A Hub on loopback for what the router is told to fetch: (its process, its address)."""
    found = glob.glob(os.path.join(hub, "models--ggml-org--test-model-stories260K/snapshots/*/*.gguf"))
    folder = os.path.abspath("build/suite/hub")
    os.makedirs(folder, exist_ok=True)
    child = subprocess.Popen([sys.executable, "tests/support/hub_server.py", folder], text=True, stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE)
    address = json.loads(child.stdout.readline())["http"]
    if found:
        stand_in = os.path.join(folder, "fetched.gguf")
        with open(found[0], "rb") as source, open(stand_in, "wb") as target:
            data = bytearray(source.read())
            data[-1] ^= 1
            target.write(data)
        files = {FETCHED + "-F16.gguf": {"file": stand_in, "large": True}}
        child.stdin.write("put " + json.dumps({"name": FETCHED, "version": 1, "files": files}) + "\n")
        child.stdin.flush()
        child.stdout.readline()
    return child, address


def free_port():
    """Below those that connections get by themselves: there one may be taken at any time."""
    while True:
        port = random.randint(20000, 32000)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
                return port
            except OSError:
                pass


def prepare(arguments):
    """A copy of the suite, beside the templates that it reads, and the program that it takes for llama-server."""
    folder = os.path.abspath("build/suite")
    tests = os.path.join(folder, "tools/server/tests")
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(os.path.join(arguments.peer, "src/tools/server/tests"), tests)
    os.makedirs(os.path.join(folder, "models"))
    os.makedirs(os.path.join(tests, "tmp"), exist_ok=True)
    os.symlink(os.path.abspath(os.path.join(arguments.peer, "src/models/templates")),
               os.path.join(folder, "models/templates"))
    server = os.path.join(folder, "as_llama_server")
    device = f"--device {arguments.device} " if arguments.device else ""
    with open(server, "w", encoding="utf-8") as script:
        script.write(WRAPPER.format(tool=os.path.abspath(arguments.tool), device=device))
    os.chmod(server, 0o755)
    return tests, server


def run(arguments, tests, server, report):
    cache = os.path.abspath(arguments.hub or os.path.join(arguments.peer, "hub"))
    hub, address = start_hub(cache)
    environment = {**os.environ, "LLAMA_CACHE": cache, "HF_ENDPOINT": address,
                   "LLAMA_SERVER_BIN_PATH": server, "HF_HUB_OFFLINE": "1", "PYTHONDONTWRITEBYTECODE": "1",
                   "PORT": os.environ.get("PORT", str(free_port()))}
    files = [f"unit/test_{name}.py" for name in arguments.files or PEER]
    command = [arguments.python or os.path.join(os.path.abspath(arguments.peer), "venv/bin/python"), "-m", "pytest",
               "-q", "-m", "not slow", "-p", "no:cacheprovider", "--timeout", "60", "--tb=line", f"--junitxml={report}",
               *files]
    with open("build/suite/log", "wb") as log:
        subprocess.run(command, cwd=tests, env=environment, stdout=log, stderr=subprocess.STDOUT, check=False)
    hub.stdin.close()
    hub.wait()


def read(report):
    """{file: [passed, skipped, names of what failed]}"""
    found = {}
    for case in xml.parse(report).getroot().iter("testcase"):
        entry = found.setdefault(case.get("classname").split("test_", 1)[-1], [0, 0, []])
        if case.find("skipped") is not None:
            entry[1] += 1
        elif case.find("failure") is not None or case.find("error") is not None:
            entry[2].append(case.get("name"))
        else:
            entry[0] += 1
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peer", default="build/peer")
    parser.add_argument("--tool", default="build/release/clinfer")
    for name in ("hub", "python", "device"):
        parser.add_argument(f"--{name}")
    parser.add_argument("--floor", type=int, default=0)
    parser.add_argument("files", nargs="*")
    arguments = parser.parse_args()
    if not os.path.isdir(os.path.join(arguments.peer, "src/tools/server/tests")):
        sys.exit(f"{arguments.peer}: has no src/tools/server/tests; scripts/peer.sh makes such a folder")
    tests, server = prepare(arguments)
    report = os.path.abspath("build/suite/report.xml")
    run(arguments, tests, server, report)
    if not os.path.exists(report):
        sys.exit("the suite did not run: build/suite/log says why")
    found, passed, theirs, all_of_them = read(report), 0, 0, 0
    print(f"{'file':22}{'clinfer':>8}{'llama-server':>14}{'tests':>7}")
    for name, (good, skipped, failed) in found.items():
        peer = PEER.get(name)
        print(f"{name:22}{good:8}{peer[0] if peer else '':>14}{good + len(failed) + skipped:7}")
        passed, theirs, all_of_them = passed + good, theirs + (peer[0] if peer else 0), all_of_them + good + len(failed) + skipped
    print(f"{'together':22}{passed:8}{theirs:14}{all_of_them:7}")
    for name, (_, _, failed) in found.items():
        for test in failed:
            print(f"  failed: {name}: {test}")
    if passed < arguments.floor:
        sys.exit(f"{passed} tests pass; {arguments.floor} have to")


if __name__ == "__main__":
    main()
