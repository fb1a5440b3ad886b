"""Sums over rows, Adam, and the gradient norm."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from .... import cuda, optim
from ....bfloat16 import to_float32
from ...gpu.device import Device, cast
from ...pytorch import kernels as in_torch
from .case import Case, Sizes


def columns(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """x (R, 4 C) -> its sum over rows (4 C,) float32, added to: the gradient of a bias."""
    (R, C), xp = (s.rows[0], 4 * s.rows[1]), device.xp
    x = cast(device.normal(R, C), dtype)

    def wanted():
        return (to_float32(x).sum(axis=0),)

    for version in (0, 1):
        call = partial(_columns, x, xp.zeros(C, np.float32), version)
        yield Case(
            f"column sums, version {version}",
            call,
            wanted,
            x.nbytes,
            lambda: lambda: (x.sum(axis=0, dtype=np.float32),),
            lambda t: in_torch.forward(t, lambda x: x.sum(0, dtype=t.float32), x),
        )


def _columns(x, out, version):
    cuda.add_columns(x, out, version)
    return (out,)


def adam(device: Device, s: Sizes, dtype: str = "float32") -> Iterator[Case]:
    """A step of AdamW on `weights` numbers -> w, m, v; the norm of a gradient of that size. float32 alone."""
    g, start = device.normal(s.weights, seed=1), device.normal(s.weights, seed=2)
    for version in (0, 1):
        ours, theirs = (kind(start.copy(), weight_decay=0.1, decoupled=True) for kind in (cuda.Adam, optim.Adam))
        yield Case(
            f"Adam, version {version}",
            partial(_step, ours, g, version=version),
            partial(_step, theirs, g),
            28 * s.weights,  # reads w, m, v and g, writes w, m and v
            torch=lambda t, like=ours: in_torch.adam(t, start.copy(), g, like, 0.1),
        )

    def norm():
        return (device.xp.asarray(np.array([optim.gradient_norm(g)], np.float32)),)

    def forward(t):
        return in_torch.forward(t, lambda g: t.linalg.vector_norm(g).reshape(1), g)

    yield Case("gradient norm", lambda: (cuda.gradient_norm(g),), norm, g.nbytes, torch=forward)


def _step(adam, g, **version):
    adam.step(g, 0.1, **version)  # a rate so large that w alone would show a wrong step
    return adam.w, adam.m, adam.v
