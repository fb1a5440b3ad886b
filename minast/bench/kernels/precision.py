"""How far gradients computed in TF32 or 16 bits are from those in float32, tensor by tensor.

  python -m minast.bench precision             the nano model, on the GPU if there is one, else in the emulator
  python -m minast.bench precision --readme    writes the table into kernels/README.md

Fresh weights, built-in sounds, cross-entropy. For tensors that every block has: the median block and the worst.
"""

import re

import numpy as np

from ... import cli
from ...backend import KERNELS_ONLY, why_no_gpu
from ...config import PRESETS, ModelConfig
from ...console.arguments import MANY, whole
from ...datasets.synthetic import generate
from ...features import log_mel, normalise, pad_or_trim
from ...model import AST
from .. import readme


def measured(backend: str, preset: str, frames: int, clips: int) -> tuple[dict, dict[str, float], int]:
    """Gradients of one batch in TF32 and in 16 bits against float32, same backend.   -> (gaps, losses, tokens)

    gaps: {dtype: {name: |difference| / |gradient in float32|}}; losses: {dtype: relative difference}; tokens of a clip.
    """
    config = ModelConfig.preset(preset, frames=frames, classes=len(generate.LABELS))
    sounds = [generate.clip(i, seed=0) for i in range(clips)]
    mels = np.stack([pad_or_trim(log_mel(wave), frames) for wave, _ in sounds])
    x, y = normalise(mels, mels.mean(), mels.std()), np.array([target for _, target in sounds])
    plain = AST(config, backend)
    loss, _ = plain.loss_and_grad(x, y, "ce")
    wanted = {name: plain.numpy(dw) for name, dw in plain.dw.items()}
    gaps, losses = {}, {}
    for dtype in KERNELS_ONLY:
        model = AST(config, backend, dtype=dtype)
        scale = 2.0**10 if dtype == "float16" else 1.0  # a power of two: it keeps small gradients in float16's range
        losses[dtype] = abs(model.loss_and_grad(x, y, "ce", scale=scale)[0] - loss) / loss
        gaps[dtype] = {
            name: float(np.linalg.norm(model.numpy(model.dw[name]) / scale - dw) / np.linalg.norm(dw))
            for name, dw in wanted.items()
        }
    return gaps, losses, config.tokens


def table(gaps: dict[str, dict[str, float]]) -> str:
    """Markdown, a row per tensor; those of all blocks share one.   gaps: as from `measured`"""
    rows = {}
    for name in next(iter(gaps.values())):
        rows.setdefault(re.sub(r"blocks\.\d+\.", "blocks.*.", name), []).append(name)
    lines = [
        f"| gradient of | {' | '.join(f'{d}: median | worst' for d in gaps)} |",
        "| --- |" + " ---: |" * 2 * len(gaps),
    ]
    for row, names in rows.items():
        cells = [f"{f([gaps[d][n] for n in names]):.1e}" for d in gaps for f in (np.median, max)]
        lines.append(f"| `{row}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    p = cli.Parser("bench precision", __doc__)
    p.add_argument("--preset", choices=PRESETS, default="nano", help="size of the model (default: nano)")
    p.add_argument("--frames", type=whole(16, MANY), metavar="N", default=64, help="frames of a clip (default: 64)")
    p.add_argument("--clips", type=whole(1, MANY), metavar="N", default=4, help="clips in the batch (default: 4)")
    readme.add_flag(p)
    args = p.parse_args(argv)
    backend = "emulator" if why_no_gpu() else "cuda"
    gaps, losses, tokens = measured(backend, args.preset, args.frames, args.clips)
    note = (
        f"|dtype - float32| / |float32|, each gradient as one vector; {args.preset}, {args.clips} built-in sounds of "
        f"{tokens} tokens, backend {backend}. The loss differs by "
        f"{', '.join(f'{losses[d]:.1e} in {d}' for d in losses)}."
    )
    text = f"{note}\n\n{table(gaps)}"
    readme.show_or_write("precision", text, args.readme)
    return 0
