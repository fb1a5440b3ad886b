"""Class attention by kernels: in the last block only the one or two prefix tokens have queries."""

import numpy as np

from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache
from .common import HEAD_WIDTHS, c_type, overrides

FEW = 2  # the most queries: each takes registers of every thread


def _forward_fits(q, kv, heads, *_, **__):
    return q.shape[1] <= FEW and q.shape[2] // heads in HEAD_WIDTHS


def _backward_fits(do, cache, *_, **__):
    return cache[0].ndim == 3  # the reference's cache has q split into heads, (B, H, P, D)


@overrides(_forward_fits)
def class_attention_forward(q: Array, kv: Array, heads: int, bias: Array | None = None) -> tuple[Array, Cache]:
    """o = softmax(q k^T / sqrt(D)) v for each head.   q (B, P, H D), kv (B, T, 2 H D) -> o (B, P, H D)

    kv is packed (2, H, D). bias (3 H D,) float32 or None: the bias of the product that computed q, k and v, added here.
    Source: Touvron et al. 2021 (CaiT), section 3; see kernels/class_attention.cu.
    """
    q, kv, bias = packed(q), packed(kv), bias if bias is None else packed(bias)
    (B, P, C), T = q.shape, kv.shape[1]
    o, lse = empty(q, q.shape), empty(q, (B, heads, P), np.float32)
    kernel = f"class_attention_forward<{c_type(q)},{C // heads},{P}>"
    launch("class_attention.cu", kernel, (heads, B), 256, (q, kv, bias, o, lse, T, heads, (C // heads) ** -0.5))
    return o, (q, kv, o, lse, heads, bias)


@overrides(_backward_fits)
def class_attention_backward(do: Array, cache: Cache) -> tuple[Array, Array]:
    """dv = p^T do, dk = ds^T q, dq = ds k, ds = p (do v^T - delta) / sqrt(D) -> dq (B, P, H D), dkv (B, T, 2 H D)"""
    q, kv, o, lse, heads, bias = cache
    (B, P, C), T = q.shape, kv.shape[1]
    dq, dkv = empty(q, q.shape), empty(kv, kv.shape)
    kernel = f"class_attention_backward<{c_type(q)},{C // heads},{P}>"
    args = (q, kv, bias, o, lse, packed(do), dq, dkv, T, heads, (C // heads) ** -0.5)
    launch("class_attention.cu", kernel, (heads, B), 128, args)
    return dq, dkv
