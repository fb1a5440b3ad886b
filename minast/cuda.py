"""The reference's names, the hot ones through kernels/*.cu: on a GPU for CuPy arrays, in the emulator for NumPy arrays.

Every line is shared by the backends `cuda` and `emulator`; `launch` looks at the arrays. float32, float16 and bfloat16
(on NumPy as uint16) have kernels; everything else, float64 first of all, takes the reference's own function.
GEMMs are plain `@` on two-dimensional arrays, so cuBLAS does them. `rung` picks a version from the head of a .cu file.
"""

from functools import wraps

import numpy as np

from . import layers, optim
from .errors import Error
from .launch import launch
from .layers import *

C_TYPES = {"float32": "float", "float16": "__half", "bfloat16": "__nv_bfloat16", "uint16": "__nv_bfloat16"}
HEAD_WIDTHS = (16, 32, 48, 64)
LAYERNORM_CHUNKS = (1, 2, 3, 6, 8)  # of 128 columns; the widths of the presets are 96, 192, 384 and 768
GROUPS = 264  # partial sums per column: two blocks for each multiprocessor of an H100; fixed, so that sums repeat


def overrides(fits=lambda *_, **__: True):
    """Decorator: the kernel where dtype and shape have one, else the function of the same name in layers.py.

    Forward and backward of a pair ask the same of the same arrays, so a cache never meets the wrong one of the two;
    a gradient of another type than the forward pass, which could send them different ways, is refused.
    """

    def decorate(function):
        plain = getattr(layers, function.__name__)

        @wraps(function)
        def either(*args, **kwargs):
            x = args[0][0] if isinstance(args[0], tuple) else args[0]  # a loss's backward has only its cache
            kept = getattr(args[1][0], "dtype", x.dtype) if len(args) > 1 and isinstance(args[1], tuple) else x.dtype
            if kept != x.dtype and {kept.name, x.dtype.name} & C_TYPES.keys():
                raise Error(f"{function.__name__}: the gradient is {x.dtype}, the forward pass was {kept}.")
            if x.dtype.name in C_TYPES and x.size and fits(*args, **kwargs):
                return function(*args, **kwargs)
            if x.dtype.name == "uint16" and x.size:
                raise Error(
                    f"{function.__name__}: no kernel fits bfloat16 {x.shape}, and plain array code cannot read it."
                )
            if kwargs.get("rung") is not None:
                raise Error(f"{function.__name__}: no kernel fits {x.dtype} {x.shape}: there is no rung to choose.")
            return plain(*args, **kwargs)

        return either

    return decorate


def checked_rung(rung, last):
    """A rung of which there is a kernel: 0 to last."""
    if rung not in range(last + 1):
        raise Error(f"rung is {rung!r}: there are 0 to {last}.")
    return rung


def blocks(count, size):
    return -(-count // size)


def c_type(x):
    return C_TYPES[x.dtype.name]


def packed(x):
    """x, or a copy of it that is C-contiguous and starts on 16 bytes, as vector loads want it."""
    x = array_module(x).ascontiguousarray(x)
    address = x.ctypes.data if isinstance(x, np.ndarray) else x.data.ptr
    return x if address % 16 == 0 else x.copy()


def rows_of(x):
    """(number of rows, their length) of x (..., C)"""
    return x.size // x.shape[-1], x.shape[-1]


# -- sums over rows ----------------------------------------------------------------------------------------------


def add_columns(x, out, rung=1):
    """out += sum of x over its rows.   x (R, C), out (C,) float32"""
    R, C = x.shape
    if checked_rung(rung, 1) == 0:
        launch("columns.cu", f"column_sum<{c_type(x)}>", blocks(C, 128), 128, (packed(x), out, R, C))
        return
    groups = min(GROUPS, blocks(R, 8))
    partial = array_module(x).empty((groups, C), np.float32)
    launch("columns.cu", f"column_partials<{c_type(x)}>", (blocks(C, 128), groups), (32, 8), (packed(x), partial, R, C))
    launch("columns.cu", "column_finish", blocks(C, 32), (32, 8), (partial, out, groups, C))


@overrides()
def linear_backward(dy, cache, dw, db):
    """dx = dy w,  dw += dy^T x,  db += sum of dy over rows."""
    x, w = cache
    if x.dtype.name == "uint16":
        raise Error("linear_backward: bfloat16 products are not built yet, convert to float32.")
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dw += drows.T @ rows
    add_columns(drows, db)
    return (drows @ w).reshape(x.shape)


# -- layer norm --------------------------------------------------------------------------------------------------


def _narrow(x, *_, **__):
    return x.shape[-1] <= 128 * LAYERNORM_CHUNKS[-1]


def _chunks(C):
    return next(n for n in LAYERNORM_CHUNKS if 128 * n >= C)


@overrides(_narrow)
def layernorm_forward(x, w, b, eps=1e-6, rung=1):
    """y = (x - mean) * rstd * w + b over the last axis.   x (..., C) -> y (..., C)"""
    xp, (R, C), x = array_module(x), rows_of(x), packed(x)
    y, mean, rstd = xp.empty_like(x), xp.empty((*x.shape[:-1], 1), np.float32), xp.empty((*x.shape[:-1], 1), np.float32)
    args = (x, w, b, y, mean, rstd, R, C, float(eps))
    if checked_rung(rung, 1) == 0:
        launch("layernorm.cu", f"layernorm_plain<{c_type(x)}>", blocks(R, 128), 128, args)
    else:
        launch("layernorm.cu", f"layernorm_forward<{c_type(x)},{_chunks(C)}>", blocks(R, 4), (32, 4), args)
    return y, (x, w, mean, rstd)


@overrides(_narrow)
def layernorm_backward(dy, cache, dw, db):
    """dx = rstd * (dn - <dn> - n <dn n>), dn = dy w;  dw += sum dy n,  db += sum dy."""
    x, w, mean, rstd = cache
    xp, (R, C) = array_module(x), rows_of(x)
    dx, groups = xp.empty_like(x), min(GROUPS, blocks(R, 4))
    partial = xp.empty((2, groups, C), np.float32)
    kernel = f"layernorm_backward<{c_type(x)},{_chunks(C)}>"
    launch("layernorm.cu", kernel, groups, (32, 4), (packed(dy), x, w, mean, rstd, dx, partial, R, C))
    for part, out in zip(partial, (dw, db), strict=True):
        launch("columns.cu", "column_finish", blocks(C, 32), (32, 8), (part, out, groups, C))
    return dx


# -- GELU --------------------------------------------------------------------------------------------------------


@overrides()
def gelu_forward(x, kind="erf", bias=None, rung=1):
    """y = z Phi(z), z = x + bias.   x (..., C), bias (C,) or None -> y (..., C)"""
    x = packed(x)
    y = array_module(x).empty_like(x)
    name, each = ("gelu_plain", 256) if checked_rung(rung, 1) == 0 else ("gelu_forward", 1024)
    kernel = f"{name}<{c_type(x)},{_tanh(kind)}>"
    launch("gelu.cu", kernel, blocks(x.size, each), 256, (x, bias, y, x.size, x.shape[-1]))
    return y, (x, bias, kind)


@overrides()
def gelu_backward(dy, cache, dbias=None):
    """dx = dy (Phi(z) + z phi(z));  dbias += sum of dx over rows, before dx is rounded to 16 bits."""
    x, bias, kind = cache
    dx = array_module(x).empty_like(x)
    if dbias is not None:
        R, C = rows_of(x)
        groups = min(GROUPS, blocks(R, 8))
        partial = array_module(x).empty((groups, C), np.float32)
        args = (packed(dy), x, bias, dx, partial, R, C)
        kernel = f"gelu_backward_sums<{c_type(x)},{_tanh(kind)}>"
        launch("gelu.cu", kernel, (blocks(C, 128), groups), (32, 8), args)
        launch("columns.cu", "column_finish", blocks(C, 32), (32, 8), (partial, dbias, groups, C))
        return dx
    kernel = f"gelu_backward<{c_type(x)},{_tanh(kind)}>"
    launch("gelu.cu", kernel, blocks(x.size, 1024), 256, (packed(dy), x, bias, dx, x.size, x.shape[-1]))
    return dx


def _tanh(kind):
    if kind not in ("erf", "tanh"):
        raise Error(f'the kind of GELU is {kind!r}: it is "erf" or "tanh".')
    return "true" if kind == "tanh" else "false"


# -- softmax -----------------------------------------------------------------------------------------------------


@overrides()
def softmax_forward(x, rung=1):
    """p = exp(x - max) / sum exp(x - max) over the last axis.   x (..., C) -> p (..., C)"""
    x, (R, C) = packed(x), rows_of(x)
    p = array_module(x).empty_like(x)
    if checked_rung(rung, 1) == 0:
        launch("softmax.cu", f"softmax_plain<{c_type(x)}>", blocks(R, 128), 128, (x, p, R, C))
    else:
        launch("softmax.cu", f"softmax_forward<{c_type(x)}>", blocks(R, 4), (32, 4), (x, p, R, C))
    return p, (p,)


@overrides()
def softmax_backward(dp, cache):
    """dx = p (dp - sum_c dp p)"""
    (p,), (R, C) = cache, rows_of(dp)
    dx = array_module(dp).empty_like(p)
    launch("softmax.cu", f"softmax_backward<{c_type(p)}>", blocks(R, 4), (32, 4), (packed(dp), p, dx, R, C))
    return dx


# -- attention ---------------------------------------------------------------------------------------------------

TILES = {2: (64, 32, 4, 4), 3: (128, 64, 8, 8)}  # rung: queries, keys, and the scores of a thread
LONG = 256  # tokens from which float32 takes rung 3, not measured: below, that has at most two blocks of queries a head


def _forward_fits(qkv, heads, *_, **__):
    return qkv.shape[2] // 3 // heads in HEAD_WIDTHS


def _backward_fits(do, cache, *_, **__):
    return do.shape[2] // cache[3] in HEAD_WIDTHS


def tile_bytes(rung, D):
    """Shared memory of attention_tiles: queries, keys, values, probabilities."""
    BM, BN, _, TN = TILES[rung]
    return 4 * ((BM + 2 * BN) * (D + 4) + BM * (BN + BN // TN))


def attention_rung(qkv, heads):
    """The version that `attention_forward` takes: the last one for 16 bits, for float32 what fits the device and N."""
    N, C = qkv.shape[1:]
    if qkv.dtype == np.float32:
        return 3 if N >= LONG and tile_bytes(3, C // 3 // heads) <= _shared_memory(qkv) else 2
    return 5


def _capability(x):
    """The compute capability of x's device, "80" for 8.0; the emulator has the H100's."""
    return "90" if isinstance(x, np.ndarray) else x.device.compute_capability


def _check_tensor_cores(qkv):
    """Error where the kernels of 16-bit types would trap: before 8.0 tensor cores have no bfloat16."""
    capability = _capability(qkv)
    if c_type(qkv) == "__nv_bfloat16" and int(capability) < 80:
        has = f"{capability[:-1]}.{capability[-1]}"
        raise Error(f"bfloat16 attention needs compute capability 8.0, this GPU has {has}: use float16.")


def _fragments(B, N, H):
    """16-row fragments a warp of the tensor-core kernels holds: 2 halve its shared-memory traffic, 1 suits few rows."""
    return 2 if blocks(N, 128) * B * H >= GROUPS else 1


def _shared_memory(x):
    """The largest shared memory of a block on x's device, in bytes; the emulator has the H100's."""
    return 227 * 1024 if isinstance(x, np.ndarray) else x.device.attributes["MaxSharedMemoryPerBlockOptin"]


@overrides(_forward_fits)
def attention_forward(qkv, heads, rung=None, fragments=None):
    """o = softmax(q k^T / sqrt(D)) v for each head.   qkv (B, T, 3 H D), packed (3, H, D) -> o (B, T, H D)

    Raises Error for a rung of another type, and for bfloat16 on a GPU before compute capability 8.0.
    """
    xp, qkv = array_module(qkv), packed(qkv)
    (B, N, C), T = qkv.shape, c_type(qkv)
    D, scale = C // 3 // heads, (C // 3 // heads) ** -0.5
    rung = attention_rung(qkv, heads) if rung is None else checked_rung(rung, 5)
    if (rung < 4) != (T == "float"):
        wanted = "float32" if rung < 4 else "16-bit types"
        raise Error(f"rung {rung} of attention is for {wanted}, not for {qkv.dtype}.")
    _check_tensor_cores(qkv)
    o, lse = xp.empty((B, N, C // 3), qkv.dtype), xp.empty((B, heads, N, 1), np.float32)
    args = (qkv, o, lse, N, heads, scale)
    if rung == 0:
        scores = xp.empty((B, heads, N, N), np.float32)
        grid = (blocks(N, 32), blocks(N, 8), B * heads)
        launch("attention.cu", "attention_scores", grid, (32, 8), (qkv, scores, N, heads, D, scale))
        launch("attention.cu", "attention_softmax", blocks(lse.size, 128), 128, (scores, lse, N, lse.size))
        launch("attention.cu", "attention_values", (N, B * heads), D, (qkv, scores, o, N, heads, D))
    elif rung == 1:
        launch("attention.cu", f"attention_rows<{D}>", (blocks(N, 64), heads, B), 64, args)
    elif rung in TILES:
        BM, BN, TM, TN = TILES[rung]
        kernel = f"attention_tiles<{D},{BM},{BN},{TM},{TN}>"
        launch("attention.cu", kernel, (blocks(N, BM), heads, B), BM // TM * (BN // TN), args, tile_bytes(rung, D))
    else:
        name, buffers = ("attention_mma", 1) if rung == 4 else ("attention_mma_async", 2)
        M = fragments or _fragments(B, N, heads)
        grid, shared = (blocks(N, 64 * M), heads, B), buffers * 256 * (D + 8)
        launch("attention.cu", f"{name}<{T},{D},{M}>", grid, 128, args, shared)
    return o, (qkv, o, lse, heads)


@overrides(_backward_fits)
def attention_backward(do, cache, fragments=None):
    """dv = p^T do,  dp = do v^T,  ds = p (dp - delta),  dq = ds k / sqrt(D),  dk = ds^T q / sqrt(D) -> dqkv like qkv"""
    qkv, o, lse, heads = cache
    _check_tensor_cores(qkv)
    xp, do, T = array_module(qkv), packed(do), c_type(qkv)
    B, N, C = o.shape
    D, source = C // heads, "attention_backward.cu"
    dqkv, delta = xp.empty_like(qkv), xp.empty((B, heads, N), np.float32)
    rows = B * N * heads
    launch(source, f"attention_delta<{T},{D}>", blocks(rows, 32), (4, 32), (o, do, delta, N, heads, rows))
    args = (qkv, do, lse, delta, dqkv, N, heads, D**-0.5)
    if T == "float":
        kernels = [  # name, rows a block owns, shared bytes
            (f"attention_tiles_dkv<{D}>", 64, 4 * (192 * (D + 4) + 32 * 80 + 64)),
            (f"attention_tiles_dq<{D}>", 64, 4 * (192 * (D + 4) + 64 * 40)),
        ]
    else:
        M, buffers = fragments or _fragments(B, N, heads), 2 * 256 * (D + 8)
        own = 1 if D == 64 else M  # two would need every register of a thread
        kernels = [
            (f"attention_mma_dkv<{T},{D},{own}>", 64 * own, buffers + 1024),
            (f"attention_mma_dq<{T},{D},{M}>", 64 * M, buffers),
        ]
    for kernel, owned, shared in kernels:
        launch(source, kernel, (blocks(N, owned), heads, B), 128, args, shared)
    return dqkv


# -- patches -----------------------------------------------------------------------------------------------------


def _whole_patches(x, fstride, tstride, size=16, *_, **__):
    return x.dtype.name != "uint16" and size == 16 and min(x.shape[1:]) >= 16


@overrides(_whole_patches)
def unfold_forward(x, fstride, tstride, size=16, rung=1, dtype=None):
    """Overlapping patches, flattened, in x's type or `dtype`.   x (B, T, F) -> patches (B, N, 256)

    The kernel reads float32: a float16 spectrogram is widened first, which is exact. bfloat16 is for patches only.
    """
    xp, dtype = array_module(x), dtype or x.dtype
    x = packed(x.astype(np.float32, copy=False))
    B, T, F = x.shape
    gf, gt = (F - size) // fstride + 1, (T - size) // tstride + 1
    patches = xp.empty((B, gf * gt, size * size), dtype)
    args = (x, patches, T, F, gf, gt, fstride, tstride)
    if checked_rung(rung, 1) == 0:
        launch("unfold.cu", f"unfold_plain<{c_type(patches)}>", blocks(patches.size, 256), 256, (*args, patches.size))
    else:
        pitch = blocks(F, 32) * 32 + 2  # keeps the gather of four frames free of bank conflicts
        launch("unfold.cu", f"unfold_strip<{c_type(patches)}>", (gt, B), 256, (*args, pitch), 4 * size * pitch)
    return patches, (x.shape, fstride, tstride, size)


@overrides(lambda dpatches, cache: cache[3] == 16)
def unfold_backward(dpatches, cache):
    """The adjoint: each entry of x gathers the gradients of all patches that saw it -> dx (B, T, F) float32

    dpatches may be of any of the three types; sums are kept in float32, as the kernel's x is.
    """
    (B, T, F), fstride, tstride, size = cache
    dx = array_module(dpatches).empty((B, T, F), np.float32)
    gf, gt = (F - size) // fstride + 1, (T - size) // tstride + 1
    grid, args = (blocks(F, 32), blocks(T, 32), B), (packed(dpatches), dx, T, F, gf, gt, fstride, tstride)
    launch("unfold.cu", f"unfold_gather<{c_type(dpatches)}>", grid, (32, 8), args)
    return dx


# -- losses ------------------------------------------------------------------------------------------------------


def _mean(losses, divisor):
    out = array_module(losses).empty(1, np.float64)
    launch("loss.cu", "mean_of_rows", 1, 256, (losses, out, losses.size, float(divisor)))
    return out[0]


def _check_targets(y, logits, shapes):
    if y.shape not in shapes:  # a kernel would read on behind y, on a GPU in silence
        raise Error(f"targets have shape {y.shape}, for logits {logits.shape} it is {' or '.join(map(str, shapes))}.")


@overrides()
def bce_forward(logits, y):
    """Mean over batch and classes of max(x, 0) - x y + log(1 + exp(-|x|)).   logits, y (B, K) -> scalar"""
    _check_targets(y, logits, (logits.shape,))
    xp, logits, (B, K) = array_module(logits), packed(logits), logits.shape
    losses, y = xp.empty(B, np.float32), xp.ascontiguousarray(y, np.float32)
    launch("loss.cu", f"bce_forward<{c_type(logits)}>", blocks(B, 4), (32, 4), (logits, y, losses, B, K))
    return _mean(losses, B * K), (logits, y)


@overrides()
def bce_backward(cache):
    """dlogits = (sigmoid(logits) - y) / (B K)"""
    logits, y = cache
    dlogits, n = array_module(logits).empty_like(logits), logits.size
    launch("loss.cu", f"bce_backward<{c_type(logits)}>", blocks(n, 256), 256, (logits, y, dlogits, n, 1 / n))
    return dlogits


def _class_numbers(y, K):
    """y (B,) as int32; what lies outside 0 ... K - 1 stays outside, also where 32 bits would wrap it around."""
    if y.dtype.kind not in "iu":
        raise Error(f"ce_forward: class numbers are whole numbers, not {y.dtype}.")
    if y.dtype.itemsize < 4 or y.dtype == np.int32:
        return array_module(y).ascontiguousarray(y, np.int32)
    return array_module(y).where((y >= 0) & (y < K), y.astype(np.int32), np.int32(-1))


@overrides()
def ce_forward(logits, y):
    """Mean over batch of -sum_k y_k log softmax(x)_k.   logits (B, K), y (B,) whole numbers or (B, K) soft -> scalar

    A class number outside 0 ... K - 1 makes the loss NaN, and `ce_backward` that clip's row: the kernel says so without
    a look from the host, which would have to wait for the GPU. NumPy's reference raises IndexError from K on, and
    counts negative numbers from the end. Raises Error if y (B,) is not of whole numbers.
    """
    _check_targets(y, logits, (logits.shape[:1], logits.shape))
    xp, logits, (B, K) = array_module(logits), packed(logits), logits.shape
    y = _class_numbers(y, K) if y.ndim == 1 else xp.ascontiguousarray(y, np.float32)
    losses, stats = xp.empty(B, np.float32), xp.empty((B, 3), np.float32)
    kernel = f"ce_forward<{c_type(logits)},{'int' if y.ndim == 1 else 'float'}>"
    launch("loss.cu", kernel, blocks(B, 4), (32, 4), (logits, y, losses, stats, B, K))
    return _mean(losses, B), (logits, y, stats)


@overrides()
def ce_backward(cache):
    """dlogits = (softmax(logits) sum_k y_k - y) / B; NaN in the row of a class number outside 0 ... K - 1."""
    logits, y, stats = cache
    B, K = logits.shape
    dlogits = array_module(logits).empty_like(logits)
    kernel = f"ce_backward<{c_type(logits)},{'int' if y.ndim == 1 else 'float'}>"
    launch("loss.cu", kernel, blocks(B, 4), (32, 4), (logits, y, stats, dlogits, B, K, 1 / B))
    return dlogits


# -- optimizer ---------------------------------------------------------------------------------------------------


def gradient_norm(g):
    """|g| as an array (1,) float32 that stays on the device: `Adam.step` clips by it without a copy to the host."""
    xp = array_module(g)
    sums, norm = xp.empty(min(GROUPS, blocks(g.size, 1024)), np.float64), xp.empty(1, np.float32)
    launch("adamw.cu", "square_sums", sums.size, 256, (g, sums, g.size))
    launch("adamw.cu", "norm_of_sums", 1, 256, (sums, norm, sums.size))
    return norm


class Adam(optim.Adam):
    """optim.Adam as one launch over the flat buffer; clips and writes a 16-bit copy of the weights on the way."""

    def step(self, g, lr, norm=None, clip=0.0, copy=None, scale=1.0, rung=1):
        """One update in place.

        norm: as of `gradient_norm(g)`; the gradient is clipped to `clip`, and where norm is not finite nothing is done.
        copy: 16-bit array like w that takes the new weights, or None. scale: the gradient is g times this.
        """
        if self.w.dtype != np.float32:  # plain array code
            if norm is not None or copy is not None or scale != 1:
                raise Error(
                    f"clipping, scaling and copying in Adam's launch are for float32 weights, not {self.w.dtype}."
                )
            return super().step(g, lr)
        self.t += 1
        (b1, b2), n = self.betas, self.w.size
        name, each = ("adam_plain", 256) if checked_rung(rung, 1) == 0 else ("adam_step", 1024)
        kernel = f"{name}<{'float' if copy is None else c_type(copy)},{'true' if self.decoupled else 'false'}>"
        corrections = 1 - b1**self.t, 1 - b2**self.t
        arrays = (self.w, g, self.m, self.v, copy, self.decay, self.rates, norm)
        scalars = (float(lr), 1 - b1, 1 - b2, self.eps, float(self.weight_decay), float(clip), float(scale))
        launch("adamw.cu", kernel, blocks(n, each), 256, (*arrays, n, *scalars, *corrections))

    def take(self, g, lr, limit=0.0, copy=None, scale=1.0):
        """As optim.Adam's; the norm is looked at only when all is queued, so that the GPU waits for nobody."""
        if self.w.dtype != np.float32:
            return super().take(g, lr, limit)
        norm = gradient_norm(g)
        self.step(g, lr, norm, limit, copy, scale)
        norm = float(norm[0]) * scale
        if not np.isfinite(norm):
            self.t -= 1  # the launch left everything as it was
        return norm
