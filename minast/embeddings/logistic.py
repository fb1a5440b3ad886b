"""Logistic regression on standardised embeddings, with an L2 penalty; loss and gradient by hand, solved by L-BFGS.

    z = (x - mean) / scale,   s = z W^T + b,   L(W, b) = mean_i l(s_i, y_i) + lambda / 2 |W|^2

l is the cross-entropy of softmax(s), or the sum over classes of the binary ones of sigmoid(s): then each class is a
regression of its own. With e = (p - y) / n, p the probabilities of n rows:

    dL/ds = e,   dL/dW = e^T z + lambda W,   dL/db = sum_i e_i

L is convex, so whatever finds a minimum finds the minimum; the bias is not penalised. In scikit-learn's terms lambda is
1 / (C n). Its LogisticRegression of two classes has a single logit, w = w1 - w0; as w1 = -w0 at the minimum, |W|^2 is
|w|^2 / 2 and lambda is 2 / (C n).
"""

from typing import NamedTuple

import numpy as np

from .. import layers, threads
from ..decisions.calibration import log_loss, probabilities

STRENGTHS = tuple(10.0**k for k in range(1, -6, -1))  # lambda, from strong to weak
USUAL = 0.1  # where there is nothing to choose it by
MOST = 1000  # iterations
SMALL = 2**28  # multiplications of a product: below it, threads of BLAS cost more than they bring


class Logistic(NamedTuple):
    """A fitted regression.   mean, scale (D,); w (K, D), b (K,), of standardised embeddings; loss: "ce" or "bce" """

    mean: np.ndarray
    scale: np.ndarray
    w: np.ndarray
    b: np.ndarray
    loss: str

    def standardised(self, x: np.ndarray) -> np.ndarray:
        """x (n, D) -> z (n, D)"""
        return (x - self.mean) / self.scale

    def probabilities(self, x: np.ndarray) -> np.ndarray:
        """x (n, D) -> (n, K)"""
        return probabilities(self.standardised(x) @ self.w.T + self.b, self.loss)


def loss_and_grad(w: np.ndarray, b: np.ndarray, z: np.ndarray, y: np.ndarray, loss: str, strength: float):
    """L, dL/dW and dL/db, see the head of the module.   w (K, D), b (K,), z (n, D), y (n, K) -> scalar, (K, D), (K,)"""
    s, cache = layers.linear_forward(z, w, b)
    dw, db = np.zeros_like(w), np.zeros_like(b)
    if loss == "ce":
        value, of_loss = layers.ce_forward(s, y)
        ds = layers.ce_backward(of_loss)
    else:  # layers.py has the mean over classes
        value, of_loss = layers.bce_forward(s, y)
        value, ds = value * len(b), layers.bce_backward(of_loss) * len(b)
    layers.linear_backward(ds, cache, dw, db)
    return float(value) + strength / 2 * float((w * w).sum()), dw + strength * w, db


def fit(
    x: np.ndarray,
    y: np.ndarray,
    loss: str,
    strength: float,
    start: Logistic | None = None,
    exact: float = 1e-6,
) -> Logistic:
    """The minimum.   x (n, D), y (n, K) of 0 and 1, a single 1 in a row for loss "ce"

    strength: lambda. start: from where to look for it (default: 0). exact: the largest entry of the gradient at which
    it counts as found.
    """
    from scipy.optimize import minimize

    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    mean, scale = x.mean(axis=0), x.std(axis=0)
    scale = np.where(scale > 1e-6 * (1 + np.abs(mean)), scale, 1.0)  # a number that never changes says nothing
    z, (k, d) = (x - mean) / scale, (y.shape[1], x.shape[1])

    def function(flat):
        value, dw, db = loss_and_grad(flat[: k * d].reshape(k, d), flat[k * d :], z, y, loss, strength)
        return value, np.concatenate([dw.ravel(), db])

    first = np.zeros(k * (d + 1)) if start is None else np.concatenate([start.w.ravel(), start.b])
    options = {"maxiter": MOST, "maxfun": 2 * MOST, "gtol": exact, "ftol": 0.0, "maxcor": 20}
    found = []

    def solve(_=None):
        found.append(minimize(function, first, jac=True, method="L-BFGS-B", options=options).x)

    if z.size * k < SMALL:
        threads.run(solve, [None])  # which holds BLAS to one thread
    else:
        solve()
    flat = found[0]
    return Logistic(mean, scale, flat[: k * d].reshape(k, d), flat[k * d :], loss)


def chosen_strength(x: np.ndarray, y: np.ndarray, loss: str, folds: np.ndarray) -> tuple[float, dict[float, float]]:
    """The strength with the lowest log loss by cross-validation.   x (n, D), y (n, K), folds (n,) numbers

    -> strength, {strength: log loss of the rows, each by what was fitted to the other folds}. Of a single fold nothing
    can be said: USUAL, {}.
    """
    numbers = np.unique(folds)
    if len(numbers) < 2:
        return USUAL, {}
    scores = {strength: np.empty(y.shape) for strength in STRENGTHS}

    def one(number):
        out, start = folds == number, None
        for strength in STRENGTHS:  # each begins where the stronger one ended
            start = fit(x[~out], y[~out], loss, strength, start, exact=1e-4)
            scores[strength][out] = start.probabilities(x[out])

    threads.run(one, numbers)
    losses = {strength: log_loss(p, y, loss) for strength, p in scores.items()}
    return min(losses, key=losses.__getitem__), losses
