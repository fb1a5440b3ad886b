"""Checks of 05_encoder_trained: each runs the reader's function against an independent specification."""

import math

import numpy as np

from minast import layers

from .verdict import Wrong, exercise, expect

NAMES = {"norm2.weight": 6, "norm2.bias": 6, "mlp.fc1.weight": (24, 6), "mlp.fc1.bias": 24}
NAMES |= {"mlp.fc2.weight": (6, 24), "mlp.fc2.bias": 6}


@exercise
def branch_backward(f):
    """Your gradient agrees with central differences in float64, and the weights' gradients were added to."""
    rng = np.random.default_rng(0)
    x, dy = rng.standard_normal((2, 3, 6)), rng.standard_normal((2, 3, 6))
    w = {name: rng.standard_normal(shape) for name, shape in NAMES.items()}

    def forward(x):
        h, norm = layers.layernorm_forward(x, w["norm2.weight"], w["norm2.bias"])
        h, fc1 = layers.linear_forward(h, w["mlp.fc1.weight"], w["mlp.fc1.bias"])
        h, gelu = layers.gelu_forward(h)
        h, fc2 = layers.linear_forward(h, w["mlp.fc2.weight"], w["mlp.fc2.bias"])
        return x + h, (norm, fc1, gelu, fc2)

    def numeric(array):
        """Central differences of sum(y dy) by every entry of `array`, which is moved in place and put back."""
        out = np.zeros_like(array)
        for at in np.ndindex(array.shape):
            old, h = array[at], 1e-5
            array[at] = old + h
            above = (forward(x)[0] * dy).sum()
            array[at] = old - h
            out[at] = (above - (forward(x)[0] * dy).sum()) / (2 * h)
            array[at] = old
        return out

    dx = numeric(x)
    dw = {name: np.full(np.shape(value), 0.5) for name, value in w.items()}
    got = f(dy.copy(), forward(x)[1], dw)
    slips = {
        "you left out the residual: x also reaches y directly, so dy itself is a part of dx": dx - dy,
        "you returned dy alone: the branch's part is missing": dy,
        "you subtracted the branch's part": 2 * dy - dx,
        "you added dy twice": dx + dy,
    }
    expect(got, dx, given="x (2, 3, 6), width 6", tol=1e-5, slips=slips)
    for name, have in dw.items():
        right = numeric(w[name])
        slips = {
            "it was overwritten: gradients are added to": right,
            "nothing was added: its layer's backward was not called with it": np.full(right.shape, 0.5),
        }
        expect(have, right + 0.5, given=f"the gradient dw[{name!r}], which held 0.5 before", tol=1e-5, slips=slips)


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
            "you took qkv for D x D: it makes three outputs, 3D x D": 10 * dim * dim + 11 * dim,
            "you took the hidden layer of the MLP for D wide: it is 4D": 6 * dim * dim + 10 * dim,
        }
        expect(f(dim), want, given=f"dim={dim}", tol=0, slips=slips)


@exercise
def flat_offsets(f):
    """Every start is a multiple of the step, no array overlaps another, and no step is wasted."""
    for sizes, step in (([10, 3, 70], 64), ([64, 128, 1], 64), ([5, 5, 5], 1), ([7], 4), ([12, 8, 4], 4)):
        starts = [sum(-(-size // step) * step for size in sizes[:i]) for i in range(len(sizes))]
        total = sum(-(-size // step) * step for size in sizes)
        packed = [sum(sizes[:i]) for i in range(len(sizes))]
        greedy = [sum((size // step + 1) * step for size in sizes[:i]) for i in range(len(sizes))]
        given = f"sizes={sizes}, step={step}"
        got = f(list(sizes), step)
        if got is not None and got is not ... and (not isinstance(got, tuple) or len(got) != 2):
            raise Wrong(f"For {given} a tuple (list of starts, total length) is expected; you returned {got!r}.")
        if isinstance(got, tuple):
            slips = {
                "you put them without gaps": packed,
                "you rounded down": [start // step * step for start in packed],
                "you left a gap behind a size that is a multiple of the step already: none is needed": greedy,
            }
            expect(got[0], np.array(starts), given=f"the starts for {given}", tol=0, slips=slips)
            slips = {
                "the gap behind the last array is missing": starts[-1] + sizes[-1],
                "this is the sum of the sizes, without any gap": sum(sizes),
            }
            expect(got[1], total, given=f"the total length for {given}", tol=0, slips=slips)
        else:
            expect(got, (starts, total), given=given)


@exercise
def learning_rate(f):
    """The warm-up rises in a straight line to lr, and the cosine falls to almost zero at the last step."""
    for steps, lr, warmup in ((100, 1e-3, 10), (50, 0.5, 1), (30, 2.0, 0), (8, 1.0, 4)):
        for step in range(steps):
            part = (step - warmup) / (steps - warmup)
            half = lr * 0.5 * (1 + math.cos(math.pi * part))
            want = lr * (step + 1) / warmup if step < warmup else half
            slips = {
                "the first step has rate 0: nothing is learnt from it, count step + 1": lr * step / max(1, warmup),
                "there is no warm-up"
                if step < warmup
                else "you let the cosine start at step 0: it starts after the warm-up": lr
                * 0.5
                * (1 + math.cos(math.pi * step / steps)),
                "you let the cosine end `steps` after the warm-up: it ends at `steps`": lr
                * 0.5
                * (1 + math.cos(math.pi * (step - warmup) / steps)),
                "the factor 1/2 is missing": 2 * want,
                "pi is missing: numpy and math count in radians": lr * 0.5 * (1 + math.cos(part)),
                "it falls in a straight line, not along a cosine": lr * (1 - part),
            }
            expect(
                f(step, steps, lr, warmup),
                want,
                given=f"step={step}, steps={steps}, lr={lr}, warmup={warmup}",
                slips=slips,
            )


@exercise
def diagnose(f):
    """Eleven curves, with NaN, infinity, other numbers of classes, and a last loss that misleads."""
    ten, two = math.log(10), math.log(2)
    cases = [
        ("a fall from ln 10 to 0", list(np.linspace(ten, 0, 60)), 10, "learns"),
        ("ln 10 all the way", [ten] * 60, 10, "stuck"),
        ("a climb to 20", list(np.linspace(ten, 20, 60)), 10, "diverged"),
        ("NaN from the sixth step on", [2.3] * 5 + [math.nan] * 20, 10, "diverged"),
        ("a NaN early on, low at the end", [2.3, math.nan, *np.linspace(2, 0.1, 30)], 10, "diverged"),
        ("infinity in the middle", [2.3] * 5 + [math.inf] + [1.0] * 20, 10, "diverged"),
        ("0.66 all the way, two classes", [0.66] * 30, 2, "stuck"),
        ("a fall from ln 2 to 0.3, two classes", list(np.linspace(two, 0.3, 60)), 2, "learns"),
        ("2.3 all the way, 100 classes", [2.3] * 30, 100, "learns"),
        ("0.1 with one leap to 3 at the last step", [0.1] * 59 + [3.0], 10, "learns"),
        ("a climb to 5 with a dip to 0.5 at the last step", [2.3] * 20 + [5.0] * 19 + [0.5], 10, "diverged"),
    ]
    for given, losses, classes, want in cases:
        got = f(list(losses), classes)
        slips = {}
        if not np.isfinite(losses).all():
            slips = {"NaN is neither above nor below a number: ask for it by math.isfinite": "learns"}
            slips |= {"a loss that is not finite means that it diverged": "stuck"}
        elif classes != 10:
            mean = np.mean(losses[-10:])
            naive = "diverged" if mean > 1.5 * ten else "stuck" if mean > 0.95 * ten else "learns"
            slips = {f"you compared with ln 10, not with ln {classes}": naive}
        elif "last step" in given:
            slips = {
                "you took the last loss, not the mean of the last ten": "learns" if want == "diverged" else "stuck"
            }
        expect(got, want, given=f"{given}, classes={classes}", slips=slips)


def _mlp(dy, caches, dw, residual=1.0, over=False):
    norm, fc1, gelu, fc2 = caches
    if over:
        for value in dw.values():
            value[...] = 0
    dh = layers.linear_backward(dy, fc2, dw["mlp.fc2.weight"], dw["mlp.fc2.bias"])
    dh = layers.gelu_backward(dh, gelu)
    dh = layers.linear_backward(dh, fc1, dw["mlp.fc1.weight"], dw["mlp.fc1.bias"])
    return layers.layernorm_backward(dh, norm, dw["norm2.weight"], dw["norm2.bias"]) + residual * dy


WRONG = {
    "branch_backward": [
        lambda dy, caches, dw: _mlp(dy, caches, dw, residual=0),
        lambda dy, caches, dw: _mlp(dy, caches, dw, residual=2),
        lambda dy, caches, dw: _mlp(dy, caches, dw, over=True),
        lambda dy, caches, dw: _mlp(dy, caches, {name: value.copy() for name, value in dw.items()}),
        lambda dy, caches, dw: dy,
    ],
    "block_weights": [lambda d: 12 * d * d, lambda d: 12 * d * d + 9 * d, lambda d: 12 * d * d + 11 * d],
    "flat_offsets": [
        lambda sizes, step: ([sum(sizes[:i]) for i in range(len(sizes))], sum(sizes)),
        lambda sizes, step: ([sum((s // step + 1) * step for s in sizes[:i]) for i in range(len(sizes))], 0),
        lambda sizes, step: [0],
    ],
    "learning_rate": [
        lambda step, steps, lr, warmup: lr * 0.5 * (1 + math.cos(math.pi * step / steps)),
        lambda step, steps, lr, warmup: (
            lr * step / warmup
            if step < warmup
            else lr * 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))
        ),
        lambda step, steps, lr, warmup: lr,
        lambda step, steps, lr, warmup: (
            lr * (step + 1) / warmup if step < warmup else lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        ),
    ],
    "diagnose": [
        lambda losses, classes: "learns",
        lambda losses, classes: (
            "diverged"
            if np.mean(losses[-10:]) > 1.5 * math.log(classes)
            else "stuck"
            if np.mean(losses[-10:]) > 0.95 * math.log(classes)
            else "learns"
        ),
        lambda losses, classes: (
            "diverged"
            if not np.isfinite(losses).all() or losses[-1] > 1.5 * math.log(classes)
            else "stuck"
            if losses[-1] > 0.95 * math.log(classes)
            else "learns"
        ),
    ],
}
