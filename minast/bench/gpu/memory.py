"""The peak memory of a training step in bfloat16, against transformers' AST under autocast."""

import tracemalloc

from ...gpu import workspaces
from ...gpu.graph import Graph
from ..libraries import errors_as_skips
from ..pytorch import memory as theirs
from ..row import Skip
from .device import Device, open_device
from .rows import DeviceRow, Goal, row
from .step import WAYS
from .whole import Job, Ours, check_ours, checked_trainer, make_job

WAY, HOW = next(iter(WAYS.items()))
GOAL = Goal("0.8 of the memory", 1 / 0.8, WAY)  # compared is theirs / ours


def memory(rounds: int, backend: str | None = None) -> list[DeviceRow]:
    """The row of the memory of a step, in GiB: all that CuPy's pool took from the GPU, against PyTorch's tensors.

    This favours PyTorch: the pool's total includes the gaps between arrays, PyTorch's `allocated` does not.
    """
    device = open_device(backend)
    job = make_job(device, 32)
    name, note = f"{job.label}, training step, batch {len(job.x)}, bfloat16, memory", ""
    check_ours(name, Ours(device, job), job)
    device.flush = None  # it is no part of a step
    device.release()
    ours, beside, without = held(device, job) / 2**30, {}, {}
    device.release()
    before = theirs.allocated(device)  # by earlier rows
    if trainer := checked_trainer(device, job, WAY, HOW, without):
        device.release()
        try:
            if device.gpu:
                with errors_as_skips():
                    allocated, reserved = theirs.peak(device, trainer.step)
                beside[WAY] = (allocated - before) / 2**30
                note = f"{WAY} held {reserved / 2**30:.4g} GiB with what it kept in reserve"
            else:
                trainer.step()
                without[WAY] = "PyTorch counts memory on a GPU only"
        except Skip as skipped:  # out of memory, for example
            without[WAY] = str(skipped)
    return [
        row(
            device,
            name,
            "bfloat16",
            ours,
            unit="GiB",
            libraries=beside,
            without=without,
            note=note,
            goals=[GOAL],
            job="memory",
        )
    ]


def held(device: Device, job: Job) -> int:
    """Bytes that our model and three of its steps took from the GPU; in the emulator, the peak of NumPy's arrays.

    With the pool of the graph that the second step records, and cuBLAS's workspaces, which come from no pool.
    """
    if device.gpu:
        pool = device.xp.get_default_memory_pool()
        before = pool.total_bytes()
        ours = Ours(device, job)
        device.release()  # what only creating the model took
        for _ in range(3):
            ours.step()
        graphs = [g for g in ours.model.executor.graphs.values() if isinstance(g, Graph)]
        beside = [g.pool.total_bytes() for g in graphs] + [room.nbytes for room in workspaces.workspaces.values()]
        return pool.total_bytes() - before + sum(beside)
    tracemalloc.start()
    try:
        ours = Ours(device, job)
        ours.step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
