"""Python in a process of its own: what it prints, or why it failed. It finds this very package."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .. import threads
from .row import Skip


def python(*arguments: str, without: Iterable[str] = (), **more) -> str:
    """The standard output of a child process. Raises Skip if it fails, with the last line of its errors or its signal.

    without: variables of the environment that it does not get; more: as for `subprocess.run`.
    """
    command, env = [sys.executable, *arguments], environment(without)
    done = subprocess.run(command, capture_output=True, text=True, env=env, **more)
    if done.returncode:
        raise Skip(why(done.returncode, done.stderr))
    return done.stdout


@contextmanager
def answering(*command: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """Another process, which runs `answer`.   -> what it tells of itself, a function: it does its work once

    Raises Skip if it does not start.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment(), **pipes) as process:

        def heard():
            line = process.stdout.readline()
            if not line:
                errors = process.stderr.read()
                raise Skip(why(process.wait(), errors))
            return line

        def work():
            process.stdin.write("\n")
            process.stdin.flush()
            heard()

        try:
            yield heard(), work
        finally:
            with suppress(OSError, subprocess.TimeoutExpired):
                process.stdin.close()  # `answer` ends with it, and whatever the process has started
                process.wait(3)
            process.kill()


def answer(about: str, work: Callable[[], object]) -> None:
    """Tell standard output about this process, then call `work` for each line of standard input."""
    print(about, flush=True)
    for _ in sys.stdin:
        work()
        print("done", flush=True)


def environment(without: Iterable[str] = ()) -> dict[str, str]:
    """The environment of a child that finds this very package.   without: variables that it does not get"""
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads.count()), "HF_HUB_OFFLINE": "1"}
    return {name: value for name, value in env.items() if name not in set(without)}


def why(status: int, errors: str) -> str:
    """Why a child has ended, from its exit status and what it wrote to standard error: the last line, or the signal."""
    if status < 0:
        return f"its process was ended by {signal.Signals(-status).name}"
    said = errors.strip().splitlines()
    return said[-1][:160] if said else f"its process ended with exit status {status}"
