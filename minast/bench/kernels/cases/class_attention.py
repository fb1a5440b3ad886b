"""Attention of the prefix tokens alone, as in the last block (class attention).

It counts as a kernel that moves memory: two queries read all keys and values for little arithmetic with each.
"""

from collections.abc import Iterator

from .... import cuda, layers
from ....bfloat16 import to_float32
from ...gpu.device import Device, cast
from ...pytorch import kernels as in_torch
from .case import Case, Sizes


def few_queries(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """q (B, 2, C), kv (B, N, 2 C) -> o (B, 2, C), and the gradients of q and kv."""
    P, C = 2, s.H * s.D
    q, kv, do = (cast(device.normal(s.B, n, c, seed=n), dtype) for n, c in ((P, C), (s.N, 2 * C), (P + 1, C)))
    do = do[:, :P].copy()

    def function(t):
        def run(q, kv):
            q = q.view(s.B, P, s.H, s.D).transpose(1, 2)
            k, v = kv.view(s.B, s.N, 2, s.H, s.D).permute(2, 0, 3, 1, 4)
            return t.nn.functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(s.B, P, C)

        return run

    yield Case(
        "attention of two queries",
        lambda: cuda.class_attention_forward(q, kv, s.H)[:1],
        lambda: layers.class_attention_forward(to_float32(q), to_float32(kv), s.H)[:1],
        kv.nbytes + 2 * q.nbytes,
        lambda: lambda: layers.class_attention_forward(q, kv, s.H)[:1],
        lambda t: in_torch.forward(t, function(t), q, kv),
    )
    cache = cuda.class_attention_forward(q, kv, s.H)[1]
    plain = layers.class_attention_forward(to_float32(q), to_float32(kv), s.H)[1]

    def half():
        kept = layers.class_attention_forward(q, kv, s.H)[1]
        return lambda: layers.class_attention_backward(do, kept)

    yield Case(
        "attention of two queries, backward",
        lambda: cuda.class_attention_backward(do, cache),
        lambda: layers.class_attention_backward(to_float32(do), plain),
        2 * kv.nbytes + 4 * q.nbytes,
        half,
        lambda t: in_torch.backward(t, function(t), do, q, kv),
    )
