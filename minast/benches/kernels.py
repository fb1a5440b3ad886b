"""The kernels that only move memory: GB/s, and the share of what a plain copy reaches on the same device.

Bytes are those that must move, each input read once and each result written once. What a kernel moves beyond that (a
second pass, partial sums) lowers its figure, as it should.
"""

from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from .. import cuda, layers, optim
from . import attention, backends
from .device import TOLERANCE, cast, check, copy_bandwidth, place, row, wide

COPY, LIBRARY = "the measured copy", "layers.py on CuPy"


@dataclass(frozen=True)
class Sizes:
    """B clips, H heads of width D, N tokens, T frames, F mel bins, K classes, `weights` numbers for Adam."""

    B: int = 32
    H: int = 12
    N: int = 1214
    D: int = 64
    T: int = 1024
    F: int = 128
    K: int = 527
    weights: int = 87_000_000

    @property
    def rows(self):
        return self.B * self.N, self.H * self.D


REAL, TOY = Sizes(), Sizes(2, 2, 50, 16, 46, 32, 7, 3001)
PER_CLIP = 2**29  # bytes: the GELU's arrays, the reference's and its temporaries


def fitting(where):
    """The real sizes, or fewer clips on a GPU with less memory; toys for the emulator."""
    if not where.gpu:
        return TOY
    B = REAL.B
    while B > 1 and where.free() < B * PER_CLIP:
        B //= 2
    return Sizes(B=B)


class Case(NamedTuple):
    """call() and wanted(): the kernel's and the reference's results, a tuple of arrays each; bytes of one call."""

    name: str
    call: Any
    wanted: Any
    bytes: int


def cases(where, s, dtype):
    """Each kernel at sizes s, one after the other, so that the arrays of one are gone before the next."""
    for make in (patches, norms, gelus, softmaxes, losses, columns):
        yield from make(where, s, dtype)
    if dtype == "float32":
        yield from adam(where, s)


def _ladder(name, call, wanted, size):
    for rung in (0, 1):
        yield Case(f"{name}, rung {rung}", partial(call, rung=rung), wanted, size)


def patches(where, s, dtype):
    x, kind = where.normal(s.B, s.T, s.F), cast(where.normal(1), dtype).dtype
    want, cache = layers.unfold_forward(x, 10, 10)
    size = 4 * x.size + kind.itemsize * want.size

    def call(rung):
        return cuda.unfold_forward(x, 10, 10, rung=rung, dtype=kind)[:1]

    yield from _ladder("unfold", call, lambda: layers.unfold_forward(x, 10, 10)[:1], size)
    d = cast(want, dtype)
    yield Case(
        "unfold backward",
        lambda: (cuda.unfold_backward(d, cache),),
        lambda: (layers.unfold_backward(wide(d), cache),),
        size,
    )


def norms(where, s, dtype):
    (R, C), xp = s.rows, where.xp
    x, dy = (cast(where.normal(R, C, seed=seed), dtype) for seed in (1, 2))
    w, b, dw, db = (where.normal(C, seed=3), where.normal(C, seed=4), xp.zeros(C, np.float32), xp.zeros(C, np.float32))
    once = x.nbytes + 8 * R  # with mean and rstd

    def call(rung):
        return cuda.layernorm_forward(x, w, b, rung=rung)[:1]

    yield from _ladder("layer norm", call, lambda: layers.layernorm_forward(wide(x), w, b)[:1], once + x.nbytes)
    cache, plain = cuda.layernorm_forward(x, w, b)[1], layers.layernorm_forward(wide(x), w, b)[1]
    ddw, ddb = xp.zeros_like(dw), xp.zeros_like(db)
    yield Case(  # gradients are added to: compared after one call each, and the sums of the timed calls are of no use
        "layer norm backward",
        lambda: (cuda.layernorm_backward(dy, cache, dw, db), dw, db),
        lambda: (layers.layernorm_backward(wide(dy), plain, ddw, ddb), ddw, ddb),
        once + 2 * x.nbytes,
    )


def gelus(where, s, dtype):
    R, C = s.rows[0], 4 * s.rows[1]
    x, dy, bias = cast(where.normal(R, C, seed=1), dtype), cast(where.normal(R, C, seed=2), dtype), where.normal(C)

    def call(rung):
        return cuda.gelu_forward(x, "erf", bias, rung=rung)[:1]

    yield from _ladder("bias + GELU", call, lambda: layers.gelu_forward(wide(x) + bias)[:1], 2 * x.nbytes)
    cache, plain = cuda.gelu_forward(x, "erf", bias)[1], layers.gelu_forward(wide(x) + bias)[1]
    yield Case(
        "bias + GELU backward",
        lambda: (cuda.gelu_backward(dy, cache),),
        lambda: (layers.gelu_backward(wide(dy), plain),),
        3 * x.nbytes,
    )


def softmaxes(where, s, dtype):
    x, dp = (cast(where.normal(s.rows[0], s.N, seed=seed), dtype) for seed in (1, 2))

    def call(rung):
        return cuda.softmax_forward(x, rung)[:1]

    yield from _ladder("softmax", call, lambda: layers.softmax_forward(wide(x))[:1], 2 * x.nbytes)
    cache = cuda.softmax_forward(x)[1]
    yield Case(
        "softmax backward",
        lambda: (cuda.softmax_backward(dp, cache),),
        lambda: (layers.softmax_backward(wide(dp), (wide(cache[0]),)),),
        3 * x.nbytes,
    )


def losses(where, s, dtype):
    """So small that the launches are what is measured."""
    logits, rng = cast(where.normal(s.B, s.K), dtype), where.xp.random.default_rng(5)
    y = rng.random((s.B, s.K), dtype=np.float32)
    size = logits.nbytes + y.nbytes
    for name in ("bce", "ce"):
        forward, backward = getattr(cuda, f"{name}_forward"), getattr(cuda, f"{name}_backward")
        plain, adjoint = getattr(layers, f"{name}_forward"), getattr(layers, f"{name}_backward")
        own, theirs = forward(logits, y)[1], plain(wide(logits), y)[1]
        yield Case(name, partial(_first, forward, logits, y), partial(_first, plain, wide(logits), y), size)
        call, wanted = partial(_one, backward, own), partial(_one, adjoint, theirs)
        yield Case(f"{name} backward", call, wanted, size + logits.nbytes)


def _first(function, *args):
    return (function(*args)[0].reshape(1),)


def _one(function, *args):
    return (function(*args),)


def columns(where, s, dtype):
    (R, C), xp = (s.rows[0], 4 * s.rows[1]), where.xp
    x = cast(where.normal(R, C), dtype)

    def wanted():
        return (wide(x).sum(axis=0),)

    for rung in (0, 1):
        call = partial(_columns, x, xp.zeros(C, np.float32), rung)
        yield Case(f"column sums, rung {rung}", call, wanted, x.nbytes)


def _columns(x, out, rung):
    cuda.add_columns(x, out, rung)
    return (out,)


def adam(where, s):
    g, start = where.normal(s.weights, seed=1), where.normal(s.weights, seed=2)
    for rung in (0, 1):
        ours, theirs = (kind(start.copy(), weight_decay=0.1, decoupled=True) for kind in (cuda.Adam, optim.Adam))
        # read w, m, v and g, write w, m and v
        yield Case(f"Adam, rung {rung}", partial(_step, ours, g, rung=rung), partial(_step, theirs, g), 28 * s.weights)

    def norm():
        return (where.xp.asarray(np.array([optim.gradient_norm(g)], np.float32)),)

    yield Case("gradient norm", lambda: (cuda.gradient_norm(g),), norm, g.nbytes)


def _step(adam, g, **rung):
    adam.step(g, 0.1, **rung)  # so large that w alone would show a wrong step
    return adam.w, adam.m, adam.v


def measure(where, s, rounds, dtypes=("float32", "bfloat16")):
    """Rows of all cases, each checked first.   float16 moves as many bytes as bfloat16."""
    done, ceiling = [], copy_bandwidth(where, rounds) if where.gpu else None
    for dtype in dtypes:
        for case in cases(where, s, dtype):
            name = f"{case.name}, {dtype}"
            for got, wanted in zip(case.call(), case.wanted(), strict=True):
                check(got, wanted, TOLERANCE[dtype], name)
            seconds, libraries = where.seconds(case.call, rounds), {}
            if where.gpu and dtype == "float32":  # in 16 bits the reference is given float32: no fair comparison
                libraries[LIBRARY] = where.seconds(case.wanted, rounds)
            done.append(row(where, name, dtype, seconds, case.bytes, "GB/s", ceiling, COPY, libraries))
    return done


def kernels(rounds, backend=None):
    where = place(backend)
    return measure(where, fitting(where), rounds)


ROWS = {"kernels": kernels, "attention": attention.attention, "backends": backends.backends}
