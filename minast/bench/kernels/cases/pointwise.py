"""GELU with its bias, and softmax."""

from collections.abc import Iterator
from functools import partial

from .... import cuda, layers
from ....bfloat16 import to_float32
from ...gpu.device import Device, cast
from ...pytorch import kernels as in_torch
from ...pytorch.runtime import to_torch
from .case import Case, Sizes, versions


def gelus(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """x (R, 4 C) -> gelu(x + bias), and the gradient of x."""
    R, C = s.rows[0], 4 * s.rows[1]
    x, dy, bias = cast(device.normal(R, C, seed=1), dtype), cast(device.normal(R, C, seed=2), dtype), device.normal(C)

    def call(version):
        return cuda.gelu_forward(x, "erf", bias, version=version)[:1]

    def half():
        return lambda: layers.gelu_forward(x + cast(bias, dtype))[:1]

    def half_backward():
        kept = layers.gelu_forward(x + cast(bias, dtype))[1]
        return lambda: (layers.gelu_backward(dy, kept),)

    def function(t):
        b = to_torch(t, cast(bias, dtype))
        return lambda x: t.nn.functional.gelu(x + b)

    def forward(t):
        return in_torch.forward(t, function(t), x)

    def backward(t):
        return in_torch.backward(t, function(t), dy, x)

    def wanted():
        return layers.gelu_forward(to_float32(x) + bias)[:1]

    yield from versions("bias + GELU", call, wanted, 2 * x.nbytes, half, forward)
    cache, plain = cuda.gelu_forward(x, "erf", bias)[1], layers.gelu_forward(to_float32(x) + bias)[1]
    yield Case(
        "bias + GELU backward",
        lambda: (cuda.gelu_backward(dy, cache),),
        lambda: (layers.gelu_backward(to_float32(dy), plain),),
        3 * x.nbytes,
        half_backward,
        backward,
    )


def softmaxes(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """x (R, N) -> its softmax over N, and the gradient of x."""
    x, dp = (cast(device.normal(s.rows[0], s.N, seed=seed), dtype) for seed in (1, 2))

    def call(version):
        return cuda.softmax_forward(x, version)[:1]

    def half():
        return lambda: layers.softmax_forward(x)[:1]

    def forward(t):
        return in_torch.forward(t, partial(t.softmax, dim=-1), x)

    def backward(t):
        return in_torch.backward(t, partial(t.softmax, dim=-1), dp, x)

    yield from versions("softmax", call, lambda: layers.softmax_forward(to_float32(x))[:1], 2 * x.nbytes, half, forward)
    cache = cuda.softmax_forward(x)[1]
    yield Case(
        "softmax backward",
        lambda: (cuda.softmax_backward(dp, cache),),
        lambda: (layers.softmax_backward(to_float32(dp), (to_float32(cache[0]),)),),
        3 * x.nbytes,
        lambda: lambda: (layers.softmax_backward(dp, cache),),
        backward,
    )
