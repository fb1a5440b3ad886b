"""Solutions of 09_what_does_it_hear."""

import numpy as np


def rollout(maps):
    """One row from the last layer to the first costs a row times a matrix a layer; the whole product would cost T^3."""
    row = np.eye(maps[0].shape[-1])[0]  # the class token, at the top
    for p in reversed(maps):
        row = 0.5 * row @ p.mean(axis=0) + 0.5 * row  # half through attention, half along the residual stream
    return row


def weighted_attention(p, dp):
    """The positive part head by head, before the mean: heads that speak against the class must not cancel others."""
    return np.maximum(p * dp, 0).mean(axis=0)


def samples_of(first, last, shift, length):
    """Frame i covers samples i * shift to i * shift + length."""
    return first * shift, last * shift + length


def most_relevant(values, k):
    """Flat indices of the k largest, then back to the map's shape."""
    chosen = np.zeros(values.size, bool)
    chosen[np.argsort(values.ravel())[-k:]] = True
    return chosen.reshape(values.shape)


def rank_correlation(a, b):
    """argsort of argsort is the rank of each entry; then an ordinary correlation."""
    ranks = [np.argsort(np.argsort(x.ravel())) for x in (a, b)]
    return np.corrcoef(*ranks)[0, 1]
