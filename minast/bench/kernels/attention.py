"""The versions of the attention kernel: GFLOP/s, the share of cuBLAS's largest product, and other libraries' attention.

Those that the device can run: version 7 needs compute capability 9.0.

The count is 4 B H N^2 D FLOP forward (two products) and 10 B H N^2 D backward (five), whatever a kernel does: ours
computes two of the five twice, to need no atomics. The check covers o, the rows' log-sum-exp (lse), and dqkv.

Beside each version: the reference on CuPy, which cannot compute in our bfloat16 and multiplies float16 in float32; and
PyTorch's scaled_dot_product_attention in all three dtypes, by each of its backends that takes the inputs, float32
without TF32. The goals are about the version that the model uses, against the best of these backends. A library whose
result differs is not timed, and its cell says so.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from functools import partial

import numpy as np

from ... import cuda, layers
from ...bfloat16 import to_float32
from ...cuda import tf32
from ..checks import check, difference
from ..gpu.device import DTYPES, LIBRARY, NO_BFLOAT16, TOLERANCE, Device, cast, open_device
from ..gpu.rows import DeviceRow, Goal, row
from ..libraries import errors_as_skips
from ..pytorch import kernels as in_torch
from ..pytorch import runtime
from ..pytorch.kernels import TORCH
from ..row import Skip, each

VERSIONS = {"float32": (0, 1, 2, 3), "float16": (4, 5, 6, 7), "bfloat16": (4, 5, 6, 7)}
WARPGROUPS = (1, 2, 3)  # of version 7: each is timed, since which is fastest is for choices.py to say
BACKWARD = {"float32": (2,), "float16": (6, 7), "bfloat16": (6, 7)}  # as which version its products are made
GOALS = {  # of PyTorch's speed
    ("forward", "bfloat16"): Goal("0.7x", 0.7, TORCH),
    ("backward", "bfloat16"): Goal("0.6x", 0.6, TORCH),
    ("forward", "float32"): Goal("1.0x", 1.0, TORCH),
}
REAL, TOY = (32, 12, 1214, 64), (1, 2, 50, 16)  # B, H, N, D
CLIPS = 4  # whose N x N scores the reference holds at a time


def measure(
    device: Device, size: tuple[int, int, int, int], rounds: int, dtypes: Sequence[str] = DTYPES
) -> Iterator[DeviceRow]:
    """The rows of all versions and dtypes.   size: B, H, N, D

    Raises Error at the end if a kernel of ours differs from the reference.
    """
    try:
        torch = device.torch() if device.gpu else None
    except Skip as reason:
        torch = str(reason)
    with nullcontext() if torch is None or isinstance(torch, str) else runtime.without_tf32(torch):
        yield from each(made for dtype in dtypes for made in of_dtype(device, *size, rounds, dtype, torch))


def of_dtype(
    device: Device, B: int, H: int, N: int, D: int, rounds: int, dtype: str, torch=None
) -> Iterator[tuple[str, Callable[[], DeviceRow]]]:
    """Makers of the rows of one dtype (see `row.each`), forward version by version, then backward.

    torch: the module, or why there is none.
    """
    ceiling, kind = device.gemm_peak(rounds, dtype) if device.gpu else None, f"cuBLAS's {dtype} GEMM"
    qkv, do = (cast(device.normal(B, N, C, seed=C), dtype) for C in (3 * H * D, H * D))
    want, want_dqkv, want_lse = reference(device.xp, qkv, do, H)
    one = 4 * H * N * N * D  # FLOP of a clip's forward pass

    def line(name, call, flop, clips, found, job, version=None, goals=()):
        calls, without = found[0], dict(found[1])
        (ours,), taken = device.beside([call], {library: call for library, (call, _) in calls.items()}, without, rounds)
        beside = {library: seconds * clips / calls[library][1] for library, seconds in taken.items()}
        return row(
            device,
            name,
            dtype,
            ours,
            amount=flop * clips,
            rate_unit="GFLOP/s",
            ceiling=ceiling,
            kind=kind,
            libraries=beside,
            without=without,
            note=f"batch {clips}" if clips < B else "",
            goals=goals,
            job=job,
            version=version,
        )

    def forward(name, version, warpgroups, kind_of):
        clips = device.fitting(B, 4 * H * N * N, 0.8) if version == 0 else B  # version 0 writes all scores
        call = partial(cuda.attention_forward, qkv[:clips], H, version=version, warpgroups=warpgroups)
        o, (_, _, lse, *_) = call()
        check(o, want[:clips], TOLERANCE[dtype], name)
        check(lse, want_lse[:clips], TOLERANCE["float32"], f"lse of {name}")  # float32 in every dtype
        goals = [GOALS["forward", dtype]] if version == used and not kind_of and ("forward", dtype) in GOALS else []
        return line(name, call, one, clips, found, f"attention forward{kind_of}", version, goals)

    def backward(name, version):
        call = partial(cuda.attention_backward, do, cache, **({} if dtype == "float32" else {"version": version}))
        check(call(), want_dqkv, TOLERANCE[dtype], name)
        goals = [GOALS["backward", dtype]] if version == used and ("backward", dtype) in GOALS else []
        return line(name, call, 2.5 * one, B, found, "attention backward", goals=goals)

    found, used = libraries(device, torch, "forward", qkv, do, H, want, dtype), cuda.attention_version(qkv, H)
    for version, warpgroups in rungs(dtype, cuda.attention_versions(qkv, H)):
        kind_of = f" with {warpgroups} warpgroup{'s' * (warpgroups > 1)}" if warpgroups else ""
        name = f"attention, version {version}{kind_of}, {dtype}"
        yield name, partial(forward, name, version, warpgroups, kind_of)
    device.release()
    if dtype == "float32":
        yield from in_tf32(device, qkv, do, H, want, want_dqkv, rounds)
    found = libraries(device, torch, "backward", qkv, do, H, want_dqkv, dtype)
    cache, used = cuda.attention_forward(qkv, H)[1], cuda.attention_version(qkv, H, "backward")
    for version in BACKWARD[dtype]:
        if version in cuda.attention_versions(qkv, H):
            name = f"attention backward, as version {version}, {dtype}"
            yield name, partial(backward, name, version)


def in_tf32(
    device: Device, qkv, do, heads: int, want, want_dqkv, rounds: int
) -> Iterator[tuple[str, Callable[[], DeviceRow]]]:
    """Makers of the rows of the TF32 kernels, forward for each number of fragments, and backward.

    No library computes beside them.
    """
    flop = 4 * want.shape[0] * qkv.shape[1] ** 2 * want.shape[2]  # of the two products forward
    calls = {
        f"attention, TF32, {M} fragment{'s' * (M > 1)} a warp": (
            partial(tf32.attention_forward, qkv, heads, M),
            want,
            flop,
        )
        for M in (1, 2)
    }
    cache = tf32.attention_forward(qkv, heads)[1]
    calls["attention backward, TF32"] = partial(tf32.attention_backward, do, cache), want_dqkv, 2.5 * flop
    ceiling, kind = device.gemm_peak(rounds, "tf32") if device.gpu else None, "cuBLAS's TF32 GEMM"

    def make(name, call, wanted, work):
        found = call()
        check(found[0] if isinstance(found, tuple) else found, wanted, TOLERANCE["tf32"], name)
        (ours,) = device.interleaved([call], rounds)
        return row(device, name, "tf32", ours, work, "GFLOP/s", ceiling, kind, job="attention in TF32")

    for name, made in calls.items():
        yield name, partial(make, name, *made)


def rungs(dtype: str, can_run: Sequence[int]) -> list[tuple[int, int | None]]:
    """[(version, warpgroups or None for its own choice), ...] of the versions of a dtype that the device can run."""
    versions = [(version, None) for version in VERSIONS[dtype] if version in can_run]
    return versions + [(version, w) for version, _ in versions if version == 7 for w in WARPGROUPS]


def reference(xp, qkv, do, heads: int) -> tuple:
    """o (B, N, C), dqkv (B, N, 3 C), lse (B, H, N, 1) of layers.py in float32, `CLIPS` clips at a time."""
    o, dqkv = xp.empty(do.shape, np.float32), xp.empty(qkv.shape, np.float32)
    lse = xp.empty((len(qkv), heads, qkv.shape[1], 1), np.float32)
    for b in range(0, len(qkv), CLIPS):
        part = slice(b, b + CLIPS)
        o[part], cache = layers.attention_forward(to_float32(qkv[part]), heads)
        dqkv[part], lse[part] = layers.attention_backward(to_float32(do[part]), cache), cache[2]
    return o, dqkv, lse


def libraries(device: Device, torch, way: str, qkv, do, heads: int, want, dtype: str) -> tuple[dict, dict]:
    """({name: (function to call, its clips)}, {name: why there is none}), each checked. way: "forward", "backward" """
    calls, without = {}, {}
    if not device.gpu:
        return calls, without
    B, N = qkv.shape[:2]
    if isinstance(torch, str):
        without[TORCH] = torch
    else:
        add_torch(device, torch, way, qkv, do, heads, want, dtype, calls, without)
    if dtype == "bfloat16":
        without[LIBRARY] = NO_BFLOAT16
        return calls, without
    b = device.fitting(B, 6 * 4 * heads * N * N, 0.8)
    call = (_forward if way == "forward" else _backward)(qkv[:b], do[:b], heads)
    try:
        with errors_as_skips():
            wrong = difference(call(), want[:b], TOLERANCE[dtype])
    except Skip as reason:  # out of memory, for example
        wrong = str(reason)
    if wrong:
        without[LIBRARY] = wrong
    else:
        calls[LIBRARY] = call, b
    return calls, without


def add_torch(device, torch, way, qkv, do, heads, want, dtype, calls, without):
    """Add each backend of PyTorch's attention to calls or without. MATH, the unfused one, is for float32 alone."""
    which, tensors = ("forward", "backward").index(way), [runtime.to_torch(torch, x) for x in (qkv, do)]
    for backend in in_torch.SDPA:
        if backend == "math" and dtype != "float32":
            continue
        try:
            with errors_as_skips():
                results, pair = in_torch.sdpa(torch, *tensors, heads, backend)
                got = runtime.to_array(device.xp, results[which]())
            wrong = difference(got, want, TOLERANCE[dtype])
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


def attention(rounds: int, backend: str | None = None) -> Iterator[DeviceRow]:
    """The rows of the attention kernels. Raises Skip without a GPU, unless the backend is the emulator."""
    device = open_device(backend)
    return measure(device, TOY if device.toy else REAL, rounds)
