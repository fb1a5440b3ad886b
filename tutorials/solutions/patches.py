"""Solutions of the exercises of 02_patches."""

import numpy as np


def longest_clip(tokens, mel_bins, fstride, tstride, prefix_tokens):
    grid_f = (mel_bins - 16) // fstride + 1
    grid_t = (tokens - prefix_tokens) // grid_f  # columns of patches that there is room for
    if grid_t < 1:
        return 0
    return 16 + grid_t * tstride - 1  # one frame before the next column would fit


def patch_view(x, size, fstride, tstride):
    T, F = x.shape
    shape = (F - size) // fstride + 1, (T - size) // tstride + 1, size, size
    time, frequency = x.strides  # bytes from one frame, from one bin, to the next
    # one step along each of the four axes: a patch up, a patch to the right, a bin up, a frame to the right
    strides = frequency * fstride, time * tstride, frequency, time
    return np.lib.stride_tricks.as_strided(x, shape, strides, writeable=False)


def convolve(x, w, b, fstride, tstride):
    D, size, _ = w.shape
    T, F = x.shape
    y = np.empty(((F - size) // fstride + 1, (T - size) // tstride + 1, D))
    for f in range(y.shape[0]):
        for t in range(y.shape[1]):
            patch = x[t * tstride : t * tstride + size, f * fstride : f * fstride + size].T  # frequency first, as w
            y[f, t] = (w * patch).sum(axis=(1, 2)) + b
    return y


def fold(dpatches, frames, mel_bins, fstride, tstride):
    grid_f, grid_t, size, _ = dpatches.shape
    dx = np.zeros((frames, mel_bins))
    for f in range(grid_f):
        for t in range(grid_t):
            # += : a pixel that several patches saw gets the sum of what they all want of it
            dx[t * tstride : t * tstride + size, f * fstride : f * fstride + size] += dpatches[f, t].T
    return dx
