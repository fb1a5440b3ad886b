"""What one block keeps for the backward pass, in bytes per token and channel: it decides how many clips fit.

Counted, not timed, and so the same without a GPU. Ours: planned memory of a training step of three layers minus that of
two (`minast.gpu.memory`), at base's width and 1214 tokens. Theirs: what autograd saves under autocast to bfloat16, each
storage once, without the weights and their 16-bit copies, which do not grow with the batch.
"""

import numpy as np

from ...config import ModelConfig
from ...gpu.executor import planned
from ...model import AST
from ..libraries import errors_as_skips
from ..pytorch import runtime
from ..pytorch.memory import saved_for_backward
from ..pytorch.twin import SETTINGS, twin
from ..row import Row, Skip

CLIPS = 2
NAME, THEIRS = "base, training step in bfloat16: kept for a block's backward", "transformers, autocast, SDPA"


def config(depth: int) -> ModelConfig:
    """The base model with so many blocks."""
    return ModelConfig.preset("base", depth=depth, **SETTINGS)


def per_number(three: float, two: float) -> float:
    """Bytes per token and channel of one block, from the bytes of three blocks and of two."""
    c = config(2)
    return (three - two) / (CLIPS * c.tokens * c.dim)


def ours(depth: int) -> int:
    """Planned bytes of our training step."""
    c = config(depth)
    model = AST(c, "emulator", None, "bfloat16")
    x, y = np.empty((CLIPS, c.frames, c.mel_bins), np.float32), np.empty((CLIPS, c.classes), np.float32)
    return planned(model._step, (x, y), (("x", "y"), "bce", 1.0, 0, True)).bytes


def theirs(depth: int) -> int:
    """Bytes that autograd saves in transformers' forward pass. Raises Skip without PyTorch."""
    torch = runtime.with_transformers()
    module = twin(AST(config(depth), "numpy", seed=0)).train()
    x = torch.zeros(CLIPS, 1024, 128)
    with saved_for_backward(torch, list(module.parameters())) as found, torch.autocast("cpu", torch.bfloat16):
        loss = module(x).logits.float().sum()  # holds the graph, and so the memory, until all is counted
        total = sum(found.values())
    del loss
    return total


def kept(rounds: int) -> list[Row]:
    """The row of what a block keeps, in bytes; rounds is not used."""
    row = Row(NAME, per_number(ours(3), ours(2)), "bytes", goal="0.8 of theirs", note="for each token and channel")
    try:
        with errors_as_skips():
            row.theirs = per_number(theirs(3), theirs(2))
    except Skip as reason:
        row.note += f"; no comparison: {reason}"
        return [row]
    row.against, row.ratio = THEIRS, row.theirs / row.ours
    row.note += f"; {row.ours / row.theirs:.2f} of theirs"
    return [row]
