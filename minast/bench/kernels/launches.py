"""What a training step in 16 bits asks of a GPU: every launch and product, with its bytes and its arithmetic.

  python -m minast.bench launches             base, 10 s, batch 32, bfloat16, Adam; needs no GPU and runs no kernel
  python -m minast.bench launches --readme    writes the table into kernels/README.md

The step's own code runs on arrays of the right shapes that are never filled: launches and products are recorded instead
of executed. Bytes are the minimum: each array once, read, written or both. The step is the learner's, whose gradients
overwrite those of the step before. The few operations of the head that are array code are left out.
"""

from collections import Counter

import numpy as np

from ... import cli, cuda
from ...backend import HALF_DTYPES
from ...config import PRESETS, ModelConfig
from ...console.arguments import MANY, whole
from ...gpu.executor import planned
from ...model import AST
from .. import readme
from .recorder import Work, recording

LEAST = 5e-4  # the share of a step's bytes or arithmetic above which work has a row of its own


def step(config: ModelConfig, batch: int, dtype: str) -> list[Work]:
    """[Work, ...] of one training step: forward and loss, backward, Adam with gradient clipping."""
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
        model.loss_and_grad(x, y, wait=False, add=False)
        r.phase = "update"
        adam.clipped_step(model.dw.flat, 1e-3, 1.0, model.copy_to_update())
    return r.done


def memory(config: ModelConfig, batch: int, dtype: str) -> str:
    """A sentence on the memory of the step: the arena, planned from the shapes, and what is allocated outside of it."""
    model = AST(config, "emulator", None, dtype)
    shapes = (batch, config.frames, config.mel_bins), (batch, config.classes)
    x, y = (np.empty(shape, np.float32) for shape in shapes)
    kept, again = (_planned(model, x, y, checkpointing) for checkpointing in (False, True))
    weights = model.w.flat.size * (4 * 4 + 2)
    return (
        f"Memory: {weights / 2**30:.2f} GiB for weights, gradients, two moments and the 16-bit copy, and "
        f"{kept / 2**30:.2f} GiB of planned memory for everything else "
        f"({again / 2**30:.2f} GiB with `--activation-checkpointing`)."
    )


def _planned(model, x, y, checkpointing):
    model.activation_checkpointing = checkpointing
    return planned(model._step, (x, y), (("x", "y"), "bce", 1.0, 0, True)).bytes


def table(done: list[Work]) -> str:
    """Markdown: a row for equal work of a phase, in the order of first appearance; one row for all below `LEAST`."""
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


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    p = cli.Parser("bench launches", __doc__)
    p.add_argument("--preset", choices=PRESETS, default="base", help="size of the model (default: base)")
    p.add_argument("--frames", type=whole(16, MANY), metavar="N", default=1024, help="frames of a clip (default: 1024)")
    p.add_argument("--batch", type=whole(1, MANY), metavar="N", default=32, help="clips in a batch (default: 32)")
    p.add_argument("--dtype", default="bfloat16", choices=HALF_DTYPES, help="compute dtype (default: bfloat16)")
    readme.add_flag(p)
    args = p.parse_args(argv)
    config = ModelConfig.preset(args.preset, frames=args.frames, prefix_tokens=2)
    done = step(config, args.batch, args.dtype)
    note = (
        f"Counted from shapes, not measured: {args.preset}, batch {args.batch}, {config.tokens} tokens, {args.dtype}. "
        "Each array counts once; what a kernel reads again comes on top where it is no longer in the L2 cache."
    )
    text = f"{note}\n\n{table(done)}\n\n{memory(config, args.batch, args.dtype)}"
    readme.show_or_write("launches", text, args.readme)
    return 0
