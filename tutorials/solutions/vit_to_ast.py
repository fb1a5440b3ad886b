"""Solutions of 06_vit_to_ast."""

import numpy as np


def to_linear(kernel):
    return kernel.reshape(len(kernel), -1).T  # (D, H d), its columns head after head; then (out, in)


def merge_colours(filters):
    return filters.sum(axis=1).reshape(len(filters), -1)  # sum_c <w_c, s> = <sum_c w_c, s>


def stretch_row(values, size):
    n = len(values)
    at = (np.arange(size) + 0.5) * n / size - 0.5  # middles of the new cells, counted in old ones
    return np.interp(at, np.arange(n), values)  # holds the ends by itself


def middle(n, size):
    first = n // 2 - size // 2
    return first, first + size


def paired(a, b):
    d = a.astype(float) - b  # 1: only a is right, -1: only b, 0: no news
    return d.mean(), d.std() / np.sqrt(len(d))
