"""What a pass of the model has to do and to keep, counted from its shape: what time and memory should grow with."""

from .. import fast
from ..config import ModelConfig
from ..params import flat_size, shapes

PATCH_VALUES = 256  # 16 x 16, of which the first linear layer keeps a row for each patch
WHOLE, LEAN = 16, 10  # values for each token and channel that a block keeps; from fast.RECOMPUTE_WIDTH on the latter
PRUNED = 4  # the same of the last block, which computes the prefix tokens alone: its input, normed, keys and values
PRODUCTS, ATTENTION = 3, 3.5  # forward and backward together, in forward passes
COPIES = 4  # in training: weights, gradients, and Adam's two moments


def flops(c: ModelConfig) -> int:
    """Multiplications and additions in the products of one clip's forward pass. The last block is pruned."""
    T, P, D = c.tokens, c.prefix_tokens, c.dim
    block = 2 * T * 12 * D * D + 4 * T * T * D
    last = 2 * T * 2 * D * D + 2 * P * 10 * D * D + 4 * P * T * D
    return 2 * (T - P) * PATCH_VALUES * D + (c.depth - 1) * block + last


def attention_flop(c: ModelConfig) -> int:
    """Multiplications and additions in q k^T and p v of one clip's forward pass: the share that is quadratic in T."""
    T, P, D = c.tokens, c.prefix_tokens, c.dim
    return 4 * T * D * ((c.depth - 1) * T + P)


def forward_flop(c: ModelConfig, batch: int) -> float:
    """Those in all products of a forward pass."""
    return batch * flops(c)


def step_flop(c: ModelConfig, batch: int) -> float:
    """Those of a forward and a backward pass.

    Backward, a linear layer has two products for its one, attention five for its two: the scores are made again. What
    an optimizer does is not counted.
    """
    quadratic = attention_flop(c)
    return batch * (PRODUCTS * (flops(c) - quadratic) + ATTENTION * quadratic)


def largest_part(c: ModelConfig, batch: int) -> int:
    """Clips that are computed together: a large batch goes through the model in parts, as `AST` cuts it."""
    parts = max(1, min(batch, -(-batch * c.tokens * c.dim // fast.BATCH_ELEMENTS)))
    return -(-batch // parts)


def kept(c: ModelConfig) -> int:
    """Bytes of float32 that a clip's forward pass keeps for the backward pass."""
    values = LEAN if c.dim >= fast.RECOMPUTE_WIDTH else WHOLE
    patches = PATCH_VALUES * (c.tokens - c.prefix_tokens)
    return 4 * (c.tokens * c.dim * ((c.depth - 1) * values + PRUNED) + patches)


def weights(c: ModelConfig) -> int:
    """Bytes of the weights in float32."""
    return 4 * flat_size(shapes(c), "float32")


def forward_bytes(c: ModelConfig, batch: int) -> int:
    """Bytes that a forward pass needs: weights, inputs, and what one block holds while it works."""
    return weights(c) + _inputs(c, batch) + largest_part(c, batch) * _working(c)


def step_bytes(c: ModelConfig, batch: int) -> int:
    """Bytes that a training step needs: as a forward pass, with gradients and moments, and all that blocks keep."""
    return COPIES * weights(c) + _inputs(c, batch) + largest_part(c, batch) * (kept(c) + _working(c))


def _inputs(c, batch):
    return 4 * batch * c.frames * c.mel_bins


def _working(c):
    """Bytes of one clip's arrays within a block, at their most: its input beside all that it makes of it."""
    return 4 * c.tokens * c.dim * (1 + WHOLE)
