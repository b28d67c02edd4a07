"""Names for what Intel's OpenCL runtime compiles into memory. It tells perf nothing, but debuggers a list of ELF files
(GDB's "JIT Compilation Interface": __jit_debug_descriptor); while a command runs the list is read from outside, and
written down where perf looks for names: /tmp/perf-PID.map."""
import glob
import mmap
import os
import struct
import threading

LIBRARY, DESCRIPTOR = "libintelocl.so", b"__jit_debug_descriptor"
LOOK_SECONDS = 0.25
SYMBOL_TABLE, FUNCTION = 2, 2
MOST_ENTRIES = 10000  # of a list that changes while it is read


def elf_sections(data):
    """(type, address, offset, size, link) of each section of a 64-bit ELF file."""
    if data[:6] != b"\x7fELF\x02\x01":
        return []
    offset, = struct.unpack_from("<Q", data, 40)
    size, count = struct.unpack_from("<HH", data, 58)
    fields = (struct.unpack_from("<IIQQQQI", data, offset + i * size) for i in range(count))
    return [(f[1], f[3], f[4], f[5], f[6]) for f in fields]


def elf_symbols(data):
    """(name, kind, section, value, size) of each symbol, and the sections."""
    sections = elf_sections(data)
    for kind, _, offset, size, link in sections:
        if kind != SYMBOL_TABLE:
            continue
        names = sections[link][2]
        for at in range(offset, offset + size, 24):
            name, info, _, section, value, length = struct.unpack_from("<IBBHQQ", data, at)
            yield data[names + name:data.find(b"\0", names + name)], info & 15, section, value, length


def descriptor_offset(path):
    """Where the library has the head of the list, as an address within it; None: nowhere."""
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        for name, _, _, value, _ in elf_symbols(data):
            if name == DESCRIPTOR:
                return value
    return None


def library_of(pid):
    """Path and base address of the library in a process, or None."""
    with open(f"/proc/{pid}/maps", encoding="utf-8", errors="replace") as file:
        for line in file:
            words = line.split(None, 5)
            if len(words) == 6 and LIBRARY in words[5] and int(words[2], 16) == 0:
                return words[5].rstrip("\n"), int(words[0].split("-")[0], 16)
    return None


def functions(memory, head):
    """(address, size, name) of all functions in the list."""
    def read(address, size):
        return os.pread(memory, size, address)

    entry, = struct.unpack("<Q", read(head + 16, 8))
    for _ in range(MOST_ENTRIES):
        if not entry:
            return
        entry, _, start, size = struct.unpack("<QQQQ", read(entry, 32))
        data = read(start, size)
        sections = elf_sections(data)
        for name, kind, section, value, length in elf_symbols(data):
            if kind == FUNCTION and 0 < section < len(sections) and length:
                yield sections[section][1] + value, length, name.decode("utf-8", "replace")


class Watcher:
    """While this lasts, processes of `binary` get their /tmp/perf-PID.map; removed at the end."""

    def __init__(self, binary):
        self.binary, self.ended = binary, threading.Event()
        self.offsets, self.written = {}, {}
        self.thread = threading.Thread(target=self.watch)

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *exception):
        self.ended.set()
        self.thread.join()
        for path in self.written:
            os.unlink(path)

    def watch(self):
        while not self.ended.wait(LOOK_SECONDS):
            for link in glob.glob("/proc/[0-9]*/exe"):
                try:
                    if os.readlink(link) == self.binary:
                        self.look(int(link.split("/")[2]))
                except (OSError, struct.error):
                    continue  # ended, or not ours, or in the middle of a change: the next look tells

    def look(self, pid):
        library = library_of(pid)
        if not library:
            return
        path, base = library
        if path not in self.offsets:
            self.offsets[path] = descriptor_offset(path)
        if self.offsets[path] is None:
            return
        memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
        try:
            lines = {f"{address:x} {size:x} {name}\n" for address, size,
                     name in functions(memory, base + self.offsets[path])}
        finally:
            os.close(memory)
        out = f"/tmp/perf-{pid}.map"
        lines |= self.written.get(out, set())
        if lines != self.written.get(out):
            with open(out, "w", encoding="utf-8") as file:
                file.writelines(sorted(lines))
            self.written[out] = lines
