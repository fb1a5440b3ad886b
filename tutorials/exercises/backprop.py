"""Checks of the exercises of notebook 3, backprop by hand."""

import numpy as np

from .verdict import Wrong, exercise, expect


def random(*shape, seed=0):
    return np.random.default_rng(seed + sum(shape)).standard_normal(shape)


def softmax(x):
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def numeric(f, x, h=1e-4):
    """Gradient of f(x), a number, by fourth-order differences, entry by entry."""
    g = np.empty_like(x)
    for i in np.ndindex(x.shape):
        at = [0.0] * 4
        for k, t in enumerate((1, -1, 2, -2)):
            moved = x.copy()
            moved[i] += t * h
            at[k] = f(moved)
        g[i] = (8 * (at[0] - at[1]) - (at[2] - at[3])) / (12 * h)
    return g


@exercise
def gain_backward(f):
    """One gain serves every clip and every channel, so its gradient is the sum of dy x over both."""
    for shape in ((2, 3, 4), (5, 7, 2), (1, 4, 3)):
        dy, x = random(*shape), random(*shape, seed=1)
        want = (dy * x).sum(axis=(0, 2))[:, None]
        expect(
            f(dy.copy(), x.copy()),
            want,
            given=f"dy and x of shape {shape}",
            slips={
                "the derivative of x g by g is x: dy is to be multiplied by it": dy.sum(axis=(0, 2))[:, None],
                "the gain acts on every clip, and the effects add up: this is their mean": want / shape[0],
                "the gain acts on every entry of its place, and the effects add up: this is their mean": want
                / (shape[0] * shape[2]),
                "dgain must have the shape of gain, (T, 1): this is still one gradient a channel": (dy * x).sum(axis=0),
                "dgain must have the shape of gain, (T, 1): this is still one gradient a clip": (dy * x).sum(
                    axis=2, keepdims=True
                ),
                "the last axis, of length 1, is missing: dgain is (T, 1)": want[:, 0],
                "you summed over time too, but each place has a gain of its own": (dy * x).sum(),
                "you kept the axis of the clips: dgain is (T, 1)": want[None],
            },
        )


@exercise
def log_softmax_backward(f):
    """Checked against differences: a row's sum of dy is shared out by the probabilities exp(y)."""
    for shape in ((2, 3), (5, 4), (1, 6)):
        x, dy = 2 * random(*shape), random(*shape, seed=1)
        p, total = softmax(x), dy.sum(axis=-1, keepdims=True)
        y = np.log(p)
        want = dy - p * total
        expect(
            f(dy.copy(), y.copy()),
            want,
            given=f"dy and y of shape {shape}",
            tol=1e-9,
            slips={
                "this is right only where dy sums to 1: p is multiplied by the sum of the row's dy": dy - p,
                "that is the backward pass of softmax; here the output is its logarithm": p
                * (dy - (dy * p).sum(axis=-1, keepdims=True)),
                "y is a logarithm: the probabilities are exp(y)": dy - y * total,
                "sum dy over the classes before you multiply by p: y_k depends on x_j for every k": dy - p * dy,
                "sum over the classes of each row, not over everything": dy - p * dy.sum(),
                "p is multiplied by the sum of the row's dy, not by its mean": dy - p * total / shape[1],
                "sum over the last axis (classes), not over the clips": dy - p * dy.sum(axis=0),
                "the sign of the second part: y = x - lse": dy + p * total,
                "the second part is there only once you add dy, the derivative of x_k by itself": -p * total,
            },
        )
        expect(  # the specification itself
            want, numeric(lambda x, dy=dy: (dy * np.log(softmax(x))).sum(), x), given="the specification", tol=1e-6
        )


@exercise
def weighted_bce_backward(f):
    """Checked against differences, and at logits of 1000 and -1000, where the values must be right too."""
    for shape, weight in (((2, 3), 3.0), ((4, 5), 1.0), ((1, 6), 0.25)):
        x, y = 3 * random(*shape), np.random.default_rng(5).random(shape)
        s = 1 / (1 + np.exp(-x))

        def loss(x, y=y, weight=weight):
            return (weight * y * np.logaddexp(0, -x) + (1 - y) * np.logaddexp(0, x)).mean()

        want = numeric(loss, x)
        expect(
            f(x.copy(), y.copy(), weight),
            want,
            given=f"x and y of shape {shape}, weight {weight}",
            tol=1e-7,
            slips={
                "the weight counts for the part with y only, not for the whole loss": weight * (s - y) / x.size,
                "the weight is missing": (s - y) / x.size,
                "the loss is a mean over all entries: divide by how many there are, not by the clips": want * shape[1],
                "the loss is a mean over all entries: divide by how many there are": want * x.size,
                "the sign: the gradient points uphill": -want,
                "the weight belongs to both places where y stands": (s - weight * y) / x.size,
                "this is the gradient by the probability; go on to the logit, which multiplies by s (1 - s)": (
                    (1 - y) / (1 - s) - weight * y / s
                )
                / x.size,
            },
        )
    x, y = np.array([[1000.0, -1000.0, 1000.0, -1000.0]]), np.array([[1.0, 0.0, 0.0, 1.0]])
    expect(
        f(x.copy(), y.copy(), 2.0),
        weighted_bce_gradient(np.array([[1.0, 0.0, 1.0, 0.0]]), y, 2.0),
        given="x = [[1000, -1000, 1000, -1000]], y = [[1, 0, 0, 1]], weight 2 (large logits must not overflow)",
    )


def weighted_bce_gradient(s, y, weight):
    """-(w y (1 - s) - (1 - y) s), for each entry of a mean.   s = sigmoid(x)"""
    return ((1 - y) * s - weight * y * (1 - s)) / s.size


@exercise
def rmsnorm_backward(f):
    """Checked with tokens that have a mean, weights that are not 1, and an eps that counts."""
    for shape, eps in (((2, 5), 0.5), ((3, 8), 1e-6), ((1, 3), 1e-3)):
        x, w, dy = 1 + random(*shape), random(shape[1]), random(*shape, seed=1)

        def loss(x, w=w, dy=dy, eps=eps):
            return (dy * x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps) * w).sum()

        r = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
        n = x * r

        def gradient(dn, n, r, mean=False):
            dx = dn - n * (dn * n).mean(axis=-1, keepdims=True)
            return r * (dx - dn.mean(axis=-1, keepdims=True) if mean else dx)

        centred = x - x.mean(axis=-1, keepdims=True)
        deviation = 1 / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + eps)
        bare = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True))
        dn = dy * w
        expect(
            f(dy.copy(), x.copy(), w.copy(), eps),
            numeric(loss, x),
            given=f"dy and x of shape {shape}, w random, eps {eps}",
            tol=1e-7,
            slips={
                "there is no mean in this norm, so no mean of dn is subtracted": gradient(dn, n, r, mean=True),
                "that is layer norm's gradient; here nothing is centred": gradient(
                    dn, centred * deviation, deviation, mean=True
                ),
                "you forgot that y = n w, so dn = dy w": gradient(dy, n, r),
                "r depends on x as well: the second term is missing": dn * r,
                "the factor r in front is missing": gradient(dn, n, r) / r,
                "the sum over channels must be a mean: 1 / C from the mean of x^2": r
                * (dn - n * (dn * n).sum(axis=-1, keepdims=True)),
                "the sign of the second term": r * (dn + n * (dn * n).mean(axis=-1, keepdims=True)),
                "eps is missing": gradient(dn, x * bare, bare),
                "you took x for n, and left out r: y = x r w": dn - x * (dn * x).mean(axis=-1, keepdims=True),
            },
        )


@exercise
def fourth_order(f):
    """Exact on polynomials up to x^4; on sin and exp half the h leaves a sixteenth of the error, or less."""
    places = ((0.7, 0.1), (-1.3, 0.05), (1.9, 0.2))
    polynomials = (("x", lambda x: x, lambda x: 1.0), ("x^3", lambda x: x**3, lambda x: 3 * x**2),
                   ("x^4 - x", lambda x: x**4 - x, lambda x: 4 * x**3 - 1))  # fmt: skip
    for name, g, slope in polynomials:
        for x, h in places:
            given, true = f"f(x) = {name}, x = {x}, h = {h}", slope(x)
            expect(f(g, x, h), true, given=given, tol=1e-9 * (1 + 1 / abs(true)), slips=_combined(g, x, h))
    for name, g, slope in (("sin x", np.sin, np.cos), ("exp x", np.exp, np.exp)):
        for x, h in places:
            _order_is_four(f, (name, g, slope(x)), x, h)


def _order_is_four(f, function, x, h):
    """error(h) / error(h/2) is 16 for an error of h^4, and more for better ones; below 1e-12 rounding is all of it."""
    name, g, true = function
    errors = []
    for step in (h, h / 2):
        got = f(g, x, step)
        expect(got, true, given=f"f(x) = {name}, x = {x}, h = {step}", tol=0.1)
        errors.append(abs(got - true))
    if errors[0] < 12 * errors[1] and max(errors) > 1e-12 * (1 + abs(true)):
        less = f"{errors[0] / errors[1]:.3g} times smaller"
        raise Wrong(
            f"for f(x) = {name}, x = {x}, the error is {errors[0]:.2g} with h = {h}, and {less} with half of it; where "
            "it falls with h^4 it is 16 times smaller. Do all of your steps grow with h?"
        )


def _combined(g, x, h):
    """What likely slips give for the slope of g at x."""

    def d(h):
        return (g(x + h) - g(x - h)) / (2 * h)

    return {
        "that is D(h) alone: its error falls with h^2 only": d(h),
        "that is D(2h) alone": d(2 * h),
        "that is D(h/2) alone: a smaller step, but the error still falls with h^2": d(h / 2),
        "that is the one-sided difference: its error falls with h only": (g(x + h) - g(x)) / h,
        "the mean of D(h) and D(2h) keeps the h^2 error: weight them so that it cancels": (d(h) + d(2 * h)) / 2,
        "the mean of D(h) and D(h/2) keeps the h^2 error: weight them so that it cancels": (d(h) + d(h / 2)) / 2,
        "the two weights must sum to 1, or f' itself is scaled: divide by 3": 4 * d(h) - d(2 * h),
        "the weights must sum to 1, or f' itself is scaled: divide by 3": 4 * d(h / 2) - d(h),
        "the weights are the wrong way round: D(2h) has the larger error": (4 * d(2 * h) - d(h)) / 3,
        "the weights are the wrong way round: D(h) has the larger error": (4 * d(h) - d(h / 2)) / 3,
        "close: D(2h) has 4 times the error of D(h), not 2 times": 2 * d(h) - d(2 * h),
        "close: D(h) has 4 times the error of D(h/2), not 2 times": 2 * d(h / 2) - d(h),
        "divide by 12 h, not by h: or by 2h in each quotient": 4 * (4 * d(h) - d(2 * h)),
    }


def central(f, x, h):
    return (f(x + h) - f(x - h)) / (2 * h)


def sixth_order(f, x, h):
    """Better than asked: the h^4 terms cancel as well."""
    return 1.5 * central(f, x, h) - 0.6 * central(f, x, 2 * h) + 0.1 * central(f, x, 3 * h)


# Plausible wrong answers: each must be refused.
WRONG = {
    "gain_backward": [
        (lambda dy, x: dy.sum(axis=(0, 2))[:, None], "is to be multiplied by it"),
        (lambda dy, x: (dy * x).mean(axis=(0, 2))[:, None], "this is their mean"),
        (lambda dy, x: (dy * x).sum(axis=(0, 2)), "length 1, is missing"),
        (lambda dy, x: (dy * x).sum(axis=0), "one gradient a channel"),
        (lambda dy, x: (dy * x).sum(axis=2, keepdims=True), "one gradient a clip"),
        (lambda dy, x: (dy * x).sum(), "you summed over time too"),
        (lambda dy, x: (dy * x).sum(axis=(0, 2), keepdims=True), "you kept the axis of the clips"),
    ],
    "log_softmax_backward": [
        (lambda dy, y: np.exp(y) * (dy - (dy * np.exp(y)).sum(axis=-1, keepdims=True)), "backward pass of softmax"),
        (lambda dy, y: dy - np.exp(y) * dy.sum(), "not over everything"),
        (lambda dy, y: dy - np.exp(y) * dy, "sum dy over the classes"),
        (lambda dy, y: dy - y * dy.sum(axis=-1, keepdims=True), "y is a logarithm"),
        (lambda dy, y: dy - np.exp(y) * dy.mean(axis=-1, keepdims=True), "not by its mean"),
        (lambda dy, y: dy - np.exp(y), "dy sums to 1"),
    ],
    "weighted_bce_backward": [
        (lambda x, y, weight: (1 / (1 + np.exp(-x)) - y) / x.size, "the weight is missing"),
        (lambda x, y, weight: weight * (1 / (1 + np.exp(-x)) - y) / x.size, "for the part with y only"),
        (lambda x, y, weight: (1 / (1 + np.exp(-x)) - weight * y) / x.size, "both places where y stands"),
        (lambda x, y, weight: weighted_bce_gradient(1 / (1 + np.exp(-x)), y, weight) * x.shape[1], "not by the clips"),
        (lambda x, y, weight: overflowing(x, y, weight), "large logits must not overflow"),
    ],
    "rmsnorm_backward": [
        (lambda dy, x, w, eps: dy * w / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps), "second term is missing"),
        (lambda dy, x, w, eps: dy * w - x * (dy * w * x).mean(axis=-1, keepdims=True), "you took x for n"),
        (lambda dy, x, w, eps: rms(dy, x, np.ones_like(w), eps), "dn = dy w"),
        (lambda dy, x, w, eps: rms(dy, x, w, 0), "eps is missing"),
        (lambda dy, x, w, eps: rms(dy, x, w, eps, centred=True), "no mean of dn"),
    ],
    "fourth_order": [
        (lambda f, x, h: central(f, x, h), "that is D(h) alone"),
        (lambda f, x, h: central(f, x, h / 2), "that is D(h/2) alone"),
        (lambda f, x, h: central(f, x, 1e-4), "1.47000001, expected 1.47"),
        (lambda f, x, h: (4 * central(f, x, 0.05) - central(f, x, 0.1)) / 3, "Do all of your steps grow with h?"),
        (lambda f, x, h: (f(x + h) - f(x)) / h, "one-sided"),
        (lambda f, x, h: (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / h, "divide by 12 h"),
        (lambda f, x, h: (central(f, x, h) + central(f, x, 2 * h)) / 2, "keeps the h^2 error"),
        (lambda f, x, h: 4 * central(f, x, h) - central(f, x, 2 * h), "must sum to 1"),
        (lambda f, x, h: (4 * central(f, x, h) - central(f, x, h / 2)) / 3, "the wrong way round"),
    ],
}


# Right answers in other forms: each must be accepted.
RIGHT = {
    "gain_backward": [lambda dy, x: np.einsum("btc,btc->t", dy, x)[:, None]],
    "log_softmax_backward": [lambda dy, y: dy - softmax(y) * dy.sum(axis=1)[:, None]],
    "weighted_bce_backward": [
        lambda x, y, weight: weighted_bce_gradient(np.exp(-np.logaddexp(0, -x)), y, weight),
        lambda x, y, weight: ((1 - y + weight * y) * (np.tanh(x / 2) + 1) / 2 - weight * y) / x.size,
    ],
    "rmsnorm_backward": [lambda dy, x, w, eps: rms(dy, x, w, eps)],
    "fourth_order": [
        lambda f, x, h: (4 * central(f, x, h / 2) - central(f, x, h)) / 3,
        lambda f, x, h: (8 * (f(x + h) - f(x - h)) - (f(x + 2 * h) - f(x - 2 * h))) / (12 * h),
        lambda f, x, h: (9 * central(f, x, h) - central(f, x, 3 * h)) / 8,
        lambda f, x, h: (16 * central(f, x, h) - central(f, x, 4 * h)) / 15,
        sixth_order,
    ],
}


def overflowing(x, y, weight):
    with np.errstate(over="ignore", invalid="ignore"):
        return weighted_bce_gradient(np.exp(x) / (1 + np.exp(x)), y, weight)


def rms(dy, x, w, eps, centred=False):
    """The right answer, for arguments that make it wrong; `centred` takes the mean of dn off as well."""
    r = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
    dn = dy * w - (dy * w).mean(axis=-1, keepdims=True) * centred
    return r * (dn - x * r * (dy * w * x * r).mean(axis=-1, keepdims=True))
