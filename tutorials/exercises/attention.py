"""Checks of the exercises of notebook 4, attention."""

import numpy as np

from minast import layers

from .verdict import exercise, expect


def random(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


@exercise
def repack(f):
    """Checked row by row: row (3, H, D) = (part, head, channel) came from row (head, part, channel)."""
    for heads, D in ((2, 3), (3, 2), (4, 5), (1, 4)):
        C = heads * D
        w = random(3 * C, C)
        want = np.empty_like(w)
        for part in range(3):
            for head in range(heads):
                for channel in range(D):
                    want[(part * heads + head) * D + channel] = w[(head * 3 + part) * D + channel]
        expect(
            f(w.copy(), heads),
            want,
            given=f"{heads} heads of {D} channels",
            slips={
                "the rows are where they were: a reshape and back moves nothing, the axes must be exchanged": w,
                "that is the way back, from (3, H, D) to (H, 3, D)": w.reshape(3, heads, D, C)
                .swapaxes(0, 1)
                .reshape(3 * C, C),
                "you exchanged part and channel: the axes to exchange are head and part": w.reshape(heads, 3, D, C)
                .swapaxes(1, 2)
                .reshape(3 * C, C),
                "the order (3, H, D) keeps a head's channels together: yours is (3, D, H)": w.reshape(heads, 3, D, C)
                .transpose(1, 2, 0, 3)
                .reshape(3 * C, C),
                "flatten it again: the matrix must be (3 C, C)": w.reshape(heads, 3, D, C).swapaxes(0, 1),
            },
        )


@exercise
def bias_backward(f):
    """Checked against differences of the scores: the clips share the bias, so their gradients add up."""
    for shape in ((2, 3, 4), (3, 2, 5), (1, 1, 3)):
        B, H, T = shape
        s, dp = random(B, H, T, T), random(B, H, T, T, seed=1)
        p = weights(s)
        ds = p * (dp - (dp * p).sum(axis=-1, keepdims=True))
        want = np.empty((H, T, T))
        for i in np.ndindex(want.shape):  # moved by hand, entry by entry
            step = np.zeros_like(want)
            step[i] = 1e-5
            want[i] = (dp * (weights(s + step) - weights(s - step))).sum() / 2e-5
        expect(
            f(p.copy(), dp.copy()),
            want,
            given=f"p and dp of shape {p.shape}",
            slips={
                "the bias is shared by all clips: sum over them, do not take their mean": ds.mean(axis=0),
                "this is still one gradient a clip, but the bias is shared: sum over the clips": ds,
                "you kept the axis of the clips: dbias is (H, T, T)": ds.sum(axis=0, keepdims=True),
                "that is the gradient of p; go back through the softmax": dp.sum(axis=0),
                "the factor p in front is missing": (dp - (dp * p).sum(axis=-1, keepdims=True)).sum(axis=0),
                "the second part of softmax's backward is missing: subtract the sum of dp p": (dp * p).sum(axis=0),
                "softmax ran over the keys, the last axis": (p * (dp - (dp * p).sum(axis=-2, keepdims=True))).sum(
                    axis=0
                ),
                "the bias is added after the scaling: no 1 / sqrt(D) here": ds.sum(axis=0) / np.sqrt(T),
            },
            tol=1e-6,
        )


def weights(s):
    e = np.exp(s - s.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@exercise
def cache_bytes(f):
    """Compared with the arrays that minast really keeps, at four sizes."""
    for B, T, C, H in ((1, 7, 12, 3), (2, 5, 8, 4), (3, 4, 6, 1), (1, 60, 32, 2)):
        _, (qkv, o, lse, _) = layers.attention_forward(np.zeros((B, T, 3 * C), np.float32), H)
        want = qkv.nbytes + o.nbytes + lse.nbytes
        n = B * T * (4 * C + H)
        expect(
            f(B, T, C, H),
            want,
            given=f"{B} clips, {T} tokens, width {C}, {H} heads",
            slips={
                "that is how many numbers; a float32 takes 4 bytes": n,
                "that would be float64: a float32 takes 4 bytes": 8 * n,
                "that is float16: a float32 takes 4 bytes": 2 * n,
                "that is in bits: 8 to a byte": 32 * n,
                "qkv is 3 C wide, not C": 4 * B * T * (2 * C + H),
                "o is missing": 4 * B * T * (3 * C + H),
                "lse is missing": 16 * B * T * C,
                "lse has one number for each head as well": 4 * B * T * (4 * C + 1),
                "qkv and o are as wide as C, all heads together: not H times as wide": 4 * B * T * (4 * C * H + H),
                "the clips are missing": 4 * T * (4 * C + H),
                "the probabilities are not kept: only lse, one number a row": 4 * B * (T * 4 * C + H * T * T),
            },
        )


@exercise
def merge(f):
    """Checked on random scores, on scores of 1000 and -1000, and with a set that is still empty."""
    cases = [
        ("random scores", random(5), random(8)),
        ("a second set with the larger maximum", random(4), 3 + random(3)),
        ("a first set with the larger maximum", 3 + random(3), random(4)),
        ("scores near 1000 and near -1000", 1000 + random(3), -1000 + random(4)),
        ("scores near -1000 and near 1000", -1000 + random(4), 1000 + random(3)),
    ]
    for given, s1, s2 in cases:
        v1, v2 = random(len(s1), 3), random(len(s2), 3, seed=1)
        first, second = state(s1, v1), state(s2, v2)
        want = state(np.concatenate([s1, s2]), np.concatenate([v1, v2]))
        expect(f(*first, *second), want, given=given, slips=merge_slips(first, second))
    first, empty = state(random(4), random(4, 3)), (-np.inf, 0.0, np.zeros(3))
    expect(f(*first, *empty), first, given="a second set without keys: m = -inf, l = 0, a = 0")
    expect(f(*empty, *first), first, given="a first set without keys: m = -inf, l = 0, a = 0")


def state(s, v):
    """m, l, a of these scores and values."""
    m = float(s.max())
    e = np.exp(s - m)
    return m, float(e.sum()), e @ v


def merge_slips(first, second):
    (m1, l1, a1), (m2, l2, a2) = first, second
    m = max(m1, m2)
    c1, c2 = np.exp(m1 - m), np.exp(m2 - m)
    with np.errstate(over="ignore", invalid="ignore"):
        up1, up2 = np.exp(m - m1), np.exp(m - m2)
        slips = {
            "the sums belong to different maxima: bring both to the larger one before you add": (m, l1 + l2, a1 + a2),
            "the sign in the factor: exp(old - new), which is at most 1": (m, up1 * l1 + up2 * l2, up1 * a1 + up2 * a2),
            "the factors are the wrong way round": (m, c2 * l1 + c1 * l2, c2 * a1 + c1 * a2),
            "a is not divided by l before the end": (m, c1 * l1 + c2 * l2, (c1 * a1 + c2 * a2) / (c1 * l1 + c2 * l2)),
            "a needs the same factors as l": (m, c1 * l1 + c2 * l2, a1 + a2),
            "l needs the same factors as a": (m, l1 + l2, c1 * a1 + c2 * a2),
            "only the second set is scaled: this is wrong where the second has the larger maximum": (
                m,
                l1 + c2 * l2,
                a1 + c2 * a2,
            ),
            "only the first set is scaled: this is wrong where the first has the larger maximum": (
                m,
                c1 * l1 + l2,
                c1 * a1 + a2,
            ),
        }
    return slips


def bad_merge(first_only=False, divide=False, up=False):
    def f(m1, l1, a1, m2, l2, a2):
        with np.errstate(over="ignore", invalid="ignore"):
            m = max(m1, m2)
            sign = -1 if up else 1
            c1, c2 = np.exp(sign * (m1 - m)), 1.0 if first_only else np.exp(sign * (m2 - m))
            l, a = c1 * l1 + c2 * l2, c1 * a1 + c2 * a2
            return m, l, a / l if divide else a

    return f


def large_merge(m1, l1, a1, m2, l2, a2):
    """Right on paper, but exp(1000) overflows."""
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        m = max(m1, m2)
        l, a = np.exp(m1) * l1 + np.exp(m2) * l2, np.exp(m1) * a1 + np.exp(m2) * a2
        return m, l / np.exp(m), a / np.exp(m)


# Plausible wrong answers: each must be refused.
WRONG = {
    "repack": [
        lambda w, heads: w,
        lambda w, heads: w.reshape(3, heads, -1, w.shape[1]).swapaxes(0, 1).reshape(w.shape),
        lambda w, heads: w.reshape(heads, 3, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape),
        lambda w, heads: w.reshape(heads, 3, -1, w.shape[1]).swapaxes(0, 1),
    ],
    "bias_backward": [
        lambda p, dp: dp.sum(axis=0),
        lambda p, dp: p * (dp - (dp * p).sum(axis=-1, keepdims=True)),
        lambda p, dp: (p * (dp - (dp * p).sum(axis=-1, keepdims=True))).mean(axis=0),
        lambda p, dp: (p * (dp - (dp * p).sum(axis=-2, keepdims=True))).sum(axis=0),
    ],
    "cache_bytes": [
        lambda B, T, C, H: B * T * (4 * C + H),
        lambda B, T, C, H: 16 * B * T * C,
        lambda B, T, C, H: 4 * B * (4 * T * C + H * T * T),
        lambda B, T, C, H: 4.0 * B * T * (4 * C + H),
    ],
    "merge": [
        lambda m1, l1, a1, m2, l2, a2: (max(m1, m2), l1 + l2, a1 + a2),
        bad_merge(first_only=True),
        bad_merge(divide=True),
        bad_merge(up=True),
        large_merge,
    ],
}
