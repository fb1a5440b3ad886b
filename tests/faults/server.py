"""Commands in processes of their own, without the half second that importing takes: a warm process forks for each.

    with Server() as server:
        status, out, err = server.run("train", [...], hook=["kill_at_fsync", 3])
        child = server.start("train", [...])     # goes on meanwhile
        os.kill(child.pid, signal.SIGTERM)
        status, out, err = server.wait(child)

A status is an exit status, or minus the signal that killed the process. The warm process imports minast and runs none
of it, so it has no threads that a fork would lose. hook: the name of a function of hooks.py, and its arguments.
"""

import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


@dataclass
class Child:
    """A command that was started."""

    pid: int
    out: str
    err: str


class Server:
    """The test's end of the warm process."""

    def __enter__(self) -> "Server":
        self.scratch = tempfile.TemporaryDirectory()
        self.count, self.running = 0, set()
        command = [sys.executable, "-m", "tests.faults.server"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)
        return self

    def __exit__(self, *_):
        for pid in self.running:  # of tests that failed
            os.kill(pid, signal.SIGKILL)
        self.process.stdin.close()
        self.process.wait(60)
        self.process.stdout.close()
        self.scratch.cleanup()

    def start(self, verb: str, arguments, hook=(), environment=None) -> Child:
        """Start `minast VERB ARGUMENTS`; it goes on while the test does."""
        self.count += 1
        out, err = (os.path.join(self.scratch.name, f"{self.count}.{name}") for name in ("out", "err"))
        order = {"verb": verb, "argv": [str(a) for a in arguments], "hook": list(hook), "out": out, "err": err}
        pid = self._ask({**order, "environment": {**os.environ, **(environment or {})}})
        self.running.add(pid)
        return Child(pid, out, err)

    def wait(self, child: Child) -> tuple[int, str, str]:
        """-> its status, what it wrote to standard output and to standard error"""
        status = self._ask({"wait": child.pid})
        self.running.discard(child.pid)
        said = (Path(path) for path in (child.out, child.err))  # a process killed at once has not even opened them
        return status, *(path.read_text(errors="backslashreplace") if path.exists() else "" for path in said)

    def run(self, verb: str, arguments, hook=(), environment=None) -> tuple[int, str, str]:
        """Start it and wait."""
        return self.wait(self.start(verb, arguments, hook, environment))

    def _ask(self, order):
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return json.loads(self.process.stdout.readline())


# -- the warm process ------------------------------------------------------------------------------------------------


def serve() -> None:
    """Obey orders, one JSON value a line, until there are no more."""
    for name in ("numpy", "soundfile", "soxr", "tqdm", "matplotlib.figure", "matplotlib.font_manager", "threadpoolctl"):
        importlib.import_module(name)
    for name in ("train", "evaluate", "convert", "predict", "scan", "embed", "stats"):
        importlib.import_module(f"minast.{name}")
    for line in sys.stdin:
        order = json.loads(line)
        if "wait" in order:
            answer = os.waitstatus_to_exitcode(os.waitpid(order["wait"], 0)[1])
        else:
            answer = os.fork()
            if answer == 0:
                obey(order)
        print(json.dumps(answer), flush=True)


def obey(order: dict) -> None:
    """Become the command; never returns."""
    from minast import cli

    from . import hooks

    os.setsid()  # Ctrl-C in the terminal of the tests is the tests'
    for number, (path, flags) in enumerate(((os.devnull, os.O_RDONLY), (order["out"], CREATE), (order["err"], CREATE))):
        opened = os.open(path, flags, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # tests in the background start with it ignored
    os.environ.clear()
    os.environ.update(order["environment"])
    status = 1
    try:
        if order["hook"]:
            name, *arguments = order["hook"]
            getattr(hooks, name)(*arguments)
        sys.argv = [order["verb"], *order["argv"]]
        cli.run(importlib.import_module(f"minast.{order['verb']}").main)
    except SystemExit as left:
        status = left.code
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(status)


CREATE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC

if __name__ == "__main__":
    serve()
