"""Runs a whole pass of a model: in planned memory and, if enabled, as a CUDA graph."""

from collections.abc import Callable
from threading import RLock
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np

from . import dry_run, memory, plain_memory
from .graph import capture_stream, record

CAPACITY = 8  # of the caches of graphs and plans: for the most recently used shapes
SEEN_ONCE, NOT_CAPTURABLE = "seen once", "not capturable"  # instead of a graph


class Executor:
    """`run(method, inputs, settings)` -> method(*inputs, *settings), for a bound method of a model.

    The method returns a tuple of arrays and does nothing but launch kernels and multiply matrices: it reads no value on
    the host, and its results depend only on its inputs and the weights. `run` returns copies that belong to the caller.
    Passes run one at a time: other threads wait, and a pass on another stream waits for the one before, since all use
    the same memory. planned: use an arena. Without one, as with MINAST_PLAIN_MEMORY=1 (plain_memory.py), there are no
    graphs: each would keep a second set of all arrays.
    """

    def __init__(self, xp: ModuleType, planned: bool):
        planned = planned and (xp is np or not plain_memory.wanted())
        self.xp, self.arena = xp, memory.Arena(xp) if planned else None
        self.plans, self.graphs, self.lock, self.last, self.side = LRUCache(), LRUCache(), RLock(), None, None

    def run(self, method: Callable[..., tuple], inputs: tuple, settings: tuple = ()) -> tuple:
        """inputs: arrays. settings: hashable values, which become constants of a graph."""
        if self.arena is None:
            return method(*inputs, *settings)
        work = Pass(method, tuple(memory.packed(x) for x in inputs), settings)  # plans must not depend on alignment
        with self.lock:
            self._wait()
            results = self._replayed(work) if work.replays else self._fresh(work)
            self._leave()
        return results

    def _replayed(self, work):
        """The first time a pass runs directly, since many shapes occur only once; the second time it is captured."""
        self._plan(work)  # first: growing the arena invalidates all graphs
        known = self.graphs.get(work.key)
        if known is None:
            self.graphs[work.key] = SEEN_ONCE
        if known in (None, NOT_CAPTURABLE):
            return self._fresh(work)
        if known is not SEEN_ONCE:
            return known(*work.inputs)
        self.side = self.side or capture_stream(self)
        results, graph = record(lambda *x: self._direct(work, x), work.inputs, self.side, self.arena.buffer)
        self.graphs[work.key] = NOT_CAPTURABLE if graph is None else graph
        return results

    def _fresh(self, work):
        return tuple(x.copy() for x in self._direct(work, work.inputs))

    def _direct(self, work, inputs):
        """The method's own results, in the arena: valid until the next pass."""
        with self.arena.step(self._plan(work)):
            return work.method(*inputs, *work.settings)

    def _plan(self, work):
        """The plan of this pass. Grows the arena if the plan needs it."""
        plan = self.plans.get(work.plan_key)
        if plan is None:
            plan = self.plans[work.plan_key] = planned(work.method, work.inputs, work.settings)
        if plan.bytes > self.arena.bytes:
            self.graphs.clear()  # they use addresses of the old arena, which is freed
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
    """One call of a model's bound method, and its cache keys."""

    method: Any
    inputs: tuple
    settings: tuple

    @property
    def replays(self) -> bool:
        """Whether the pass may run as a CUDA graph."""
        model = self.method.__self__
        return model.cuda_graphs and model.backend.name == "cuda" and model.told is None

    @property
    def key(self) -> tuple:
        """Of a graph, in which all settings are constants."""
        shapes = tuple((x.shape, x.dtype.name) for x in self.inputs)
        return self.method.__func__, self.method.__self__.activation_checkpointing, self.settings, shapes

    @property
    def plan_key(self) -> tuple:
        """Of a memory plan, which does not depend on the settings that are floats or flags."""
        method, checkpointing, settings, shapes = self.key
        return method, checkpointing, tuple(s for s in settings if not isinstance(s, float | bool)), shapes


class LRUCache(dict):
    """A dict of the CAPACITY keys most recently read by `get` or set."""

    def get(self, key: Any, default: Any = None) -> Any:
        """The value, which becomes the most recently used, or `default`."""
        if key in self:
            self[key] = self.pop(key)
        return super().get(key, default)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        while len(self) > CAPACITY:
            del self[next(iter(self))]


def planned(method: Any, inputs: tuple, settings: tuple = ()) -> memory.Plan:
    """The memory plan of a model's bound method, from a dry run on the model's `dry_twin`."""
    twin = method.__self__.dry_twin()
    inputs = [np.empty(x.shape, x.dtype) for x in inputs]
    planner = memory.Planner()
    with dry_run.recording(NullRecorder()), memory.using(planner), np.errstate(all="ignore"):
        method.__func__(twin, *inputs, *settings)
    return planner.plan()


class NullRecorder:
    """A recorder that ignores everything."""

    def launch(self, *_: Any) -> None:
        """In place of `launch.launch`."""

    def gemm(self, *_: Any) -> None:
        """In place of `gemm.gemm`."""
