"""Adam on all ranks: one norm of the gradient for all, and, if wanted, the moments divided among them (ZeRO-1)."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .. import threads
from ..bfloat16 import from_float32
from ..errors import Error
from ..layers import Array, array_module
from ..optim import Adam
from .group import GRID, Group, pieces

ROWS = 64  # blocks of GRID elements that a thread squares at a time


class SharedAdam:
    """Adam of the weights of all ranks, with the methods of `optim.Adam`.

    make(slice): an Adam of a part of the flat weights w (n,). cut: the buckets in which gradients are added. fixed: the
    norm has the same bits for any number of ranks. shard: each rank has the moments of its own pieces alone, updates
    these, and gets the others' weights: the memory of the moments is divided by the number of ranks.
    Source: Rajbhandari et al. 2020, "ZeRO: memory optimizations toward training trillion parameter models", section 5.
    """

    def __init__(
        self,
        group: Group,
        w: Array,
        make: Callable[[slice], Adam],
        cut: Sequence[slice],
        fixed: bool = False,
        shard: bool = False,
    ):
        self.group, self.w, self.cut, self.fixed, self.shard = group, w, cut, fixed, shard
        self.own = [moved(pieces(s.stop - s.start, group.size)[group.rank], s.start) for s in cut]
        self.parts = [(s, make(s)) for s in (self.own if shard else [slice(0, w.size)])]

    @property
    def t(self) -> int:
        """Steps taken."""
        return self.parts[0][1].t

    @property
    def rates(self) -> Array | None:
        """As `optim.Adam`'s, of this rank's part."""
        return self.parts[0][1].rates

    def clipped_step(
        self, g: Array, lr: float, max_norm: float = 0.0, copy: Array | None = None, scale: float = 1.0
    ) -> float:
        """See `optim.Adam`: what it returns and decides is the same on all ranks."""
        norm = self.norm(g) * scale
        if not math.isfinite(norm):
            return norm
        factor = scale * (max_norm / (norm + 1e-6) if max_norm and norm > max_norm else 1.0)
        for s, adam in self.parts:
            if factor != 1:
                g[s] *= g.dtype.type(factor)
            adam.step(g[s], lr)
        if self.shard:
            self.group.wait([self.group.begin_all_gather(self.w[s]) for s in self.cut])
        if copy is not None:
            copy[...] = from_float32(self.w, copy.dtype)
        return norm

    def norm(self, g: Array) -> float:
        """|g|: each rank squares its own pieces, whether it has all of the gradient or these alone.   g (n,)"""
        own = np.concatenate([squares(g[s]) for s in self.own])
        if not self.fixed:
            own = np.array([math.fsum(own)]) if np.isfinite(own).all() else np.array([own.sum()])
        sums = np.concatenate([np.frombuffer(each) for each in self.group.talk(own.tobytes())])
        return math.sqrt(math.fsum(sums)) if np.isfinite(sums).all() else float(sums.sum())

    def state(self) -> dict[str, Any]:
        """See `optim.Adam`. With `shard` the moments are collected on rank 0, and are None on the others."""
        if not self.shard:
            return self.parts[0][1].state()
        return {"m": self._whole("m"), "v": self._whole("v"), "t": self.t}

    def load_state(self, state: dict[str, Any]) -> None:
        """See `optim.Adam`: of any number of ranks, sharded or not."""
        for name in ("m", "v"):
            if getattr(state.get(name), "shape", None) != self.w.shape:
                raise Error(f"the moments {name!r} are not one number for each of {self.w.size} weights.")
        for s, adam in self.parts:
            adam.load_state({**state, "m": state["m"][s], "v": state["v"][s]})

    def _whole(self, name):
        """The moments (n,) as a NumPy array on rank 0, bucket by bucket."""
        whole = None if self.group.rank else np.empty(self.w.size, self.w.dtype)
        for s, (_, adam) in zip(self.cut, self.parts, strict=True):
            own, lengths = getattr(adam, name), [p.stop - p.start for p in pieces(s.stop - s.start, self.group.size)]
            found = self.group.collect(own if isinstance(own, np.ndarray) else own.get(), lengths)
            if whole is not None:
                whole[s] = found
        return whole


def moved(s: slice, by: int) -> slice:
    """A slice, further up."""
    return slice(s.start + by, s.stop + by)


def squares(g: Array) -> np.ndarray:
    """Sums of squares of blocks of GRID elements, counted from the end, in float64.   g (n,) -> (blocks,) of NumPy"""
    xp, rest = array_module(g), g.size % GRID
    rows = g[rest:].reshape(-1, GRID)
    if xp is not np:
        found = [xp.square(part, dtype=np.float64).sum(axis=-1).reshape(-1) for part in (g[:rest], rows)]
        return xp.concatenate(found).get()
    sums = np.zeros(1 + len(rows))
    sums[0] = np.square(g[:rest], dtype=np.float64).sum()

    def block(s):
        sums[1 + s.start : 1 + s.stop] = np.square(rows[s], dtype=np.float64).sum(axis=1)

    threads.run(block, threads.spans(len(rows), parts=-(-len(rows) // ROWS)) if len(rows) else [])
    return sums
