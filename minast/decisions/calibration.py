"""Calibration: probabilities that mean what they say, so that of all labels given with 80 % about 80 % are right.

A softmax head gets a temperature, softmax(a z) with a = 1/T; a sigmoid head Platt's scaling, sigmoid(a z + b), with one
a and one b for all classes: two numbers can be found from a few hundred clips, two per class cannot. z is the logarithm
of a clip's probabilities, log p, or log p - log(1 - p): of a clip of one segment the model's logits, but for what
softmax cancels; of a longer one, whose probability is a mean over segments, what takes their place. a is above 0, so
that the order of a clip's scores stays, and with it accuracy. With a sigmoid that of all scores does, and so do mAP and
AUC; a temperature moves the scores of different clips differently, and these measures with them, a little.

Both losses are convex in a and b; Newton's method finds their minimum. Where the model makes no mistake on the clips it
would be at a = infinity; so a clip's target is not 1 and 0 but what Laplace's rule expects after as many clips.

Source: Platt, "Probabilistic outputs for support vector machines", 1999 (targets in section 2.2); Guo et al., "On
calibration of modern neural networks", 2017, section 4.
"""

from collections.abc import Callable

import numpy as np

from ..layers import softmax_forward

LEAST, MOST = 1e-3, 1e3  # of a: beyond them there is nothing to calibrate
TINY = 1e-300  # the smallest probability that is told apart from 0
STEPS = 50  # of Newton's method, which needs 5 to 15


def probabilities(logits: np.ndarray, loss: str) -> np.ndarray:
    """Softmax for a model trained with loss "ce", sigmoid for "bce".   logits (..., K) -> (..., K)"""
    if loss == "ce":
        return softmax_forward(logits)[0]
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e))


def logits_of(scores: np.ndarray, loss: str) -> np.ndarray:
    """z = log p for loss "ce", log p - log(1 - p) for "bce".   scores (..., K) in [0, 1] -> (..., K) float64, finite"""
    p = np.clip(np.asarray(scores, np.float64), TINY, 1 - 2**-53)
    return np.log(p) if loss == "ce" else np.log(p) - np.log1p(-p)


def calibrated(scores: np.ndarray, loss: str, slope: float, bias: float = 0.0) -> np.ndarray:
    """softmax(a z) for loss "ce", sigmoid(a z + b) for "bce", z from `logits_of`.   scores (..., K) -> (..., K)"""
    return probabilities(slope * logits_of(scores, loss) + (0.0 if loss == "ce" else bias), loss)


def fit(scores: np.ndarray, targets: np.ndarray, loss: str) -> tuple[float, float]:
    """The a and b with the smallest loss on labelled clips.   scores, targets (N, K) -> a, b (0 for loss "ce")

    1 and 0, which change nothing, without clips, or where all targets or no targets are positive.
    """
    targets = np.asarray(targets) > 0.5
    if targets.all() or not targets.any():
        return 1.0, 0.0
    z = logits_of(scores, loss)
    if loss == "ce":
        slope = newton(lambda a: softmax_loss(a, z, laplace_one(targets)), np.zeros(1))[0]
        return float(np.clip(slope, LEAST, MOST)), 0.0
    t = laplace_each(targets)
    slope, bias = newton(lambda ab: sigmoid_loss(ab, z, t), np.zeros(2))
    if not LEAST <= slope <= MOST:  # a model that is worse than chance: the best constant, in the model's order
        slope = float(np.clip(slope, LEAST, MOST))
        bias = newton(lambda b: _bias_only(b, slope, z, t), np.zeros(1))[0]
    return float(slope), float(bias)


def log_loss(scores: np.ndarray, targets: np.ndarray, loss: str) -> float:
    """-mean log p of what is true: each clip's class for loss "ce", each yes and no for "bce".   (N, K) -> nats"""
    z, targets = logits_of(scores, loss), np.asarray(targets) > 0.5
    if loss == "ce":
        return float(-(targets * z).sum() / len(z))
    return sigmoid_loss(np.array([1.0, 0.0]), z, targets)[0]


# -- steps ---------------------------------------------------------------------------------------------------------


def laplace_one(targets):
    """One-hot targets after as many clips: (n y + 1/K) / (n + 1).   (N, K) bool -> (N, K)"""
    n, k = targets.shape
    return (n * targets + 1 / k) / (n + 1)


def laplace_each(targets):
    """Targets of 0 and 1 after as many of each: (P + 1) / (P + 2) and 1 / (N + 2).   (N, K) bool -> (N, K)"""
    positives = targets.sum()
    return np.where(targets, (positives + 1) / (positives + 2), 1 / (targets.size - positives + 2))


def softmax_loss(slope: np.ndarray, z: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """L = mean_i (log sum_k exp(a z) - a sum_k t z), p = softmax(a z).   z, t (N, K) -> L, L' (1,), L'' (1, 1)

    L' = mean (<z>_p - <z>_t), L'' = mean Var_p(z): the loss is convex.
    """
    z = z - z.max(axis=1, keepdims=True)  # t sums to 1, so this changes no loss
    p, s = probabilities(slope[0] * z, "ce"), slope[0] * z
    mean, wanted, highest = (p * z).sum(axis=1), (t * z).sum(axis=1), s.max(axis=1, keepdims=True)
    value = highest[:, 0] + np.log(np.exp(s - highest).sum(axis=1)) - slope[0] * wanted
    variance = (p * (z - mean[:, None]) ** 2).sum(axis=1)
    return float(value.mean()), np.array([(mean - wanted).mean()]), np.array([[variance.mean()]])


def sigmoid_loss(ab: np.ndarray, z: np.ndarray, t: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """L = mean (log(1 + exp(s)) - t s), s = a z + b, p = sigmoid(s).   z, t (N, K) -> L, L' (2,), L'' (2, 2)

    L' = mean (p - t) (z, 1), L'' = mean p (1 - p) (z, 1)(z, 1)^T: the loss is convex.
    """
    s = ab[0] * z + ab[1]
    p = probabilities(s, "bce")
    value = np.maximum(s, 0) + np.log1p(np.exp(-np.abs(s))) - t * s
    weight, error = p * (1 - p), p - t
    cross = (weight * z).mean()
    return (
        float(value.mean()),
        np.array([(error * z).mean(), error.mean()]),
        np.array([[(weight * z * z).mean(), cross], [cross, weight.mean()]]),
    )


def _bias_only(bias, slope, z, t):
    value, gradient, curvature = sigmoid_loss(np.array([slope, bias[0]]), z, t)
    return value, gradient[1:], curvature[1:, 1:]


def newton(loss: Callable, x: np.ndarray) -> np.ndarray:
    """The minimum of a convex function, x - L''^-1 L', with steps halved until they go down.   x (n,) -> (n,)

    loss: x -> (value, gradient (n,), curvature (n, n)). x: where to begin; at 0, where all probabilities are equal,
    these losses are curved, while at 1 those of a certain model are flat.
    """
    value, gradient, curvature = loss(x)
    for _ in range(STEPS):
        damping = 1e-12 * (1 + np.trace(curvature))  # a flat direction, as of scores that are all equal
        step = np.linalg.solve(curvature + damping * np.eye(len(x)), gradient)
        if gradient @ step < 1e-16:
            break
        for _ in range(60):
            found = loss(x - step)
            if found[0] <= value - 1e-4 * (gradient @ step):
                break
            step = step / 2
        else:
            break
        x, (value, gradient, curvature) = x - step, found
    return x
