"""Patches of a spectrogram, and tokens made of them."""

from collections.abc import Iterator

import numpy as np

from .... import cuda, layers
from ....bfloat16 import to_float32
from ...gpu.device import Device, cast
from ...pytorch import kernels as in_torch
from ...pytorch.runtime import to_torch
from .case import Case, Sizes, versions


def patches(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """x (B, T, F) float32 -> overlapping patches (B, N, 256) of a dtype, and the adjoint."""
    x, kind = device.normal(s.B, s.T, s.F), cast(device.normal(1), dtype).dtype
    want, cache = layers.unfold_forward(x, 10, 10)
    size = 4 * x.size + kind.itemsize * want.size

    def call(version):
        return cuda.unfold_forward(x, 10, 10, version=version, dtype=kind)[:1]

    def half():
        return lambda: (layers.unfold_forward(x, 10, 10)[0].astype(kind),)

    d = cast(want, dtype)

    def forward(t):
        return in_torch.forward(t, in_torch.patches(t, to_torch(t, d).dtype), x)

    def backward(t):
        return in_torch.backward(t, in_torch.patches(t, to_torch(t, d).dtype), d, x)

    yield from versions("unfold", call, lambda: layers.unfold_forward(x, 10, 10)[:1], size, half, forward)
    yield Case(
        "unfold backward",
        lambda: (cuda.unfold_backward(d, cache),),
        lambda: (layers.unfold_backward(to_float32(d), cache),),
        size,
        lambda: lambda: (layers.unfold_backward(d, cache),),
        backward,
    )


def patchout(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """Half of the patches of each clip, and the gradient of all; always float32."""
    if dtype != "float32":
        return
    P, C, xp = 2, s.H * s.D, device.xp
    N, stay = s.N - P, (s.N - P) // 2
    keep = xp.asarray(np.tile(np.arange(0, 2 * stay, 2, dtype=np.int32), (s.B, 1)))
    x, dy = device.normal(s.B, s.N, C), device.normal(s.B, P + stay, C, seed=1)

    def function(t):
        at = to_torch(t, keep).long()[..., None].expand(-1, -1, C)
        return lambda x: t.cat([x[:, :P], x[:, P:].gather(1, at)], 1)

    yield Case(
        "patchout",
        lambda: cuda.patchout_forward(x, keep, P)[:1],
        lambda: layers.patchout_forward(x, keep, P)[:1],
        8 * dy.size,
        torch=lambda t: in_torch.forward(t, function(t), x),
    )
    cache = ((s.B, P + N, C), keep, P)
    yield Case(
        "patchout backward",
        lambda: (cuda.patchout_backward(dy, cache),),
        lambda: (layers.patchout_backward(dy, cache),),
        4 * (dy.size + x.size),
        torch=lambda t: in_torch.backward(t, function(t), dy, x),
    )


def tokens(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """Projected patches -> tokens (B, N, C), always float32; backwards the gradient of the patches in dtype."""
    P, C, xp = 2, s.H * s.D, device.xp
    patches, pos = device.normal(s.B, s.N - P, C), device.normal(s.N, C, seed=1)
    prefix, bias = [device.normal(C, seed=2), device.normal(C, seed=3)], device.normal(C, seed=4)
    kind = cast(device.normal(1), dtype).dtype

    def function(t):
        def run(x, one, two, pos, bias):
            first = t.stack([one, two]).expand(len(x), P, C)
            return t.cat([first, x + bias], 1) + pos

        return run

    if dtype == "float32":
        yield Case(
            "tokens",
            lambda: cuda.tokens_forward(patches, prefix, pos, bias)[:1],
            lambda: layers.tokens_forward(patches + bias, prefix, pos)[:1],
            4 * (patches.size + pos.size + s.B * s.N * C),
            torch=lambda t: in_torch.forward(t, function(t), patches, *prefix, pos, bias),
        )
    dy = device.normal(s.B, s.N, C, seed=5)
    ours, theirs, third = ([xp.zeros(shape, np.float32) for shape in ((C,), (C,), (s.N, C), (C,))] for _ in range(3))

    def backward():  # gradients are added to: compared after one call each
        *first, dpos, dbias = ours
        return cuda.tokens_backward(dy, (P,), first, dpos, dbias, kind), *ours

    def wanted(sums=theirs):
        *first, dpos, dbias = sums
        dx = layers.tokens_backward(dy, (P,), first, dpos)
        dbias += dx.sum(axis=(0, 1))
        return dx, *sums

    def half():
        return lambda: (wanted(third)[0].astype(kind), *third)

    def backward_in_torch(t):
        run = in_torch.backward(t, function(t), dy, patches, *prefix, pos, bias)
        narrow = to_torch(t, cast(bias, dtype)).dtype

        def job():
            dx, *rest = run()
            return dx.to(narrow), *rest

        return job

    size = 4 * dy.size + 8 * pos.size + kind.itemsize * patches.size  # dpos is read and written
    yield Case("tokens backward", backward, wanted, size, half, backward_in_torch)
