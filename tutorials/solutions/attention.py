"""Solutions of the exercises of notebook 4, attention."""

import numpy as np


def score_for(share, alike, tokens):
    """n e^s / (n e^s + (T - n)) = share, solved for e^s: the odds of the share, times others for each that is alike."""
    return np.log(share / (1 - share) * (tokens - alike) / alike)


def repack(w, heads):
    """Name the axes in the order in which they are packed, exchange the first two, flatten again."""
    C = w.shape[1]
    return w.reshape(heads, 3, C // heads, C).swapaxes(0, 1).reshape(3 * C, C)


def bias_backward(p, dp):
    """The bias is added to the scores, so its gradient is ds; the clips share it, so theirs are summed."""
    ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
    return ds.sum(axis=0)


def cache_bytes(clips, tokens, width, heads):
    """qkv 3 C, o C and lse H numbers a token, 4 bytes each."""
    return 4 * clips * tokens * (4 * width + heads)


def merge(m1, l1, a1, m2, l2, a2):
    """Both states are brought to the larger maximum; then their sums add."""
    m = max(m1, m2)
    c1, c2 = np.exp(m1 - m), np.exp(m2 - m)
    return m, c1 * l1 + c2 * l2, c1 * a1 + c2 * a2
