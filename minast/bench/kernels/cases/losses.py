"""The two losses. They are so small that the launches are what is measured."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from .... import cuda, layers
from ....bfloat16 import to_float32
from ...gpu.device import Device, cast
from ...pytorch import kernels as in_torch
from ...pytorch.runtime import to_torch
from .case import Case, Sizes


def losses(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """logits (B, K), y (B, K) float32 -> binary cross-entropy and cross-entropy, and the gradient of the logits."""
    logits, rng = cast(device.normal(s.B, s.K), dtype), device.xp.random.default_rng(5)
    y = rng.random((s.B, s.K), dtype=np.float32)
    size = logits.nbytes + y.nbytes
    for name in ("bce", "ce"):
        forward, backward = getattr(cuda, f"{name}_forward"), getattr(cuda, f"{name}_backward")
        plain, adjoint = getattr(layers, f"{name}_forward"), getattr(layers, f"{name}_backward")
        own, theirs = forward(logits, y)[1], plain(to_float32(logits), y)[1]
        half = partial(_half_loss, plain, adjoint, logits, y)
        ahead, back = (partial(_torch_loss, name, adjoint, logits, y) for adjoint in (False, True))
        wanted = partial(_first, plain, to_float32(logits), y)
        yield Case(name, partial(_first, forward, logits, y), wanted, size, partial(half, False), ahead)
        call, wanted = partial(_one, backward, own), partial(_one, adjoint, theirs)
        yield Case(f"{name} backward", call, wanted, size + logits.nbytes, partial(half, True), back)


def _half_loss(forward, backward, logits, y, adjoint):
    y = y.astype(logits.dtype)
    return partial(_one, backward, forward(logits, y)[1]) if adjoint else partial(_first, forward, logits, y)


def _torch_loss(name, adjoint, logits, y, t):
    target = to_torch(t, cast(y, "bfloat16" if logits.dtype == np.uint16 else logits.dtype.name))
    f = t.nn.functional.binary_cross_entropy_with_logits if name == "bce" else t.nn.functional.cross_entropy

    def loss(x):
        return f(x, target).reshape(1) if not adjoint else f(x, target)

    return in_torch.backward(t, loss, None, logits) if adjoint else in_torch.forward(t, loss, logits)


def _first(function, *args):
    return (function(*args)[0].reshape(1),)


def _one(function, *args):
    return (function(*args),)
