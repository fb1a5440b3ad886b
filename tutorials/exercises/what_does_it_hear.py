"""Checks of 09_what_does_it_hear: each compares the reader's function with NumPy written another way."""

import numpy as np

from .verdict import exercise, expect


def attention(rng, layers, heads, tokens):
    """Attention maps made by chance: `layers` arrays (H, T, T) whose rows sum to 1."""
    scores = rng.standard_normal((layers, heads, tokens, tokens)) * 2
    p = np.exp(scores)
    return list(p / p.sum(axis=-1, keepdims=True))


def product(maps, own=0.5, backwards=False, heads=np.mean, unhalved=False):
    """Row 0 of the product of own I + (1 - own) A, in a loop from the first layer to the last; slips on demand."""
    return full_product(maps, own, backwards, heads, unhalved)[0]


def full_product(maps, own=0.5, backwards=False, heads=np.mean, unhalved=False):
    out = np.eye(maps[0].shape[-1])
    for p in reversed(maps) if backwards else maps:
        mixed = (1 - own) * heads(p, axis=0) + own * np.eye(len(out))
        out = (2 * mixed if unhalved else mixed) @ out
    return out


@exercise
def rollout(f):
    """Three sets of attention maps, of 1, 2 and 4 layers, gave the product's first row; its numbers sum to 1."""
    rng = np.random.default_rng(1)
    for layers, heads, tokens in ((1, 2, 3), (2, 1, 4), (4, 3, 6)):
        maps = attention(rng, layers, heads, tokens)
        slips = {
            "you left out the residual stream: mix each map with I, half and half": product(maps, own=0),
            "you multiplied in the wrong order: the first layer acts first, so it stands on the right": product(
                maps, backwards=True
            ),
            "you added I without halving, so that rows no longer sum to 1": product(maps, unhalved=True),
            "you added the heads up instead of taking their mean": product(maps, heads=np.sum),
            "you returned the row of the last token: the class token is token 0": full_product(maps)[-1],
            "you returned the first column: what reaches the class token is a row": full_product(maps)[:, 0],
        }
        expect(
            f([p.copy() for p in maps]), product(maps), given=f"{layers} layers, {heads} heads, {tokens} tokens",
            tol=1e-9, slips=slips,
        )  # fmt: skip


@exercise
def weighted_attention(f):
    """Maps and gradients of 1, 2 and 3 heads gave the mean over heads of the positive part of dA * A."""
    rng = np.random.default_rng(2)
    for heads, tokens in ((2, 3), (1, 4), (3, 5)):
        (p,) = attention(rng, 1, heads, tokens)
        dp = rng.standard_normal(p.shape)
        want = np.zeros((tokens, tokens))
        for h in range(heads):
            want += np.where(p[h] * dp[h] > 0, p[h] * dp[h], 0) / heads
        slips = {
            "you took the mean over heads first: a head that speaks against the class then cancels another": np.maximum(
                (p * dp).mean(axis=0), 0
            ),
            "you kept the negative entries": (p * dp).mean(axis=0),
            "you took the absolute value: what speaks against the class would count for it": np.abs(p * dp).mean(
                axis=0
            ),
            "you added the heads up instead of taking their mean": want * heads,
            "you cut off the gradient alone and left out A": np.maximum(dp, 0).mean(axis=0),
        }
        expect(f(p.copy(), dp.copy()), want, given=f"{heads} heads, {tokens} tokens", tol=1e-9, slips=slips)


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
            "you counted frames of `length` samples end to end: they start `shift` apart": (
                first * length, (last + 1) * length,
            ),
        }  # fmt: skip
        expect(f(first, last, shift, length), (start, stop), given=given, tol=0, slips=slips)


@exercise
def most_relevant(f):
    """For maps of several sizes the chosen entries were the k with the largest values, and no others."""
    rng = np.random.default_rng(4)
    for shape, k in (((2, 3), 1), ((3, 4), 5), ((8, 11), 20)):
        values = rng.permutation(np.arange(shape[0] * shape[1]).reshape(-1)).reshape(shape) - 3.0
        order = np.sort(values.ravel())
        slips = {
            "you took the least relevant entries: sort the other way round": values <= order[k - 1],
            "you marked those above the k-th value and left out that one": values > order[-k],
            "you marked one entry too many": values >= order[-min(k + 1, values.size)],
            "you ranked by size without its sign": np.abs(values) >= np.sort(np.abs(values).ravel())[-k],
        }
        got = f(values.copy(), k)
        expect(got, values >= order[-k], given=f"a map {shape} and k={k}", tol=0, slips=slips)


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
        want = float(spearmanr(x.ravel(), y.ravel()).statistic)
        slips = {
            "this is the correlation of the values, not of their ranks": np.corrcoef(x.ravel(), y.ravel())[0, 1],
            "argsort gives the order, not the ranks: apply it twice": np.corrcoef(
                x.ravel().argsort(), y.ravel().argsort()
            )[0, 1],
        }
        expect(f(x.copy(), y.copy()), want, given=given, tol=1e-9, slips=slips)


def spans(first, last, shift, length):
    return first * shift, last * shift


WRONG = {
    "rollout": [
        lambda maps: product(maps, own=0),
        lambda maps: product(maps, backwards=True),
        lambda maps: product(maps, unhalved=True),
        lambda maps: product(maps, heads=np.max),
        lambda maps: full_product(maps)[:, 0],
        lambda maps: full_product(maps),
        lambda maps: maps[-1].mean(axis=0)[0],
    ],
    "weighted_attention": [
        lambda p, dp: np.maximum((p * dp).mean(axis=0), 0),
        lambda p, dp: np.abs(p * dp).mean(axis=0),
        lambda p, dp: np.maximum(p * dp, 0),
        lambda p, dp: np.maximum(p * dp, 0).sum(axis=0),
    ],
    "samples_of": [
        spans,
        lambda first, last, shift, length: (first * shift, (last + 1) * shift),
        lambda first, last, shift, length: (first * length, (last + 1) * length),
        lambda first, last, shift, length: (first * shift, last * shift + 400),
    ],
    "most_relevant": [
        lambda values, k: values <= np.sort(values.ravel())[k - 1],
        lambda values, k: values > np.sort(values.ravel())[-k],
        lambda values, k: np.argsort(-values.ravel())[:k],
    ],
    "rank_correlation": [
        lambda a, b: np.corrcoef(a.ravel(), b.ravel())[0, 1],
        lambda a, b: np.corrcoef(a.ravel().argsort(), b.ravel().argsort())[0, 1],
        lambda a, b: np.corrcoef(a, b)[0, 1],
    ],
}
