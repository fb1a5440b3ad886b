"""Cases of the kernels at both ends of the encoder: tokens made of patches, and attention of the two that are read.

They move memory like the others: attention of two queries reads all keys and values for some arithmetic with each.
"""

import numpy as np

from ... import cuda, layers
from ...bfloat16 import to_float32
from ..gpu.device import cast
from . import in_torch
from .cases import Case


def tokens(where, s, dtype):
    """Patches to tokens, always float32; backwards the patches' gradient in `dtype`."""
    P, C, xp = 2, s.H * s.D, where.xp
    patches, pos = where.normal(s.B, s.N - P, C), where.normal(s.N, C, seed=1)
    prefix, bias = [where.normal(C, seed=2), where.normal(C, seed=3)], where.normal(C, seed=4)
    kind = cast(where.normal(1), dtype).dtype

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
    dy = where.normal(s.B, s.N, C, seed=5)
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

    def in_t(t):
        run = in_torch.backward(t, function(t), dy, patches, *prefix, pos, bias)
        return lambda: (lambda dx, *rest: (dx.to(in_torch.to_torch(t, cast(bias, dtype)).dtype), *rest))(*run())

    size = 4 * dy.size + 8 * pos.size + kind.itemsize * patches.size  # dpos is read and written
    yield Case("tokens backward", backward, wanted, size, half, in_t)


def few_queries(where, s, dtype):
    """Attention of the two prefix tokens, keys and values of all."""
    P, C = 2, s.H * s.D
    q, kv, do = (cast(where.normal(s.B, n, c, seed=n), dtype) for n, c in ((P, C), (s.N, 2 * C), (P + 1, C)))
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
    cache, plain = (
        cuda.class_attention_forward(q, kv, s.H)[1],
        layers.class_attention_forward(to_float32(q), to_float32(kv), s.H)[1],
    )
    yield Case(
        "attention of two queries, backward",
        lambda: cuda.class_attention_backward(do, cache),
        lambda: layers.class_attention_backward(to_float32(do), plain),
        2 * kv.nbytes + 4 * q.nbytes,
        lambda: (lambda kept: lambda: layers.class_attention_backward(do, kept))(
            layers.class_attention_forward(q, kv, s.H)[1]
        ),
        lambda t: in_torch.backward(t, function(t), do, q, kv),
    )
