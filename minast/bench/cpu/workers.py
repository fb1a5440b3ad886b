"""A training step by several processes on this machine (`train --workers`), beside the step of one."""

import sys
from collections.abc import Iterator

import numpy as np

from ... import parallel, threads
from ...optim import Adam
from ...parallel.gradients import Gradients
from ...parallel.group import share_of
from .. import child
from ..row import Row, Skip
from ..sides import Side, compared
from . import models

SETTINGS = {
    "nano, 1 s, training step, batch 32": ("nano", 98, 32),
    "small, 5 s, training step, batch 16": ("small", 500, 16),
}
CHILD = "import sys; from minast.bench.cpu import workers; workers.serve(sys.argv[1], *map(int, sys.argv[2:]))"


def steps(rounds: int) -> Iterator[Row]:
    """The rows of a step by one process, and by as many as there are threads. Raises Skip where there is one thread."""
    count = threads.count()
    if count == 1:
        raise Skip("with one thread there is nothing to divide")
    for name, setting in SETTINGS.items():
        model, x, y = models.setting(*setting)
        loss = np.asarray(model.loss_and_grad(x, y)[0])
        with child.answering(sys.executable, "-c", CHILD, *map(str, (*setting, count))) as (found, call):
            side = Side(f"minast --workers {count}", lambda call=call, found=found: (call, np.asarray(float(found))))
            yield from compared(name, models.training_step(model, x, y), loss, [side], rounds)


def serve(preset: str, frames: int, batch: int, count: int) -> None:
    """What the first of these processes does: it tells the loss, then all do a step whenever it is asked."""
    parallel.spread(_live, (preset, frames, batch), count)


def _live(setting):
    group, (model, x, y) = parallel.world(), models.setting(*setting)
    own, adam = share_of(len(x), group.rank, group.size), Adam(model.w.flat)
    gradients = Gradients(group, slice(0, None), model.w.flat.size, len(x))

    def step():
        losses, _ = gradients(model, x[own], y[own], "bce")
        adam.step(model.dw.flat, 1e-5)
        return losses

    def all_step():
        group.talk(b"step")
        step()

    loss = gradients.total(gradients(model, x[own], y[own], "bce")[0])
    if group.rank:
        while group.talk(b"")[0]:
            step()
    else:
        child.answer(str(loss), all_step)
        group.talk(b"")
