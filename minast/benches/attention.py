"""The attention kernels, rung by rung: GFLOP/s, the share of cuBLAS's largest product, and of the libraries' attention.

Counted are 4 B H N^2 D FLOP forward (two products) and 10 B H N^2 D backward (five), whatever a kernel does: ours makes
two of the five twice, so as to need no atomics.
"""

from functools import partial

import numpy as np

from .. import cuda, layers
from .device import DTYPES, TOLERANCE, cast, check, gemm_peak, place, row, wide
from .table import Skip

RUNGS = {"float32": (0, 1, 2, 3), "float16": (4, 5), "bfloat16": (4, 5)}
BACKWARD = {"float32": "as rung 2", "float16": "as rung 5", "bfloat16": "as rung 5"}  # how its products are made
REAL, TOY = (32, 12, 1214, 64), (1, 2, 50, 16)  # B, H, N, D
LIBRARY, TORCH = "layers.py on CuPy", "torch SDPA"
CLIPS = 4  # whose N x N scores the reference holds at a time


def measure(where, size, rounds, dtypes=DTYPES):
    """Rows of all rungs and types.   size: B, H, N, D"""
    return [done for dtype in dtypes for done in of_type(where, *size, rounds, dtype)]


def of_type(where, B, H, N, D, rounds, dtype):
    ceiling, kind = gemm_peak(where, rounds, dtype) if where.gpu else None, f"cuBLAS's {dtype} GEMM,"
    qkv, do = (cast(where.normal(B, N, C, seed=C), dtype) for C in (3 * H * D, H * D))
    want, want_dqkv = reference(where.xp, qkv, do, H)
    forward, backward = libraries(where, qkv, do, H, want, want_dqkv, rounds)
    one = 4 * H * N * N * D  # FLOP of a clip's forward pass

    def line(name, call, flop, clips, found):
        beside = {library: seconds * clips / B for library, seconds in found.items()}
        seconds, note = where.seconds(call, rounds), f"batch {clips}" if clips < B else ""
        return row(where, name, dtype, seconds, flop * clips, "GFLOP/s", ceiling, kind, beside, note)

    for rung in RUNGS[dtype]:
        name = f"attention, rung {rung}, {dtype}"
        clips = room(where, B, 4 * H * N * N) if rung == 0 else B  # rung 0 writes all scores
        call = partial(cuda.attention_forward, qkv[:clips], H, rung=rung)
        check(call()[0], want[:clips], TOLERANCE[dtype], name)
        yield line(name, call, one, clips, forward)
    name = f"attention backward, {BACKWARD[dtype]}, {dtype}"
    call = partial(cuda.attention_backward, do, cuda.attention_forward(qkv, H)[1])
    check(call(), want_dqkv, TOLERANCE[dtype], name)
    yield line(name, call, 2.5 * one, B, backward)


def reference(xp, qkv, do, heads):
    """o and dqkv of layers.py in float32, some clips at a time, since it holds all their scores."""
    o, dqkv = xp.empty(do.shape, np.float32), xp.empty(qkv.shape, np.float32)
    for b in range(0, len(qkv), CLIPS):
        part = slice(b, b + CLIPS)
        o[part], cache = layers.attention_forward(wide(qkv[part]), heads)
        dqkv[part] = layers.attention_backward(wide(do[part]), cache)
    return o, dqkv


def room(where, B, per_clip):
    """B, or fewer clips if so many bytes each do not fit."""
    while where.gpu and B > 1 and B * per_clip > 0.8 * where.free():
        B //= 2
    return B


def libraries(where, qkv, do, heads, want, want_dqkv, rounds):
    """({name: seconds} forward, the same backward) for all B clips, where there is a GPU. Each is checked as well."""
    if not where.gpu:
        return {}, {}
    forward, backward = {}, {}
    (B, N), dtype = qkv.shape[:2], "bfloat16" if qkv.dtype == np.uint16 else qkv.dtype.name
    if dtype != "bfloat16":  # CuPy's batched products do not take it; float16 they compute in float32
        b = room(where, B, 6 * 4 * heads * N * N)
        x, d = qkv[:b], do[:b]
        o, cache = layers.attention_forward(x, heads)
        check(o, want[:b], TOLERANCE[dtype], f"{LIBRARY}, {dtype}")
        forward[LIBRARY] = where.seconds(lambda: layers.attention_forward(x, heads), rounds) * B / b
        if dtype == "float32":
            backward[LIBRARY] = where.seconds(lambda: layers.attention_backward(d, cache), rounds) * B / b
        del o, cache
    try:
        torch = torch_with_cuda()
    except Skip:
        return forward, backward
    ours = sdpa(torch, *(to_torch(torch, a) for a in (qkv, do)), heads)
    for result, call, wanted, times in zip(*ours, (want, want_dqkv), (forward, backward), strict=True):
        got = where.xp.from_dlpack(result().float().contiguous())
        check(got, wanted, TOLERANCE[dtype], f"{TORCH}, {dtype}")
        times[TORCH] = where.seconds(call, rounds)
    return forward, backward


def torch_with_cuda():
    try:
        import torch
    except ImportError:
        raise Skip("torch is not installed") from None
    if not torch.cuda.is_available():
        raise Skip("torch has no CUDA here")
    return torch


def to_torch(torch, x):
    """The same memory as a tensor; bfloat16 by way of int16, which every version of DLPack knows."""
    return torch.from_dlpack(x.view(np.int16)).view(torch.bfloat16) if x.dtype == np.uint16 else torch.from_dlpack(x)


def sdpa(torch, qkv, do, heads):
    """torch's scaled_dot_product_attention on qkv (B, N, 3 H D), do (B, N, H D).

    -> (results, calls), forward and backward each: results() packs o (B, N, H D) and dqkv (B, N, 3 H D) as ours are;
    calls() are what is timed, without the packing.
    """
    B, N, C = do.shape
    q, k, v = (x.detach().requires_grad_() for x in qkv.view(B, N, 3, heads, -1).permute(2, 0, 3, 1, 4))  # (B, H, N, D)
    attend = torch.nn.functional.scaled_dot_product_attention
    o, d = attend(q, k, v), do.view(B, N, heads, -1).transpose(1, 2)

    def forward():
        with torch.no_grad():
            return attend(q, k, v)

    def backward():
        return torch.autograd.grad(o, (q, k, v), d, retain_graph=True)

    def packed_o():
        return forward().transpose(1, 2).reshape(B, N, C)

    def packed_dqkv():
        return torch.stack(backward()).permute(1, 3, 0, 2, 4).reshape(B, N, 3 * C)

    return (packed_o, packed_dqkv), (forward, backward)


def attention(rounds, backend=None):
    where = place(backend)
    return measure(where, REAL if where.gpu else TOY, rounds)
