"""The two losses by kernels; with class weights, of a few numbers a clip, by the reference."""

import numpy as np

from ..errors import Error
from ..gpu.memory import empty, packed
from ..launch import launch
from ..layers import Array, Cache, array_module
from .common import blocks, c_type, overrides


def _mean(losses, divisor):
    out = empty(losses, 1, np.float64)
    launch("loss.cu", "mean_of_rows", 1, 256, (losses, out, losses.size, float(divisor)))
    return out.reshape(())  # a view, also in NumPy: it keeps the array alive


def _check_targets(y, logits, shapes):
    if y.shape not in shapes:  # a kernel would read beyond y, on a GPU without an error
        raise Error(f"targets have shape {y.shape}: logits {logits.shape} need {' or '.join(map(str, shapes))}.")


def _unweighted(logits, y, weights=None):
    return weights is None


@overrides(_unweighted)
def bce_forward(logits: Array, y: Array) -> tuple[Array, Cache]:
    """Mean over batch and classes of max(x, 0) - x y + log(1 + exp(-|x|)).   logits, y (B, K) -> scalar

    Raises minast.Error for a y of another shape.
    """
    _check_targets(y, logits, (logits.shape,))
    xp, logits, (B, K) = array_module(logits), packed(logits), logits.shape
    losses, y = empty(logits, B, np.float32), xp.ascontiguousarray(y, np.float32)
    launch("loss.cu", f"bce_forward<{c_type(logits)}>", blocks(B, 4), (32, 4), (logits, y, losses, B, K))
    return _mean(losses, B * K), (logits, y)


@overrides(lambda cache: len(cache) == 2)  # of the kernel, not of the reference
def bce_backward(cache: Cache) -> Array:
    """dlogits = (sigmoid(logits) - y) / (B K)"""
    logits, y = cache
    dlogits, n = empty(logits, logits.shape), logits.size
    launch("loss.cu", f"bce_backward<{c_type(logits)}>", blocks(n, 256), 256, (logits, y, dlogits, n, 1 / n))
    return dlogits


def _class_indices(y, K):
    """y (B,) as int32; a value outside 0 ... K - 1 stays outside, even where 32 bits would wrap it around."""
    if y.dtype.kind not in "iu":
        raise Error(f"ce_forward: class indices must be integers, not {y.dtype}.")
    if y.dtype.itemsize < 4 or y.dtype == np.int32:
        return array_module(y).ascontiguousarray(y, np.int32)
    return array_module(y).where((y >= 0) & (y < K), y.astype(np.int32), np.int32(-1))


@overrides(_unweighted)
def ce_forward(logits: Array, y: Array) -> tuple[Array, Cache]:
    """Mean over batch of -sum_k y_k log softmax(x)_k.   logits (B, K), y (B,) class indices or (B, K) soft -> scalar

    A class index outside 0 ... K - 1 makes the loss NaN, and in `ce_backward` that clip's row: a check by the host
    would have to wait for the GPU. (The reference raises IndexError from K on, and counts negative indices from the
    end.) Raises minast.Error for a y of another shape, and for class indices that are not integers.
    """
    _check_targets(y, logits, (logits.shape[:1], logits.shape))
    xp, logits, (B, K) = array_module(logits), packed(logits), logits.shape
    y = _class_indices(y, K) if y.ndim == 1 else xp.ascontiguousarray(y, np.float32)
    losses, stats = empty(logits, B, np.float32), empty(logits, (B, 3), np.float32)
    kernel = f"ce_forward<{c_type(logits)},{'int' if y.ndim == 1 else 'float'}>"
    launch("loss.cu", kernel, blocks(B, 4), (32, 4), (logits, y, losses, stats, B, K))
    return _mean(losses, B), (logits, y, stats)


@overrides(lambda cache: len(cache) == 3)
def ce_backward(cache: Cache) -> Array:
    """dlogits = (softmax(logits) sum_k y_k - y) / B; NaN in the row of a class index outside 0 ... K - 1."""
    logits, y, stats = cache
    B, K = logits.shape
    dlogits = empty(logits, logits.shape)
    kernel = f"ce_backward<{c_type(logits)},{'int' if y.ndim == 1 else 'float'}>"
    launch("loss.cu", kernel, blocks(B, 4), (32, 4), (logits, y, stats, dlogits, B, K, 1 / B))
    return dlogits
