"""Solutions of the exercises of notebook 3, backprop by hand."""

import numpy as np


def gain_backward(dy, x):
    """y = x g: each use of g_t adds dy x, and it is used by every clip and every channel. Shape (T, 1), as the gain."""
    return (dy * x).sum(axis=(0, 2))[:, None]


def log_softmax_backward(dy, y):
    """dy_k / dx_j = delta_kj - p_j. The first part leaves dy_j, the second p_j times the sum of dy."""
    return dy - np.exp(y) * dy.sum(axis=-1, keepdims=True)


def weighted_bce_backward(x, y, weight):
    """log s has the derivative 1 - s, log(1 - s) has -s: so -(w y (1 - s) - (1 - y) s), over the number of entries."""
    e = np.exp(-np.abs(x))  # in (0, 1]: never overflows
    s = np.where(x >= 0, 1 / (1 + e), e / (1 + e))
    return ((1 - y) * s - weight * y * (1 - s)) / x.size


def rmsnorm_backward(dy, x, w, eps):
    """v = <x^2> gives dv/dx_j = 2 x_j / C, so dr/dx_j = -r^3 x_j / C = -r^2 n_j / C, as in layer norm; no mean here."""
    r = 1 / np.sqrt((x * x).mean(axis=-1, keepdims=True) + eps)
    n = x * r
    dn = dy * w
    return r * (dn - n * (dn * n).mean(axis=-1, keepdims=True))


def fourth_order(f, x, h):
    """D(h) = f' + a h^2, D(2h) = f' + 4 a h^2: so 4 D(h) - D(2h) = 3 f', up to h^4."""

    def central(h):
        return (f(x + h) - f(x - h)) / (2 * h)

    return (4 * central(h) - central(2 * h)) / 3
