"""Checks of 05_encoder_trained: each runs the reader's function against an independent specification."""

import math
from functools import partial
from types import SimpleNamespace

import numpy as np

from minast import layers

from .verdict import Wrong, exercise, expect

# -- a block with two branches side by side ------------------------------------------------------------------------

SHAPES = {"norm": [(6,), (6,)], "qkv": [(18, 6), (18,)], "fc1": [(8, 6), (8,)], "fc2": [(6, 8), (6,)]}


def parallel_forward(x, w):
    """y = x + attention(norm(x)) + mlp(norm(x)).   x (B, T, 6) -> y, caches"""
    h, norm = layers.layernorm_forward(x, *w["norm"])
    qkv, linear = layers.linear_forward(h, *w["qkv"])
    a, attention = layers.attention_forward(qkv, 2)
    f, fc1 = layers.linear_forward(h, *w["fc1"])
    f, gelu = layers.gelu_forward(f)
    f, fc2 = layers.linear_forward(f, *w["fc2"])
    return x + a + f, SimpleNamespace(norm=norm, linear=linear, attention=attention, fc1=fc1, gelu=gelu, fc2=fc2)


def backward_functions(caches, dw):
    """The backward passes of norm, attention and MLP, each dy -> dx; they add to dw."""

    def norm(dh):
        return layers.layernorm_backward(dh, caches.norm, *dw["norm"])

    def attention(dy):
        return layers.linear_backward(layers.attention_backward(dy, caches.attention), caches.linear, *dw["qkv"])

    def mlp(dy):
        dh = layers.gelu_backward(layers.linear_backward(dy, caches.fc2, *dw["fc2"]), caches.gelu)
        return layers.linear_backward(dh, caches.fc1, *dw["fc1"])

    return norm, attention, mlp


def numeric(loss, array):
    """Central differences of loss() by every entry of `array`, which is moved in place and put back."""
    out, h = np.zeros_like(array), 1e-5
    for at in np.ndindex(array.shape):
        old = array[at]
        array[at] = old + h
        above = loss()
        array[at] = old - h
        out[at] = (above - loss()) / (2 * h)
        array[at] = old
    return out


def zeros(w):
    return {name: [np.zeros_like(one) for one in pair] for name, pair in w.items()}


@exercise
def parallel_backward(f):
    """Your gradient of x, and those of all weights, agree with central differences in float64."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, 6)), rng.standard_normal((2, 3, 6))
    w = {name: [rng.standard_normal(s) for s in shapes] for name, shapes in SHAPES.items()}
    loss = lambda: (parallel_forward(x, w)[0] * dy).sum()  # noqa: E731
    _, caches = parallel_forward(x, w)
    norm, attention, mlp = backward_functions(caches, zeros(w))
    branches = attention(dy) + mlp(dy)
    after = dy + norm(mlp(dy))
    slips = {
        "you left out the residual: x also reaches y directly, so dy itself is a part of dx": norm(branches),
        "you added the residual before the norm: x goes around the norm, so add dy after it": norm(dy + branches),
        "the residual is in there twice, before the norm and after it": dy + norm(dy + branches),
        "the attention branch is missing": dy + norm(mlp(dy)),
        "the MLP's branch is missing": dy + norm(attention(dy)),
        "the branches stand side by side: add what they return, do not pass one through the other": dy
        + norm(attention(mlp(dy))),
        "that is the block whose MLP comes after its attention: here both read the same norm": after
        + norm(attention(after)),
        "both branches read the norm's output: go back through it": dy + branches,
        "each branch has its own residual in yours: x is added once": 2 * dy + norm(branches),
        "that is dy alone: the branches are missing": dy,
    }
    dw = zeros(w)
    got = f(dy.copy(), *backward_functions(caches, dw))
    expect(got, numeric(loss, x), given="x (2, 3, 6)", tol=1e-5, slips=slips)
    for name, pair in w.items():
        for one, have in zip(pair, dw[name], strict=True):
            right = numeric(loss, one)
            slips = {f"the backward pass with the weights of {name} was called twice: they are added to": 2 * right}
            slips |= {f"the backward pass with the weights of {name} was never called with this": np.zeros_like(right)}
            expect(have, right, given=f"the gradient of the weights of {name}", tol=1e-5, slips=slips)


# -- counting ------------------------------------------------------------------------------------------------------


@exercise
def block_weights(f):
    """12 D^2 + 13 D: counted for four widths, against the arrays of a model."""
    from minast import ModelConfig
    from minast.params import shapes

    for dim in (768, 96, 64, 8):
        config = ModelConfig(dim=dim, depth=1, heads=1, classes=2, frames=16, mel_bins=16)
        want = sum(math.prod(shape) for name, shape in shapes(config).items() if name.startswith("blocks.0."))
        slips = {
            "the biases and the norms are missing": 12 * dim * dim,
            "the norms are missing": 12 * dim * dim + 9 * dim,
            "the biases of the linear layers are missing": 12 * dim * dim + 4 * dim,
            "you counted one norm: a block has two": 12 * dim * dim + 11 * dim,
            "a norm has a weight and a bias for each channel": 12 * dim * dim + 9 * dim + 2 * dim,
            "you took qkv for D x D: it makes three outputs, 3D x D": 10 * dim * dim + 11 * dim,
            "you took the hidden layer of the MLP for D wide: it is 4D": 6 * dim * dim + 10 * dim,
            "proj, the linear layer after attention, is missing": 11 * dim * dim + 12 * dim,
        }
        expect(f(dim), want, given=f"dim={dim}", tol=0, slips=slips)


@exercise
def flat_offsets(f):
    """Every start is a multiple of the step, no array overlaps another, and no step is wasted."""
    for sizes, step in (([10, 3, 70], 64), ([64, 128, 1], 64), ([5, 5, 5], 1), ([7], 4), ([12, 8, 4], 4)):
        up = [-(-size // step) * step for size in sizes]
        starts, total = [sum(up[:i]) for i in range(len(sizes))], sum(up)
        packed = [sum(sizes[:i]) for i in range(len(sizes))]
        greedy = [(size // step + 1) * step for size in sizes]
        given = f"sizes={sizes}, step={step}"
        got = f(list(sizes), step)
        if got is None or got is ...:
            expect(got, (starts, total), given=given)
        if not isinstance(got, (tuple, list)) or len(got) != 2 or not np.iterable(got[0]):
            raise Wrong(f"for {given}, two results are expected, (list of starts, total length); you return {got!r}.")
        slips = {
            "you put them without gaps": (packed, sum(sizes)),
            "the gap behind the last array is missing": (starts, starts[-1] + sizes[-1]),
            "you rounded down: arrays overlap": ([s // step * step for s in packed], sum(sizes) // step * step),
            "you left a gap behind a size that is a multiple of the step already": (
                [sum(greedy[:i]) for i in range(len(sizes))],
                sum(greedy),
            ),
            "those are the ends: the first array starts at 0": ([sum(up[: i + 1]) for i in range(len(up))], total),
            "the total is that of the sizes, without gaps": (starts, sum(sizes)),
        }
        expect(got, (starts, total), given=given, tol=0, slips=slips)


# -- a schedule of one's own ---------------------------------------------------------------------------------------


def trapezoid_by_parts(step, steps, lr, warmup, cooldown, first=1, last=0):
    """Three straight pieces; first=0 and last=1 are the usual mistakes by one."""
    if step < warmup:
        return lr * (step + first) / warmup
    if step >= steps - cooldown:
        return lr * (steps - step - last) / cooldown
    return lr


@exercise
def trapezoid(f):
    """All steps of five runs met the demands: up to lr, level, and down to one step above 0."""
    runs = ((20, 1e-3, 5, 4), (50, 0.5, 1, 20), (30, 2.0, 0, 6), (8, 1.0, 4, 0), (9, 1, 0, 9))
    for steps, lr, warmup, cooldown in runs:
        for step in range(steps):
            slip = partial(trapezoid_by_parts, step, steps, lr, warmup, cooldown)
            slips = {
                "the first step has rate 0: nothing is learnt from it": slip(first=0),
                "the last step has rate 0: the step after it would, if there were one": slip(last=1),
                "the first and the last step have rate 0": slip(first=0, last=1),
                "there is no warm-up": slip() if step >= warmup else lr,
                "there is no cool-down": slip() if step < steps - cooldown else lr,
                "the rate does not rise to lr: warm-up is over after `warmup` steps": lr
                * min(1, (step + 1) / (warmup + 1), (steps - step) / max(1, cooldown)),
                "the fall is a cosine's: a straight line was asked for": slip()
                if step < steps - cooldown
                else lr * 0.5 * (1 + math.cos(math.pi * (step - steps + cooldown) / cooldown)),
            }
            given = f"step={step}, steps={steps}, lr={lr}, warmup={warmup}, cooldown={cooldown}"
            expect(f(step, steps, lr, warmup, cooldown), slip(), given=given, slips=slips)


# -- reading curves ------------------------------------------------------------------------------------------------

# Does the loss of the notebook's one-batch test end below half of ln 10? The notebook compares its runs with this.
LEARNS = {
    "rate too high": False,
    "rate too low": False,
    "wrong sign": False,
    "dead head": False,
    "input not normalised": True,
    "residual forgotten backward": True,
    "no residuals, 4 blocks": True,
    "no residuals, 12 blocks": False,
}


@exercise
def learns_anyway(f):
    """You predicted all eight runs. The next cells let you see them."""
    wrong = []
    for mistake, learns in LEARNS.items():
        got = f(mistake)
        if got is None or got is ...:
            expect(got, learns)
        if not isinstance(got, (bool, np.bool_)):
            raise Wrong(f"for {mistake!r}, the result is {got!r}: True or False is expected.")
        if got != learns:
            wrong.append(mistake)
    if wrong:
        raise Wrong(f"{len(LEARNS) - len(wrong)} of {len(LEARNS)} are right. Look at this run below: {wrong[0]!r}.")


CURVES = [  # in words, losses, classes, verdict; all far from any border
    ("a fall from ln 10 to 0", list(np.linspace(math.log(10), 0, 60)), 10, "learns"),
    ("ln 10 all the way", [math.log(10)] * 60, 10, "stuck"),
    ("a climb to 20", list(np.linspace(math.log(10), 20, 60)), 10, "diverged"),
    ("NaN from the sixth step on", [2.3] * 5 + [math.nan] * 20, 10, "diverged"),
    ("a NaN early on, low at the end", [2.3, math.nan, *np.linspace(2, 0.1, 30)], 10, "diverged"),
    ("infinity in the middle", [2.3] * 5 + [math.inf] + [1.0] * 20, 10, "diverged"),
    ("0.69 all the way, two classes", [0.69] * 30, 2, "stuck"),
    ("a fall from ln 2 to 0.1, two classes", list(np.linspace(math.log(2), 0.1, 60)), 2, "learns"),
    ("2.3 all the way, 100 classes", [2.3] * 30, 100, "learns"),
    ("0.1 with one leap to 5 at the last step", [0.1] * 59 + [5.0], 10, "learns"),
    ("ln 10 with one dip to 1.6 at the last step", [math.log(10)] * 59 + [1.6], 10, "stuck"),
    ("a leap to 9 early on, then a fall to 0.2", [2.3, 9.0, *np.linspace(2.3, 0.2, 40)], 10, "learns"),
    ("a fall to 0.3, then a climb to 9", [*np.linspace(2.3, 0.3, 30), *np.linspace(0.3, 9, 30)], 10, "diverged"),
    ("eight steps from ln 10 to 0.2", list(np.geomspace(math.log(10), 0.2, 8)), 10, "learns"),
]


def by_ends(values, classes):
    """A verdict by one number and generous borders."""
    return "diverged" if values > 1.5 * math.log(classes) else "stuck" if values > 0.9 * math.log(classes) else "learns"


@exercise
def diagnose(f):
    """Fourteen curves: NaN, infinity, other numbers of classes, leaps at either end. Any sensible border passes."""
    for given, losses, classes, want in CURVES:
        finite = bool(np.isfinite(losses).all())
        slips = {
            "a NaN is neither above nor below a number: ask for it by math.isfinite": want
            if finite
            else by_ends(np.mean(losses[-10:]), classes),
            "an infinite loss is no NaN: math.isfinite notices both": want
            if not np.isinf(losses).any()
            else by_ends(np.mean(losses[-10:]), classes),
            "you know of ln 10 alone, but a model that knows nothing has the loss ln K": want
            if not finite
            else by_ends(np.mean(losses[-10:]), 10),
            "one step's loss, the last, is a matter of chance: take the mean of some": want
            if not finite
            else by_ends(losses[-1], classes),
            "you took the mean of the whole run: the end is what counts": want
            if not finite
            else by_ends(np.mean(losses), classes),
            "you took the lowest loss of the run: the end is what counts": want
            if not finite
            else by_ends(min(losses), classes),
        }
        expect(f(list(losses), classes), want, given=f"{given}, classes={classes}", slips=slips)


# -- answers to try the checks with --------------------------------------------------------------------------------


def interpolated(step, steps, lr, warmup, cooldown):
    if step < warmup:
        return lr * (step + 1) / warmup
    return float(np.interp(step, [warmup - 1, steps - cooldown, steps], [lr, lr, 0]))


def rounded_one_by_one(sizes, step):
    at, starts = 0, []
    for size in sizes:
        starts += [at]
        while size > 0:
            at, size = at + step, size - step
    return [np.array(starts), np.int64(at)]


def one_step_more(sizes, step):
    ends = np.cumsum([(s // step + 1) * step for s in sizes])
    return [0, *ends[:-1]], ends[-1]


def no_nan_check(losses, classes):
    return by_ends(np.mean(losses[-10:]), classes)


def with_nan_check(number, losses, classes, check=lambda x: np.isfinite(x).all()):
    return by_ends(number(losses), classes) if check(losses) else "diverged"


# Right answers in forms that few would choose: each must be accepted.
RIGHT = {
    "parallel_backward": [
        lambda dy, norm, attention, mlp: norm(attention(dy)) + norm(mlp(dy)) + dy,  # norm's backward pass is linear
        lambda dy, norm, attention, mlp: sum([dy, norm(mlp(dy) + attention(dy))]),
        lambda dy, norm, attention, mlp: norm(sum(branch(dy) for branch in (mlp, attention))).__iadd__(dy),
    ],
    "block_weights": [
        lambda d: 12 * d**2 + 13 * d,
        lambda d: sum(o * (i + 1) for i, o in ((d, 3 * d), (d, d), (d, 4 * d), (4 * d, d))) + 4 * d,
        lambda d: np.int64(d) * (12 * d + 13),
    ],
    "flat_offsets": [
        rounded_one_by_one,
        lambda sizes, step: ((0, *(ends := np.cumsum([math.ceil(s / step) * step for s in sizes]))[:-1]), ends[-1]),
    ],
    "trapezoid": [
        interpolated,
        trapezoid_by_parts,
        lambda step, steps, lr, warmup, cooldown: (
            lr * np.clip(min((step + 1) / max(warmup, 1e-9), (steps - step) / max(cooldown, 1e-9)), 0, 1)
        ),
    ],
    "learns_anyway": [lambda mistake: np.bool_("4 blocks" in mistake or mistake.startswith(("input", "residual")))],
    "diagnose": [
        partial(with_nan_check, lambda x: np.mean(x[-10:])),
        partial(with_nan_check, lambda x: np.median(x[-7:])),
        partial(with_nan_check, lambda x: np.mean(x[-len(x) // 5 :])),
        partial(with_nan_check, lambda x: sorted(x[-5:])[2]),
    ],
}

# Plausible wrong answers, each with words that its refusal must contain.
WRONG = {
    "parallel_backward": [
        (lambda dy, norm, attention, mlp: norm(attention(dy) + mlp(dy)), "you left out the residual"),
        (lambda dy, norm, attention, mlp: norm(dy + attention(dy) + mlp(dy)), "residual before the norm"),
        (lambda dy, norm, attention, mlp: dy + norm(dy + attention(dy) + mlp(dy)), "twice, before the norm and after"),
        (lambda dy, norm, attention, mlp: dy + norm(mlp(dy)), "the attention branch is missing"),
        (lambda dy, norm, attention, mlp: dy + norm(attention(dy)), "the MLP's branch is missing"),
        (lambda dy, norm, attention, mlp: dy + norm(attention(mlp(dy))), "side by side"),
        (lambda dy, norm, attention, mlp: dy + attention(dy) + mlp(dy), "go back through it"),
        (lambda dy, norm, attention, mlp: 2 * dy + norm(attention(dy) + mlp(dy)), "x is added once"),
        (lambda dy, norm, attention, mlp: (d := dy + norm(mlp(dy))) + norm(attention(d)), "both read the same norm"),
        (lambda dy, norm, attention, mlp: dy, "dy alone"),
        (lambda dy, norm, attention, mlp: dy + (norm(b := attention(dy) + mlp(dy)) + norm(b)) / 2, "called twice"),
    ],
    "block_weights": [
        (lambda d: 12 * d * d, "the biases and the norms are missing"),
        (lambda d: 12 * d * d + 9 * d, "the norms are missing"),
        (lambda d: 12 * d * d + 11 * d, "one norm"),
        (lambda d: 10 * d * d + 11 * d, "qkv for D x D"),
        (lambda d: 6 * d * d + 10 * d, "D wide"),
        (lambda d: (24 * d * d + 26 * d) / 2, "use // and int()"),
    ],
    "flat_offsets": [
        (lambda sizes, step: ([sum(sizes[:i]) for i in range(len(sizes))], sum(sizes)), "without gaps"),
        (lambda sizes, step: (starts := rounded_one_by_one(sizes, step)[0], starts[-1] + sizes[-1]), "behind the last"),
        (one_step_more, "a multiple of the step already"),
        (lambda sizes, step: rounded_one_by_one(sizes, step)[0], "two results are expected"),
        (lambda sizes, step: [0], "two results are expected"),
        (lambda sizes, step: (0, 64), "two results are expected"),
    ],
    "trapezoid": [
        (partial(trapezoid_by_parts, first=0), "the first step has rate 0"),
        (partial(trapezoid_by_parts, last=1), "the last step has rate 0"),
        (partial(trapezoid_by_parts, first=0, last=1), "the first and the last step have rate 0"),
        (lambda step, steps, lr, warmup, cooldown: lr, "result is"),
        (lambda step, steps, lr, warmup, cooldown: trapezoid_by_parts(step, steps, lr, 0, cooldown), "no warm-up"),
        (lambda step, steps, lr, warmup, cooldown: trapezoid_by_parts(step, steps, lr, warmup, 0), "no cool-down"),
        (lambda step, steps, lr, warmup, cooldown: lr * (step + 1) / warmup, "expected"),
    ],
    "learns_anyway": [
        (lambda mistake: False, "5 of 8 are right"),
        (lambda mistake: "residual" not in mistake, "are right. Look at this run"),
        (lambda mistake: "yes", "True or False is expected"),
        (lambda mistake: LEARNS[mistake] and "4 blocks" not in mistake, "below: 'no residuals, 4 blocks'"),
    ],
    "diagnose": [
        (lambda losses, classes: "learns", "expected 'stuck'"),
        (no_nan_check, "ask for it by math.isfinite"),
        (
            partial(with_nan_check, lambda x: np.mean(x[-10:]), check=lambda x: not np.isnan(x).any()),
            "infinite loss is no NaN",
        ),
        (lambda losses, classes: with_nan_check(lambda x: np.mean(x[-10:]), losses, 10), "ln 10 alone"),
        (partial(with_nan_check, lambda x: x[-1]), "a matter of chance"),
        (partial(with_nan_check, np.mean), "mean of the whole run"),
        (partial(with_nan_check, min), "lowest loss"),
        (lambda losses, classes: "Learns", "expected 'learns'"),
        (lambda losses, classes: 1, "expected 'learns'"),
    ],
}
