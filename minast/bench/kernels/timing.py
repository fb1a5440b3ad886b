"""The kernels that only move memory: GB/s, and the share of what a plain copy reaches on the same device.

Bytes are those that must move, each input read once and each result written once. What a kernel moves beyond that (a
second pass, partial sums) lowers its figure, as it should.

Beside ours, in the same type: the reference's own code on CuPy, which has no bfloat16, so that those cells say so; and
torch, which has a function for each job in all three types. Adam and the gradient norm are float32 alone. A library's
result is compared before it is timed; where it differs, as 16-bit sums may, the cell says that instead.
"""

from functools import partial

import numpy as np

from ... import cuda, layers, optim
from ...bfloat16 import to_float32
from ...cuda import half
from ..gpu import backends
from ..gpu.device import DTYPES, LIBRARY, NO_BFLOAT16, TOLERANCE, cast, check, copy_bandwidth, differs, place
from ..gpu.device_rows import Goal, row
from ..table import Skip
from . import attention, ends, in_torch
from .cases import REAL, TOY, Case, Sizes
from .in_torch import TORCH

COPY = "the measured copy"
SHARE = Goal("80 %", 0.8)  # of it, for the kernels that the model takes of these jobs
HELD = [f"{name}, version 1" for name in ("unfold", "layer norm", "bias + GELU", "Adam")]


PER_CLIP = 2**29  # bytes: the GELU's arrays, the reference's and its temporaries


def fitting(where):
    """The real sizes, or fewer clips on a GPU with less memory; toys for the emulator."""
    if not where.gpu:
        return TOY
    B = REAL.B
    while B > 1 and where.free() < B * PER_CLIP:
        B //= 2
    return Sizes(B=B)


def cases(where, s, dtype):
    """Each kernel at sizes s, one after the other, so that the arrays of one are gone before the next."""
    for make in (patches, norms, gelus, softmaxes, losses, columns, ends.tokens, ends.few_queries):
        yield from make(where, s, dtype)
    yield from adam(where, s) if dtype == "float32" else residuals(where, s, dtype)


def _ladder(name, call, wanted, size, half, torch):
    for version in (0, 1):
        yield Case(f"{name}, version {version}", partial(call, version=version), wanted, size, half, torch)


def patches(where, s, dtype):
    x, kind = where.normal(s.B, s.T, s.F), cast(where.normal(1), dtype).dtype
    want, cache = layers.unfold_forward(x, 10, 10)
    size = 4 * x.size + kind.itemsize * want.size

    def call(version):
        return cuda.unfold_forward(x, 10, 10, version=version, dtype=kind)[:1]

    def half():
        return lambda: (layers.unfold_forward(x, 10, 10)[0].astype(kind),)

    d = cast(want, dtype)

    def forward(t):
        return in_torch.forward(t, in_torch.patches(t, in_torch.to_torch(t, d).dtype), x)

    def backward(t):
        return in_torch.backward(t, in_torch.patches(t, in_torch.to_torch(t, d).dtype), d, x)

    yield from _ladder("unfold", call, lambda: layers.unfold_forward(x, 10, 10)[:1], size, half, forward)
    yield Case(
        "unfold backward",
        lambda: (cuda.unfold_backward(d, cache),),
        lambda: (layers.unfold_backward(to_float32(d), cache),),
        size,
        lambda: lambda: (layers.unfold_backward(d, cache),),
        backward,
    )


def norms(where, s, dtype):
    (R, C), xp = s.rows, where.xp
    x, dy = (cast(where.normal(R, C, seed=seed), dtype) for seed in (1, 2))
    w, b, dw, db = (where.normal(C, seed=3), where.normal(C, seed=4), xp.zeros(C, np.float32), xp.zeros(C, np.float32))
    once = x.nbytes + 8 * R  # with mean and rstd

    def call(version):
        return cuda.layernorm_forward(x, w, b, version=version)[:1]

    def half():
        return lambda: layers.layernorm_forward(x, cast(w, dtype), cast(b, dtype))[:1]

    def half_backward():
        kept, sums = layers.layernorm_forward(x, cast(w, dtype), cast(b, dtype))[1], xp.zeros((2, C), x.dtype)
        return lambda: (layers.layernorm_backward(dy, kept, *sums), *sums)

    def in_t(t):
        return lambda x, w, b: t.nn.functional.layer_norm(x, (C,), w, b, 1e-6)

    def forward(t):
        return in_torch.forward(t, in_t(t), x, cast(w, dtype), cast(b, dtype))

    def backward(t):
        return in_torch.backward(t, in_t(t), dy, x, cast(w, dtype), cast(b, dtype))

    def wanted():
        return layers.layernorm_forward(to_float32(x), w, b)[:1]

    yield from _ladder("layer norm", call, wanted, once + x.nbytes, half, forward)
    cache, plain = cuda.layernorm_forward(x, w, b)[1], layers.layernorm_forward(to_float32(x), w, b)[1]
    ddw, ddb = xp.zeros_like(dw), xp.zeros_like(db)
    yield Case(  # gradients are added to: compared after one call each, and the sums of the timed calls are of no use
        "layer norm backward",
        lambda: (cuda.layernorm_backward(dy, cache, dw, db), dw, db),
        lambda: (layers.layernorm_backward(to_float32(dy), plain, ddw, ddb), ddw, ddb),
        once + 2 * x.nbytes,
        half_backward,
        backward,
    )


def residuals(where, s, dtype):
    """Residual, bias and norm in one pass, of 16-bit training; the libraries' cells are of the same done in turn."""
    (R, C), xp = s.rows, where.xp
    x, dy, w, b, bias = (where.normal(*shape, seed=i) for i, shape in enumerate([(R, C), (R, C), (C,), (C,), (C,)]))
    branch, dn = (cast(where.normal(R, C, seed=seed), dtype) for seed in (5, 6))
    kind, stats = branch.dtype, 8 * R

    def forward(branch, kind):
        return layers.layernorm_forward(x + branch + bias, w, b)[0].astype(kind)

    def backward(sums):
        dx = layers.layernorm_backward(to_float32(dn), plain, *sums[:2])
        dx += dy
        sums[2] += dx.sum(axis=0)
        return dx, dx, *sums

    def in_torch_forward(t):
        def function(x, branch, bias, w, b):
            return t.nn.functional.layer_norm(x + branch + bias, (C,), w, b, 1e-6).to(branch.dtype)

        return in_torch.forward(t, function, x, branch, bias, w, b)

    def no_torch(t):
        raise Skip("no such job")

    yield Case(
        "residual + norm",
        lambda: half.residual_norm_forward(x, branch, bias, w, b, 1e-6, kind)[0][1:],
        lambda: (forward(to_float32(branch), np.float32),),
        2 * x.nbytes + 2 * branch.nbytes + stats,
        lambda: lambda: (forward(branch, kind),),
        in_torch_forward,
    )
    cache = half.residual_norm_forward(x, branch, bias, w, b, 1e-6, kind)[1]
    plain = layers.layernorm_forward(x + to_float32(branch) + bias, w, b)[1]
    ours, theirs = xp.zeros((3, C), np.float32), xp.zeros((3, C), np.float32)
    yield Case(  # gradients are added to: compared after one call each
        "residual + norm backward",
        lambda: (*half.residual_norm_backward(dn, dy, cache, *ours), *ours),
        lambda: backward(theirs),
        3 * x.nbytes + 2 * branch.nbytes + stats,
        lambda: partial(backward, xp.zeros((3, C), np.float32)),
        no_torch,
    )


def gelus(where, s, dtype):
    R, C = s.rows[0], 4 * s.rows[1]
    x, dy, bias = cast(where.normal(R, C, seed=1), dtype), cast(where.normal(R, C, seed=2), dtype), where.normal(C)

    def call(version):
        return cuda.gelu_forward(x, "erf", bias, version=version)[:1]

    def half():
        return lambda: layers.gelu_forward(x + cast(bias, dtype))[:1]

    def half_backward():
        kept = layers.gelu_forward(x + cast(bias, dtype))[1]
        return lambda: (layers.gelu_backward(dy, kept),)

    def in_t(t):
        b = in_torch.to_torch(t, cast(bias, dtype))
        return lambda x: t.nn.functional.gelu(x + b)

    def forward(t):
        return in_torch.forward(t, in_t(t), x)

    def backward(t):
        return in_torch.backward(t, in_t(t), dy, x)

    def wanted():
        return layers.gelu_forward(to_float32(x) + bias)[:1]

    yield from _ladder("bias + GELU", call, wanted, 2 * x.nbytes, half, forward)
    cache, plain = cuda.gelu_forward(x, "erf", bias)[1], layers.gelu_forward(to_float32(x) + bias)[1]
    yield Case(
        "bias + GELU backward",
        lambda: (cuda.gelu_backward(dy, cache),),
        lambda: (layers.gelu_backward(to_float32(dy), plain),),
        3 * x.nbytes,
        half_backward,
        backward,
    )


def softmaxes(where, s, dtype):
    x, dp = (cast(where.normal(s.rows[0], s.N, seed=seed), dtype) for seed in (1, 2))

    def call(version):
        return cuda.softmax_forward(x, version)[:1]

    def half():
        return lambda: layers.softmax_forward(x)[:1]

    def forward(t):
        return in_torch.forward(t, partial(t.softmax, dim=-1), x)

    def backward(t):
        return in_torch.backward(t, partial(t.softmax, dim=-1), dp, x)

    yield from _ladder("softmax", call, lambda: layers.softmax_forward(to_float32(x))[:1], 2 * x.nbytes, half, forward)
    cache = cuda.softmax_forward(x)[1]
    yield Case(
        "softmax backward",
        lambda: (cuda.softmax_backward(dp, cache),),
        lambda: (layers.softmax_backward(to_float32(dp), (to_float32(cache[0]),)),),
        3 * x.nbytes,
        lambda: lambda: (layers.softmax_backward(dp, cache),),
        backward,
    )


def losses(where, s, dtype):
    """So small that the launches are what is measured."""
    logits, rng = cast(where.normal(s.B, s.K), dtype), where.xp.random.default_rng(5)
    y = rng.random((s.B, s.K), dtype=np.float32)
    size = logits.nbytes + y.nbytes
    for name in ("bce", "ce"):
        forward, backward = getattr(cuda, f"{name}_forward"), getattr(cuda, f"{name}_backward")
        plain, adjoint = getattr(layers, f"{name}_forward"), getattr(layers, f"{name}_backward")
        own, theirs = forward(logits, y)[1], plain(to_float32(logits), y)[1]
        half = partial(_half_loss, plain, adjoint, logits, y)
        ahead, back = (partial(_torch_loss, name, adjoint, logits, y) for adjoint in (False, True))
        wanted = partial(_first, plain, to_float32(logits), y)
        yield Case(name, partial(_first, forward, logits, y), wanted, size, partial(half, False), ahead)
        call, wanted = partial(_one, backward, own), partial(_one, adjoint, theirs)
        yield Case(f"{name} backward", call, wanted, size + logits.nbytes, partial(half, True), back)


def _half_loss(forward, backward, logits, y, adjoint):
    y = y.astype(logits.dtype)
    return partial(_one, backward, forward(logits, y)[1]) if adjoint else partial(_first, forward, logits, y)


def _torch_loss(name, adjoint, logits, y, t):
    target = in_torch.to_torch(t, cast(y, "bfloat16" if logits.dtype == np.uint16 else logits.dtype.name))
    f = t.nn.functional.binary_cross_entropy_with_logits if name == "bce" else t.nn.functional.cross_entropy

    def loss(x):
        return f(x, target).reshape(1) if not adjoint else f(x, target)

    return in_torch.backward(t, loss, None, logits) if adjoint else in_torch.forward(t, loss, logits)


def _first(function, *args):
    return (function(*args)[0].reshape(1),)


def _one(function, *args):
    return (function(*args),)


def columns(where, s, dtype):
    (R, C), xp = (s.rows[0], 4 * s.rows[1]), where.xp
    x = cast(where.normal(R, C), dtype)

    def wanted():
        return (to_float32(x).sum(axis=0),)

    for version in (0, 1):
        call = partial(_columns, x, xp.zeros(C, np.float32), version)
        yield Case(
            f"column sums, version {version}",
            call,
            wanted,
            x.nbytes,
            lambda: lambda: (x.sum(axis=0, dtype=np.float32),),
            lambda t: in_torch.forward(t, lambda x: x.sum(0, dtype=t.float32), x),
        )


def _columns(x, out, version):
    cuda.add_columns(x, out, version)
    return (out,)


def adam(where, s):
    g, start = where.normal(s.weights, seed=1), where.normal(s.weights, seed=2)
    for version in (0, 1):
        ours, theirs = (kind(start.copy(), weight_decay=0.1, decoupled=True) for kind in (cuda.Adam, optim.Adam))
        # read w, m, v and g, write w, m and v
        yield Case(
            f"Adam, version {version}",
            partial(_step, ours, g, version=version),
            partial(_step, theirs, g),
            28 * s.weights,
            torch=lambda t, like=ours: in_torch.adam(t, start.copy(), g, like, 0.1),
        )

    def norm():
        return (where.xp.asarray(np.array([optim.gradient_norm(g)], np.float32)),)

    def forward(t):
        return in_torch.forward(t, lambda g: t.linalg.vector_norm(g).reshape(1), g)

    yield Case("gradient norm", lambda: (cuda.gradient_norm(g),), norm, g.nbytes, torch=forward)


def _step(adam, g, **version):
    adam.step(g, 0.1, **version)  # so large that w alone would show a wrong step
    return adam.w, adam.m, adam.v


def beside(where, case, wanted, dtype):
    """({library: what to call}, {library: why there is none}) of one case; what differs from `wanted` is not timed."""
    calls, without, jobs = {}, {}, {}
    if not where.gpu:
        return calls, without
    try:
        make = partial(case.torch, in_torch.torch_with_cuda())
        jobs[TORCH] = make, lambda results: [in_torch.to_array(where.xp, r) for r in results]
    except Skip as reason:
        without[TORCH] = str(reason)
    if dtype == "float32":
        jobs[LIBRARY] = lambda: case.wanted, None  # the reference itself; last, since Adam's goes on from `wanted`
    elif dtype == "float16":
        jobs[LIBRARY] = case.half, tuple
    else:
        without[LIBRARY] = NO_BFLOAT16
    for library, (make, arrays) in jobs.items():
        try:
            call = make()
            wrong = differs(arrays(call()), wanted, TOLERANCE[dtype]) if arrays else ""
        except Skip as reason:
            wrong = str(reason)
        if wrong:
            without[library] = wrong
        else:
            calls[library] = call
    return calls, without


def measure(where, s, rounds, dtypes=DTYPES):
    """Rows of all cases, each checked first."""
    done, ceiling = [], copy_bandwidth(where, rounds) if where.gpu else None
    for dtype in dtypes:
        for case in cases(where, s, dtype):
            name, wanted = f"{case.name}, {dtype}", case.wanted()
            for got, want in zip(case.call(), wanted, strict=True):
                check(got, want, TOLERANCE[dtype], name)
            calls, without = beside(where, case, wanted, dtype)
            ours, *theirs = where.turns([case.call, *calls.values()], rounds)
            libraries, goals = dict(zip(calls, theirs, strict=True)), [SHARE] if case.name in HELD else []
            kinds = case.bytes, "GB/s", ceiling, COPY
            done.append(row(where, name, dtype, ours, *kinds, libraries, without=without, goals=goals))
    return done


def kernels(rounds, backend=None):
    where = place(backend)
    return measure(where, fitting(where), rounds)


ROWS = {"kernels": kernels, "attention": attention.attention, "backends": backends.backends}
