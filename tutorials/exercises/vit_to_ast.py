"""Checks of 06_vit_to_ast: each runs the reader's function against an independent specification."""

import math

import numpy as np

from .verdict import exercise, expect


@exercise
def output_linear(f):
    """Linear layers with your weights give the kernels' own answers, for four shapes, also with D = H d."""
    rng = np.random.default_rng(0)
    for H, d, D in ((2, 3, 6), (4, 2, 8), (1, 5, 5), (3, 2, 7)):
        kernel = rng.standard_normal((H, d, D))
        weight = np.zeros((D, H * d))
        for h in range(H):
            for j in range(d):
                weight[:, h * d + j] = kernel[h, j]  # column (h, j) takes what head h wrote into its channel j
        slips = {
            "this is (in, out): transpose it": kernel.reshape(H * d, D),
            "heads and their channels are exchanged: a head's channels must stay together": kernel.transpose(
                2, 1, 0
            ).reshape(D, H * d),
            "a reshape alone does not move any axis": kernel.reshape(D, H * d),
            "merge the two axes of the input into one: a linear layer's weight is a matrix": kernel.transpose(2, 0, 1),
        }
        expect(f(kernel.copy()), weight, given=f"a kernel of shape (H={H}, d={d}, D={D})", slips=slips)


@exercise
def fold_colours(f):
    """With your filters and bias, a grey picture gets the answer that the ViT gives after normalising its colours."""
    rng = np.random.default_rng(1)
    for D, C in ((4, 3), (3, 1), (2, 4)):
        filters, bias = rng.standard_normal((D, C, 16, 16)), rng.standard_normal(D)
        mean, std = rng.uniform(0.2, 0.8, C), rng.uniform(0.1, 0.4, C)
        w, b = np.zeros((D, 256)), bias.copy()
        for c in range(C):
            w += filters[:, c].reshape(D, 256) / std[c]
            b -= filters[:, c].reshape(D, 256).sum(axis=1) * mean[c] / std[c]
        total = filters.sum(axis=(2, 3))  # (D, C)
        slips = {
            "that is the mean over colours: the filters' answers are added": (w / C, b),
            "the same with the mean over colours in the bias as well": (w / C, bias + (b - bias) / C),
            "the deviations are missing": (filters.sum(axis=1).reshape(D, 256), bias - total @ mean),
            "the bias is unchanged in yours: the means have to go somewhere": (w, bias),
            "the means come off: their sign in the bias": (w, 2 * bias - b),
            "the mean is divided by the deviation, too": (w, bias - total @ mean),
            "you multiplied by the deviations": (
                np.einsum("dcij,c->dij", filters, std).reshape(D, 256),
                bias - total @ (mean * std),
            ),
            "the mean comes off every pixel: the filter's 256 weights are summed, not averaged": (
                w,
                bias - total @ (mean / std) / 256,
            ),
            "height and width are exchanged": (w.reshape(D, 16, 16).swapaxes(1, 2).reshape(D, 256), b),
            "the filters are (D, 256): flatten height and width": (w.reshape(D, 16, 16), b),
        }
        given = f"filters of shape ({D}, {C}, 16, 16)"
        expect(f(filters.copy(), bias.copy(), mean.copy(), std.copy()), (w, b), given=given, slips=slips)


@exercise
def stretch_matrix(f):
    """Your matrices stretch and shrink as the rule does place by place, at seven pairs of lengths."""
    for n, size in ((2, 4), (3, 9), (7, 12), (24, 101), (5, 5), (1, 3), (7, 9)):
        want, corners, nearest, shifted, outside = (np.zeros((size, n)) for _ in range(5))
        for i in range(size):
            s = (i + 0.5) * n / size - 0.5
            _mix(want[i], min(max(s, 0), n - 1))
            _mix(outside[i], s)
            _mix(corners[i], i * (n - 1) / max(1, size - 1))
            _mix(shifted[i], min(i * n / size, n - 1))
            nearest[i, min(n - 1, int((i + 0.5) * n / size))] = 1
        slips = {
            "the corners are aligned in yours: cells have widths, use (i + 1/2) n / size - 1/2": corners,
            "that takes the nearest place: mix the two around s": nearest,
            "half a cell is missing: (i + 1/2) n / size - 1/2, not i n / size": shifted,
            "outside the first and the last middle the vector is theirs: rows sum to 1": outside,
            "the axes: one row for each new place, one column for each old one": want.T,
            "the two shares are exchanged: the nearer place counts more": _exchanged(want),
        }
        expect(f(n, size), want, given=f"n={n}, size={size}", slips=slips)


def _mix(row, s):
    """Add place s, between two neighbours, to a row of shares; what lies outside is lost."""
    low = math.floor(s)
    for place, share in ((low, 1 - (s - low)), (low + 1, s - low)):
        if 0 <= place < len(row):
            row[place] += share


def _exchanged(shares):
    out = shares.copy()
    for row in out:
        used = np.flatnonzero(row)
        row[used] = row[used[::-1]]
    return out


@exercise
def differ(f):
    """You predicted all 465 pairs up to 30 places. The two middles are one patch apart where you said so."""
    for n in range(1, 31):
        for size in range(1, n + 1):
            slips = {
                "that is where n is odd and size even: work out n = 4 and size = 3": n % 2 == 1 and size % 2 == 0,
                "being odd and even is not enough: work out n = 5 and size = 2": n % 2 != size % 2,
                "odd sizes alone are not enough: work out n = 3 and size = 1": size % 2 == 1,
                "even n alone is not enough: work out n = 4 and size = 2": n % 2 == 0,
                "they do differ somewhere: work out n = 4 and size = 3": False,
            }
            expect(f(n, size), n // 2 - size // 2 != (n - size) // 2, given=f"n={n}, size={size}", slips=slips)


@exercise
def from_counts(f):
    """Compared with the differences of whole lists of answers, clip by clip, at five sets of counts."""
    for n, only_a, only_b in ((80, 20, 6), (300, 30, 30), (4, 1, 0), (50, 25, 25), (1000, 0, 12)):
        d = np.array([1.0] * only_a + [-1.0] * only_b + [0.0] * (n - only_a - only_b))
        mean, error = d.mean(), d.std() / math.sqrt(n)
        apart = math.sqrt((only_a + only_b) / n / n)
        slips = {
            "the deviation of one clip is not that of the mean: divide by the root of n": (mean, d.std()),
            "that is the deviation with n - 1: take that with n": (mean, d.std(ddof=1) / math.sqrt(n)),
            "you took b minus a": (-mean, error),
            "you divided by n, not by its root": (mean, d.std() / n),
            "that is the variance of the mean: take its root": (mean, error**2),
            "the squared mean has to come off: var d = mean of d^2 - (mean of d)^2": (mean, apart),
            "only clips on which they disagree are counted in yours: n is the number of all": (
                (only_a - only_b) / max(1, only_a + only_b),
                error,
            ),
        }
        given = f"{n} clips, {only_a} that only a names rightly and {only_b} that only b does"
        expect(f(n, only_a, only_b), (mean, error), given=given, slips=slips)


# -- answers to try the checks with --------------------------------------------------------------------------------


def folded(filters, bias, mean, std, over=np.sum, sign=-1, scale=True, means=True):
    """The solution, with slips on demand."""
    w = filters / (std[:, None, None] if scale else 1)
    shift = (w * mean[:, None, None]).sum(axis=(1, 2, 3)) if means else 0
    return over(w, axis=1).reshape(len(w), -1), bias + sign * shift


def clipped(n, size):
    s = np.clip((np.arange(size) + 0.5) * n / size - 0.5, 0, n - 1)
    return np.maximum(0, 1 - abs(s[:, None] - np.arange(n)))  # a tent around each old place


def from_bootstrap(n, only_a, only_b):
    """By the variance of a multinomial."""
    p, q = only_a / n, only_b / n
    return np.array([p - q, np.sqrt((p * (1 - p) + q * (1 - q) + 2 * p * q) / n)])


def spread(power, ddof=0):
    def f(n, only_a, only_b):
        d = np.repeat([1.0, -1.0, 0.0], [only_a, only_b, n - only_a - only_b])
        return d.mean(), d.std(ddof=ddof) / n**power

    return f


# Right answers in forms that few would choose: each must be accepted.
RIGHT = {
    "output_linear": [
        lambda k: k.transpose(2, 0, 1).reshape(k.shape[2], -1),
        lambda k: np.concatenate(list(k)).T,
        lambda k: np.stack([k[..., o].ravel() for o in range(k.shape[2])]).tolist(),
    ],
    "fold_colours": [
        folded,
        lambda w, b, mean, std: [
            np.einsum("dcij,c->dij", w, 1 / std).reshape(len(w), -1),
            b - w.sum((2, 3)) @ (mean / std),
        ],
    ],
    "stretch_matrix": [
        clipped,
        lambda n, size: (
            np.array([np.interp((np.arange(size) + 0.5) * n / size - 0.5, range(n), e) for e in np.eye(n)]).T
        ),
    ],
    "differ": [
        lambda n, size: n // 2 - size // 2 != (n - size) // 2,
        lambda n, size: (n + 1) % 2 * size % 2 == 1,
        lambda n, size: np.bool_(~n & size & 1),
    ],
    "from_counts": [from_bootstrap, spread(0.5)],
}

# Plausible wrong answers, each with words that its refusal must contain.
WRONG = {
    "output_linear": [
        (lambda k: k.reshape(-1, k.shape[2]), "transpose it"),
        (lambda k: k.transpose(2, 1, 0).reshape(k.shape[2], -1), "must stay together"),
        (lambda k: k.reshape(k.shape[2], -1), "does not move any axis"),
        (lambda k: k.transpose(2, 0, 1), "is a matrix"),
        (lambda k: k.T, "arrangement is not"),
    ],
    "fold_colours": [
        (lambda *given: folded(*given, over=np.mean), "mean over colours"),
        (lambda *given: folded(*given, scale=False), "deviations are missing"),
        (lambda *given: folded(*given, means=False), "the means have to go somewhere"),
        (lambda *given: folded(*given, sign=1), "their sign"),
        (
            lambda w, b, mean, std: (folded(w, b, mean, std)[0], b - w.sum((2, 3)) @ mean),
            "divided by the deviation, too",
        ),
        (lambda w, b, mean, std: (folded(w, b, mean, std)[0], b - w.mean((2, 3)) @ (mean / std)), "not averaged"),
        (lambda w, b, mean, std: folded(w, b, mean, 1 / std), "multiplied by the deviations"),
        (lambda *given: folded(*given)[0], "2 results"),
        (lambda w, *rest: (folded(w, *rest)[0].reshape(-1, 16, 16), folded(w, *rest)[1]), "flatten height and width"),
    ],
    "stretch_matrix": [
        (lambda n, size: clipped(n, size).T, "one row for each new place"),
        (lambda n, size: np.eye(n)[(np.arange(size) * 2 + 1) * n // (2 * size)], "the nearest place"),
        (
            lambda n, size: np.maximum(0, 1 - abs(((np.arange(size) + 0.5) * n / size - 0.5)[:, None] - np.arange(n))),
            "rows sum to 1",
        ),
        (
            lambda n, size: np.maximum(0, 1 - abs(np.linspace(0, n - 1, size)[:, None] - np.arange(n))),
            "corners are aligned",
        ),
        (
            lambda n, size: np.maximum(
                0, 1 - abs(np.minimum(np.arange(size) * n / size, n - 1)[:, None] - np.arange(n))
            ),
            "half a cell",
        ),
        (lambda n, size: np.eye(size, n), "expected"),
    ],
    "differ": [
        (lambda n, size: n % 2 == 1 and size % 2 == 0, "n is odd and size even"),
        (lambda n, size: (n - size) % 2 == 1, "not enough: work out n = 5"),
        (lambda n, size: size % 2 == 1, "odd sizes alone"),
        (lambda n, size: n % 2 == 0, "even n alone"),
        (lambda n, size: False, "do differ somewhere"),
        (lambda n, size: n // 2 - size // 2, "True and False belong"),
    ],
    "from_counts": [
        (spread(0), "divide by the root of n"),
        (spread(0.5, ddof=1), "n - 1"),
        (spread(1), "not by its root"),
        (lambda n, a, b: (spread(0.5)(n, b, a)[0], spread(0.5)(n, a, b)[1]), "b minus a"),
        (lambda n, a, b: ((a - b) / n, math.sqrt(a + b) / n), "the squared mean has to come off"),
        (lambda n, a, b: (spread(0.5)(n, a, b)[0], spread(0.5)(n, a, b)[1] ** 2), "take its root"),
        (lambda n, a, b: (a - b, math.sqrt(a + b)), "result 1 of 2"),
    ],
}
