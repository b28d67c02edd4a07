"""What perf-ops, perf-flame and perf-stat share: the probes of a clinfer binary, listening to them with perf, and clear
words where that cannot be.

The probes are found in the ELF notes of the binary (USDT, see runtime/trace/probes.h) and written into tracefs by hand:
`perf probe` would record the texts among their arguments as addresses only."""
import collections
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile

TRACEFS = ("/sys/kernel/tracing", "/sys/kernel/debug/tracing")
NOTE_TYPE, NOTE_NAME, PROVIDER = 3, b"stapsdt\0", "clinfer"

# The arguments of each probe, as runtime/trace/probes.h has them; those with a * are texts.
ARGUMENTS = {
    "op_begin": "step op* label* variant* rows k n",
    "op_end": "step",
    "op_done": "op* label* variant* phase* k n more start end",
    "run_begin": "phase* rows sequences",
    "token": "request index id known",
    "request_begin": "request prompt cached most",
    "request_end": "request tokens finish status",
    "kernel_build": "kernel* options* key time from_cache status",
    "fallback": "op* label* reason*",
    "quarantine": "op* variant* types* reason*",
    "transfer": "label* bytes from to",
    "rung": "name* kind status tokens time",
    "tune_trial": "op* variant* outcome* call trial",
    "probe_begin": "step op* label* variant* rows k n",
    "probe_end": "step",
}

FAILED, USAGE, CANNOT_LISTEN = 1, 2, 77  # exit statuses, beside those of clinfer

Site = collections.namedtuple("Site", "probe offset arguments")
Event = collections.namedtuple("Event", "time thread name values")


class CannotListen(Exception):
    """perf, tracefs or the permission is missing; the text says what to do."""


# ---- the probes of a binary ----

def sections(data):
    """(name, address, offset, size) of each section, and (address, offset, size) of each loaded segment."""
    if data[:6] != b"\x7fELF\x02\x01":
        return [], []
    phoff, shoff = struct.unpack_from("<QQ", data, 32)
    phsize, phcount, shsize, shcount, names = struct.unpack_from("<HHHHH", data, 54)
    raw = [struct.unpack_from("<IIQQQQ", data, shoff + i * shsize) for i in range(shcount)]
    strings = raw[names][4]
    found = [(data[strings + s[0]:data.index(b"\0", strings + s[0])].decode(), s[3], s[4], s[5]) for s in raw]
    loads = [struct.unpack_from("<IIQQQQ", data, phoff + i * phsize) for i in range(phcount)]
    return found, [(p[3], p[2], p[5]) for p in loads if p[0] == 1]


def probe_sites(path):
    """Where the binary has clinfer's probes, as offsets into the file."""
    with open(path, "rb") as file:
        data = file.read()
    found, loads = sections(data)
    places = {name: (address, offset, size) for name, address, offset, size in found}
    if ".note.stapsdt" not in places:
        return []
    base_now = places.get(".stapsdt.base", (0, 0, 0))[0]
    _, at, size = places[".note.stapsdt"]
    end, sites = at + size, []
    while at + 12 <= end:
        name_size, text_size, kind = struct.unpack_from("<III", data, at)
        text = at + 12 + (name_size + 3) // 4 * 4
        if kind == NOTE_TYPE and data[at + 12:at + 12 + name_size] == NOTE_NAME:
            address, base, _ = struct.unpack_from("<QQQ", data, text)
            provider, probe, arguments = data[text + 24:text + text_size].split(b"\0")[:3]
            address += base_now - base if base_now else 0
            offsets = [address - start + offset for start, offset, length in loads if start <= address < start + length]
            if provider.decode() == PROVIDER and offsets:
                sites.append(Site(probe.decode(), offsets[0], arguments.decode().split()))
        at = text + (text_size + 3) // 4 * 4
    return sites


# As the kernel calls the registers of x86-64; those of aarch64 have the same names everywhere.
X86 = {form: name for name in ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
       for form in ("r" + name, "e" + name, name, name + "l", name[0] + "l")}
X86.update({f"r{i}{suffix}": f"r{i}" for i in range(8, 16) for suffix in ("", "d", "w", "b")})


def fetch(argument, name):
    """An argument of a note ("-4@%eax", "8@16(%rbp)", "4@$1", "8@x0", "8@[sp, 16]") in the words of uprobe_events."""
    size, _, place = argument.partition("@")
    bits = 8 * abs(int(size))
    kind = ("s" if size.startswith("-") else "u") + str(bits)
    x86 = re.fullmatch(r"(?:(-?\d*)\()?%(\w+)\)?", place)
    arm = re.fullmatch(r"([xw]\d+)|\[([a-z]+\d*)(?:, *(-?\d+))?\]", place)
    if place.startswith("$") or re.fullmatch(r"-?\d+", place):
        value = "\\" + place.lstrip("$")
    elif x86:
        value = "%" + X86.get(x86[2], x86[2])
        if "(" in place:
            value = f"{int(x86[1] or 0):+d}({value})"
    elif arm:
        value = "%" + arm[1].replace("w", "x") if arm[1] else f"{int(arm[3] or 0):+d}(%{arm[2]})"
    else:
        raise CannotListen(f"the argument {argument} of a probe is not understood")
    if name.endswith("*"):
        return f"{name[:-1]}=+0({value}):string"
    return f"{name}={value}:{kind}"


def definitions(path, group, wanted):
    """Lines for uprobe_events. A probe that the compiler has put in several places becomes as many events."""
    lines, seen = [], collections.Counter()
    for site in probe_sites(path):
        if site.probe not in wanted:
            continue
        names = ARGUMENTS[site.probe].split()
        if len(names) != len(site.arguments):
            raise CannotListen(f"{path}: the probe {site.probe} has {len(site.arguments)} arguments, these scripts "
                               f"expect {len(names)}: they belong to another version of clinfer")
        seen[site.probe] += 1
        event = site.probe + (f"__{seen[site.probe]}" if seen[site.probe] > 1 else "")
        fetched = " ".join(fetch(argument, name) for argument, name in zip(site.arguments, names))
        lines.append(f"p:{group}/{event} {path}:{site.offset:#x} {fetched}")
    return lines


# ---- what this machine allows ----

def find_perf():
    perf = shutil.which("perf")
    if not perf:
        raise CannotListen("perf is not installed. On Debian: apt-get install linux-perf")
    done = subprocess.run([perf, "version"], capture_output=True, text=True)
    if done.returncode:
        raise CannotListen(f"{perf} does not run on this kernel: {(done.stderr or done.stdout).strip()}")
    return perf


def find_tracefs():
    for folder in TRACEFS:
        events = os.path.join(folder, "uprobe_events")
        try:
            os.close(os.open(events, os.O_WRONLY | os.O_APPEND))
            return folder
        except FileNotFoundError:
            continue
        except OSError as error:
            raise CannotListen(f"{events}: {error.strerror}. Probes in programs are the business of root: run this "
                               f"through sudo (sudo -E keeps your models' folder)") from error
    with open("/proc/filesystems", encoding="utf-8") as file:
        known = "tracefs" in file.read()
    if not known:
        raise CannotListen("this kernel has no tracefs (CONFIG_FTRACE, CONFIG_UPROBE_EVENTS): it knows no probes in "
                           "programs. Everything else of docs/profiling.md works without")
    if os.path.isdir(TRACEFS[0]) and os.listdir(TRACEFS[0]):
        raise CannotListen(f"{TRACEFS[0]} has no uprobe_events: this kernel was built without CONFIG_UPROBE_EVENTS")
    raise CannotListen(f"tracefs is not mounted, or not for you. As root: mount -t tracefs tracefs {TRACEFS[0]}")


def paranoid(perf_needs):
    """The kernel's own limit for who is not root."""
    try:
        with open("/proc/sys/kernel/perf_event_paranoid", encoding="utf-8") as file:
            level = int(file.read())
    except (OSError, ValueError):
        return
    if os.geteuid() != 0 and level > perf_needs:
        raise CannotListen(f"kernel.perf_event_paranoid is {level}. As root: sysctl kernel.perf_event_paranoid="
                           f"{perf_needs}, or run this through sudo")


# ---- listening ----

class Probes:
    """The probes of a binary, known to the kernel as events of a group of their own while this lasts."""

    def __init__(self, binary, wanted):
        self.binary, self.wanted = os.path.realpath(binary), wanted
        self.group = f"clinfer_{os.getpid()}"
        self.names = []

    def __enter__(self):
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # by way of __exit__
        self.events = os.path.join(find_tracefs(), "uprobe_events")
        lines = definitions(self.binary, self.group, self.wanted)
        if not lines:
            raise CannotListen(f"{self.binary} has no probes: it was built without <sys/sdt.h>. On Debian: "
                               "apt-get install systemtap-sdt-dev, and make again")
        try:
            for line in lines:
                self.write(line)
                self.names.append(line.split()[0][2:])
        except CannotListen:
            self.__exit__()
            raise
        return self

    def write(self, line):
        # Without O_APPEND the probes of others would go; Python's own files seek, which tracefs refuses.
        file = os.open(self.events, os.O_WRONLY | os.O_APPEND)
        try:
            os.write(file, line.encode() + b"\n")
        except OSError as error:
            raise CannotListen(f"{self.events}: {error.strerror}, for: {line}") from error
        finally:
            os.close(file)

    def __exit__(self, *exception):
        for name in self.names:
            try:
                self.write(f"-:{name}")
            except CannotListen as error:
                sys.stderr.write(f"a probe could not be removed: {error}\n")

    def perf_events(self):
        return [word for name in self.names for word in ("-e", name.replace("/", ":"))]


LINE = re.compile(r"^\s*(?:.*?)\s+(\d+)\s+(\d+)\.(\d+):\s+clinfer_\d+:(\w+?)(?:__\d+)?: \([0-9a-f]+\) ?(.*)$")
VALUE = re.compile(r'(\w+)=("[^"]*"|\S+)')


def parse_event(line):
    """One probe in what perf script prints; None: something else. Times are nanoseconds."""
    match = LINE.match(line)
    if not match:
        return None
    values = {}
    for name, value in VALUE.findall(match[5]):
        values[name] = value[1:-1] if value.startswith('"') else int(value, 0) if value.lstrip("-").isdigit() else value
    time = int(match[2]) * 10**9 + int(match[3].ljust(9, "0"))
    return Event(time, int(match[1]), match[4], values)


def run_command(words, **options):
    """Runs and waits; an interrupt from the keyboard is the command's to answer, since all of us get it."""
    process = subprocess.Popen(words, **options)
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        out, err = process.communicate()
    finally:
        signal.signal(signal.SIGINT, before)
    return process.returncode, out, err


def find_binary(words):
    """The command's program as a path; a script that starts it would hide it from the probes."""
    path = shutil.which(words[0])
    if not path:
        sys.stderr.write(f"{words[0]}: no such command\n")
        sys.exit(USAGE)
    return os.path.realpath(path)


def folder_for(keep):
    """Where perf's data goes: (path, what to do with it at the end)."""
    if keep:
        os.makedirs(keep, exist_ok=True)
        return keep, lambda: None
    path = tempfile.mkdtemp(prefix="clinfer-perf-")
    return path, lambda: shutil.rmtree(path, ignore_errors=True)
