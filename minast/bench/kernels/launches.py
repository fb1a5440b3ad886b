"""What one training step in 16 bits asks of a GPU: every launch and product, its bytes and its arithmetic.

  python -m minast.bench launches              base, 10 s, batch 32, bfloat16, Adam; needs no GPU, and runs no kernel
  python -m minast.bench launches --readme           the same, written into kernels/README.md

The step's own code runs on arrays of the right shapes that are never filled: launches and products are written down
instead of done. Bytes are the least there can be: each array once, read, written or both. What is neither a kernel of
kernels/ nor a product is array code: the gradients that are set to zero, and the head's few, which are left out.
"""

from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np

from ... import cli, cuda
from ...backend import HALF_DTYPES
from ...config import ModelConfig
from ...gpu import dry_run, kernel_source
from ...gpu.executor import planned
from ...model import AST
from .registers import write_between

MARKERS = ("<!-- python -m minast.bench launches --readme: begin -->", "<!-- end of launches -->")
UPDATED = {  # what a kernel reads as well as writes; what else it writes it does not read
    "adam_step": ("w", "m", "v"),
    "column_finish": ("first", "second", "third"),
    "tokens_backward": ("dfirst", "dsecond", "dpos"),
    "attention_mma_lean": ("qkv",),
}
READ = {  # the share of an array that a launch reads, where that is not all of it; a: its arguments by name
    ("residual_norm_forward", "x"): lambda a: a["prefix"] / a["tokens"] if a["tokens"] else 1,
    ("pool_forward", "x"): lambda a: a["P"] / a["tokens"],
}
WRITTEN = {  # the same of one that it writes
    ("attention_mma_lean", "qkv"): lambda a: 0 if a["bias"] is None else 1 / 3,  # the queries, with their bias
    ("attention_mma_dkv", "dqkv"): lambda a: 2 / 3,
    ("attention_mma_dkv", "sums"): lambda a: 2 / 3,
    ("attention_mma_dq", "dqkv"): lambda a: 1 / 3,
    ("attention_mma_dq", "sums"): lambda a: 1 / 3,
}
LEAST = 5e-4  # share of a step's bytes or arithmetic from which work has a row of its own
PRODUCTS = {"attention_mma_lean": 2, "attention_mma_dkv": 4, "attention_mma_dq": 3}  # of tokens x tokens x head width
FEW = {"class_attention_forward": 2, "class_attention_backward": 5}  # of queries x tokens x head width


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
    """Stands in for launch and gemm, and writes down what they would do."""

    def __init__(self):
        self.phase, self.done = "", []

    def add(self, kind, name, shape, read, written, flops=0):
        self.done.append(Work(self.phase, kind, name, shape, int(read), int(written), int(flops)))

    def launch(self, source, kernel, grid, block, args, shared_bytes=0):
        declared, template, _ = kernel_source.load(source).split(kernel)
        name, read, written, arrays = kernel.split("<")[0], 0, 0, []
        parameters = declared.bind(template)
        given = {p.name: value for p, value in zip(parameters, args, strict=True)}
        for p in parameters:
            x = given[p.name]
            if not p.pointer or x is None:
                continue
            if p.const or p.name in UPDATED.get(name, ()):
                read += x.nbytes * READ.get((name, p.name), lambda a: 1)(given)
            if not p.const:
                written += x.nbytes * WRITTEN.get((name, p.name), lambda a: 1)(given)
            arrays.append(x)
        self.add("kernel", kernel, text(arrays[0].shape), read, written, _flops(name, arrays))

    def gemm(self, a, b, out, beta=0.0):
        (M, K), N = a.shape, b.shape[1]
        shape = f"{M} x {K} x {N}"
        read = a.size * a.itemsize + b.size * b.itemsize + (out.nbytes if beta else 0)
        into = "float32" if out.dtype == np.float32 else "16 bits"
        self.add(
            "product", f"to {into}{', added' if beta else ''}", shape, read, out.size * out.itemsize, 2 * M * K * N
        )
        return out


def _flops(name, arrays):
    """Multiplications and additions of a launch's products; what other arithmetic it has is not counted."""
    if name in PRODUCTS:
        B, N, width = arrays[0].shape  # qkv
        return 2 * PRODUCTS[name] * B * N * N * width // 3
    if name in FEW:
        (B, P, C), tokens = arrays[0].shape, arrays[1].shape[1]  # q and kv
        return 2 * FEW[name] * B * P * tokens * C
    return 0


def text(shape):
    return " x ".join(map(str, shape))


@contextmanager
def recording():
    """-> Recorder; meanwhile no kernel runs, nothing is multiplied, and large arrays stay untouched memory."""
    with dry_run.recording(Recorder()) as r, np.errstate(all="ignore"):
        yield r


def step(config, batch, dtype):
    """-> list of Work of one training step: forward and loss, backward, Adam with clipping, gradients back to zero"""
    model = AST(config, "emulator", seed=None, dtype=dtype)
    x = np.zeros((batch, config.frames, config.mel_bins), np.float32)
    y = np.zeros((batch, config.classes), np.float32)
    adam = cuda.Adam(model.w.flat)
    model.copy_to_update()  # as in every step but the first: the optimizer has written the copy
    with recording() as r:
        r.phase = "forward"
        backward = model._head_backward

        def then_backward(*args):
            r.phase = "backward"
            return backward(*args)

        model._head_backward = then_backward
        model.loss_and_grad(x, y, wait=False)
        r.phase = "update"
        adam.clipped_step(model.dw.flat, 1e-3, 1.0, model.copy_to_update())
        r.add("array code", "gradients to zero", text(model.dw.flat.shape), 0, model.dw.flat.nbytes)
    return r.done


def room(config, batch, dtype):
    """The memory of the step, in words: the arena, planned from the shapes, and what lies beside it."""
    model = AST(config, "emulator", None, dtype)
    shapes = (batch, config.frames, config.mel_bins), (batch, config.classes)
    x, y = (np.empty(shape, np.float32) for shape in shapes)
    kept, again = (_planned(model, x, y, recompute) for recompute in (False, True))
    weights = model.w.flat.size * (4 * 4 + 2)
    return (
        f"Memory: {weights / 2**30:.2f} GiB for weights, gradients, two moments and the 16-bit copy, and "
        f"{kept / 2**30:.2f} GiB of planned memory for everything else ({again / 2**30:.2f} GiB with `--recompute`)."
    )


def _planned(model, x, y, recompute):
    model.activation_checkpointing = recompute
    return planned(model._step, (x, y), ("bce", 1.0)).bytes


def table(done):
    """Markdown: equal work of a phase together, in the order of first appearance; what is below `LEAST` in one row."""
    bytes_, flops = sum(w.read + w.written for w in done), sum(w.flops for w in done)
    lines = [
        "| phase | what | on (M x K x N of a product) | times | MB read | MB written | GFLOP |",
        "| --- | --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for phase in dict.fromkeys(w.phase for w in done):
        part, small = [w for w in done if w.phase == phase], []
        for w, n in Counter(part).items():
            if n * (w.read + w.written) < LEAST * bytes_ and n * w.flops < LEAST * flops:
                small += [w] * n
                continue
            name = f"`{w.name}`" if w.kind == "kernel" else f"{w.kind}: {w.name}"
            lines.append(f"| {phase} | {name} | {w.shape} | {n} | {_numbers(n, [w])} |")
        if small:
            lines.append(f"| {phase} | smaller ones | | {len(small)} | {_numbers(1, small)} |")
        lines.append(f"| **{phase}** | all | | {len(part)} | {_numbers(1, part)} |")
    lines.append(f"| **step** | all | | {len(done)} | {_numbers(1, done)} |")
    return "\n".join(lines)


def _numbers(n, works):
    read, written, flops = (n * sum(getattr(w, k) for w in works) for k in ("read", "written", "flops"))
    return f"{read / 1e6:.1f} | {written / 1e6:.1f} | {f'{flops / 1e9:.1f}' if flops else ''}"


def main(argv=None):
    p = cli.Parser("bench launches", __doc__)
    p.add_argument("--preset", default="base", help="default base")
    p.add_argument("--frames", type=int, default=1024, help="default 1024")
    p.add_argument("--batch", type=int, default=32, help="default 32")
    p.add_argument("--dtype", default="bfloat16", choices=HALF_DTYPES, help="default bfloat16")
    p.add_argument("--readme", action="store_true", help="write the table into kernels/README.md")
    args = p.parse_args(argv)
    if args.batch < 1:
        raise cli.Error(f"--batch is {args.batch}: it must be at least 1.")
    config = ModelConfig.preset(args.preset, frames=args.frames, prefix_tokens=2)
    done = step(config, args.batch, args.dtype)
    note = (
        f"Counted from shapes, not measured: {args.preset}, batch {args.batch}, {config.tokens} tokens, {args.dtype}. "
        "Each array counts once; what a kernel reads again comes on top where it is no longer in the L2 cache."
    )
    text = f"{note}\n\n{table(done)}\n\n{room(config, args.batch, args.dtype)}"
    if args.readme:
        write_between(kernel_source.folder() / "README.md", MARKERS, text)
    else:
        print(text)
    return 0
