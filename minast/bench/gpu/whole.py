"""The whole model in bfloat16 against transformers' AST with the same weights: a step, a latency, the memory.

On a GPU base on 10 s, a training step of 32 clips and a forward pass of one; with `--backend emulator` a toy, theirs
then on the CPU: every line here runs, and the times mean nothing. Each side is first compared with our own model in
float32, logits, loss and every gradient: ours must agree, a library that does not is not timed, and says so. Without
torch, transformers, a compiler for torch.compile or enough memory for one way, the row says that in its place.
"""

import tracemalloc
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np

from ...backend import to_numpy
from ...config import ModelConfig
from ...cuda import cublas
from ...errors import Error
from ...gpu.graph import Graph
from ..table import Skip
from . import theirs
from .backends import TOY as SMALL
from .backends import Side, near
from .device import check, place
from .device_rows import Goal, row
from .theirs import NAME

SAME = {"prefix_tokens": 2, "encoder_eps": 1e-12, "head_eps": 1e-12}  # as transformers has them
REAL = ModelConfig.preset("base", classes=527, **SAME)
TOY = replace(SMALL, **SAME)
WAYS = {  # of training: name -> the settings of a `theirs.Trainer`
    f"{NAME}: SDPA": {},
    f"{NAME}: SDPA, torch.compile": {"compiled": True},
    f"{NAME}: eager attention": {"attention": "eager"},
}
STEP = [Goal(f"{least}x", least, name) for least, name in zip((1.0, 0.85, 1.5), WAYS, strict=True)]
MEMORY = Goal("0.8 of the memory", 1 / 0.8, f"{NAME}: SDPA")  # compared is theirs / ours
EAGER, GRAPH = f"{NAME}: eager launches", f"{NAME}: CUDA graph"
LATENCY = [Goal("2x", 2.0, EAGER), Goal("1.0x", 1.0, GRAPH)]


@dataclass
class Job:
    """What both sides are given, on the host, and what a float32 model of ours makes of it.

    x (B, T, F), y (B, K), w: weights by name; logits (B, K), loss, gradients by name, flat.
    """

    config: ModelConfig
    x: np.ndarray
    y: np.ndarray
    w: dict
    logits: np.ndarray
    loss: float = 0.0
    gradients: dict = field(default_factory=dict)

    @property
    def label(self):
        return "base, 10 s" if self.config is REAL else "toy"


def backend_of(where):
    return "cuda" if where.gpu else "emulator"


def job_of(where, batch, backward=True):
    """The job at the size of this place. batch: on a GPU; a toy has at most 2 clips."""
    config, batch = (REAL, batch) if where.gpu else (TOY, min(batch, 2))
    side = Side("cuda" if where.gpu else "numpy", config, batch)
    x, y, w = to_numpy(side.x), to_numpy(side.y), {name: to_numpy(a) for name, a in side.model.w.items()}
    job = Job(config, x, y, {name: a.copy() for name, a in w.items()}, to_numpy(side.forward()))
    if backward:
        job.loss = side.model.loss_and_grad(side.x, side.y, parts=min(batch, 8))[0]
        job.gradients = {name: to_numpy(dw).ravel().copy() for name, dw in side.model.dw.items()}
    return job


class Ours(Side):
    """A bfloat16 model with the job's input: the same seed, so the same weights. It replays, as train.py's does."""

    def __init__(self, where, job):
        super().__init__(backend_of(where), job.config, len(job.x), "bfloat16")
        self.model.cuda_graphs = True

    def step(self):
        """As train.py has it: nobody waits before all is queued."""
        self.model.zero_grad()
        self.model.loss_and_grad(self.x, self.y, wait=False)
        self.adam.clipped_step(self.model.dw.flat, 1e-5, 0.0, copy=self.model.copy_to_update())

    def results(self):
        self.model.zero_grad()
        loss, logits = self.model.loss_and_grad(self.x, self.y)
        return logits, loss, {name: to_numpy(dw).ravel() for name, dw in self.model.dw.items()}


def agree(what, results, job):
    near(what, *results, (job.logits, job.loss, job.gradients))


def ours_agree(what, ours, job):
    """Three times: a pass runs as ever, is recorded as a CUDA graph, and is replayed."""
    for _ in range(3):
        agree(what, ours.results(), job)


def checked(where, job, name, how, without):
    """A Trainer that agrees, or None and the reason in `without`."""
    where.release()
    try:
        trainer = theirs.Trainer(where, job, **how)
        agree(name, trainer.results(), job)
        return trainer
    except Skip as reason:
        without[name] = str(reason)
    except Error as error:
        without[name] = str(error).removeprefix(f"{name}, ").removesuffix(": nothing was timed.")
    return None


def step(rounds, backend=None):
    """A training step of 32 clips. Before each turn the pools give back what is free: unfused attention takes most.

    What a side keeps from one step to the next stays where it is; of ours that is the arena.
    """
    where = place(backend)
    job = job_of(where, 32)
    name, ours = f"{job.label}, training step, batch {len(job.x)}, bfloat16", Ours(where, job)
    ours_agree(name, ours, job)
    calls, without = {}, {}
    for way, how in WAYS.items():
        if trainer := checked(where, job, way, how, without):
            calls[way] = trainer.step
    mine, *other = where.turns([ours.step, *calls.values()], rounds, apart=True)
    beside = dict(zip(calls, other, strict=True))
    trainer = None
    calls.clear()
    theirs.forget(where)
    more = {"without": without, "goals": STEP, "job": "step"}
    return [row(where, name, "bfloat16", mine, len(job.x), "clips/s", libraries=beside, **more)]


# -- latency -------------------------------------------------------------------------------------------------------


def forward(model, replay):
    """model.forward with its launches one by one, or as a CUDA graph, which the first two calls make."""

    def run(x):
        model.cuda_graphs = replay
        return model.forward(x)

    for _ in range(2 * replay):
        run(model.xp.zeros((1, model.config.frames, model.config.mel_bins), np.float32))
    return run


def latency(rounds, backend=None):
    """A forward pass of one clip from an idle GPU, launches included: plain, and as a CUDA graph."""
    where = place(backend)
    job = job_of(where, 1, backward=False)
    name, ours = f"{job.label}, forward, batch 1, bfloat16, latency", Ours(where, job)
    x, other = ours.x, ours.model.xp.asarray(job.x[:, ::-1].copy())  # a graph must follow its input
    runs = {"plain launches": forward(ours.model, False), "CUDA graph": forward(ours.model, True)}
    wanted = to_numpy(runs["plain launches"](other))
    for how, run in runs.items():
        check(to_numpy(run(x)), job.logits, 0.05, f"{name}, {how}")
        check(to_numpy(run(other)), wanted, 0.01, f"{name}, {how}, another clip")
    calls, without = their_forwards(where, job)
    taken = where.turns([*(partial(run, x) for run in runs.values()), *calls.values()], rounds, idle=True)
    mine, beside = taken[: len(runs)], faster(dict(zip(calls, taken[len(runs) :], strict=True)))
    rows = []
    for how, times in zip(runs, mine, strict=True):
        last = how == list(runs)[-1]  # the goals are the fastest way's of running it
        note = "no graph without a GPU: the same launches once more" if last and not where.gpu else ""
        more = {"goals": LATENCY if last else [], "job": "latency", "note": note, "without": dict(without)}
        rows.append(row(where, f"{name}, {how}", "bfloat16", times, 1, "clips/s", libraries=beside, **more))
    return rows


def their_forwards(where, job):
    """({name: call}, {name: why there is none}) of both precisions, by plain launches and as a graph, each checked."""
    calls, without = {}, {}
    for precision in theirs.PRECISIONS:
        for kind in (EAGER, GRAPH):
            name = f"{kind}: {precision}"
            try:
                torch = theirs.torch_for(where)
                run, x = theirs.forward(where, job, precision)
                if kind == GRAPH:
                    run = theirs.graphed(torch, run, x)
                with theirs.reasons():
                    check(theirs.host(run(x)), job.logits, 0.05, name)
                calls[name] = partial(run, x)
            except Skip as reason:
                without[name] = str(reason)
            except Error as error:
                without[name] = str(error).removeprefix(f"{name}: ").removesuffix(": nothing was timed.")
    return calls, without


def faster(times):
    """Of the two precisions of each kind the one that is better for them, by the median."""
    best = {}
    for kind in (EAGER, GRAPH):
        found = [name for name in times if name.startswith(f"{kind}: ")]
        if found:
            name = min(found, key=lambda name: np.median(times[name]))
            best[name] = times[name]
    return best


# -- memory --------------------------------------------------------------------------------------------------------


def memory(rounds, backend=None):
    """The most that a training step holds: all that CuPy's pool took from the device, against what PyTorch had in use.

    That is against ourselves: the pool's total counts what lies between the arrays, PyTorch's `allocated` does not.
    """
    where = place(backend)
    job = job_of(where, 32)
    name, note = f"{job.label}, training step, batch {len(job.x)}, bfloat16, memory", ""
    ours_agree(name, Ours(where, job), job)
    where.flush = None  # it is no part of a step
    where.release()
    ours, beside, without = held(where, job) / 2**30, {}, {}
    where.release()
    before = theirs.allocated(where)  # of earlier rows
    (way, how), *_ = WAYS.items()
    if trainer := checked(where, job, way, how, without):
        where.release()
        if where.gpu:
            allocated, reserved = theirs.peak(where, trainer.step)
            beside[way] = (allocated - before) / 2**30
            note = f"{way} held {reserved / 2**30:.4g} GiB with what it kept in reserve"
        else:
            trainer.step()
            without[way] = "PyTorch counts memory on a GPU only"
    more = {"goals": [MEMORY], "job": "memory", "unit": "GiB", "without": without, "note": note}
    return [row(where, name, "bfloat16", ours, libraries=beside, **more)]


def held(where, job):
    """Bytes that three of our steps, and the model, took from the device; in the emulator at most from NumPy.

    With the pool of the graph that the second step records, and cuBLAS's workspaces, which come from no pool.
    """
    if where.gpu:
        pool = where.xp.get_default_memory_pool()
        before = pool.total_bytes()
        ours = Ours(where, job)
        where.release()  # what only making the model took
        for _ in range(3):
            ours.step()
        graphs = [g for g in ours.model.executor.graphs.values() if isinstance(g, Graph)]
        beside = [g.pool.total_bytes() for g in graphs] + [room.nbytes for room in cublas.workspaces.values()]
        return pool.total_bytes() - before + sum(beside)
    tracemalloc.start()
    try:
        ours = Ours(where, job)
        ours.step()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


ROWS = {"step": step, "latency": latency, "memory": memory}
