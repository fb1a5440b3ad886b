"""A process for each point: its peak memory is its own, and it waits while the others of its curve have their turn."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

from ... import threads
from .. import child
from ..cpu.process import peak_memory
from .jobs import JOBS, LEAST
from .plan import Point

CHILD = "from minast.bench.growth import worker; worker.main(*__import__('sys').argv[1:])"


class Lost(Exception):
    """The process of a point has ended; the message says why."""


class Worker:
    """A child process that does a point's job whenever `run` is called. Use it in a `with` statement.

    folder: for the files of its job; the cache of features is in it as well.
    """

    def __init__(self, point: Point, folder: str):
        self.errors = tempfile.TemporaryFile()  # noqa: SIM115  closed in __exit__
        self.process = subprocess.Popen(
            [sys.executable, "-c", CHILD, point.job, json.dumps(point.settings), folder, str(point.threads)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.errors,
            text=True,
            env={**child.environment(), "MINAST_CACHE": os.path.join(folder, "cache")},
            start_new_session=True,  # Ctrl-C is for the parent, which ends its children
        )

    def run(self) -> dict:
        """The job, once.   -> seconds; start, peak: the largest memory so far in bytes, before this size and now

        start is that of a process which has done the same job at its smallest.

        Raises Lost if the process does not survive it.
        """
        with contextlib.suppress(BrokenPipeError):  # the line that is missing then says so
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        line = self.process.stdout.readline()
        if not line:
            raise Lost(self._why())
        return json.loads(line)

    def _why(self):
        status = self.process.wait()
        self.errors.seek(0)
        said = child.why(status, self.errors.read().decode(errors="replace"))
        return f"{said}, as happens when memory runs out" if status == -signal.SIGKILL else said

    def __enter__(self) -> "Worker":
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout, self.errors):
            with contextlib.suppress(OSError):  # a line that nobody will read
                stream.close()


def main(job: str, settings: str, folder: str, count: str) -> None:
    """The child: for each line of standard input the job, and a line of JSON on standard output."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what is printed is no answer
    threads.set_count(int(count))
    JOBS[job](**LEAST[job], folder=folder)()
    start = peak_memory()
    run = JOBS[job](**json.loads(settings), folder=folder)
    for _ in sys.stdin:
        began = time.perf_counter()
        run()
        seconds = time.perf_counter() - began
        print(json.dumps({"seconds": seconds, "start": start, "peak": peak_memory()}), file=answers, flush=True)
