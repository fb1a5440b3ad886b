"""The latency of one clip in bfloat16, launches included, against transformers' AST: plain, and as a CUDA graph."""

from collections.abc import Callable
from functools import partial

import numpy as np

from ...backend import to_numpy
from ...model import AST
from ..checks import check, difference
from ..libraries import errors_as_skips
from ..pytorch import model as theirs
from ..pytorch import runtime
from ..row import Skip
from .device import Device, open_device
from .rows import DeviceRow, Goal, row
from .whole import Job, Ours, make_job

EAGER, GRAPH = f"{theirs.NAME}: eager launches", f"{theirs.NAME}: CUDA graph"
GOALS = [Goal("2x", 2.0, EAGER), Goal("1.0x", 1.0, GRAPH)]
TOLERANCE = 0.05  # of the largest logit, between bfloat16 and float32


def forward(model: AST, replay: bool) -> Callable:
    """A function of x: model.forward launch by launch, or as a CUDA graph, which two calls here record."""

    def run(x):
        model.cuda_graphs = replay
        return model.forward(x)

    for _ in range(2 * replay):
        run(model.xp.zeros((1, model.config.frames, model.config.mel_bins), np.float32))
    return run


def latency(rounds: int, backend: str | None = None) -> list[DeviceRow]:
    """The rows of a forward pass of one clip, started on an idle GPU: launch by launch, and as a CUDA graph."""
    device = open_device(backend)
    job = make_job(device, 1, backward=False)
    name, ours = f"{job.label}, forward, batch 1, bfloat16, latency", Ours(device, job)
    x, other = ours.x, ours.model.xp.asarray(job.x[:, ::-1].copy())  # a graph must follow its input
    runs = {"plain launches": forward(ours.model, False), "CUDA graph": forward(ours.model, True)}
    wanted = to_numpy(runs["plain launches"](other))
    for how, run in runs.items():
        check(to_numpy(run(x)), job.logits, TOLERANCE, f"{name}, {how}")
        check(to_numpy(run(other)), wanted, 0.01, f"{name}, {how}, another clip")
    calls, without = their_forwards(device, job)
    mine, taken = device.beside([partial(run, x) for run in runs.values()], calls, without, rounds, idle=True)
    beside = faster(taken)
    rows = []
    for how, times in zip(runs, mine, strict=True):
        last = how == list(runs)[-1]  # the goals are those of our faster way
        note = "no graph without a GPU: the same launches once more" if last and not device.gpu else ""
        rows.append(
            row(
                device,
                f"{name}, {how}",
                "bfloat16",
                times,
                amount=1,
                rate_unit="clips/s",
                libraries=beside,
                without=without,
                note=note,
                goals=GOALS if last else [],
                job="latency",
            )
        )
    return rows


def their_forwards(device: Device, job: Job) -> tuple[dict[str, Callable], dict[str, str]]:
    """({name: call}, {name: why there is none}): both precisions, launch by launch and as a graph, each checked."""
    calls, without = {}, {}
    for precision in theirs.PRECISIONS:
        for kind in (EAGER, GRAPH):
            name = f"{kind}: {precision}"
            try:
                torch = runtime.for_device(device)
                run, x = theirs.forward(device, job, precision)
                if kind == GRAPH:
                    run = theirs.graphed(torch, run, x)
                with errors_as_skips():
                    reason = difference(runtime.to_host(run(x)), job.logits, TOLERANCE)
            except Skip as skipped:
                reason = str(skipped)
            if reason:
                without[name] = reason
            else:
                calls[name] = partial(run, x)
    return calls, without


def faster(times: dict[str, np.ndarray], kinds: tuple[str, ...] = (EAGER, GRAPH)) -> dict[str, np.ndarray]:
    """Of each kind the precision that is faster for them, by the median.   {name: (rounds,) seconds} -> the same"""
    best = {}
    for kind in kinds:
        found = [name for name in times if name.startswith(f"{kind}: ")]
        if found:
            name = min(found, key=lambda name: np.median(times[name]))
            best[name] = times[name]
    return best
