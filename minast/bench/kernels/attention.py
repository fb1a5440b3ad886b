"""The versions of the attention kernel: GFLOP/s, the share of cuBLAS's largest product and of the libraries' attention.

Counted are 4 B H N^2 D FLOP forward (two products) and 10 B H N^2 D backward (five), whatever a kernel does: ours makes
two of the five twice, so as to need no atomics. Checked are o, the rows' lse, and dqkv.

Beside ours, in turns with each version: the reference on CuPy, which has no bfloat16, and whose products of float16 are
made in float32; and torch's scaled_dot_product_attention, in all three types, by each of its backends that takes the
inputs, float32 without TF32. The goals hold for the version that the model takes, against the best of these backends. A
library whose result differs is not timed, and says so.
"""

from contextlib import nullcontext
from functools import partial

import numpy as np

from ... import cuda, layers
from ...bfloat16 import to_float32
from ..gpu.device import DTYPES, LIBRARY, NO_BFLOAT16, TOLERANCE, cast, check, differs, gemm_peak, place
from ..gpu.device_rows import Goal, row
from ..table import Skip
from . import in_torch
from .in_torch import TORCH

VERSIONS = {"float32": (0, 1, 2, 3), "float16": (4, 5, 6), "bfloat16": (4, 5, 6)}
BACKWARD = {
    "float32": "as version 2",
    "float16": "as version 6",
    "bfloat16": "as version 6",
}  # how its products are made
GOALS = {  # of torch's speed
    ("forward", "bfloat16"): Goal("0.7x", 0.7, TORCH),
    ("backward", "bfloat16"): Goal("0.6x", 0.6, TORCH),
    ("forward", "float32"): Goal("1.0x", 1.0, TORCH),
}
REAL, TOY = (32, 12, 1214, 64), (1, 2, 50, 16)  # B, H, N, D
CLIPS = 4  # whose N x N scores the reference holds at a time


def measure(where, size, rounds, dtypes=DTYPES):
    """Rows of all versions and types.   size: B, H, N, D"""
    try:
        torch = in_torch.torch_with_cuda() if where.gpu else None
    except Skip as reason:
        torch = str(reason)
    with nullcontext() if torch is None or isinstance(torch, str) else in_torch.no_tf32(torch):
        return [done for dtype in dtypes for done in of_type(where, *size, rounds, dtype, torch)]


def of_type(where, B, H, N, D, rounds, dtype, torch=None):
    """torch: the module, or why there is none."""
    ceiling, kind = gemm_peak(where, rounds, dtype) if where.gpu else None, f"cuBLAS's {dtype} GEMM"
    qkv, do = (cast(where.normal(B, N, C, seed=C), dtype) for C in (3 * H * D, H * D))
    want, want_dqkv, want_lse = reference(where.xp, qkv, do, H)
    one = 4 * H * N * N * D  # FLOP of a clip's forward pass

    def line(name, call, flop, clips, found, way, version=None, goals=()):
        calls, without = found
        ours, *theirs = where.turns([call, *(call for call, _ in calls.values())], rounds)
        sizes = [b for _, b in calls.values()]
        beside = {library: t * clips / b for library, t, b in zip(calls, theirs, sizes, strict=True)}
        note = f"batch {clips}" if clips < B else ""
        more = {"without": without, "job": f"attention {way}", "version": version, "goals": goals}
        return row(where, name, dtype, ours, flop * clips, "GFLOP/s", ceiling, kind, beside, note, **more)

    found, taken = libraries(where, torch, "forward", qkv, do, H, want, dtype), cuda.attention_version(qkv, H)
    for version in VERSIONS[dtype]:
        name = f"attention, version {version}, {dtype}"
        clips = room(where, B, 4 * H * N * N) if version == 0 else B  # version 0 writes all scores
        call = partial(cuda.attention_forward, qkv[:clips], H, version=version)
        o, (_, _, lse, *_) = call()
        check(o, want[:clips], TOLERANCE[dtype], name)
        check(lse, want_lse[:clips], TOLERANCE["float32"], f"lse of {name}")  # float32 in every type
        goals = [GOALS["forward", dtype]] if version == taken and ("forward", dtype) in GOALS else []
        yield line(name, call, one, clips, found, "forward", version, goals)
    del o, lse, found
    where.release()
    name = f"attention backward, {BACKWARD[dtype]}, {dtype}"
    call = partial(cuda.attention_backward, do, cuda.attention_forward(qkv, H)[1])
    check(call(), want_dqkv, TOLERANCE[dtype], name)
    found = libraries(where, torch, "backward", qkv, do, H, want_dqkv, dtype)
    goals = [GOALS["backward", dtype]] if ("backward", dtype) in GOALS else []
    yield line(name, call, 2.5 * one, B, found, "backward", goals=goals)


def reference(xp, qkv, do, heads):
    """o, dqkv and lse of layers.py in float32, some clips at a time, since it holds all their scores."""
    o, dqkv = xp.empty(do.shape, np.float32), xp.empty(qkv.shape, np.float32)
    lse = xp.empty((len(qkv), heads, qkv.shape[1], 1), np.float32)
    for b in range(0, len(qkv), CLIPS):
        part = slice(b, b + CLIPS)
        o[part], cache = layers.attention_forward(to_float32(qkv[part]), heads)
        dqkv[part], lse[part] = layers.attention_backward(to_float32(do[part]), cache), cache[2]
    return o, dqkv, lse


def room(where, B, per_clip):
    """B, or fewer clips if so many bytes each do not fit."""
    while where.gpu and B > 1 and B * per_clip > 0.8 * where.free():
        B //= 2
    return B


def libraries(where, torch, way, qkv, do, heads, want, dtype):
    """({name: (what to call, its clips)}, {name: why there is none}); each is checked. way: forward or backward"""
    calls, without = {}, {}
    if not where.gpu:
        return calls, without
    B, N = qkv.shape[:2]
    if isinstance(torch, str):
        without[TORCH] = torch
    else:
        with_torch(where, torch, way, qkv, do, heads, want, dtype, calls, without)
    if dtype == "bfloat16":
        without[LIBRARY] = NO_BFLOAT16
        return calls, without
    b = room(where, B, 6 * 4 * heads * N * N)
    call = (_forward if way == "forward" else _backward)(qkv[:b], do[:b], heads)
    wrong = differs((call(),), (want[:b],), TOLERANCE[dtype])
    if wrong:
        without[LIBRARY] = wrong
    else:
        calls[LIBRARY] = call, b
    return calls, without


def with_torch(where, torch, way, qkv, do, heads, want, dtype, calls, without):
    """`libraries` of torch, a backend each, added to calls and without. MATH is the plain way: for float32 alone."""
    which, tensors = ("forward", "backward").index(way), [in_torch.to_torch(torch, x) for x in (qkv, do)]
    for backend in in_torch.SDPA:
        if backend == "math" and dtype != "float32":
            continue
        try:
            with in_torch.reasons():
                results, pair = in_torch.sdpa(torch, *tensors, heads, backend)
                got = in_torch.to_array(where.xp, results[which]())
            wrong = differs((got,), (want,), TOLERANCE[dtype])
        except Skip as reason:
            wrong = str(reason)
        if wrong:
            without[f"{TORCH}: {backend}"] = wrong
        else:
            calls[f"{TORCH}: {backend}"] = pair[which], len(qkv)


def _forward(qkv, do, heads):
    return lambda: layers.attention_forward(qkv, heads)[0]


def _backward(qkv, do, heads):
    cache = layers.attention_forward(qkv, heads)[1]
    return lambda: layers.attention_backward(do, cache)


def attention(rounds, backend=None):
    where = place(backend)
    return measure(where, REAL if where.gpu else TOY, rounds)
