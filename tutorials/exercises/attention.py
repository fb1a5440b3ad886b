"""Checks of the exercises of notebook 4, attention."""

import numpy as np

from minast import layers

from .verdict import Wrong, exercise, expect


def random(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


@exercise
def score_for(f):
    """The score was put into a softmax at six sizes, and the tokens that are alike got the share asked for."""
    for share, alike, tokens in ((0.5, 1, 2), (0.9, 3, 12), (0.99, 1, 12), (0.9, 1, 1214), (0.2, 5, 40), (0.05, 1, 12)):
        ratio, others = share / (1 - share), tokens - alike
        slips = {
            "that is the score's exponential: take its logarithm": ratio * others / alike,
            "you forgot that several tokens share the weight": np.log(ratio * others),
            "that is the logarithm of the share alone: the other tokens have weights, too": np.log(share),
            "you let one other token stand for all of them": np.log(ratio / alike),
            "you took all tokens for the others: those that are alike are not among them": np.log(
                ratio * tokens / alike
            ),
            "the sign: a larger share needs a larger score": -np.log(ratio * others / alike),
            "you put the alike ones below the others: more of them need a smaller score": np.log(
                ratio * alike / others
            ),
            "that is a logarithm to base 10: softmax has base e": np.log10(ratio * others / alike),
        }
        got = f(share, alike, tokens)
        want = np.log(ratio * others / alike)
        expect(got, want, given=f"share={share}, alike={alike}, tokens={tokens}", slips=slips)
        found = alike * weights(np.where(np.arange(tokens) < alike, float(got), 0.0))[0]
        if abs(found - share) > 1e-5:
            raise Wrong(f"a softmax over {tokens} scores, {alike} of them {float(got):.4g}, gives these {found:.4g}.")


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
                "Delta is the sum of dp p over the row, not its mean": (
                    p * (dp - (dp * p).mean(axis=-1, keepdims=True))
                ).sum(axis=0),
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


def repack_by_loop(w, heads):
    """Row by row, as in the specification."""
    D, out = len(w) // 3 // heads, np.empty_like(w)
    for row in range(len(w)):
        head, part, channel = row // (3 * D), row // D % 3, row % D
        out[(part * heads + head) * D + channel] = w[row]
    return out


def merge_by_logaddexp(m1, l1, a1, m2, l2, a2):
    """From the log-sum-exps: another way to the same state."""
    with np.errstate(divide="ignore"):
        lse1, lse2 = m1 + np.log(l1), m2 + np.log(l2)
    m = np.maximum(m1, m2)
    l = np.exp(np.logaddexp(lse1, lse2) - m)
    return m, l, sum(np.exp(n - m) * a for n, a in ((m1, a1), (m2, a2)))


def merge_by_case(m1, l1, a1, m2, l2, a2):
    if m2 > m1:
        m1, l1, a1, m2, l2, a2 = m2, l2, a2, m1, l1, a1
    c = np.exp(m2 - m1)
    return [m1, l1 + c * l2, a1 + c * a2]


def softmax_back(p, dp):
    return p * (dp - (dp * p).sum(axis=-1, keepdims=True))


# Right answers in forms that few would choose: each must be accepted.
RIGHT = {
    "score_for": [
        lambda share, alike, tokens: np.log(share) - np.log(1 - share) + np.log(tokens - alike) - np.log(alike),
        lambda share, alike, tokens: np.log((tokens / alike - 1) / (1 / share - 1)),
        lambda share, alike, tokens: -np.log((1 / share - 1) * alike / (tokens - alike)),
    ],
    "repack": [
        repack_by_loop,
        lambda w, heads: np.concatenate(
            [w.reshape(heads, 3, -1, w.shape[1])[:, i].reshape(-1, w.shape[1]) for i in range(3)]
        ),
        lambda w, heads: w[np.arange(len(w)).reshape(heads, 3, -1).transpose(1, 0, 2).ravel()],
        lambda w, heads: np.einsum("hpdc->phdc", w.reshape(heads, 3, -1, w.shape[1])).reshape(w.shape).tolist(),
    ],
    "bias_backward": [
        lambda p, dp: np.einsum("bhij,bhij->hij", p, dp) - np.einsum("bhij,bhil,bhil->hij", p, dp, p),
        lambda p, dp: sum(softmax_back(*one) for one in zip(p, dp, strict=True)),
        lambda p, dp: layers.softmax_backward(dp, (p,)).sum(axis=0),
    ],
    "cache_bytes": [
        lambda B, T, C, H: sum(4 * n for n in (B * T * 3 * C, B * T * C, B * H * T)),
        lambda B, T, C, H: np.int64(16 * B * T * C + 4 * B * T * H),
        lambda B, T, C, H: sum(np.empty(s, np.float32).nbytes for s in ((B, T, 3 * C), (B, T, C), (B, H, T, 1))),
    ],
    "merge": [merge_by_logaddexp, merge_by_case],
}

# Plausible wrong answers, each with words that its refusal must contain.
WRONG = {
    "score_for": [
        (lambda share, alike, tokens: share / (1 - share) * (tokens - alike) / alike, "exponential"),
        (lambda share, alike, tokens: np.log(share / (1 - share) * (tokens - alike)), "several tokens share"),
        (lambda share, alike, tokens: np.log(share), "the share alone"),
        (lambda share, alike, tokens: np.log(share / (1 - share) / alike), "one other token"),
        (lambda share, alike, tokens: np.log(share / (1 - share) * tokens / alike), "all tokens for the others"),
        (lambda share, alike, tokens: np.log10(share / (1 - share) * (tokens - alike) / alike), "base 10"),
        (lambda share, alike, tokens: -np.log(share / (1 - share) * (tokens - alike) / alike), "the sign"),
        (lambda share, alike, tokens: 2.0, "expected"),
    ],
    "repack": [
        (lambda w, heads: w, "moves nothing"),
        (lambda w, heads: w.reshape(3, heads, -1, w.shape[1]).swapaxes(0, 1).reshape(w.shape), "the way back"),
        (lambda w, heads: w.reshape(heads, 3, -1, w.shape[1]).swapaxes(1, 2).reshape(w.shape), "part and channel"),
        (lambda w, heads: w.reshape(heads, 3, -1, w.shape[1]).transpose(1, 2, 0, 3).reshape(w.shape), "(3, D, H)"),
        (lambda w, heads: w.reshape(heads, 3, -1, w.shape[1]).swapaxes(0, 1), "flatten it again"),
        (lambda w, heads: w.T, "opposite order"),
        (lambda w, heads: w.reshape(heads, 3, 99), "your code raises ValueError"),
    ],
    "bias_backward": [
        (lambda p, dp: dp.sum(axis=0), "go back through the softmax"),
        (lambda p, dp: softmax_back(p, dp), "still one gradient a clip"),
        (lambda p, dp: softmax_back(p, dp).mean(axis=0), "do not take their mean"),
        (lambda p, dp: softmax_back(p, dp).sum(axis=0, keepdims=True), "axis of the clips"),
        (lambda p, dp: (dp * p).sum(axis=0), "second part of softmax"),
        (lambda p, dp: (dp - (dp * p).sum(axis=-1, keepdims=True)).sum(axis=0), "factor p in front"),
        (lambda p, dp: (p * (dp - (dp * p).sum(axis=-2, keepdims=True))).sum(axis=0), "over the keys"),
        (lambda p, dp: softmax_back(p, dp).sum(axis=0) / np.sqrt(p.shape[-1]), "no 1 / sqrt(D)"),
        (lambda p, dp: (p * (dp - (dp * p).mean(axis=-1, keepdims=True))).sum(axis=0), "not its mean"),
    ],
    "cache_bytes": [
        (lambda B, T, C, H: B * T * (4 * C + H), "a float32 takes 4 bytes"),
        (lambda B, T, C, H: 8 * B * T * (4 * C + H), "float64"),
        (lambda B, T, C, H: 16 * B * T * C, "lse is missing"),
        (lambda B, T, C, H: 4 * B * (4 * T * C + H * T * T), "probabilities are not kept"),
        (lambda B, T, C, H: 4.0 * B * T * (4 * C + H), "whole number"),
        (lambda B, T, C, H: 4 * T * (4 * C + H), "the clips are missing"),
        (lambda B, T, C, H: 4 * B * T * (2 * C + H), "qkv is 3 C wide"),
        (lambda B, T, C, H: 4 * B * T * (4 * C + 1), "each head"),
        (lambda B, T, C, H: 4 * B * T * (4 * C * H + H), "not H times"),
    ],
    "merge": [
        (lambda m1, l1, a1, m2, l2, a2: (max(m1, m2), l1 + l2, a1 + a2), "bring both to the larger one"),
        (bad_merge(first_only=True), "only the first set is scaled"),
        (bad_merge(divide=True), "not divided by l before the end"),
        (bad_merge(up=True), "sign in the factor"),
        (large_merge, "NaN or infinite"),
        (lambda m1, l1, a1, m2, l2, a2: (m1 + m2, l1 + l2, a1 + a2), "result 1 of 3"),
        (lambda m1, l1, a1, m2, l2, a2: merge_by_case(m1, l1, a1, m2, l2, a2)[:2], "3 results"),
        (
            lambda m1, l1, a1, m2, l2, a2: (*merge_by_case(m1, l1, a1, m2, l2, a2)[:2], a1 + a2),
            "a needs the same factors",
        ),
    ],
}
