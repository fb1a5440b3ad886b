"""Checks of 06_vit_to_ast: each runs the reader's function against an independent specification."""

import math

import numpy as np

from .verdict import exercise, expect


@exercise
def to_linear(f):
    """Linear layers with your weights give the kernels' own answers, for three shapes, also with D = H d."""
    rng = np.random.default_rng(0)
    for D, H, d in ((6, 2, 3), (8, 4, 2), (5, 1, 5), (7, 3, 2)):
        kernel = rng.standard_normal((D, H, d))
        weight = np.zeros((H * d, D))
        for h in range(H):
            for j in range(d):
                weight[h * d + j] = kernel[:, h, j]  # row (h, j) makes query j of head h from all channels
        slips = {
            "this is (in, out): transpose after the reshape": kernel.reshape(D, -1),
            "all axes are reversed, and the heads mixed: reshape first, transpose after": lambda k=kernel: k.transpose(
                2, 1, 0
            ).reshape(-1, len(k)),
            "a reshape alone does not move any axis": kernel.reshape(H * d, D),
        }
        expect(f(kernel.copy()), weight, given=f"a kernel of shape (D={D}, H={H}, d={d})", slips=slips)


@exercise
def merge_colours(f):
    """Your filters answer a patch exactly as the colour filters answer the same patch in grey."""
    rng = np.random.default_rng(1)
    for D, C in ((4, 3), (3, 1), (2, 4)):
        filters = rng.standard_normal((D, C, 16, 16))
        summed = np.zeros((D, 256))
        for c in range(C):
            summed += filters[:, c].reshape(D, 256)
        slips = {"that is the mean: the ViT on a grey picture answers with the sum": summed / C}
        slips["that is the first colour alone"] = filters[:, 0].reshape(D, 256)
        if C == 3:
            luma = np.einsum("c,dcij->dij", [0.299, 0.587, 0.114], filters).reshape(D, 256)
            slips["those weights make a colour picture grey; here the three channels are equal already"] = luma
        slips["height and width are exchanged"] = summed.reshape(D, 16, 16).swapaxes(1, 2).reshape(D, 256)
        slips["you summed over the wrong axis"] = lambda s=filters: s.sum(axis=0).reshape(-1, 256)
        expect(f(filters.copy()), summed, given=f"filters of shape ({D}, {C}, 16, 16)", slips=slips)


@exercise
def stretch_row(f):
    """Compared at seven pairs of lengths, longer and shorter, with the rule worked out place by place."""
    rng = np.random.default_rng(2)
    for n, size in ((2, 4), (3, 9), (7, 12), (24, 101), (5, 5), (1, 3), (7, 9)):
        values = rng.standard_normal(n)
        want, corners, nearest, shifted = (np.zeros(size) for _ in range(4))
        for i in range(size):
            want[i] = _read(values, (i + 0.5) * n / size - 0.5)
            corners[i] = _read(values, i * (n - 1) / max(1, size - 1))
            nearest[i] = values[min(n - 1, int((i + 0.5) * n / size))]
            shifted[i] = _read(values, i * n / size)
        slips = {
            "you spread the places from the first to the last one (corners aligned): cells have widths, use "
            "(i + 1/2) n / size - 1/2": corners,
            "that is the nearest place, not a mixture of two": nearest,
            "half a cell is missing: (i + 1/2) n / size - 1/2, not i n / size": shifted,
        }
        expect(f(values.copy(), size), want, given=f"{n} values, size={size}", slips=slips)


def _read(values, s):
    """The value at place s, linear between neighbours, held outside."""
    s = min(max(s, 0), len(values) - 1)
    low = math.floor(s)
    high = min(low + 1, len(values) - 1)
    return values[low] * (1 - (s - low)) + values[high] * (s - low)


@exercise
def middle(f):
    """The official code's centre, for even and odd sizes."""
    for n, size in ((24, 12), (14, 12), (24, 9), (7, 6), (7, 7), (5, 2), (101, 50)):
        first = n // 2 - size // 2
        slips = {
            "(n - size) // 2 is another middle for even n and odd size": (
                (n - size) // 2,
                (n - size) // 2 + size,
            ),
            "that is the beginning, not the middle": (0, size),
            "the second number is one past the last place": (first, first + size - 1),
            "you returned the size: the second number is a place": (first, size),
        }
        expect(f(n, size), (first, first + size), given=f"n={n}, size={size}", slips=slips)


@exercise
def paired(f):
    """Four pairs of answers, two of them with equal accuracies."""
    rng = np.random.default_rng(3)
    cases = [(rng.random(80) < 0.8, rng.random(80) < 0.5), (rng.random(300) < 0.7, rng.random(300) < 0.7)]
    cases += [(np.array([True, True, False, False]), np.array([True, False, True, False]))]
    half = rng.random(50) < 0.5
    cases += [(half, ~half)]
    for a, b in cases:
        n, wins, losses = len(a), int((a & ~b).sum()), int((b & ~a).sum())
        mean = (wins - losses) / n
        error = math.sqrt((wins + losses) / n - mean * mean) / math.sqrt(n)
        alone = math.sqrt(a.mean() * (1 - a.mean()) / n + b.mean() * (1 - b.mean()) / n)
        slips = {
            "the deviation of one clip is not that of the mean: divide by the root of n": (mean, error * math.sqrt(n)),
            "these are the errors of two sets of clips added: the clips are the same, so take the differences": (
                mean,
                alone,
            ),
            "that is the deviation with n - 1 (ddof=1): take np.std as it is": (mean, error * math.sqrt(n / (n - 1))),
            "you took b minus a": (-mean, error),
            "you divided by n, not by its root": (mean, error / math.sqrt(n)),
        }
        given = f"{n} clips, {wins} that only a names rightly and {losses} that only b does"
        expect(f(a.copy(), b.copy()), (mean, error), given=given, slips=slips)


WRONG = {
    "to_linear": [
        lambda k: k.reshape(len(k), -1),
        lambda k: k.transpose(2, 1, 0).reshape(-1, len(k)),
        lambda k: k.reshape(-1, len(k)),
    ],
    "merge_colours": [
        lambda w: w.mean(axis=1).reshape(len(w), -1),
        lambda w: w.sum(axis=1),
        lambda w: w.sum(axis=1).swapaxes(1, 2).reshape(len(w), -1),
        lambda w: w[:, 0].reshape(len(w), -1),
    ],
    "stretch_row": [
        lambda v, m: np.interp(np.linspace(0, len(v) - 1, m), np.arange(len(v)), v),
        lambda v, m: np.interp(np.arange(m) * len(v) / m, np.arange(len(v)), v),
        lambda v, m: v[(np.arange(m) * len(v)) // m],
    ],
    "middle": [
        lambda n, size: ((n - size) // 2, (n - size) // 2 + size),
        lambda n, size: (0, size),
        lambda n, size: (n // 2 - size // 2, size),
    ],
    "paired": [
        lambda a, b: (a.mean() - b.mean(), (a.astype(float) - b).std()),
        lambda a, b: (a.mean() - b.mean(), math.sqrt((a.var() + b.var()) / len(a))),
        lambda a, b: (b.mean() - a.mean(), (a.astype(float) - b).std() / math.sqrt(len(a))),
        lambda a, b: ((a - b).mean(), (a - b).std()),  # NumPy refuses to subtract booleans
    ],
}
