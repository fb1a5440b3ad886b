"""Python in a process of its own: what it prints, or why it failed. It finds this very package."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path

from .. import threads
from .row import Skip


def python(*arguments: str, without: Iterable[str] = (), **more) -> str:
    """The standard output of a child process. Raises Skip if it fails, with the last line of its errors or its signal.

    without: variables of the environment that it does not get; more: as for `subprocess.run`.
    """
    root = str(Path(__file__).resolve().parents[2])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    env = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": str(threads.count()), "HF_HUB_OFFLINE": "1"}
    env = {name: value for name, value in env.items() if name not in set(without)}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, **more)
    if done.returncode:
        raise Skip(_why(done))
    return done.stdout


def _why(done):
    if done.returncode < 0:
        return f"its process was ended by {signal.Signals(-done.returncode).name}"
    said = done.stderr.strip().splitlines()
    return said[-1][:160] if said else f"its process ended with exit status {done.returncode}"
