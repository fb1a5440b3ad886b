"""The layer functions with products in TF32: the same names as this package, for float32 arrays.

TF32 is float32 whose mantissa is rounded to 10 bits. Only operands of products are rounded: those of linear layers
(cuBLAS) and of attention (kernels/attention_tf32.cu), forward and backward. Sums, softmax, norms, losses, weights and
Adam are float32, and so is class attention, whose one or two queries leave nothing for a tensor core.
Source: NVIDIA A100 whitepaper, "TensorFloat-32"; PTX ISA, cvt.rna.tf32 and mma.m16n8k8.
"""

from functools import partial

import numpy as np

from ..cuda import *
from ..cuda import linear_backward as _linear_backward
from ..cuda import linear_forward as _linear_forward
from ..errors import Error
from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache
from .common import GROUPS, HEAD_WIDTHS, blocks, overrides

SOURCE = "attention_tf32.cu"
OWN = 64  # rows of a block: queries, or keys in the backward pass

linear_forward = partial(_linear_forward, tf32=True)
linear_backward = partial(_linear_backward, tf32=True)


def _check_device(x):
    """Error where the kernels would trap: tensor cores have TF32 since compute capability 8.0."""
    if not isinstance(x, np.ndarray) and int(x.device.compute_capability) < 80:
        has = f"{x.device.compute_capability[:-1]}.{x.device.compute_capability[-1]}"
        raise Error(f"dtype tf32 needs compute capability 8.0, this GPU has {has}: use float32.")


def _fits(qkv, heads, *_, **__):
    return qkv.dtype == np.float32 and qkv.shape[2] // 3 // heads in HEAD_WIDTHS


def _backward_fits(do, cache, *_, **__):
    return do.dtype == np.float32 and do.shape[2] // cache[3] in HEAD_WIDTHS


@overrides(_fits)
def attention_forward(qkv: Array, heads: int, fragments: int | None = None) -> tuple[Array, Cache]:
    """o = softmax(q k^T / sqrt(D)) v for each head.   qkv (B, T, 3 H D), packed (3, H, D) -> o (B, T, H D)

    fragments: 16-row fragments of a warp, 1 or 2; by default 2 if there are still enough blocks to fill a GPU.
    Raises minast.Error on a GPU before compute capability 8.0.
    """
    _check_device(qkv)
    qkv = packed(qkv)
    B, N, C = qkv.shape
    D = C // 3 // heads
    M = fragments or (2 if blocks(N, 2 * OWN) * B * heads >= GROUPS else 1)
    o, lse = empty(qkv, (B, N, C // 3)), empty(qkv, (B, heads, N, 1))
    args = (qkv, o, lse, N, heads, D**-0.5)
    launch(SOURCE, f"attention_tf32<{D},{M}>", (blocks(N, OWN * M), heads, B), 128, args, 4 * OWN * M * (D + 4))
    return o, (qkv, o, lse, heads, None)


@overrides(_backward_fits)
def attention_backward(do: Array, cache: Cache) -> Array:
    """dv = p^T do,  dp = do v^T,  ds = p (dp - delta),  dq = ds k / sqrt(D),  dk = ds^T q / sqrt(D) -> dqkv like qkv

    Raises minast.Error on a GPU before compute capability 8.0.
    """
    _check_device(do)
    qkv, o, lse, heads, _ = cache
    do, (B, N, C) = packed(do), o.shape
    D, rows = C // heads, B * N * heads
    dqkv, delta = empty(qkv, qkv.shape), empty(qkv, (B, heads, N))
    kernel = f"attention_delta<float,{D}>"
    launch("attention_backward.cu", kernel, blocks(rows, 32), (4, 32), (o, None, do, delta, N, heads, rows))
    args, grid, shared = (qkv, do, lse, delta, dqkv, N, heads, D**-0.5), (blocks(N, OWN), heads, B), 4 * OWN * (D + 4)
    launch(SOURCE, f"attention_tf32_dkv<{D}>", grid, 128, args, shared + 4 * OWN)
    launch(SOURCE, f"attention_tf32_dq<{D}>", grid, 128, args, shared)
    return dqkv
