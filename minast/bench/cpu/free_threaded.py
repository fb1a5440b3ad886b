"""A training step of nano in a Python without the lock that lets only one thread at a time run Python's own code."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from .. import child
from ..row import Row, Skip
from ..sides import Side, compared
from . import models

NAMES = ("python3.15t", "python3.14t", "python3.13t")  # in a virtual environment too, where one made it
SETTING = ("nano", 98, 32)
CHILD = "from minast.bench.cpu import free_threaded; free_threaded.serve()"


def step(rounds: int) -> list[Row]:
    """The row of a step here and in the first such Python on the PATH, which needs NumPy, SciPy and threadpoolctl.

    Raises Skip without one.
    """
    if not (found := next(filter(None, map(shutil.which, NAMES)), None)):
        raise Skip(f"no free-threaded Python is on the PATH: {', '.join(NAMES)}")
    model, x, y = models.setting(*SETTING)
    loss = np.asarray(model.loss_and_grad(x, y)[0])
    with started(found) as (about, call, theirs):
        side = Side(f"minast on free-threaded Python {about}", lambda: (call, np.asarray(theirs)))
        name = "nano, 1 s, training step, batch 32"
        return list(compared(name, models.training_step(model, x, y), loss, [side], rounds))


@contextmanager
def started(python: str) -> Iterator[tuple[str, Callable, float]]:
    """Another Python that trains when it is told.   -> its versions, a function: one step, the loss before the first

    Raises Skip if it does not start.
    """
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    with subprocess.Popen([python, "-c", CHILD], env=child.environment(), **pipes) as process:

        def answer():
            line = process.stdout.readline()
            if not line:
                errors = process.stderr.read()
                raise Skip(child.why(process.wait(), errors))
            return line

        def one_step():
            process.stdin.write("\n")
            process.stdin.flush()
            answer()

        try:
            *about, loss = answer().split()
            yield " with NumPy ".join(about), one_step, float(loss)
        finally:
            process.kill()


def serve() -> None:
    """What the other Python does: it prints its version, NumPy's and the loss, then does a step for each line."""
    import platform
    import sys

    if sys._is_gil_enabled():
        raise SystemExit("its lock is on: a package that was imported needs it")
    model, x, y = models.setting(*SETTING)
    print(platform.python_version(), np.__version__, model.loss_and_grad(x, y)[0], flush=True)
    one_step = models.training_step(model, x, y)
    for _ in sys.stdin:
        one_step()
        print("done", flush=True)
