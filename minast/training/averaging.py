"""The average of the weights after several epochs: one model, often better than the last epoch's."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np

from ..config import COUNT
from ..errors import Error
from ..layers import Array
from ..model import AST
from ..storage.schema import checked, checked_floats


class WeightAverage:
    """mean = (w_s + w_(s+1) + ... + w_e) / (e - s + 1), w_i the weights after epoch i.

    first: s, counted from 1. `add` is called after each epoch from it on. The sum is kept in float64: sums of float32
    weights of like size lose nothing there for many thousand epochs, so it does not matter where a run was interrupted.
    There is no batch norm in an AST, whose statistics would have to be estimated anew.
    Source: the official code's run.py (plain mean, first and last epoch included); Izmailov et al. 2018, "Averaging
    weights leads to wider optima and better generalization".

        average = WeightAverage(model, first=6)
        average.add()                          # after epoch 6, 7, ...
        with average.applied():                # the model has the averaged weights
            minast.save("best.npz", model)
    """

    def __init__(self, model: AST, first: int):
        self.model, self.first, self.count = model, first, 0
        self.sum = model.xp.zeros(model.w.flat.shape, np.float64)

    @property
    def last(self) -> int:
        """The last epoch in the average, from 1."""
        return self.first + self.count - 1

    def add(self) -> None:
        """Count the model's present weights in."""
        self.sum += self.model.w.flat
        self.count += 1

    def mean(self) -> Array:
        """The average, (n,) like `model.w.flat`. Raises minast.Error if there is nothing to average."""
        if not self.count:
            raise Error("no epoch's weights have been added: there is no average.")
        return (self.sum / self.count).astype(self.model.dtype)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Within this context the model has the averaged weights; afterwards its own, bit for bit."""
        flat = self.model.w.flat
        own = flat.copy()
        try:
            flat[...] = self.mean()
            self.model.weights_changed()
            yield
        finally:
            flat[...] = own
            self.model.weights_changed()

    def state(self) -> dict[str, Any]:
        """The state for `load_state`: {"average": the sum (n,) in float64, not copied, "averaged": epochs in it}."""
        return {"average": self.sum, "averaged": self.count}

    def load_state(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state`. Raises minast.Error if it is another model's, or damaged."""
        array = state.get("average")
        if getattr(array, "shape", None) != self.sum.shape:
            raise Error(f"the sum of averaged weights is not one number for each of {self.sum.size} weights.")
        array = checked_floats(array, "the sum of averaged weights", self.sum.dtype)
        self.count = checked(COUNT, state.get("averaged"), "averaged")
        self.sum[...] = self.model.xp.asarray(array)


def new_average(model: AST, first: int) -> WeightAverage | None:
    """An average from epoch `first` on, counted from 1; None for 0."""
    return WeightAverage(model, first) if first else None
