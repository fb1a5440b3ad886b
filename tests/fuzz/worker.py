"""A process that makes cases and tries them, one after the other, for the command that started it.

It reads a number from its standard input, makes the case of that number in its folder and says so, calls the reader
under limits and watched, and answers with one line of JSON. What ends or stops it is the case's fault, which the
command sees.
"""

import argparse
import contextlib
import faulthandler
import io
import json
import os
import shutil
import sys
import traceback
import unicodedata
import warnings

FLOOR = 256 * 2**20  # bytes: below this, memory is not a fault
LONGEST = 2000  # characters of a sentence


def main():
    """Answer numbers with verdicts until the input ends."""
    p = argparse.ArgumentParser()
    p.add_argument("--seed", type=int, required=True)
    p.add_argument("--work", required=True)
    p.add_argument("--only", action="append")
    args = p.parse_args()
    answers, sys.stdout = sys.stdout, io.StringIO()
    os.makedirs(args.work, exist_ok=True)
    log = open(os.path.join(args.work, "crash.txt"), "w")  # noqa: SIM115  kept open for faulthandler
    faulthandler.enable(log)
    sys.dont_write_bytecode = True
    os.environ["MINAST_CACHE"] = os.path.join(args.work, "cache")
    warnings.simplefilter("error", RuntimeWarning)
    tries = Tries(args)
    os.dup2(log.fileno(), 2)  # what libraries in C print about damaged sounds
    print(json.dumps({"ready": list(tries.honest)}), file=answers, flush=True)
    for line in sys.stdin:
        case = tries.make(int(line))
        print(json.dumps({"made": int(line)}), file=answers, flush=True)
        print(json.dumps({"number": int(line), **tries.one(*case)}), file=answers, flush=True)


class Tries:
    """The readers, what they make of the good files, and the guard."""

    def __init__(self, args):
        from . import guard, reader, readers

        self.args, self.limits, self.changed = args, guard, reader.case
        self.case, self.write = os.path.join(args.work, "case"), reader.write
        everything = readers.all_readers(os.path.join(args.work, "shared"))
        self.readers = {name: r for name, r in everything.items() if not args.only or {name, r.owner} & {*args.only}}
        self.honest, self.need = {}, {}
        self.guard = guard.Guard(args.work)
        for name, tried in self.readers.items():  # twice: the first time modules are imported
            for _ in range(2):
                self.fresh(tried.files)
                before = guard.forget_peak()
                self.honest[name] = tried.read(self.case) if name != "flags" else None
                self.need[name] = guard.status("VmHWM") - before
        guard.limit_memory()

    def fresh(self, files):
        shutil.rmtree(self.case, ignore_errors=True)
        os.makedirs(self.case)
        self.write(self.case, files)

    def make(self, number):
        """Write the files of a case.   -> name of its reader, whether its change is free, what it is"""
        name, files, free, what = self.changed(self.readers, self.args.seed, number)
        self.fresh(files)
        return name, free, what

    def one(self, name, free, what):
        """-> the verdict on a case"""
        sys.stdout, sys.stderr = io.StringIO(), io.StringIO()
        before = self.limits.forget_peak()
        verdict, detail = self.tried(name, free)
        took = self.limits.status("VmHWM") - before
        if verdict != "fault" and took > max(FLOOR, 4 * self.need[name]):
            verdict = "fault"
            detail = f"memory: {took / 2**20:.0f} MiB, the good file needs {self.need[name] / 2**20:.0f}"
        return {"reader": name, "what": what, "verdict": verdict, "detail": detail}

    def tried(self, name, free):
        import minast

        self.guard.watch()
        try:
            understood = self.readers[name].read(self.case)
        except minast.Error as error:
            return judged(str(error))
        except SystemExit as left:
            said = sys.stderr.getvalue().strip().splitlines() or [""]
            return judged(said[-1].rstrip(".") + ".") if left.code == 2 else ("fault", f"exit {left.code}")
        except BaseException as error:
            return "fault", described(error)
        finally:
            seen = self.guard.leave()
        if seen:
            return "fault", f"forbidden: {seen[0]}"
        if understood == self.honest[name]:
            return "same", ""
        return ("changed", "") if free else ("fault", "accepted with other content, in silence")


def judged(sentence):
    """A refusal must be one sentence that is safe to print."""
    strange = [c for c in sentence if unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp")]
    if strange or len(sentence) > LONGEST or not sentence.endswith("."):
        what = f"has {strange[0]!r}" if strange else f"has {len(sentence)} characters or no end"
        return "fault", f"the sentence {what}: {sentence[:300]!r}"
    return "refused", sentence


def described(error):
    """Type, message and place of what was raised."""
    inside = [f for f in traceback.extract_tb(error.__traceback__) if f"{os.sep}minast{os.sep}" in f.filename] or [None]
    at = f" at {os.path.basename(inside[-1].filename)}:{inside[-1].lineno}" if inside[-1] else ""
    with contextlib.suppress(Exception):
        return f"{type(error).__name__}: {str(error)[:200]!r}{at}"
    return f"{type(error).__name__}{at}"


if __name__ == "__main__":
    main()
