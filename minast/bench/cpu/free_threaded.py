"""A training step of nano in a Python without the lock that lets only one thread at a time run Python's own code."""

import shutil

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
    with child.answering(found, "-c", CHILD) as (about, call):
        *versions, theirs = about.split()
        name = f"minast on free-threaded Python {' with NumPy '.join(versions)}"
        side = Side(name, lambda: (call, np.asarray(float(theirs))))
        name = "nano, 1 s, training step, batch 32"
        return list(compared(name, models.training_step(model, x, y), loss, [side], rounds))


def serve() -> None:
    """What the other Python does: it tells its version, NumPy's and the loss, then does a step whenever it is asked."""
    import platform
    import sys

    if sys._is_gil_enabled():
        raise SystemExit("its lock is on: a package that was imported needs it")
    model, x, y = models.setting(*SETTING)
    loss = model.loss_and_grad(x, y)[0]
    child.answer(f"{platform.python_version()} {np.__version__} {loss}", models.training_step(model, x, y))
