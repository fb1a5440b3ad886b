"""How a model runs a whole pass: 16-bit weights up to date, in planned memory, as a CUDA graph if that is asked for."""

from threading import RLock

import numpy as np

from . import dry_run, memory
from .graph import record

KEPT = 8  # graphs, and plans, of the shapes that were asked for last
MET, NEVER = "met once", "cannot be recorded"  # instead of a graph


class Runner:
    """run(model, name, *inputs, *settings): model.<name>(*inputs, *settings), a method that returns a tuple of arrays.

    Such a method only launches and multiplies: it looks at no value, and what it returns depends on nothing but its
    inputs and the weights. The arrays that come back are the caller's own. One pass at a time: threads take turns, and
    a pass on another stream waits for the one before, since both use the same memory.
    planned: keep an arena. Without one, there are no graphs either: they would hold a second set of all arrays.
    """

    def __init__(self, xp, planned):
        self.xp, self.arena = xp, memory.Arena(xp) if planned else None
        self.plans, self.graphs, self.lock, self.last = Recent(), Recent(), RLock(), None

    def __call__(self, model, name, *arguments):
        model.refresh()
        inputs = tuple(a for a in arguments if hasattr(a, "shape"))
        settings = arguments[len(inputs) :]
        if self.arena is None:
            return getattr(model, name)(*arguments)
        from ..cuda.common import packed

        inputs = tuple(packed(x) for x in inputs)  # else kernels copy it, or not, as its address happens to be
        work = Pass(model, name, inputs, settings)
        with self.lock:
            self._wait()
            replayed = model.replay and model.backend == "cuda"
            results = self._replayed(work) if replayed else self._fresh(work)
            self._leave()
        return results

    def _replayed(self, work):
        """The first time it runs as ever, since many shapes come once only; the second time it is recorded."""
        self._place(work)  # first: a larger arena makes an end of all graphs
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
        with self.arena.step(self._place(work)):
            return work.run(inputs)

    def _place(self, work):
        """The plan of this pass, and an arena that is large enough for it."""
        plan = self.plans.get(work.plan_key)
        if plan is None:
            plan = self.plans[work.plan_key] = work.plan()
        if plan.bytes > self.arena.bytes:
            self.graphs.clear()  # their addresses are those of the old arena, which is let go
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


class Pass:
    """One call of a method, and what tells it from others."""

    def __init__(self, model, name, inputs, settings):
        self.model, self.name, self.inputs, self.settings = model, name, inputs, settings
        shapes = tuple((x.shape, x.dtype.name) for x in inputs)
        self.key = name, model.recompute, settings, shapes  # a graph has the numbers of its recording in it
        self.plan_key = name, model.recompute, tuple(s for s in settings if not isinstance(s, float)), shapes

    def run(self, inputs):
        return getattr(self.model, self.name)(*inputs, *self.settings)

    def plan(self):
        return planned(self.model, self.name, self.inputs, self.settings)


class Recent(dict):
    """A dict of the KEPT keys that were asked for or set last."""

    def get(self, key):
        if key in self:
            self[key] = self.pop(key)
        return super().get(key)

    def __setitem__(self, key, value):
        super().__setitem__(key, value)
        while len(self) > KEPT:
            del self[next(iter(self))]


def planned(model, name, inputs, settings):
    """memory.Plan of model.<name>(...): the method runs dry, on a model whose arrays nobody fills."""
    from ..model import AST

    twin = AST(model.config, "emulator", None, model.computes, model.recompute)
    inputs = [np.empty(x.shape, x.dtype) for x in inputs]
    planner = memory.Planner()
    with dry_run.dry(Nothing()), memory.using(planner), np.errstate(all="ignore"):
        getattr(twin, name)(*inputs, *settings)
    return planner.plan()


class Nothing:
    """A recorder that writes nothing down."""

    def launch(self, *_):
        pass

    def gemm(self, *_):
        pass
