"""What one training step in 16 bits asks of a GPU: every launch and product, its bytes and its arithmetic.

  python -m minast.launches                    base, 10 s, batch 32, bfloat16, Adam; needs no GPU, and runs no kernel
  python -m minast.launches --readme           the same, written into kernels/README.md

The step's own code runs on arrays of the right shapes that are never filled: launches and products are written down
instead of done. Bytes are the least there can be: each array once, read, written or both. What is neither a kernel of
kernels/ nor a product is array code, of one or several launches each; additions of a few kilobytes are left out.
"""

from collections import Counter
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np

from . import cli, cuda, dry, kernel_source, layers, mixed, mixed_encoder
from .compile import write_between
from .config import ModelConfig
from .model import AST, NARROW

MARKERS = ("<!-- python -m minast.launches --readme: begin -->", "<!-- end of launches -->")
UPDATED = {  # what a kernel reads as well as writes; what else it writes it does not read
    "adam_step": ("w", "m", "v"),
    "column_finish": ("out",),
}
SHARE = {("attention_mma_dkv", "dqkv"): 2 / 3, ("attention_mma_dq", "dqkv"): 1 / 3}  # of an array that is written
LEAST = 5e-4  # share of a step's bytes or arithmetic from which work has a row of its own
PRODUCTS = {"attention_mma_lean": 2, "attention_mma_dkv": 4, "attention_mma_dq": 3}  # of tokens x tokens x head width


@dataclass(frozen=True)
class Work:
    """One launch or product: `kind` "kernel", "product" or "array code"; bytes; multiplications and additions."""

    phase: str
    kind: str
    name: str
    shape: str
    read: int
    written: int
    flops: int = 0


class Recorder:
    """Stands in for launch, gemm and the larger array code, and writes down what they would do."""

    def __init__(self):
        self.phase, self.done = "", []

    def add(self, kind, name, shape, read, written, flops=0):
        self.done.append(Work(self.phase, kind, name, shape, int(read), int(written), int(flops)))

    def launch(self, source, kernel, grid, block, args, shared_bytes=0):
        declared, template, _ = kernel_source.load(source).split(kernel)
        name, read, written, shapes = kernel.split("<")[0], 0, 0, []
        for parameter, value in zip(declared.bind(template), args, strict=True):
            if not parameter.pointer or value is None:
                continue
            if parameter.const or parameter.name in UPDATED.get(name, ()):
                read += value.nbytes
            if not parameter.const:
                written += value.nbytes * SHARE.get((name, parameter.name), 1)
            shapes.append(value.shape)
        B, N, width = shapes[0] if name in PRODUCTS else (0, 0, 0)
        self.add("kernel", kernel, text(shapes[0]), read, written, 2 * PRODUCTS.get(name, 0) * B * N * N * width // 3)

    def gemm(self, a, b, out, beta=0.0):
        (M, K), N = a.shape, b.shape[1]
        shape = f"{M} x {K} x {N}"
        read = a.size * a.itemsize + b.size * b.itemsize + (out.nbytes if beta else 0)
        into = "float32" if out.dtype == np.float32 else "16 bits"
        self.add(
            "product", f"to {into}{', added' if beta else ''}", shape, read, out.size * out.itemsize, 2 * M * K * N
        )
        return out

    def spread(self, b, y):
        self.add("array code", "bias into rows", text(y.shape), b.nbytes, y.nbytes)

    def array_code(self, name, outputs):
        """A stand-in for a function of layers.py that returns `outputs(*args)`: (arrays, what it returns)."""

        def run(*args):
            arrays, result = outputs(*args)
            given = [x for a in args for x in (a if isinstance(a, (tuple, list)) else [a]) if isinstance(x, np.ndarray)]
            read, written = (sum(x.nbytes for x in xs) for xs in (given, arrays))
            self.add("array code", name, text(arrays[0].shape), read, written)
            return result

        return run


def text(shape):
    return " x ".join(map(str, shape))


# What the larger functions of layers.py return, unfilled: (arrays that are written, result).


def tokens_forward(x, prefix, pos):
    y = np.empty((len(x), *pos.shape), np.float32)
    return [y], (y, (len(prefix),))


def tokens_backward(dy, cache, dprefix, dpos):
    dx = np.empty((len(dy), dy.shape[1] - cache[0], dy.shape[2]), np.float32)
    return [dx, dpos, *dprefix], dx


def attend_forward(q, kv, heads):
    o, p = np.empty_like(q), np.empty((len(q), heads, q.shape[1], kv.shape[1]), np.float32)
    return [o, p], (o, (q, kv, p))


def attend_backward(do, cache):
    dq, dkv = map(np.empty_like, cache[:2])
    return [dq, dkv], (dq, dkv)


@contextmanager
def recording():
    """-> Recorder; meanwhile no kernel runs, nothing is multiplied, and large arrays stay untouched memory."""
    r = Recorder()
    with ExitStack() as stack, np.errstate(all="ignore"):
        stack.enter_context(dry.dry(r))
        for module in (mixed, mixed_encoder):
            stack.enter_context(patch.object(module, "spread", r.spread))
        for function in (tokens_forward, tokens_backward, attend_forward, attend_backward):
            name = function.__name__
            stack.enter_context(patch.object(layers, name, r.array_code(name, function)))
        yield r


def step(config, batch, dtype):
    """-> list of Work of one training step: forward and loss, backward, Adam with clipping, gradients back to zero"""
    model = AST(config, "emulator", seed=None, dtype=dtype)
    x = np.zeros((batch, config.frames, config.mel_bins), np.float32)
    y = np.zeros((batch, config.classes), np.float32)
    adam = cuda.Adam(model.w.flat)
    model.w.asked, model.encoder.current = False, True  # as in every step but the first
    with recording() as r:
        r.phase = "forward"
        backward = model._backward

        def then_backward(*args):
            r.phase = "backward"
            return backward(*args)

        model._backward = then_backward
        model.loss_and_grad(x, y, wait=False)
        r.phase = "update"
        adam.take(model.dw.flat, 1e-3, 1.0, model.copy_to_update())
        r.add("array code", "gradients to zero", text(model.dw.flat.shape), 0, model.dw.flat.nbytes)
    return r.done


def table(done):
    """Markdown: equal work of a phase together, in the order of first appearance; what is below `LEAST` in one row."""
    groups = Counter(done)
    bytes_, flops = sum(w.read + w.written for w in done), sum(w.flops for w in done)
    lines = [
        "| phase | what | on (M x K x N of a product) | times | MB read | MB written | GFLOP |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    small = {}
    for w, n in groups.items():
        if n * (w.read + w.written) < LEAST * bytes_ and n * w.flops < LEAST * flops:
            small.setdefault(w.phase, []).extend([w] * n)
            continue
        name = f"`{w.name}`" if w.kind == "kernel" else f"{w.kind}: {w.name}"
        lines.append(f"| {w.phase} | {name} | {w.shape} | {n} | {_numbers(n, [w])} |")
    for phase in dict.fromkeys(w.phase for w in done):
        if phase in small:
            lines.append(f"| {phase} | smaller ones | | {len(small[phase])} | {_numbers(1, small[phase])} |")
        part = [w for w in done if w.phase == phase]
        lines.append(f"| **{phase}** | all | | {len(part)} | {_numbers(1, part)} |")
    lines.append(f"| **step** | all | | {len(done)} | {_numbers(1, done)} |")
    return "\n".join(lines)


def _numbers(n, works):
    read, written, flops = (n * sum(getattr(w, k) for w in works) for k in ("read", "written", "flops"))
    return f"{read / 1e6:.1f} | {written / 1e6:.1f} | {f'{flops / 1e9:.1f}' if flops else ''}"


def main(argv=None):
    p = cli.Parser("launches", __doc__)
    p.add_argument("--preset", default="base", help="default base")
    p.add_argument("--frames", type=int, default=1024, help="default 1024")
    p.add_argument("--batch", type=int, default=32, help="default 32")
    p.add_argument("--dtype", default="bfloat16", choices=NARROW, help="default bfloat16")
    p.add_argument("--readme", action="store_true", help="write the table into kernels/README.md")
    args = p.parse_args(argv)
    config = ModelConfig.preset(args.preset, frames=args.frames, prefix_tokens=2)
    done = step(config, args.batch, args.dtype)
    note = (
        f"Counted from shapes, not measured: {args.preset}, batch {args.batch}, {config.tokens} tokens, {args.dtype}. "
        "Each array counts once; what a kernel reads again comes on top where it is no longer in the L2 cache."
    )
    if args.readme:
        write_between(kernel_source.folder() / "README.md", MARKERS, f"{note}\n\n{table(done)}")
    else:
        print(f"{note}\n\n{table(done)}")
    return 0


if __name__ == "__main__":
    cli.run(main)
