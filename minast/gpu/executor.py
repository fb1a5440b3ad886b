"""Runs a whole pass of a model: in planned memory and, where that is asked for, as a CUDA graph."""

from threading import RLock
from typing import NamedTuple

import numpy as np

from . import dry_run, memory
from .graph import record

KEPT = 8  # graphs, and plans, of the shapes that were asked for last
MET, NEVER = "met once", "cannot be recorded"  # instead of a graph


class Executor:
    """`run(method, inputs, settings)` -> method(*inputs, *settings), a bound method of a model that returns arrays.

    It returns them as a tuple, and only launches kernels and multiplies: it looks at no value on the host, and its
    results depend on nothing but its inputs and the weights. The arrays that come back are the caller's own. One pass
    at a time: threads take turns, and a pass on another stream waits for the one before, since both use one memory.
    planned: keep an arena. Without one there are no graphs either: each would hold a second set of all arrays.
    """

    def __init__(self, xp, planned: bool):
        self.xp, self.arena = xp, memory.Arena(xp) if planned else None
        self.plans, self.graphs, self.lock, self.last = LRUCache(), LRUCache(), RLock(), None

    def run(self, method, inputs: tuple, settings: tuple = ()) -> tuple:
        """inputs: arrays. settings: plain values, which a graph has inside it."""
        if self.arena is None:
            return method(*inputs, *settings)
        work = Pass(method, tuple(memory.packed(x) for x in inputs), settings)  # else kernels copy, or not, by address
        with self.lock:
            self._wait()
            results = self._replayed(work) if work.replays else self._fresh(work)
            self._leave()
        return results

    def _replayed(self, work):
        """The first time a pass runs as ever, since many shapes come only once; the second time it is recorded."""
        self._plan(work)  # first: growing the arena invalidates all graphs
        known = self.graphs.get(work.key)
        if known is None:
            self.graphs[work.key] = MET
        if known in (None, NEVER):
            return self._fresh(work)
        if known is not MET:
            return known(*work.inputs)
        results, graph = record(lambda *x: self._direct(work, x), work.inputs, self.arena.buffer)
        self.graphs[work.key] = NEVER if graph is None else graph
        return results

    def _fresh(self, work):
        return tuple(x.copy() for x in self._direct(work, work.inputs))

    def _direct(self, work, inputs):
        """The method's own results: in the arena until the next pass."""
        with self.arena.step(self._plan(work)):
            return work.method(*inputs, *work.settings)

    def _plan(self, work):
        """The plan of this pass, and an arena that is large enough for it."""
        plan = self.plans.get(work.plan_key)
        if plan is None:
            plan = self.plans[work.plan_key] = planned(work.method, work.inputs, work.settings)
        if plan.bytes > self.arena.bytes:
            self.graphs.clear()  # their addresses are those of the old arena, which is freed
            self.arena.grow(plan.bytes)
        return plan

    def _wait(self):
        if self.xp is not np and self.last is not None:
            here, (stream, event) = self.xp.cuda.get_current_stream(), self.last
            if here.ptr != stream:
                here.wait_event(event)

    def _leave(self):
        if self.xp is not np:
            here = self.xp.cuda.get_current_stream()
            self.last = here.ptr, here.record()


class Pass(NamedTuple):
    """One call of a model's bound method, and what tells it from others."""

    method: object
    inputs: tuple
    settings: tuple

    @property
    def replays(self):
        """Whether it is to become a CUDA graph."""
        model = self.method.__self__
        return model.cuda_graphs and model.backend.name == "cuda"

    @property
    def key(self):
        """Of a graph, which has the settings of its recording inside it."""
        shapes = tuple((x.shape, x.dtype.name) for x in self.inputs)
        return self.method.__func__, self.method.__self__.activation_checkpointing, self.settings, shapes

    @property
    def plan_key(self):
        """Of a plan of memory, to which numbers make no difference."""
        method, checkpointing, settings, shapes = self.key
        return method, checkpointing, tuple(s for s in settings if not isinstance(s, float)), shapes


class LRUCache(dict):
    """A dict of the KEPT keys that were asked for or set last."""

    def get(self, key):
        if key in self:
            self[key] = self.pop(key)
        return super().get(key)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        while len(self) > KEPT:
            del self[next(iter(self))]


def planned(method, inputs: tuple, settings: tuple = ()) -> memory.Plan:
    """The memory that a model's bound method takes: it runs dry, on a twin of the model whose arrays nobody fills."""
    twin = method.__self__.dry_twin()
    inputs = [np.empty(x.shape, x.dtype) for x in inputs]
    planner = memory.Planner()
    with dry_run.recording(Nothing()), memory.using(planner), np.errstate(all="ignore"):
        method.__func__(twin, *inputs, *settings)
    return planner.plan()


class Nothing:
    """A recorder that writes nothing down."""

    def launch(self, *_):
        pass

    def gemm(self, *_):
        pass
