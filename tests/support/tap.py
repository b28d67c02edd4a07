"""Runs the functions test_* of a script and prints TAP; all of them, or those that the command line names.

    import os, sys
    sys.path.insert(0, os.path.join(os.path.dirname(__file__), "../support"))
    import tap  # noqa: E402
    ...
    if __name__ == "__main__":
        tap.main(globals())
"""
import sys


class Skip(Exception):
    """Raised by a test that cannot run here; its text says why."""


def main(names):
    wanted = sys.argv[1:]
    tests = [(name, test) for name, test in names.items() if name.startswith("test_") and callable(test)]
    tests = [test for test in tests if not wanted or test[0] in wanted]
    print(f"1..{len(tests)}", flush=True)
    for number, (name, test) in enumerate(tests, 1):
        try:
            test()
            print(f"ok {number} - {name}", flush=True)
        except Skip as why:
            print(f"ok {number} - {name} # SKIP {why}", flush=True)
        except Exception as error:  # whatever it is, the other tests still run
            trace = error.__traceback__
            while trace.tb_next:
                trace = trace.tb_next
            print(f"# line {trace.tb_lineno}: {type(error).__name__}: {str(error)[:2000]!r}\nnot ok {number} - {name}",
                  flush=True)
