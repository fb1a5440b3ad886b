"""Clips per second of the forward pass in bfloat16, as a CUDA graph, in batches of several sizes; beside transformers'.

The queue is full: a call begins while the one before it is computed, as when many recordings are classified. For
latency, where the GPU waits for each call, see latency.py.
"""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ...backend import to_numpy
from ..checks import check, difference
from ..libraries import errors_as_skips
from ..pytorch import model as theirs
from ..pytorch import runtime
from ..pytorch.memory import free_compiled
from ..row import Skip, each
from .device import Device, open_device
from .latency import TOLERANCE, faster
from .rows import DeviceRow, row
from .whole import Job, Ours, make_job

BATCHES, TOY_BATCHES = (1, 8, 32, 128), (1, 2)
EAGER, COMPILED = f"{theirs.NAME}: eager", f"{theirs.NAME}: torch.compile"
# One precision is compiled, since each takes a minute or more: the one without casts of weights.
WAYS = {f"{EAGER}: {p}": (p, False) for p in theirs.PRECISIONS} | {
    f"{COMPILED}: {theirs.PRECISIONS[1]}": (theirs.PRECISIONS[1], True)
}


def throughput(rounds: int, backend: str | None = None) -> Iterator[DeviceRow]:
    """A row for each batch size."""
    device = open_device(backend)
    batches = TOY_BATCHES if device.toy else BATCHES
    return each((f"throughput of batch {batch}", partial(batch_row, device, batch, rounds)) for batch in batches)


def batch_row(device: Device, batch: int, rounds: int) -> DeviceRow:
    """The row of one batch size. Both sides' results are compared with our float32 model's first."""
    device.release()
    job = make_job(device, batch, backward=False)
    name, ours = f"{job.label}, forward, batch {batch}, bfloat16, throughput", Ours(device, job)
    for _ in range(3):  # a plain pass, recorded as a CUDA graph, and replayed
        check(to_numpy(ours.forward()), job.logits, TOLERANCE, name)
    calls, without = their_forwards(device, job)
    (mine,), taken = device.beside([ours.forward], calls, without, rounds)
    beside = faster(taken, (EAGER, COMPILED))
    calls.clear()
    free_compiled(device)
    return row(
        device,
        name,
        "bfloat16",
        mine,
        amount=batch,
        rate_unit="clips/s",
        libraries=beside,
        without=without,
        note="" if device.gpu else "no graph without a GPU",
        job="throughput",
    )


def their_forwards(device: Device, job: Job) -> tuple[dict[str, Callable], dict[str, str]]:
    """({name: call}, {name: why there is none}): those of WAYS that run and agree."""
    calls, without = {}, {}
    for name, (precision, compiled) in WAYS.items():
        try:
            run, x = theirs.forward(device, job, precision, compiled)
            with errors_as_skips():
                for _ in range(2):  # the first call compiles
                    found: np.ndarray = runtime.to_host(run(x))
            reason = difference(found, job.logits, TOLERANCE)
        except Skip as skipped:
            reason = str(skipped)
        if reason:
            without[name] = reason
        else:
            calls[name] = partial(run, x)
    return calls, without
