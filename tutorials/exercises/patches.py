"""Checks of the exercises of 02_patches. Everything is compared with loops over patches and their pixels."""

import math

import numpy as np

from .verdict import Wrong, exercise, expect


def _tokens(frames, bins, fstride, tstride, prefix):
    """Laying the patches down one by one."""
    rows, columns = (
        sum(1 for start in range(0, n, stride) if start + 16 <= n) for n, stride in ((bins, fstride), (frames, tstride))
    )
    return prefix + rows * columns


@exercise
def longest_clip(answer):
    """Compared with trying every length, for AST's own sizes and seven others, also where nothing fits."""
    cases = [(700, 128, 10, 10, 1), (1214, 128, 10, 10, 2), (1214, 128, 16, 16, 2), (500, 128, 12, 9, 2)]
    for tokens, bins, fstride, tstride, prefix in [
        *cases,
        *((13, 128, 10, 10, 1), (12, 128, 10, 10, 1), (40, 16, 10, 3, 0), (99, 64, 20, 5, 1)),
    ]:
        want = max((n for n in range(16, 3000) if _tokens(n, bins, fstride, tstride, prefix) <= tokens), default=0)
        rows = (bins - 16) // fstride + 1
        columns = (tokens - prefix) // rows
        slips = {
            "the frames that are left over at the end cost no token: the clip may be longer": 16
            + (columns - 1) * tstride,
            "one frame too many: with it another column of patches fits": 16 + columns * tstride,
            "the prefix tokens take their share first": 15 + tokens // rows * tstride,
            "you rounded the number of columns up: that takes more tokens than there are": 15
            + math.ceil((tokens - prefix) / rows) * tstride,
            "the two strides are swapped": 15 + (tokens - prefix) // ((bins - 16) // tstride + 1) * fstride,
            "rows of the grid: the size of a patch comes off before the division, and 1 is added": 15
            + (tokens - prefix) // (bins // fstride) * tstride,
            "you took patches that do not overlap": 16 * columns,
            "a part of a column is no column: divide with //": 15 + (tokens - prefix) / rows * tstride,
        }
        if not want:
            slips = {"not one column fits: there is no such clip, and the answer is 0": 15 + columns * tstride}
        given = f"tokens={tokens}, mel_bins={bins}, fstride={fstride}, tstride={tstride}, prefix_tokens={prefix}"
        expect(answer(tokens, bins, fstride, tstride, prefix), want, given=given, slips=slips)


def _patches(x, size, fstride, tstride):
    """(grid_f, grid_t, size, size), pixel by pixel; inside a patch frequency first."""
    T, F = x.shape
    gf, gt = (F - size) // fstride + 1, (T - size) // tstride + 1
    out = np.zeros((gf, gt, size, size), x.dtype)
    for f, t, i, j in np.ndindex(*out.shape):
        out[f, t, i, j] = x[t * tstride + j, f * fstride + i]
    return out


def _inside(rows, columns, dtype, step=1):
    """Numbers in the middle of a far larger array, so that wrong strides read no memory that is not ours."""
    room = np.random.default_rng(rows).standard_normal(200_000).astype(dtype)
    return room[90_000 : 90_000 + rows * columns * step].reshape(rows, columns * step)[:, ::step]


@exercise
def patch_view(answer):
    """Compared pixel by pixel, in float32 and float64, on a part of a wider array; and it is a view, not a copy."""
    cases = [
        ("x (40, 32), patches of 16, strides 10 and 10, float32", _inside(40, 32, np.float32), 16, 10, 10),
        ("x (11, 9), patches of 4, strides 2 and 3, float32", _inside(11, 9, np.float32), 4, 2, 3),
        ("x (11, 9), patches of 4, strides 2 and 3, float64", _inside(11, 9, np.float64), 4, 2, 3),
        ("x (8, 6), every second column of a wider array, size 3, strides 1 and 2", _inside(8, 6, "f4", 2), 3, 1, 2),
    ]
    for given, x, size, fstride, tstride in cases:
        want = _patches(x, size, fstride, tstride)
        before = x.copy()
        slips = {
            "the grid is time-major; token f * grid_t + t wants frequency first": want.swapaxes(0, 1),
            "inside a patch time comes first; frequency must be the slow axis": want.swapaxes(2, 3),
            "the two strides are swapped": lambda x=x, s=size, f=fstride, t=tstride: _patches(x, s, t, f),
            "your strides do not come from x.strides": lambda x=x, w=want, f=fstride, t=tstride: _fixed(x, w, f, t),
        }
        got = answer(x, size, fstride, tstride)
        expect(got, want, given=given, slips=slips)
        if not np.shares_memory(got, x):
            raise Wrong(f"for {given}, the values are right, but they are a copy: nothing of it shares memory with x.")
        if not np.array_equal(x, before):
            raise Wrong(f"for {given}, x itself has changed.")


def _fixed(x, want, fstride, tstride):
    """What strides for contiguous float32 would show."""
    row = 4 * x.shape[1]
    strides = (4 * fstride, row * tstride, 4, row)
    return np.lib.stride_tricks.as_strided(x, want.shape, strides, writeable=False)


@exercise
def convolve(answer):
    """Compared with four nested loops over grid and filter, for three sizes, and with patches times filters."""
    rng = np.random.default_rng(2)
    for T, F, size, D, fstride, tstride in ((7, 8, 3, 2, 2, 1), (20, 18, 16, 3, 2, 4), (9, 9, 3, 4, 3, 3)):
        x, w, b = rng.standard_normal((T, F)), rng.standard_normal((D, size, size)), rng.standard_normal(D)
        patches = _patches(x, size, fstride, tstride)

        def product(filters, patches=patches, b=b):
            return np.einsum("ftij,dij->ftd", patches, filters) + b

        want = product(w)
        slips = {
            "you turned the filter round, as mathematics does in a convolution; deep learning does not": product(
                w[:, ::-1, ::-1]
            ),
            "the filter's first axis is frequency, its second time": product(w.swapaxes(1, 2)),
            "the bias is missing": want - b,
            "D belongs on the last axis": want.transpose(2, 0, 1),
            "the grid is (grid_f, grid_t): frequency first": want.swapaxes(0, 1),
            "the strides are missing": lambda x=x, w=w, b=b, s=size: (
                np.einsum("ftij,dij->ftd", _patches(x, s, 1, 1), w) + b
            ),
        }
        given = f"x ({T}, {F}), {D} filters of {size} x {size}, fstride={fstride}, tstride={tstride}"
        expect(answer(x, w, b, fstride, tstride), want, given=given, slips=slips)


def _fold(d, T, F, size, fstride, tstride):
    """Adds each pixel of each patch where it came from."""
    dx = np.zeros((T, F))
    for f, t, i, j in np.ndindex(*d.shape):
        dx[t * tstride + j, f * fstride + i] += d[f, t, i, j]
    return dx


def _last_wins(d, T, F, size, fstride, tstride):
    dx = np.zeros((T, F))
    for f, t, i, j in np.ndindex(*d.shape):
        dx[t * tstride + j, f * fstride + i] = d[f, t, i, j]
    return dx


@exercise
def fold(answer):
    """Compared pixel by pixel where patches overlap, touch and leave gaps; and it passes the dot-product test."""
    rng = np.random.default_rng(3)
    cases = ((9, 8, 4, 2, 3), (8, 8, 4, 4, 4), (11, 9, 3, 4, 5), (36, 26, 16, 10, 10))
    for T, F, size, fstride, tstride in cases:
        x = rng.standard_normal((T, F))
        shape = _patches(x, size, fstride, tstride).shape
        d = rng.standard_normal(shape)
        want = _fold(d, T, F, size, fstride, tstride)
        seen = _fold(np.ones(shape), T, F, size, fstride, tstride)
        slips = {
            "where patches overlap their gradients must be added; yours overwrite each other": _last_wins(
                d, T, F, size, fstride, tstride
            ),
            "you divided by the number of patches that saw a pixel: that is the inverse, not the adjoint": want
            / np.maximum(seen, 1),
            "x is (T, F): time first": want.T,
            "inside a patch frequency is the first axis": _fold(d.swapaxes(2, 3), T, F, size, fstride, tstride),
        }
        given = f"dpatches {shape} to x ({T}, {F}), strides {fstride} and {tstride}"
        got = answer(d.copy(), T, F, fstride, tstride)
        expect(got, want, given=given, slips=slips)
        left, right = (_patches(x, size, fstride, tstride) * d).sum(), (x * got).sum()
        expect(float(right), float(left), given=f"the dot-product test, {given}", tol=1e-9, what="<x, U'y>")


def _view(x, size, fstride, tstride):
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size))
    return windows[::tstride, ::fstride].transpose(1, 0, 3, 2)


def _size(d):
    return d.shape[2]


def _columns(tokens, bins, fstride, prefix):
    return (tokens - prefix) // ((bins - 16) // fstride + 1)


def _frames(tokens, bins, fstride, tstride, prefix):
    columns = _columns(tokens, bins, fstride, prefix)
    return 15 + columns * tstride if columns else 0


WRONG = {
    "longest_clip": [
        (lambda n, bins, fs, ts, prefix: max(0, 16 + (_columns(n, bins, fs, prefix) - 1) * ts), "cost no token"),
        (lambda n, bins, fs, ts, prefix: _frames(n, bins, fs, ts, prefix) + 1, "one frame too many"),
        (lambda n, bins, fs, ts, prefix: _frames(n, bins, fs, ts, 0), "take their share first"),
        (lambda n, bins, fs, ts, prefix: _frames(n, bins, ts, fs, prefix), "swapped"),
        (lambda n, bins, fs, ts, prefix: 16 * _columns(n, bins, fs, prefix), "do not overlap"),
        (lambda n, bins, fs, ts, prefix: 15 + _columns(n, bins, fs, prefix) * ts, "the answer is 0"),
        (lambda n, bins, fs, ts, prefix: 15 + (n - prefix) / ((bins - 16) // fs + 1) * ts, "divide with //"),
        (lambda n, bins, fs, ts, prefix: 1024, "is 1024, expected 595"),
    ],
    "patch_view": [
        (lambda x, size, fs, ts: _view(x, size, fs, ts).copy(), "they are a copy"),
        (lambda x, size, fs, ts: _view(x, size, fs, ts).swapaxes(0, 1), "the grid is time-major"),
        (lambda x, size, fs, ts: _view(x, size, fs, ts).swapaxes(2, 3), "inside a patch time comes first"),
        (lambda x, size, fs, ts: _fixed(x, _view(x, size, fs, ts), fs, ts), "do not come from x.strides"),
        (lambda x, size, fs, ts: _view(x, size, fs, ts).reshape(-1, size * size), "their arrangement is not"),
    ],
    "convolve": [
        (lambda x, w, b, fs, ts: np.einsum("ftij,dij->ftd", _view(x, w.shape[1], fs, ts), w), "the bias is missing"),
        (
            lambda x, w, b, fs, ts: np.einsum("ftij,dij->ftd", _view(x, w.shape[1], fs, ts), w[:, ::-1, ::-1]) + b,
            "turned the filter round",
        ),
        (
            lambda x, w, b, fs, ts: np.einsum("ftij,dji->ftd", _view(x, w.shape[1], fs, ts), w) + b,
            "first axis is frequency",
        ),
        (lambda x, w, b, fs, ts: np.einsum("ftij,dij->ftd", _view(x, w.shape[1], 1, 1), w) + b, "strides are missing"),
    ],
    "fold": [
        (lambda d, T, F, fs, ts: _last_wins(d, T, F, _size(d), fs, ts), "overwrite each other"),
        (
            lambda d, T, F, fs, ts: (
                _fold(d, T, F, _size(d), fs, ts) / np.maximum(_fold(np.ones(d.shape), T, F, _size(d), fs, ts), 1)
            ),
            "the inverse, not the adjoint",
        ),
        (lambda d, T, F, fs, ts: _fold(d, T, F, _size(d), fs, ts).T, "opposite order"),
        (lambda d, T, F, fs, ts: _fold(d.swapaxes(2, 3), T, F, _size(d), fs, ts), "frequency is the first axis"),
    ],
}

# Right answers in other forms: each must be accepted.
RIGHT = {
    "longest_clip": [
        lambda n, bins, fs, ts, prefix: next(
            (T for T in range(5000, 15, -1) if _tokens(T, bins, fs, ts, prefix) <= n), 0
        ),
    ],
    "patch_view": [_view],
    "convolve": [lambda x, w, b, fs, ts: np.einsum("ftij,dij->ftd", _view(x, w.shape[1], fs, ts), w) + b],
    "fold": [lambda d, T, F, fs, ts: _fold(d, T, F, _size(d), fs, ts)],
}
