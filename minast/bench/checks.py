"""The check before each timing: both sides must give the same results. Works on arrays of NumPy and CuPy."""

from collections.abc import Iterable

import numpy as np

from ..backend import to_numpy
from ..bfloat16 import to_float32
from ..errors import Error


def difference(got, wanted, tolerance: float) -> str:
    """ "" if max |got - wanted| / max |wanted| <= tolerance, else what is wrong, as the end of a sentence.

    got, wanted: arrays of one shape, of any float type (bfloat16 as uint16); computed where they are, in float32.
    """
    if got.shape != wanted.shape:
        return f"has shape {got.shape}, the reference {wanted.shape}"
    error = float(abs(to_float32(got) - to_float32(wanted)).max()) / max(float(abs(wanted).max()), 1e-30)
    return "" if error <= tolerance else f"differs from the reference by {error:.1e} of the largest value"


def differences(got: Iterable, wanted: Iterable, tolerance: float) -> str:
    """The first `difference` of two tuples of arrays, or ""."""
    return next(filter(None, (difference(g, w, tolerance) for g, w in zip(got, wanted, strict=True))), "")


def check(got, wanted, tolerance: float, what: str) -> None:
    """Raise Error unless a result agrees with the reference: see `difference`. what: the job, in words."""
    if wrong := difference(got, wanted, tolerance):
        raise Error(f"{what}: the result {wrong}: nothing was timed.")


def model_difference(got: tuple, wanted: tuple) -> str:
    """ "" if a 16-bit model agrees with float32, else what is wrong. Both: (logits (B, K), loss, {name: gradient}).

    The limits: logits to 5 % of the largest, the loss to 2 %, each gradient to 10 % of its norm.
    """
    (logits, loss, gradients), (wanted_logits, wanted_loss, wanted_gradients) = got, wanted
    if wrong := difference(to_numpy(logits), wanted_logits, 0.05):
        return f"logits: the result {wrong}"
    if not abs(loss - wanted_loss) <= 0.02 * abs(wanted_loss):
        return f"loss: {loss} instead of {wanted_loss}"
    for name, want in wanted_gradients.items():
        gap = np.linalg.norm(to_numpy(gradients[name]) - want) / np.linalg.norm(want)
        if not gap <= 0.1:
            return f"gradient of {name}: off by {gap:.1%}"
    return ""


def check_model(got: tuple, wanted: tuple, what: str) -> None:
    """Raise Error unless a 16-bit model agrees with float32: see `model_difference`. what: the model, in words."""
    if wrong := model_difference(got, wanted):
        raise Error(f"{what}, {wrong} (compared with float32): nothing was timed.")
