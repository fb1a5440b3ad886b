"""How a model runs a whole pass: 16-bit weights up to date, in planned memory, as a CUDA graph if that is asked for."""

import numpy as np

from . import dry, memory
from .graph import Graph

KEPT = 8  # graphs and plans of the shapes that were asked for last


class Runner:
    """run(model, name, *inputs, *settings): model.<name>(*inputs, *settings), a method that returns a tuple of arrays.

    Such a method only launches and multiplies: it looks at no value, and what it returns depends on nothing but its
    inputs and the weights. The arrays that come back are the caller's own.
    """

    def __init__(self, model):
        self.arena = None if model.encoder is None else memory.Arena(model.xp)
        self.plans, self.graphs, self.met = {}, {}, set()

    def __call__(self, model, name, *arguments):
        model.refresh()
        inputs = tuple(a for a in arguments if hasattr(a, "shape"))
        settings = arguments[len(inputs) :]
        if self.arena is not None:
            from .cuda.common import packed

            inputs = tuple(packed(x) for x in inputs)  # else kernels copy it, or not, as its address happens to be
        key = name, model.recompute, settings, *((x.shape, x.dtype.name) for x in inputs)
        work = model, key, inputs, settings
        replayed = model.replay and model.backend == "cuda"
        return self._replayed(*work) if replayed else self._fresh(*work)

    def _replayed(self, model, key, inputs, settings):
        """The first time it runs as ever, since many shapes come once only; the second time it is recorded."""
        if key not in self.met:
            self.met.add(key)
            return self._fresh(model, key, inputs, settings)
        graph = recent(self.graphs, key)
        if graph is None:
            graph = self.graphs[key] = Graph(lambda *x: self._direct(model, key, x, settings), inputs)
            return graph.first
        return self._fresh(model, key, inputs, settings) if graph.graph is None else graph(*inputs)

    def _fresh(self, model, key, inputs, settings):
        results = self._direct(model, key, inputs, settings)
        return results if self.arena is None else tuple(x.copy() for x in results)

    def _direct(self, model, key, inputs, settings):
        """The method's own results: in the arena, where there is one, until the next pass."""
        method = getattr(model, key[0])
        if self.arena is None:
            return method(*inputs, *settings)
        plan = recent(self.plans, key)
        if plan is None:
            plan = self.plans[key] = planned(model, key[0], inputs, settings)
        with self.arena.step(plan):
            return method(*inputs, *settings)


def recent(kept, key):
    """kept[key], moved to the end of the dict; or None, with room made for one more."""
    if key in kept:
        kept[key] = kept.pop(key)
        return kept[key]
    while len(kept) >= KEPT:
        del kept[next(iter(kept))]  # what was not asked for longest
    return None


def planned(model, name, inputs, settings):
    """memory.Plan of model.<name>(...): the method runs dry, on a model whose arrays nobody fills."""
    from .model import AST

    twin = AST(model.config, "emulator", None, model.computes, model.recompute)
    inputs = [np.empty(x.shape, x.dtype) for x in inputs]
    planner = memory.Planner()
    with dry.dry(Nothing()), memory.using(planner), np.errstate(all="ignore"):
        getattr(twin, name)(*inputs, *settings)
    return planner.plan()


class Nothing:
    """A recorder that writes nothing down."""

    def launch(self, *_):
        pass

    def gemm(self, *_):
        pass
