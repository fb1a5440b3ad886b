"""What a block keeps for the backward pass, in bytes for each token and channel: it decides how many clips fit.

Counted, not timed, and so the same without a GPU. Ours: planned memory of a training step of three layers less that of
two (gpu/memory.py), at base's width and 1214 tokens. Theirs: what autograd saves under autocast to bfloat16, each
piece of memory once, less the weights and their copies in 16 bits, which do not grow with the clips.
"""

from contextlib import contextmanager

import numpy as np

from ...config import ModelConfig
from ...gpu.executor import planned
from ...model import AST
from .. import twin
from ..table import Row, Skip

CLIPS = 2
NAME, THEIRS = "base, training step in bfloat16: kept for a block's backward", "transformers, autocast, SDPA"


def config(depth):
    return ModelConfig.preset("base", depth=depth, prefix_tokens=2, encoder_eps=1e-12, head_eps=1e-12)


def each(three, two):
    """Bytes a token and channel of one layer."""
    c = config(2)
    return (three - two) / (CLIPS * c.tokens * c.dim)


def ours(depth):
    c = config(depth)
    model = AST(c, "emulator", None, "bfloat16")
    x, y = np.empty((CLIPS, c.frames, c.mel_bins), np.float32), np.empty((CLIPS, c.classes), np.float32)
    return planned(model._step, (x, y), ("bce", 1.0)).bytes


@contextmanager
def saved(torch, weights):
    """-> {address: bytes} of all that autograd saves meanwhile and that grows with the clips."""
    from torch.autograd.graph import saved_tensors_hooks

    shapes, found = {tuple(w.shape) for w in weights} | {tuple(w.T.shape) for w in weights if w.ndim == 2}, {}

    def pack(t):
        if t.layout == torch.strided and tuple(t.shape) not in shapes:  # a weight, its copy in 16 bits, its transpose
            memory = t.untyped_storage()
            found[memory.data_ptr()] = memory.nbytes()
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        yield found


def theirs(depth):
    torch = twin.torch()
    module = twin.twin(AST(config(depth), "numpy", seed=0)).train()
    x = torch.zeros(CLIPS, 1024, 128)
    with saved(torch, list(module.parameters())) as found, torch.autocast("cpu", torch.bfloat16):
        loss = module(x).logits.float().sum()  # keeps the graph, and so the memory, until all is counted
        total = sum(found.values())
    del loss
    return total


def kept(rounds):
    row = Row(NAME, each(ours(3), ours(2)), "bytes", goal="0.8 of theirs", note="for each token and channel")
    try:
        row.theirs = each(theirs(3), theirs(2))
    except Skip as reason:
        row.note += f"; no comparison: {reason}"
        return [row]
    row.against, row.ratio = THEIRS, row.theirs / row.ours
    row.note += f"; {row.ours / row.theirs:.2f} of theirs"
    return [row]


ROWS = {"kept": kept}
