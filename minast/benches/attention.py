"""The attention kernels, rung by rung: GFLOP/s, the share of cuBLAS's largest product, and of the libraries' attention.

Counted are 4 B H N^2 D FLOP forward (two products) and 10 B H N^2 D backward (five), whatever a kernel does: ours makes
two of the five twice, so as to need no atomics. Checked are o, the rows' lse, and dqkv.

Beside ours: the reference on CuPy, which has no bfloat16, and whose products of float16 are made in float32; and
torch's scaled_dot_product_attention, in all three types. A library whose result differs is not timed, and says so.
"""

from functools import partial

import numpy as np

from .. import cuda, layers
from . import in_torch
from .device import DTYPES, LIBRARY, NO_BFLOAT16, TOLERANCE, cast, check, differs, gemm_peak, place, row, wide
from .in_torch import TORCH
from .table import Skip

RUNGS = {"float32": (0, 1, 2, 3), "float16": (4, 5), "bfloat16": (4, 5)}
BACKWARD = {"float32": "as rung 2", "float16": "as rung 5", "bfloat16": "as rung 5"}  # how its products are made
REAL, TOY = (32, 12, 1214, 64), (1, 2, 50, 16)  # B, H, N, D
CLIPS = 4  # whose N x N scores the reference holds at a time


def measure(where, size, rounds, dtypes=DTYPES):
    """Rows of all rungs and types.   size: B, H, N, D"""
    return [done for dtype in dtypes for done in of_type(where, *size, rounds, dtype)]


def of_type(where, B, H, N, D, rounds, dtype):
    ceiling, kind = gemm_peak(where, rounds, dtype) if where.gpu else None, f"cuBLAS's {dtype} GEMM,"
    qkv, do = (cast(where.normal(B, N, C, seed=C), dtype) for C in (3 * H * D, H * D))
    want, want_dqkv, want_lse = reference(where.xp, qkv, do, H)
    forward, backward = libraries(where, qkv, do, H, want, want_dqkv, rounds)
    one = 4 * H * N * N * D  # FLOP of a clip's forward pass

    def line(name, call, flop, clips, found):
        times, without = found
        beside = {library: seconds * clips / B for library, seconds in times.items()}
        seconds, note = where.seconds(call, rounds), f"batch {clips}" if clips < B else ""
        return row(where, name, dtype, seconds, flop * clips, "GFLOP/s", ceiling, kind, beside, note, without)

    for rung in RUNGS[dtype]:
        name = f"attention, rung {rung}, {dtype}"
        clips = room(where, B, 4 * H * N * N) if rung == 0 else B  # rung 0 writes all scores
        call = partial(cuda.attention_forward, qkv[:clips], H, rung=rung)
        o, (_, _, lse, *_) = call()
        check(o, want[:clips], TOLERANCE[dtype], name)
        check(lse, want_lse[:clips], TOLERANCE["float32"], f"lse of {name}")  # float32 in every type
        yield line(name, call, one, clips, forward)
    name = f"attention backward, {BACKWARD[dtype]}, {dtype}"
    call = partial(cuda.attention_backward, do, cuda.attention_forward(qkv, H)[1])
    check(call(), want_dqkv, TOLERANCE[dtype], name)
    yield line(name, call, 2.5 * one, B, backward)


def reference(xp, qkv, do, heads):
    """o, dqkv and lse of layers.py in float32, some clips at a time, since it holds all their scores."""
    o, dqkv = xp.empty(do.shape, np.float32), xp.empty(qkv.shape, np.float32)
    lse = xp.empty((len(qkv), heads, qkv.shape[1], 1), np.float32)
    for b in range(0, len(qkv), CLIPS):
        part = slice(b, b + CLIPS)
        o[part], cache = layers.attention_forward(wide(qkv[part]), heads)
        dqkv[part], lse[part] = layers.attention_backward(wide(do[part]), cache), cache[2]
    return o, dqkv, lse


def room(where, B, per_clip):
    """B, or fewer clips if so many bytes each do not fit."""
    while where.gpu and B > 1 and B * per_clip > 0.8 * where.free():
        B //= 2
    return B


def libraries(where, qkv, do, heads, want, want_dqkv, rounds):
    """Two of ({name: seconds}, {name: why there is none}), forward and backward, for all B clips. Each is checked."""
    forward, backward = ({}, {}), ({}, {})
    if not where.gpu:
        return forward, backward
    (B, N), dtype = qkv.shape[:2], "bfloat16" if qkv.dtype == np.uint16 else qkv.dtype.name
    b = room(where, B, 6 * 4 * heads * N * N)
    x, d = qkv[:b], do[:b]
    for (times, without), wanted, job in ((forward, want, _forward), (backward, want_dqkv, _backward)):
        if dtype == "bfloat16":
            without[LIBRARY] = NO_BFLOAT16
            continue
        call = job(x, d, heads)
        wrong = differs((call(),), (wanted[:b],), TOLERANCE[dtype])
        if wrong:
            without[LIBRARY] = wrong
        else:
            times[LIBRARY] = where.seconds(call, rounds) * B / b
        del call
    try:
        torch = in_torch.torch_with_cuda()
    except Skip as reason:
        forward[1][TORCH] = backward[1][TORCH] = str(reason)
        return forward, backward
    ours = in_torch.sdpa(torch, *(in_torch.to_torch(torch, a) for a in (qkv, do)), heads)
    for result, call, wanted, (times, without) in zip(*ours, (want, want_dqkv), (forward, backward), strict=True):
        wrong = differs((in_torch.to_array(where.xp, result()),), (wanted,), TOLERANCE[dtype])
        if wrong:
            without[TORCH] = wrong
        else:
            times[TORCH] = where.seconds(call, rounds)
    return forward, backward


def _forward(qkv, do, heads):
    return lambda: layers.attention_forward(qkv, heads)[0]


def _backward(qkv, do, heads):
    cache = layers.attention_forward(qkv, heads)[1]
    return lambda: layers.attention_backward(do, cache)


def attention(rounds, backend=None):
    where = place(backend)
    return measure(where, REAL if where.gpu else TOY, rounds)
