"""Checks of 09_what_does_it_hear: each compares the reader's function with NumPy written another way."""

import numpy as np

from .verdict import Wrong, exercise, expect


def attention(rng, layers, heads, tokens):
    """Attention maps made by chance: `layers` arrays (H, T, T) whose rows sum to 1."""
    scores = rng.standard_normal((layers, heads, tokens, tokens)) * 2
    p = np.exp(scores)
    return list(p / p.sum(axis=-1, keepdims=True))


def rolled(maps, own=0.5):
    """The product of own I + (1 - own) A, from the first layer on.   maps: (H, T, T) each -> (T, T)"""
    out = np.eye(maps[0].shape[-1])
    for p in maps:
        out = (own * np.eye(len(out)) + (1 - own) * p.mean(axis=0)) @ out
    return out


@exercise
def own_share(f):
    """Rolled out, attention that is the same for all tokens left the class token what you said, at six sizes."""
    for tokens, layers in ((3, 1), (73, 4), (10, 2), (1214, 12), (5, 30), (2, 3)):
        uniform = np.full((1, 1, tokens), 1 / tokens)
        row = np.eye(tokens)[0]
        for _ in range(layers):  # one row is enough: rolled() would hold 1214 x 1214
            row = 0.5 * row + 0.5 * row.sum() * uniform[0, 0]
        half = 0.5**layers
        slips = {
            "that is what came along the residual stream alone; a little of what was given away comes back": half,
            "that is one layer: multiply over all layers": 0.5 + 0.5 / tokens,
            "you let what the tokens mixed in go on halving: mixing uniform rows changes nothing": half + half / tokens,
            "what comes back is 1 / T of what was given away, 1 - 1 / 2^L, not of everything": half + 1 / tokens,
            "that is after infinitely many layers": 1 / tokens,
            "what was given away comes back through more than one layer: it is not (1/2 + 1/(2 T))^L": (
                0.5 + 0.5 / tokens
            )
            ** layers,
            "that is what the class token gives away": 1 - row[0],
        }
        expect(f(tokens, layers), float(row[0]), given=f"tokens={tokens}, layers={layers}", tol=1e-9, slips=slips)


@exercise
def disagreeing_heads(f):
    """Your two heads cancel where the mean over heads comes first, and speak up where the positive part does."""
    got = f()
    if got is None or got is ...:
        expect(got, 0)
    if not isinstance(got, (tuple, list)) or len(got) != 2:
        raise Wrong(f"two results are expected, A and dA; you return {type(got).__name__}.")
    try:
        A, dA = (np.asarray(x, float) for x in got)
    except (TypeError, ValueError):
        raise Wrong("A and dA must be arrays of numbers, as long in one row as in the next.") from None
    T = A.shape[-1] if A.ndim else 0
    if A.shape != (2, T, T) or dA.shape != A.shape or T < 2:
        raise Wrong(f"A and dA must be (2, T, T) with the same T of at least 2; they are {A.shape} and {dA.shape}.")
    if not (np.isfinite(A).all() and np.isfinite(dA).all()):
        raise Wrong("A and dA must be finite.")
    if A.min() < 0 or not np.allclose(A.sum(axis=-1), 1):
        raise Wrong("A holds probabilities: each must be at least 0, and each row must sum to 1.")
    before, after = np.maximum((A * dA).mean(axis=0), 0), np.maximum(A * dA, 0).mean(axis=0)
    if not (dA * A).any():
        raise Wrong("dA * A is 0 everywhere: neither head says anything.")
    if after.max() < 1e-6:
        raise Wrong("no head speaks for the class anywhere: dA * A has no positive entry.")
    if before.max() > 1e-9 * after.max():
        at = np.unravel_index(before.argmax(), before.shape)
        raise Wrong(
            f"taking the mean first leaves {before.max():.4g} at {[int(i) for i in at]}: wherever one head has a "
            "positive dA * A, the other must have at least as much against it."
        )


@exercise
def samples_of(f):
    """Spans of frames at three settings became first and last sample, the 25 ms of the last frame included."""
    for first, last, shift, length in ((0, 0, 160, 400), (3, 9, 160, 400), (20, 97, 80, 200)):
        start, stop = first * shift, last * shift + length
        given = f"first={first}, last={last}, shift={shift}, length={length}"
        slips = {
            "you stopped where the last frame starts: it is `length` samples long": (start, last * shift),
            "you gave each frame `shift` samples: the last one is `length` long": (start, (last + 1) * shift),
            "you counted one frame too many: `last` is the last frame itself": (start, (last + 1) * shift + length),
            "that is the last sample itself: the one after it is asked for": (start, stop - 1),
            "`length` is 400 only at 16 kHz: use the argument": (start, last * shift + 400),
            "you counted frames of `length` samples end to end: they start `shift` apart": (
                first * length,
                (last + 1) * length,
            ),
        }
        expect(f(first, last, shift, length), (start, stop), given=given, tol=0, slips=slips)


@exercise
def most_relevant(f):
    """For maps of several sizes the chosen entries were the k with the largest values, and no others."""
    rng = np.random.default_rng(4)
    for shape, k in (((2, 3), 1), ((3, 4), 5), ((8, 11), 20), ((2, 2), 0), ((2, 2), 4)):
        values = rng.permutation(np.arange(shape[0] * shape[1])).reshape(shape) - 3.3  # no two of one size
        order = np.append(np.sort(values.ravel()), np.inf)  # order[-k - 1] is the k-th largest, of all k
        want = values >= order[-k - 1]
        slips = {
            "you took the least relevant entries: sort the other way round": np.isin(values, order[:k]),
            "you marked those above the k-th value and left out that one": values > order[-k - 1],
            "you marked one entry too many": values >= order[max(0, values.size - k - 1)],
            "you ranked by size without its sign": chosen(values, np.argsort(-abs(values).ravel(), kind="stable")[:k]),
            "values[-0:] is everything: nothing is to be chosen for k = 0": want if k else np.ones(shape, bool),
        }
        expect(f(values.copy(), k), want, given=f"a map {shape} and k={k}", tol=0, slips=slips)


@exercise
def rank_correlation(f):
    """Four pairs of maps, one of them bent but in the same order, gave Spearman's coefficient."""
    from scipy.stats import spearmanr

    rng = np.random.default_rng(5)
    a = rng.standard_normal((4, 6))
    pairs = {
        "a map and its exponential, which has the same order": (a, np.exp(3 * a)),
        "a map and its negative": (a, -a),
        "two maps that have something in common": (a, a + rng.standard_normal(a.shape) ** 3),
        "two maps drawn by chance": (a, rng.standard_normal(a.shape)),
    }
    for given, (x, y) in pairs.items():
        x_, y_ = x.ravel(), y.ravel()
        want = float(spearmanr(x_, y_).statistic)
        slips = {
            "this is the correlation of the values, not of their ranks": np.corrcoef(x_, y_)[0, 1],
            "argsort gives the order, not the ranks: apply it twice": np.corrcoef(x_.argsort(), y_.argsort())[0, 1],
            "you replaced one of the two maps by its ranks: both need it": np.corrcoef(x_.argsort().argsort(), y_)[
                0, 1
            ],
            "you ranked row by row: the whole map has one order": np.corrcoef(
                x.argsort().argsort().ravel(), y.argsort().argsort().ravel()
            )[0, 1],
            "that is its square": want**2,
            "the sign: you ranked one map upwards and the other downwards": -want,
            "that is the covariance of the ranks: divide by both deviations": np.cov(
                x_.argsort().argsort(), y_.argsort().argsort()
            )[0, 1],
        }
        expect(f(x.copy(), y.copy()), want, given=given, tol=1e-9, slips=slips)


# -- answers to try the checks with --------------------------------------------------------------------------------


def two_heads(first, second, tokens=2):
    A = np.full((2, tokens, tokens), 1 / tokens)
    return A, np.stack([np.full((tokens, tokens), first), np.full((tokens, tokens), second)]).astype(float)


def chosen(values, at):
    out = np.zeros(values.size, bool)
    out[at] = True
    return out.reshape(values.shape)


def ranks(x):
    return x.ravel().argsort().argsort()


def by_squares(a, b):
    """The textbook's formula for ranks without ties."""
    d = ranks(a) - ranks(b)
    return 1 - 6 * (d**2).sum() / (a.size * (a.size**2 - 1))


# Right answers in forms that few would choose: each must be accepted.
RIGHT = {
    "own_share": [
        lambda tokens, layers: (1 + (tokens - 1) * 2.0**-layers) / tokens,
        lambda tokens, layers: 1 - (1 - 2.0**-layers) * (1 - 1 / tokens),
        lambda T, L: np.float64(sum(0.5 / T * 0.5**i for i in range(L)) + 0.5**L),
    ],
    "disagreeing_heads": [
        lambda: two_heads(1, -1),
        lambda: two_heads(-3, 2, tokens=5),
        lambda: ([[[1, 0], [0, 1]], [[0.5, 0.5], [0.5, 0.5]]], [[[1, 5], [5, 1]], [[-2, -1], [0, -2]]]),
        lambda: [x.astype(np.float32) for x in two_heads(0.1, -0.2, tokens=3)],
    ],
    "samples_of": [lambda first, last, shift, length: np.array([first, last]) * shift + [0, length]],
    "most_relevant": [
        lambda values, k: values.ravel().argsort().argsort().reshape(values.shape) >= values.size - k,
        lambda values, k: chosen(values, np.argsort(-values.ravel(), kind="stable")[:k]),
        lambda values, k: [[(values > v).sum() < k for v in row] for row in values],
    ],
    "rank_correlation": [
        by_squares,
        lambda a, b: np.corrcoef(ranks(-a), ranks(-b))[1, 0],
        lambda a, b: ((ranks(a) - ranks(a).mean()) * (ranks(b) - ranks(b).mean())).mean() / ranks(a).var(),
    ],
}

# Plausible wrong answers, each with words that its refusal must contain.
WRONG = {
    "own_share": [
        (lambda tokens, layers: 0.5**layers, "comes back"),
        (lambda tokens, layers: 0.5 + 0.5 / tokens, "one layer"),
        (lambda tokens, layers: (0.5 + 0.5 / tokens) ** layers, "more than one layer"),
        (lambda tokens, layers: 0.5**layers + 1 / tokens, "not of everything"),
        (lambda tokens, layers: 1 / tokens, "infinitely many"),
        (lambda tokens, layers: (1 - 0.5**layers) * (1 - 1 / tokens), "gives away"),
    ],
    "disagreeing_heads": [
        (lambda: two_heads(1, 1), "taking the mean first leaves"),
        (lambda: two_heads(2, -1), "at least as much against"),
        (lambda: two_heads(-1, -1), "no head speaks for the class"),
        (lambda: two_heads(0, 0), "neither head says anything"),
        (lambda: (2 * two_heads(1, -1)[0], two_heads(1, -1)[1]), "each row must sum to 1"),
        (lambda: (-two_heads(1, -1)[0], two_heads(1, -1)[1]), "at least 0"),
        (lambda: two_heads(1, -1)[0], "two results"),
        (lambda: [x[0] for x in two_heads(1, -1)], "must be (2, T, T)"),
        (lambda: (np.eye(1), "x"), "arrays of numbers"),
        (lambda: two_heads(1, np.nan), "finite"),
    ],
    "samples_of": [
        (lambda first, last, shift, length: (first * shift, last * shift), "where the last frame starts"),
        (lambda first, last, shift, length: (first * shift, (last + 1) * shift), "each frame `shift` samples"),
        (lambda first, last, shift, length: (first * length, (last + 1) * length), "end to end"),
        (lambda first, last, shift, length: (first * shift, last * shift + 400), "only at 16 kHz"),
        (lambda first, last, shift, length: (first * shift, last * shift + length - 1), "the one after it"),
        (lambda first, last, shift, length: (first * shift, (last + 1) * shift + length), "one frame too many"),
        (lambda first, last, shift, length: slice(first * shift, last * shift + length), "one slice"),
    ],
    "most_relevant": [
        (lambda values, k: chosen(values, np.argsort(values.ravel())[:k]), "least relevant"),
        (lambda values, k: values > np.append(np.sort(values.ravel()), np.inf)[-k - 1], "left out that one"),
        (lambda values, k: np.argsort(-values.ravel())[:k], "expected an array of shape"),
        (lambda values, k: chosen(values, np.argsort(-abs(values).ravel())[:k]), "without its sign"),
        (lambda values, k: chosen(values, np.argsort(values.ravel())[-k:]), "values[-0:] is everything"),
        (lambda values, k: chosen(values, np.argsort(-values.ravel())[:k]).astype(int), "True and False belong"),
        (
            lambda values, k: np.where(chosen(values, np.argsort(-values.ravel())[:k]), values, 0),
            "True and False belong",
        ),
    ],
    "rank_correlation": [
        (lambda a, b: np.corrcoef(a.ravel(), b.ravel())[0, 1], "not of their ranks"),
        (lambda a, b: np.corrcoef(a.ravel().argsort(), b.ravel().argsort())[0, 1], "apply it twice"),
        (lambda a, b: np.corrcoef(ranks(a), ranks(b)), "shape (2, 2)"),
        (lambda a, b: np.corrcoef(ranks(a), b.ravel())[0, 1], "both need it"),
        (lambda a, b: np.corrcoef(a.argsort().argsort().ravel(), b.argsort().argsort().ravel())[0, 1], "row by row"),
        (lambda a, b: by_squares(a, b) ** 2, "its square"),
        (lambda a, b: np.cov(ranks(a), ranks(b))[0, 1], "divide by both deviations"),
        (lambda a, b: by_squares(-a, b), "the sign"),
    ],
}
