"""Solutions of the exercises of notebook 6, from ViT to AST."""

import numpy as np


def output_linear(kernel):
    """The input's two axes, head and place in it, become one; then (in, out) becomes (out, in)."""
    return kernel.reshape(-1, kernel.shape[2]).T


def fold_colours(filters, bias, mean, std):
    """<w_c, (s - mean_c) / std_c> = <w_c / std_c, s> - mean_c / std_c times the sum of w_c; then the sum over c."""
    w = filters / std[:, None, None]
    return w.sum(axis=1).reshape(len(w), -1), bias - w.sum(axis=(2, 3)) @ mean


def stretch_matrix(n, size):
    """Row i holds the shares of the two places around s; a column of it is what one old place gives to all new ones."""
    s = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    return np.stack([np.interp(s, np.arange(n), one) for one in np.eye(n)], axis=1)


def differ(n, size):
    """Halves are lost twice in n // 2 - size // 2, once in the other: only an even n less an odd size shows it."""
    return n % 2 == 0 and size % 2 == 1


def from_counts(n, only_a, only_b):
    """d is 1, -1 or 0, so the mean of its square is the share of clips on which the two disagree."""
    mean = (only_a - only_b) / n
    return mean, np.sqrt(((only_a + only_b) / n - mean**2) / n)
