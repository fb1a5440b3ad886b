"""THE REFERENCE: every layer as a forward/backward pair in plain array code, and the losses.

    y, cache = f_forward(x, *weights)
    dx = f_backward(dy, cache, *weight_gradients)

`dx` is a new array; weight gradients are views that are passed in and ADDED TO. Nothing but the cache tuple stays in
memory between the two. Arrays are NumPy's or CuPy's, float32 or float64.
Functions here never call each other, so that another module can take all of them and override any one.
Shapes: B batch, T tokens or frames, C channels, O outputs, H heads, D head width, P prefix tokens, N patches, F mel
bins, K classes. They are not checked: an array that does not fit raises ValueError in the product, broadcast or reshape
that uses it, and an axis of length 1 broadcasts silently. `AST` checks its inputs.
"""

from collections.abc import Sequence
from types import ModuleType
from typing import Any, TypeAlias

import numpy as np

Array: TypeAlias = Any  # numpy.ndarray or cupy.ndarray
Cache: TypeAlias = tuple  # what a forward function keeps for its backward function

SQRT_HALF = 0.7071067811865476
INV_SQRT_2PI = 0.3989422804014327
SQRT_2_OVER_PI = 0.7978845608028654


def array_module(x: Array) -> ModuleType:
    """NumPy for a NumPy array, CuPy for a CuPy array. Raises ImportError for any other array if there is no CuPy."""
    if isinstance(x, np.ndarray):
        return np
    import cupy

    return cupy


# -- linear ----------------------------------------------------------------------------------------------------


def linear_forward(x: Array, w: Array, b: Array) -> tuple[Array, Cache]:
    """y = x w^T + b.   x (..., C), w (O, C), b (O,) -> y (..., O)

    Source: torch.nn.Linear, whose weights have the same layout.
    """
    y = x.reshape(-1, x.shape[-1]) @ w.T  # one 2-D product for any number of leading axes
    y += b
    return y.reshape(*x.shape[:-1], w.shape[0]), (x, w)


def linear_backward(dy: Array, cache: Cache, dw: Array, db: Array) -> Array:
    """dx = dy w,  dw += dy^T x,  db += sum of dy over rows."""
    x, w = cache
    rows, drows = x.reshape(-1, x.shape[-1]), dy.reshape(-1, dy.shape[-1])
    dw += drows.T @ rows
    db += drows.sum(axis=0)
    return (drows @ w).reshape(x.shape)


# -- layer norm ------------------------------------------------------------------------------------------------


def layernorm_forward(x: Array, w: Array, b: Array, eps: float = 1e-6) -> tuple[Array, Cache]:
    """y = (x - mean) * rstd * w + b over the last axis, rstd = 1 / sqrt(var + eps).   x (..., C), w, b (C,) -> y

    The variance is biased (a mean of C squares). Source: Ba et al. 2016, "Layer normalization", section 3.
    """
    xp = array_module(x)
    mean = x.mean(axis=-1, keepdims=True)  # (..., 1)
    y = x - mean
    var = xp.einsum("...c,...c->...", y, y)[..., None] / x.shape[-1]  # of centred values: no cancellation
    rstd = 1 / xp.sqrt(var + eps)  # (..., 1)
    y *= rstd
    y *= w
    y += b
    return y, (x, w, mean, rstd)


def layernorm_backward(dy: Array, cache: Cache, dw: Array, db: Array) -> Array:
    """dx = rstd (dn - <dn> - n <dn n>), n = normalised x, dn = dy w, <.> mean over C;  dw += sum dy n, db += sum dy"""
    x, w, mean, rstd = cache
    n = (x - mean) * rstd  # recomputed: cheaper than keeping it
    rows = tuple(range(dy.ndim - 1))
    dw += (dy * n).sum(axis=rows)
    db += dy.sum(axis=rows)
    dx = dy * w  # dn, for now
    a = dx.mean(axis=-1, keepdims=True)
    b = (dx * n).mean(axis=-1, keepdims=True)
    n *= b
    dx -= a
    dx -= n
    dx *= rstd
    return dx


# -- GELU ------------------------------------------------------------------------------------------------------


def gelu_forward(x: Array, kind: str = "erf") -> tuple[Array, Cache]:
    """y = x Phi(x), Phi the normal distribution function ("erf") or its tanh approximation.   x (...) -> y (...)

    Source: Hendrycks and Gimpel 2016, "Gaussian error linear units", section 2. `kind` is not checked.
    """
    xp = array_module(x)
    if kind == "tanh":
        t = xp.tanh(SQRT_2_OVER_PI * (x + 0.044715 * x**3))
        return 0.5 * x * (1 + t), (x, t, kind)
    if xp is np:
        from scipy.special import erf
    else:
        from cupyx.scipy.special import erf
    phi = erf(x * SQRT_HALF)
    phi += 1
    phi *= 0.5
    return x * phi, (x, phi, kind)


def gelu_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy (Phi(x) + x phi(x)), phi the normal density exp(-x^2 / 2) / sqrt(2 pi); for "tanh" its own derivative."""
    x, s, kind = cache  # s = Phi(x), or the tanh
    xp = array_module(x)
    if kind == "tanh":
        inner = SQRT_2_OVER_PI * (1 + 3 * 0.044715 * x * x)
        return dy * (0.5 * (1 + s) + 0.5 * x * (1 - s * s) * inner)
    slope = x * x
    slope *= -0.5
    xp.exp(slope, out=slope)
    slope *= x
    slope *= INV_SQRT_2PI
    slope += s
    slope *= dy
    return slope


# -- softmax ---------------------------------------------------------------------------------------------------


def softmax_forward(x: Array) -> tuple[Array, Cache]:
    """p = exp(x - max) / sum exp(x - max) over the last axis.   x (..., C) -> p (..., C)

    The maximum is subtracted so that no exponential overflows. Source: Goodfellow et al. 2016, section 4.1.
    """
    xp = array_module(x)
    p = xp.exp(x - x.max(axis=-1, keepdims=True))
    p /= p.sum(axis=-1, keepdims=True)
    return p, (p,)


def softmax_backward(dp: Array, cache: Cache) -> Array:
    """dx = p (dp - sum_c dp p): the Jacobian diag(p) - p p^T applied to dp without forming it."""
    (p,) = cache
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


# -- attention -------------------------------------------------------------------------------------------------


def attention_forward(qkv: Array, heads: int) -> tuple[Array, Cache]:
    """o = softmax(q k^T / sqrt(D)) v for each head.   qkv (B, T, 3 H D), packed (3, H, D) -> o (B, T, H D)

    The probabilities (B, H, T, T) are not kept: those of 12 layers take 849 MB for a clip of 10 s. The cache has the
    log-sum-exp of each row instead, from which the backward pass recomputes them. Raises ValueError if the last axis is
    not a multiple of 3 H. Source: Vaswani et al. 2017, equation 1; for the recomputation Dao et al. 2022, appendix B.2.
    """
    xp = array_module(qkv)
    B, T, C = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
    q, k, v = xp.ascontiguousarray(
        qkv.reshape(B, T, 3, heads, C // heads).transpose(2, 0, 3, 1, 4)
    )  # (B, H, T, D) each
    p = (q * (C // heads) ** -0.5) @ k.swapaxes(-1, -2)  # (B, H, T, T): scores, for now
    top = p.max(axis=-1, keepdims=True)
    p -= top
    xp.exp(p, out=p)
    total = p.sum(axis=-1, keepdims=True)  # (B, H, T, 1)
    o = p @ v
    o /= total
    lse = top + xp.log(total)
    o = xp.ascontiguousarray(o.swapaxes(1, 2)).reshape(B, T, C)
    return o, (qkv, o, lse, heads)


def attention_backward(do: Array, cache: Cache) -> Array:
    """dv = p^T do, dp = do v^T, ds = p (dp - delta), dq = ds k / sqrt(D), dk = ds^T q / sqrt(D) -> dqkv (B, T, 3 H D)

    delta, the row sums of dp * p, equals the row sums of do * o, which need no probabilities (Dao et al. 2022, B.2).
    """
    qkv, o, lse, heads = cache
    xp = array_module(qkv)
    B, T, C = do.shape
    D = C // heads
    q, k, v = xp.ascontiguousarray(qkv.reshape(B, T, 3, heads, D).transpose(2, 0, 3, 1, 4))  # (B, H, T, D) each
    q = q * D**-0.5  # not in place: with one token q is a view of the cache
    p = q @ k.swapaxes(-1, -2)
    p -= lse
    xp.exp(p, out=p)  # (B, H, T, T): the probabilities
    delta = (do * o).reshape(B, T, heads, D).sum(axis=-1).swapaxes(1, 2)[..., None]  # (B, H, T, 1)
    do = xp.ascontiguousarray(do.reshape(B, T, heads, D).swapaxes(1, 2))
    dv = p.swapaxes(-1, -2) @ do
    ds = do @ v.swapaxes(-1, -2)
    ds -= delta
    ds *= p
    dq = ds @ k
    dq *= D**-0.5
    dk = ds.swapaxes(-1, -2) @ q  # q is scaled already
    return xp.stack([dq, dk, dv]).transpose(1, 3, 0, 2, 4).reshape(B, T, 3 * C)


def class_attention_forward(q: Array, kv: Array, heads: int) -> tuple[Array, Cache]:
    """o = softmax(q k^T / sqrt(D)) v, queries of the prefix only.   q (B, P, H D), kv (B, T, 2 H D) -> o (B, P, H D)

    For the last block, whose other tokens the head does not read. The probabilities (B, H, P, T) are small and kept.
    Source: class attention, Touvron et al. 2021, "Going deeper with image transformers" (CaiT), section 3.
    """
    xp = array_module(q)
    (B, P, C), T = q.shape, kv.shape[1]
    q = q.reshape(B, P, heads, C // heads).swapaxes(1, 2)  # (B, H, P, D)
    k, v = kv.reshape(B, T, 2, heads, C // heads).transpose(2, 0, 3, 1, 4)  # (B, H, T, D) each
    p = (q * (C // heads) ** -0.5) @ k.swapaxes(-1, -2)  # (B, H, P, T)
    p -= p.max(axis=-1, keepdims=True)
    xp.exp(p, out=p)
    p /= p.sum(axis=-1, keepdims=True)
    o = xp.ascontiguousarray((p @ v).swapaxes(1, 2)).reshape(B, P, C)
    return o, (q, k, v, p)


def class_attention_backward(do: Array, cache: Cache) -> tuple[Array, Array]:
    """dv = p^T do, dp = do v^T, ds = p (dp - sum dp p), dq = ds k / sqrt(D), dk = ds^T q / sqrt(D) -> dq, dkv"""
    q, k, v, p = cache
    xp = array_module(do)
    B, H, T, D = k.shape
    do = do.reshape(B, -1, H, D).swapaxes(1, 2)  # (B, H, P, D)
    ds = do @ v.swapaxes(-1, -2)
    ds -= (ds * p).sum(axis=-1, keepdims=True)
    ds *= p
    ds *= D**-0.5
    dq = xp.ascontiguousarray((ds @ k).swapaxes(1, 2)).reshape(B, -1, H * D)
    dkv = xp.empty((B, T, 2, H, D), do.dtype)
    dkv[:, :, 0] = (ds.swapaxes(-1, -2) @ q).swapaxes(1, 2)
    dkv[:, :, 1] = (p.swapaxes(-1, -2) @ do).swapaxes(1, 2)
    return dq, dkv.reshape(B, T, 2 * H * D)


# -- patches and tokens ----------------------------------------------------------------------------------------


def unfold_forward(x: Array, fstride: int, tstride: int, size: int = 16) -> tuple[Array, Cache]:
    """Overlapping patches, flattened.   x (B, T, F) -> patches (B, N, size * size)

    fstride in mel bins, tstride in frames. N = grid_f * grid_t, token f * grid_t + t; inside a patch frequency is the
    slow axis, as in the official convolution's filters (D, 1, 16, 16). Raises ValueError if T or F is below `size`.
    Source: Gong et al. 2021 (AST), section 2 (size 16, strides 10: an overlap of 6).
    """
    xp = array_module(x)
    B, T, F = x.shape
    if size > T or size > F:
        raise ValueError(f"the spectrogram has {T} frames and {F} mel bins: a patch needs {size} of each.")
    view = xp.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))[:, ::tstride, ::fstride]
    gt, gf = view.shape[1], view.shape[2]  # view (B, gt, gf, size over time, size over frequency)
    patches = view.transpose(0, 2, 1, 4, 3).reshape(B, gf * gt, size * size)
    return patches, (x.shape, fstride, tstride, size)


def unfold_backward(dpatches: Array, cache: Cache) -> Array:
    """The adjoint: each entry of dx is the sum over all patches that contain it.   (B, N, size * size) -> (B, T, F)"""
    (B, T, F), fstride, tstride, size = cache
    xp = array_module(dpatches)
    gf, gt = (F - size) // fstride + 1, (T - size) // tstride + 1
    d = dpatches.reshape(B, gf, gt, size, size).transpose(0, 2, 1, 4, 3)  # (B, gt, gf, time, frequency)
    dx = xp.zeros((B, T, F), dpatches.dtype)
    for i in range(size):  # one position inside the patch at a time: its copies never overlap
        for j in range(size):
            dx[:, i : i + gt * tstride : tstride, j : j + gf * fstride : fstride] += d[..., i, j]
    return dx


def tokens_forward(x: Array, prefix: Sequence[Array], pos: Array) -> tuple[Array, Cache]:
    """y = [prefix, x] + pos.   x (B, N, C), prefix: P arrays (C,), pos (P + N, C) -> y (B, P + N, C)

    Source: Dosovitskiy et al. 2021 (ViT), equation 1; the second prefix token is DeiT's (Touvron et al. 2021).
    """
    xp = array_module(x)
    P = len(prefix)
    y = xp.empty((x.shape[0], P + x.shape[1], x.shape[2]), x.dtype)
    for i, token in enumerate(prefix):
        y[:, i] = token
    y[:, P:] = x
    y += pos
    return y, (P,)


def tokens_backward(dy: Array, cache: Cache, dprefix: Sequence[Array], dpos: Array) -> Array:
    """dx = dy without its first P tokens,  dprefix[i] += sum_B dy[:, i],  dpos += sum_B dy"""
    (P,) = cache
    total = dy.sum(axis=0)  # (P + N, C)
    dpos += total
    for i, d in enumerate(dprefix):
        d += total[i]
    return dy[:, P:].copy()


def patchout_forward(x: Array, keep: Array, prefix_tokens: int) -> tuple[Array, Cache]:
    """y = the first P tokens of x and, of its patches, those that stay: y[b, P + i] = x[b, P + keep[b, i]].

    x (B, P + N, C), keep (B, n) int32, different patches 0 to N - 1 in each row, rising -> y (B, P + n, C)
    Source: Koutini et al. 2022, "Efficient training of audio transformers with patchout", section 2.3 (unstructured).
    """
    xp, P = array_module(x), prefix_tokens
    clips = xp.arange(len(x))[:, None]
    return xp.concatenate([x[:, :P], x[clips, P + keep]], axis=1), (x.shape, keep, P)


def patchout_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy at the tokens that stayed, 0 at those left out.   dy (B, P + n, C) -> dx (B, P + N, C)"""
    (shape, keep, P), xp = cache, array_module(dy)
    dx = xp.zeros(shape, dy.dtype)
    dx[:, :P] = dy[:, :P]
    dx[xp.arange(len(dy))[:, None], P + keep] = dy[:, P:]
    return dx


def pool_forward(x: Array, prefix_tokens: int) -> tuple[Array, Cache]:
    """y = mean of the first `prefix_tokens` tokens.   x (B, T, C) -> y (B, C).   Source: the official ast_models.py"""
    return x[:, :prefix_tokens].mean(axis=1), (x.shape, prefix_tokens)


def pool_backward(dy: Array, cache: Cache) -> Array:
    """dx = dy / P for the prefix tokens, 0 for all others.   dy (B, C) -> dx (B, T, C)"""
    shape, P = cache
    dx = array_module(dy).zeros(shape, dy.dtype)
    dx[:, :P] = dy[:, None] / P
    return dx


# -- losses: `loss, cache = f_forward(logits, y)`, `dlogits = f_backward(cache)` --------------------------------


def bce_forward(logits: Array, y: Array, weights: Array | None = None) -> tuple[Array, Cache]:
    """Mean over batch and classes of w_k (max(x, 0) - x y + log(1 + exp(-|x|))), x the logits.   logits, y (B, K)

    weights (K,): w, 1 if None. A class's weight is that of clips with and without it alike, so that the best logit
    stays that of its probability. -> scalar

    Equals -(y log s + (1 - y) log(1 - s)) with s = sigmoid(x), and stays accurate for logits of any size.
    Source: PyTorch's BCEWithLogitsLoss, the official traintest.py's for AudioSet.
    """
    xp = array_module(logits)
    losses = xp.maximum(logits, 0) - logits * y + xp.log1p(xp.exp(-xp.abs(logits)))
    losses = losses if weights is None else losses * weights
    return losses.mean(dtype=xp.float64), (logits, y, weights)


def bce_backward(cache: Cache) -> Array:
    """dlogits = w_k (sigmoid(logits) - y) / (B K)"""
    logits, y, weights = cache
    xp = array_module(logits)
    e = xp.exp(-xp.abs(logits))  # in (0, 1]: never overflows
    s = xp.where(logits >= 0, 1 / (1 + e), e / (1 + e))
    d = (s - y) if weights is None else (s - y) * weights
    return (d / logits.size).astype(logits.dtype)


def ce_forward(logits: Array, y: Array, weights: Array | None = None) -> tuple[Array, Cache]:
    """Mean over batch of -sum_k w_k y_k log softmax(x)_k.   logits (B, K), y (B,) indices or (B, K) soft -> scalar

    weights (K,): w, 1 if None; the mean is over clips, not over their weights. Soft targets need not sum to 1. Mixup
    targets stay soft: the official code truncates them to class 0. NumPy raises IndexError for a class index from K on;
    negative ones count from the end. Source: PyTorch's CrossEntropyLoss.
    """
    xp = array_module(logits)
    if y.ndim == 1:
        y = xp.eye(logits.shape[1], dtype=logits.dtype)[y]
    y = y if weights is None else y * weights
    x = logits - logits.max(axis=1, keepdims=True)
    logp = x - xp.log(xp.exp(x).sum(axis=1, keepdims=True))
    return -(y * logp).sum(dtype=xp.float64) / len(logits), (logp, y)


def ce_backward(cache: Cache) -> Array:
    """dlogits = (softmax(logits) sum_k w_k y_k - w_k y_k) / B"""
    logp, y = cache
    xp = array_module(logp)
    return ((xp.exp(logp) * y.sum(axis=1, keepdims=True) - y) / len(y)).astype(logp.dtype)
