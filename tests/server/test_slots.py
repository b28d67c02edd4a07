#!/usr/bin/env python3
"""Slots of `clinfer serve`: saved, restored, erased; files that are wrong. Prints TAP."""
import os
import random
import sys
import tempfile

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../support"))
import serving  # noqa: E402
import tap  # noqa: E402

FOLDER = tempfile.TemporaryDirectory(prefix="clinfer-slots-")
PROMPT = "It was a dark and stormy night, and the rain fell in torrents, except at occasional intervals. " * 4
HEADER = 40  # magic, model, count, two first rows


def serve(*arguments):
    return serving.Serve("--slot-save-path", FOLDER.name, "--allow-model-changes", "--temp", "0", *arguments)


def complete(server, slot, prompt=PROMPT):
    return server.post("/completion", {"prompt": prompt, "id_slot": slot, "n_predict": 8, "return_tokens": True})


def change(server, slot, action, name=None, **more):
    return server.ask("POST", f"/slots/{slot}?action={action}", name and {"filename": name}, **more)


def path(name):
    return os.path.join(FOLDER.name, name)


def test_what_was_saved_is_there_after_a_restart():
    with serve() as server:
        first = complete(server, 1)
        assert first["timings"]["cache_n"] == 0
        status, _, saved = change(server, 1, "save", "one.bin")
        assert status == 200, saved
        assert saved["n_saved"] == first["timings"]["prompt_n"] + 7, (saved, first["timings"])  # the last one is not computed
        assert saved["n_written"] == os.path.getsize(path("one.bin")) and saved["id_slot"] == 1, saved
        assert os.stat(path("one.bin")).st_mode & 0o077 == 0
    with serve() as server:
        status, _, restored = change(server, 0, "restore", "one.bin")
        assert status == 200 and restored["n_restored"] == saved["n_saved"] and restored["n_read"] == saved["n_written"], restored
        again = complete(server, 0)
        assert again["timings"]["prompt_n"] == 1, again["timings"]
        assert again["tokens"] == first["tokens"], (again["content"], first["content"])
        # What was restored can be saved again, the same.
        assert change(server, 0, "restore", "one.bin")[0] == 200
        assert change(server, 0, "save", "two.bin")[0] == 200
        with open(path("one.bin"), "rb") as one, open(path("two.bin"), "rb") as two:
            assert one.read() == two.read()
        status, _, erased = change(server, 0, "erase")
        assert status == 200 and erased["n_erased"] == saved["n_saved"], erased
        assert complete(server, 0)["timings"]["cache_n"] == 0


def test_files_that_are_wrong_are_refused():
    with serve() as server:
        complete(server, 0)
        assert change(server, 0, "save", "whole.bin")[0] == 200
        with open(path("whole.bin"), "rb") as file:
            whole = file.read()
        change(server, 0, "erase")
        draw = random.Random(7)
        cuts = [0, 1, 7, HEADER - 1, HEADER, HEADER + 1, len(whole) - 1] + [draw.randrange(len(whole)) for _ in range(12)]
        wrong = [whole[:cut] for cut in cuts] + [whole + b"\0", b"x" * len(whole)]
        for at in [0, 8, 16, 20, 23, 24, 32, 39, HEADER, HEADER + 3] + [draw.randrange(len(whole)) for _ in range(12)]:
            wrong.append(whole[:at] + bytes([whole[at] ^ 0x80]) + whole[at + 1:])
        for data in wrong:
            with open(path("wrong.bin"), "wb") as file:
                file.write(data)
            status, _, answer = change(server, 0, "restore", "wrong.bin")
            assert status == 400 and "wrong.bin" in answer["error"]["message"] and FOLDER.name not in str(answer), (len(data), status, answer)
        assert complete(server, 0)["timings"]["cache_n"] == 0
    with serve("-ctv", "q8_0") as server:
        status, _, answer = change(server, 0, "restore", "whole.bin")
        assert status == 400 and "-ctk" in answer["error"]["message"], (status, answer)


def test_a_token_that_is_none_is_refused():
    """With a checksum that is right: whoever makes files can make that too."""
    with serve() as server:
        complete(server, 0)
        assert change(server, 0, "save", "token.bin")[0] == 200
        with open(path("token.bin"), "rb") as file:
            data = bytearray(file.read())
        data[HEADER:HEADER + 4] = (0x7FFFFFFF).to_bytes(4, "little")
        value = 0xCBF29CE484222325
        for byte in data[:-8]:
            value = (value ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
        data[-8:] = value.to_bytes(8, "little")
        with open(path("token.bin"), "wb") as file:
            file.write(data)
        status, _, answer = change(server, 0, "restore", "token.bin")
        assert status == 400 and "vocabulary" in answer["error"]["message"], (status, answer)
        assert complete(server, 0)["content"]


def test_names_slots_and_leave():
    with serve() as server:
        for name in ["../x", "a/b", ".hidden", "", "x" * 300, "a\nb", "a\\b"]:
            assert server.ask("POST", "/slots/0?action=save", {"filename": name})[0] == 400, name
        assert change(server, 0, "save")[0] == 400
        assert change(server, 0, "save", "empty.bin")[0] == 400  # nothing was asked of it
        assert change(server, 0, "restore", "missing.bin")[0] == 404
        assert change(server, 99, "save", "x.bin")[0] == 400
        assert change(server, 0, "burn", "x.bin")[0] == 400
        assert server.ask("POST", "/slots/x?action=erase")[0] == 400
        assert change(server, 0, "erase")[2]["n_erased"] == 0
        complete(server, 0)
        assert change(server, 1, "erase")[2]["n_erased"] == 0  # and of others nothing
        assert complete(server, 0)["timings"]["prompt_n"] == 1
        os.mkdir(path("folder.bin"))
        for action in ["save", "restore"]:
            status, _, answer = change(server, 0, action, "folder.bin")
            said = answer["error"]["message"]
            assert status == 500 and said.startswith("folder.bin: ") and FOLDER.name not in said, (status, answer)
    with serving.Serve("--slot-save-path", FOLDER.name) as server:
        assert change(server, 0, "save", "x.bin")[0] == 403
    with serving.Serve("--allow-model-changes") as server:
        assert change(server, 0, "save", "x.bin")[0] == 501


if __name__ == "__main__":
    tap.main(globals())
