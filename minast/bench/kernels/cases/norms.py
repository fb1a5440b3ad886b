"""Layer norm, and its fusion with the residual in 16-bit training."""

from collections.abc import Iterator
from functools import partial

import numpy as np

from .... import cuda, layers
from ....bfloat16 import to_float32
from ....cuda import half as half_cuda
from ...gpu.device import Device, cast
from ...pytorch import kernels as in_torch
from ...row import Skip
from .case import Case, Sizes, versions


def norms(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """x (R, C) -> its layer norm, and the gradients of x, weight and bias. Weight and bias are float32."""
    (R, C), xp = s.rows, device.xp
    x, dy = (cast(device.normal(R, C, seed=seed), dtype) for seed in (1, 2))
    w, b, dw, db = (
        device.normal(C, seed=3),
        device.normal(C, seed=4),
        xp.zeros(C, np.float32),
        xp.zeros(C, np.float32),
    )
    once = x.nbytes + 8 * R  # with mean and rstd

    def call(version):
        return cuda.layernorm_forward(x, w, b, version=version)[:1]

    def half():
        return lambda: layers.layernorm_forward(x, cast(w, dtype), cast(b, dtype))[:1]

    def half_backward():
        kept, sums = layers.layernorm_forward(x, cast(w, dtype), cast(b, dtype))[1], xp.zeros((2, C), x.dtype)
        return lambda: (layers.layernorm_backward(dy, kept, *sums), *sums)

    def function(t):
        return lambda x, w, b: t.nn.functional.layer_norm(x, (C,), w, b, 1e-6)

    def forward(t):
        return in_torch.forward(t, function(t), x, cast(w, dtype), cast(b, dtype))

    def backward(t):
        return in_torch.backward(t, function(t), dy, x, cast(w, dtype), cast(b, dtype))

    def wanted():
        return layers.layernorm_forward(to_float32(x), w, b)[:1]

    yield from versions("layer norm", call, wanted, once + x.nbytes, half, forward)
    cache, plain = cuda.layernorm_forward(x, w, b)[1], layers.layernorm_forward(to_float32(x), w, b)[1]
    ddw, ddb = xp.zeros_like(dw), xp.zeros_like(db)
    yield Case(  # gradients are added to: compared after one call each; the sums of the timed calls are not used
        "layer norm backward",
        lambda: (cuda.layernorm_backward(dy, cache, dw, db), dw, db),
        lambda: (layers.layernorm_backward(to_float32(dy), plain, ddw, ddb), ddw, ddb),
        once + 2 * x.nbytes,
        half_backward,
        backward,
    )


def residuals(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """x, branch (R, C) -> x + branch + bias and its layer norm, one kernel of 16-bit training; then the backward pass.

    The libraries do the same one operation after the other.
    """
    (R, C), xp = s.rows, device.xp
    x, dy, w, b, bias = (device.normal(*shape, seed=i) for i, shape in enumerate([(R, C), (R, C), (C,), (C,), (C,)]))
    branch, dn = (cast(device.normal(R, C, seed=seed), dtype) for seed in (5, 6))
    kind, stats = branch.dtype, 8 * R

    def forward(branch, kind):
        return layers.layernorm_forward(x + branch + bias, w, b)[0].astype(kind)

    def backward(sums):
        dx = layers.layernorm_backward(to_float32(dn), plain, *sums[:2])
        dx += dy
        sums[2] += dx.sum(axis=0)
        return dx, dx, *sums

    def forward_in_torch(t):
        def function(x, branch, bias, w, b):
            return t.nn.functional.layer_norm(x + branch + bias, (C,), w, b, 1e-6).to(branch.dtype)

        return in_torch.forward(t, function, x, branch, bias, w, b)

    def no_torch(t):
        raise Skip("no such job")

    yield Case(
        "residual + norm",
        lambda: half_cuda.residual_norm_forward(x, branch, bias, w, b, 1e-6, kind)[0][1:],
        lambda: (forward(to_float32(branch), np.float32),),
        2 * x.nbytes + 2 * branch.nbytes + stats,
        lambda: lambda: (forward(branch, kind),),
        forward_in_torch,
    )
    cache = half_cuda.residual_norm_forward(x, branch, bias, w, b, 1e-6, kind)[1]
    plain = layers.layernorm_forward(x + to_float32(branch) + bias, w, b)[1]
    ours, theirs = xp.zeros((3, C), np.float32), xp.zeros((3, C), np.float32)
    yield Case(  # gradients are added to: compared after one call each
        "residual + norm backward",
        lambda: (*half_cuda.residual_norm_backward(dn, dy, cache, *ours), *ours),
        lambda: backward(theirs),
        3 * x.nbytes + 2 * branch.nbytes + stats,
        lambda: partial(backward, xp.zeros((3, C), np.float32)),
        no_torch,
    )
