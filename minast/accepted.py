"""What `model.AST` accepts, as arrays of its backend: clips, targets, patches that stay, weights of classes."""

from typing import TYPE_CHECKING

import numpy as np

from .backend import to_numpy
from .errors import Error
from .layers import Array

if TYPE_CHECKING:
    from .model import AST

LOSSES = ("bce", "ce")


def clips(model: "AST", x: Array) -> Array:
    """Log-mel spectrograms (B, T, F) in the model's dtype. Raises minast.Error for another shape, and without clips."""
    c = model.config
    if getattr(x, "ndim", None) != 3 or x.shape[1:] != (c.frames, c.mel_bins):
        raise Error(
            f"the input has shape {getattr(x, 'shape', type(x).__name__)}: this model takes "
            f"(clips, {c.frames} frames, {c.mel_bins} mel bins)."
        )
    if not len(x):
        raise Error("the input holds no clips: at least one is needed.")
    return model.xp.asarray(x, model.dtype)


def targets(model: "AST", y: Array, shape: tuple[int, int], loss: str, wait: bool = True) -> Array:
    """Targets for logits of `shape` (B, K): soft ones (B, K), or with loss "ce" class indices (B,).

    wait: as in `AST.loss_and_grad`. Raises minast.Error for an unknown loss, another shape, and classes that are none.
    """
    if loss not in LOSSES:
        raise Error(f'loss is {loss!r}: it must be "bce" or "ce".')
    host = y if model.xp is np or not isinstance(y, model.xp.ndarray) else None
    y = model.xp.asarray(y)
    if y.shape == shape:
        return y.astype(model.dtype, copy=False)
    if loss == "bce" or y.shape != shape[:1] or y.dtype.kind not in "iu":
        wanted = f"{shape}" + (f" or class indices {shape[:1]}" if loss == "ce" else "")
        raise Error(f"targets are {y.dtype} {y.shape}: loss {loss!r} for logits {shape} needs {wanted}.")
    if host is None and not wait and model.backend.kernels:
        return y  # a look at its values would wait for the GPU: loss.cu makes the loss NaN for a class that is none
    seen = y if host is None else np.asarray(host)
    if seen.size and not 0 <= int(seen.min()) <= int(seen.max()) < shape[1]:
        raise Error(
            f"targets range from {int(seen.min())} to {int(seen.max())}: the model has classes 0 to {shape[1] - 1}."
        )
    return y


def soft(model: "AST", y: Array) -> Array:
    """Class indices (B,) as soft targets (B, K): NaN, and so the loss, for a class that is none."""
    if y.ndim == 2:
        return y
    classes, y = model.xp.arange(model.config.classes), y[:, None]
    known = (y >= 0) & (y < model.config.classes)
    return model.xp.where(known, y == classes, np.nan).astype(model.dtype)


def kept(model: "AST", keep: Array, count: int) -> Array:
    """`keep` of `AST.loss_and_grad` for so many clips, (B, n) int32.

    Raises minast.Error unless each row is rising patch numbers.
    """
    keep, patches = np.asarray(to_numpy(keep)), model.config.tokens - model.config.prefix_tokens
    if keep.ndim != 2 or keep.dtype.kind not in "iu" or len(keep) != count or not keep.shape[1]:
        raise Error(f"keep is {keep.dtype} {keep.shape}: it must be patch numbers, ({count} clips, at least one).")
    if keep.min() < 0 or keep.max() >= patches or (np.diff(keep.astype(np.int64), axis=1) <= 0).any():
        raise Error(f"keep has a row that does not rise within 0 to {patches - 1}, the numbers of the patches.")
    return model.xp.asarray(keep, np.int32)


def class_weights(model: "AST", weights: Array) -> Array:
    """Weights of the classes in the loss, (K,). Raises minast.Error for another shape."""
    if getattr(weights, "shape", None) != (model.config.classes,):
        raise Error(
            f"class_weights has shape {getattr(weights, 'shape', type(weights).__name__)}: "
            f"it must be ({model.config.classes},), a weight for each class."
        )
    return model.xp.asarray(weights, model.dtype)
