"""Damaged, lying and attacking files, against every reader of minast: each must be one sentence or the right answer.

  python -m tests.fuzz --cases 2000 --seed 0
  python -m tests.fuzz --cases 500 --only pth --only resume
  python -m tests.fuzz --cases 500 --only structures
  python -m tests.fuzz --seed 0 --only pth --case 17          # one case again, its files kept in --out

A fault is a traceback, a hang, a crash, memory beyond four times what the good file needs, a forbidden act, or content
accepted that is not in the file. Exit status 1 if there was any; their files are in the folder --out.
"""

import argparse
import collections
import json
import math
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time

LIMIT = 10  # seconds for a case, of the processor's time
PATIENCE = 6  # times that by the clock: a machine that is busy otherwise is no hang
START = 120  # seconds for a worker to be ready


class Worker:
    """A process of worker.py; `ask(number)` gives its verdict, also if it dies or hangs over it."""

    def __init__(self, seed, work, only):
        self.words = [sys.executable, "-m", "tests.fuzz.worker", "--seed", str(seed), "--work", work]
        self.words += [word for name in only for word in ("--only", name)]
        self.work, self.process = work, None

    def start(self):
        self.process = subprocess.Popen(
            self.words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=os.environ | {"OPENBLAS_NUM_THREADS": "1"}
        )
        self.buffer = b""
        line = self._line(START)
        if line is None:
            raise SystemExit(f"the worker does not start: {' '.join(self.words)}")
        return line["ready"]

    def ask(self, number):
        if self.process is None or self.process.poll() is not None:
            self.start()
        self.process.stdin.write(b"%d\n" % number)
        self.process.stdin.flush()
        verdict = self._line(START) and self._in_time()  # the case is made, then tried
        if verdict is None:
            status = self.process.poll()
            detail = f"hang: more than {LIMIT} s" if status is None else f"crash: status {status}, {self.last_words()}"
            self.stop()
            return {"number": number, "reader": "?", "what": "?", "verdict": "fault", "detail": detail}
        return verdict

    def _in_time(self):
        """The verdict; None if the process has used LIMIT seconds for it, or sleeps."""
        began, used = time.monotonic(), self.seconds_used()
        while True:
            verdict = self._line(LIMIT)
            late = time.monotonic() - began >= PATIENCE * LIMIT
            if verdict is not None or late or self.process.poll() is not None or self.seconds_used() - used >= LIMIT:
                return verdict

    def seconds_used(self):
        """Of the processor, by the process until now."""
        with open(f"/proc/{self.process.pid}/stat") as file:
            user, system = file.read().rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")

    def _line(self, seconds):
        """The next line as JSON; None if none comes in time or the process has ended."""
        until = time.monotonic() + seconds
        while b"\n" not in self.buffer:
            left = until - time.monotonic()
            if left <= 0 or not select.select([self.process.stdout], [], [], left)[0]:
                return None
            piece = os.read(self.process.stdout.fileno(), 2**16)
            if not piece:
                self.process.wait()
                return None
            self.buffer += piece
        line, _, self.buffer = self.buffer.partition(b"\n")
        return json.loads(line)

    def last_words(self):
        """The last line on the process's standard error."""
        with open(os.path.join(self.work, "crash.txt"), errors="replace") as file:
            return (file.read().splitlines() or ["no word"])[-1]

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


def run(cases, seed, only=(), out=None, first=0, say=print, seconds=math.inf):
    """Try cases `first` to first + cases - 1.   -> ({reader: Counter of verdicts}, [faults])

    out: the folder for files of faults, or None. seconds: no further case begins after them.
    """
    until = time.monotonic() + seconds
    table, faults = collections.defaultdict(collections.Counter), []
    with tempfile.TemporaryDirectory(prefix="minast-fuzz-") as work:
        worker = Worker(seed, work, only)
        names = worker.start()
        try:
            for number in range(first, first + cases):
                if time.monotonic() > until:
                    break
                verdict = worker.ask(number)
                reader = names[number % len(names)]
                table[reader][verdict["verdict"]] += 1
                if verdict["verdict"] == "fault":
                    verdict["reader"] = reader
                    verdict["again"] = again(seed, only, number)
                    faults.append(verdict)
                    keep(out, os.path.join(work, "case"), verdict)
                    say(f"{verdict['detail'][:160]}\n  {reader}, {verdict['what']}: {verdict['again']}")
        finally:
            worker.stop()
    return table, faults


def again(seed, only, number):
    """The command that tries a case again."""
    return " ".join(
        ["python -m tests.fuzz", f"--seed {seed}", *(f"--only '{name}'" for name in only), f"--case {number}"]
    )


def keep(out, case, verdict):
    """Copy the files of a fault, with the verdict beside them."""
    if out:
        place = os.path.join(out, f"{verdict['reader'].replace(' ', '-')}-{verdict['number']}")
        shutil.rmtree(place, ignore_errors=True)
        shutil.copytree(case, os.path.join(place, "files"))
        with open(os.path.join(place, "verdict.json"), "w") as file:
            json.dump(verdict, file, indent=1)


def shown(table, faults, seconds):
    """The table, and faults by their kind."""
    columns = ("refused", "same", "changed", "fault")
    lines = [f"{'reader':24}" + "".join(f"{name:>9}" for name in columns)]
    for reader, counts in table.items():
        lines.append(f"{reader:24}" + "".join(f"{counts[name]:9}" for name in columns))
    total = sum(table.values(), collections.Counter())
    lines.append(f"{'all':24}" + "".join(f"{total[name]:9}" for name in columns))
    lines.append(f"{sum(total.values())} cases, {seconds:.0f} s")
    kinds = collections.Counter((fault["reader"], fault["detail"].split(" at ")[-1][:70]) for fault in faults)
    lines += [f"{count:5} x {reader}: {kind}" for (reader, kind), count in kinds.most_common(40)]
    return "\n".join(lines)


def main(argv=None):
    """The command.   -> exit status"""
    p = argparse.ArgumentParser(
        prog="python -m tests.fuzz", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    p.add_argument("--cases", type=int, default=2000, metavar="N", help="number of cases (default: 2000)")
    p.add_argument("--seed", type=int, default=0, metavar="S", help="all cases follow from it (default: 0)")
    p.add_argument(
        "--only",
        action="append",
        default=[],
        metavar="READER",
        help="a reader, or a group of them: structures, bench, data, audio, flags; may be repeated",
    )
    p.add_argument("--case", type=int, metavar="N", help="only this case")
    p.add_argument(
        "--out", default="fuzz-faults", metavar="DIR", help="folder for files of faults (default: fuzz-faults)"
    )
    p.add_argument("--seconds", type=float, default=math.inf, metavar="N", help="begin no case after so long")
    args = p.parse_args(argv)
    began = time.monotonic()
    first, cases = (0, args.cases) if args.case is None else (args.case, 1)
    table, faults = run(cases, args.seed, args.only, args.out, first, seconds=args.seconds)
    print(shown(table, faults, time.monotonic() - began))
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
