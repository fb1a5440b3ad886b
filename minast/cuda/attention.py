"""Attention by kernels: `version` selects a version of attention.cu; the default is what choices.py says."""

import numpy as np

from ..errors import Error
from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache
from .choices import attention_choice
from .common import (
    GROUPS,
    HEAD_WIDTHS,
    add_columns,
    blocks,
    c_type,
    checked_version,
    finish_columns,
    overrides,
    shared_memory,
)

TILES = {2: (64, 32, 4, 4), 3: (128, 64, 8, 8)}  # version: BM queries x BN keys per tile, TM x TN scores per thread
TENSOR_CORES = {4: "attention_mma", 5: "attention_mma_async", 6: "attention_mma_lean"}
HOPPER, HOPPER_WIDTHS = 7, (16, 32, 64)  # attention_hopper.cu: a row of a tile is 32, 64 or 128 bytes
HOPPER_STAGES = 3  # each of two tiles in shared memory
LONG = 256  # tokens from which float32 uses version 3 (not measured): for fewer it has at most two blocks per head


def _forward_fits(qkv, heads, *_, **__):
    return qkv.shape[2] // 3 // heads in HEAD_WIDTHS


def _backward_fits(do, cache, *_, **__):
    return do.shape[2] // cache[3] in HEAD_WIDTHS


def tile_bytes(version: int, D: int) -> int:
    """Bytes of shared memory of attention_tiles: queries, keys, values, probabilities."""
    BM, BN, _, TN = TILES[version]
    return 4 * ((BM + 2 * BN) * (D + 4) + BM * (BN + BN // TN))


def attention_version(qkv: Array, heads: int, way: str = "forward") -> int:
    """The default version: of choices.py for 16-bit types, for float32 the last that suits N and the shared memory.

    way: "forward" or "backward"; in float32 the backward pass has one version, made as 2 is.
    """
    N, C = qkv.shape[1:]
    if qkv.dtype == np.float32:
        return 3 if way == "forward" and N >= LONG and tile_bytes(3, C // 3 // heads) <= shared_memory(qkv) else 2
    return attention_choice(_capability(qkv), C // 3 // heads, way).version


def attention_versions(qkv: Array, heads: int) -> tuple[int, ...]:
    """The versions that can compute this qkv on its device."""
    if qkv.dtype == np.float32:
        return (0, 1, *TILES)
    return (*TENSOR_CORES, *([HOPPER] if not _no_hopper(qkv, qkv.shape[2] // 3 // heads) else []))


def _no_hopper(qkv, D):
    """Why version 7 cannot run, or ""."""
    capability = _capability(qkv)
    if capability != "90":  # later devices do not have wgmma either
        return f"compute capability 9.0, this GPU has {capability[:-1]}.{capability[-1]}"
    return "" if D in HOPPER_WIDTHS else f"heads of width {', '.join(map(str, HOPPER_WIDTHS))}, these have {D}"


def _capability(x):
    """The compute capability of x's device, "80" for 8.0; in the emulator the H100's."""
    return "90" if isinstance(x, np.ndarray) else x.device.compute_capability


def _check_tensor_cores(qkv):
    """Error where the 16-bit kernels would trap: before 8.0 tensor cores have no bfloat16."""
    capability = _capability(qkv)
    if c_type(qkv) == "__nv_bfloat16" and int(capability) < 80:
        has = f"{capability[:-1]}.{capability[-1]}"
        raise Error(f"bfloat16 attention needs compute capability 8.0, this GPU has {has}: use float16.")


def _fragments(B, N, H):
    """16-row fragments per warp of the tensor-core kernels: 2 halve shared-memory traffic, 1 gives more blocks."""
    return 2 if blocks(N, 128) * B * H >= GROUPS else 1


def _warpgroups(N):
    """Warpgroups that compute, of version 7, where choices.py does not say: 64 queries each, at most 3."""
    return min(3, blocks(N, 64))


def _hopper_bytes(D, W, rows, own=2):
    """Shared memory of version 7: to align it, stages of two tiles, and for each warpgroup `own` arrays of 64 rows."""
    return 1008 + 2 * D * (64 * W * own + 2 * HOPPER_STAGES * rows)


@overrides(_forward_fits)
def attention_forward(
    qkv: Array,
    heads: int,
    version: int | None = None,
    fragments: int | None = None,
    bias: Array | None = None,
    warpgroups: int | None = None,
) -> tuple[Array, Cache]:
    """o = softmax(q k^T / sqrt(D)) v for each head.   qkv (B, T, 3 H D), packed (3, H, D) -> o (B, T, H D)

    bias (3 H D,) float32 or None, for 16-bit types only: the bias of the product that computed qkv. It is added here,
    for queries in place: the caller must not use qkv afterwards. fragments: of versions 4 to 6, see `_fragments`.
    warpgroups: of version 7, 1 to 3, see `_warpgroups`.
    Raises minast.Error for a version that is not for qkv's dtype, device or head width, for a bias with float32, and
    for bfloat16 on a GPU before compute capability 8.0. Source: see kernels/attention.cu, attention_hopper.cu.
    """
    qkv = packed(qkv)
    (B, N, C), T = qkv.shape, c_type(qkv)
    D, scale = C // 3 // heads, (C // 3 // heads) ** -0.5
    version = attention_version(qkv, heads) if version is None else checked_version(version, HOPPER)
    if (version < 4) != (T == "float"):
        wanted = "float32" if version < 4 else "16-bit types"
        raise Error(f"version {version} of attention is for {wanted}, not for {qkv.dtype}.")
    if bias is not None:
        if T == "float":
            raise Error("attention adds a bias for 16-bit types only: for float32, add it to qkv first.")
        bias = packed(bias)
    _check_tensor_cores(qkv)
    if version == HOPPER and (lacks := _no_hopper(qkv, D)):
        raise Error(f"version {HOPPER} of attention needs {lacks}.")
    o, lse = empty(qkv, (B, N, C // 3)), empty(qkv, (B, heads, N, 1), np.float32)
    args = (qkv, o, lse, N, heads, scale)
    if version == 0:
        scores = empty(qkv, (B, heads, N, N), np.float32)
        grid = (blocks(N, 32), blocks(N, 8), B * heads)
        launch("attention.cu", "attention_scores", grid, (32, 8), (qkv, scores, N, heads, D, scale))
        launch("attention.cu", "attention_softmax", blocks(lse.size, 128), 128, (scores, lse, N, lse.size))
        launch("attention.cu", "attention_values", (N, B * heads), D, (qkv, scores, o, N, heads, D))
    elif version == 1:
        launch("attention.cu", f"attention_rows<{D}>", (blocks(N, 64), heads, B), 64, args)
    elif version in TILES:
        BM, BN, TM, TN = TILES[version]
        kernel = f"attention_tiles<{D},{BM},{BN},{TM},{TN}>"
        launch("attention.cu", kernel, (blocks(N, BM), heads, B), BM // TM * (BN // TN), args, tile_bytes(version, D))
    elif version == HOPPER:
        W = warpgroups or attention_choice(_capability(qkv), D, "forward").warpgroups or _warpgroups(N)
        grid, kernel = (blocks(N, 64 * W), heads, B), f"attention_wgmma<{T},{D},{W}>"
        shared = _hopper_bytes(D, W, 128, 1)
        launch("attention_hopper.cu", kernel, grid, 128 * (W + 1), (qkv, bias, *args[1:]), shared)
    else:
        M = fragments or _fragments(B, N, heads)
        grid, shared = (blocks(N, 64 * M), heads, B), (1 if version == 4 else 2) * 256 * (D + 8)
        launch("attention.cu", f"{TENSOR_CORES[version]}<{T},{D},{M}>", grid, 128, (qkv, bias, *args[1:]), shared)
    return o, (qkv, o, lse, heads, bias)


@overrides(_backward_fits)
def attention_backward(
    do: Array,
    cache: Cache,
    fragments: int | None = None,
    dbias: Array | None = None,
    version: int | None = None,
    warpgroups: int | None = None,
) -> Array:
    """dv = p^T do,  dp = do v^T,  ds = p (dp - delta),  dq = ds k / sqrt(D),  dk = ds^T q / sqrt(D) -> dqkv like qkv

    dbias (3 H D,) float32 += sum of dqkv over clips and tokens; for 16-bit types the sum is taken before rounding.
    version: for 16-bit types 6, attention_backward.cu, or 7, attention_hopper_backward.cu; the default is what
    choices.py says. warpgroups: of version 7, 1 or 2. Raises minast.Error where version 7 cannot run.
    """
    qkv, o, lse, heads, bias = cache
    _check_tensor_cores(qkv)
    do, T = packed(do), c_type(qkv)
    if version is not None and T == "float":
        raise Error("the backward pass of attention has one version for float32.")
    B, N, C = o.shape
    D, source = C // heads, "attention_backward.cu"
    dqkv, delta = empty(qkv, qkv.shape), empty(qkv, (B, heads, N), np.float32)
    rows = B * N * heads
    launch(source, f"attention_delta<{T},{D}>", blocks(rows, 32), (4, 32), (o, bias, do, delta, N, heads, rows))
    args, partial, threads = (qkv, do, lse, delta, dqkv, N, heads, D**-0.5), None, 128
    if T == "float":
        kernels = [  # name, rows a block owns, shared bytes
            (f"attention_tiles_dkv<{D}>", 64, 4 * (192 * (D + 4) + 32 * 80 + 64)),
            (f"attention_tiles_dq<{D}>", 64, 4 * (192 * (D + 4) + 64 * 40)),
        ]
    else:
        choice = attention_choice(_capability(qkv), D, "backward")
        if version not in (None, 6, HOPPER):
            raise Error(f"version {version} of attention has no backward pass of its own: 6 and {HOPPER} have.")
        if (version or choice.version) == HOPPER:
            if lacks := _no_hopper(qkv, D):
                raise Error(f"version {HOPPER} of attention needs {lacks}.")
            W = warpgroups or choice.warpgroups or min(2, blocks(N, 64))
            source, owned, threads, shared = (
                "attention_hopper_backward.cu",
                64 * W,
                128 * (W + 1),
                _hopper_bytes(D, W, 64),
            )
            parts = W * blocks(N, owned)  # a block's warpgroups sum on their own
            kernels = [
                (f"attention_wgmma_dkv<{T},{D},{W}>", owned, shared + 8 * 64 * HOPPER_STAGES),
                (f"attention_wgmma_dq<{T},{D},{W}>", owned, shared),
            ]
        else:
            M, buffers = fragments or _fragments(B, N, heads), 2 * 256 * (D + 8)
            owned, parts = 64 * M, blocks(N, 64 * M)
            values = 256 * (D + 8) if D == 64 and M == 2 else 0  # they do not fit in registers
            kernels = [
                (f"attention_mma_dkv<{T},{D},{M}>", owned, buffers + 1024 + values),
                (f"attention_mma_dq<{T},{D},{M}>", owned, buffers),
            ]
        partial = None if dbias is None else empty(qkv, (1, B * parts, 3 * C), np.float32)
        args = (*args[:5], partial, *args[5:])
    for kernel, owned, shared in kernels:
        launch(source, kernel, (blocks(N, owned), heads, B), threads, args, shared)
    if partial is not None:
        finish_columns(partial, (dbias,))
    elif dbias is not None:
        add_columns(dqkv.reshape(B * N, 3 * C), dbias)
    return dqkv
