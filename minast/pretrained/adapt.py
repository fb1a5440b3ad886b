"""Adaptation: what an image transformer's weights need before they hear. Pure functions of arrays, one a step.

Source of the steps: AST, section 2.2, and the official code (src/models/ast_models.py). Where paper and code differ the
default is the code, since its checkpoints were made with it.
"""

from math import isqrt, prod

import numpy as np

from ..config import PATCH
from ..errors import Error

RGB = ("sum", "mean")


def merge_rgb(filters, how="sum"):
    """Colour filters -> filters for one channel, flattened.   filters (D, C, 16, 16) -> (D, 256)

    how "sum" (the official code): w = sum_c w_c. A convolution is linear, sum_c w_c * x = (sum_c w_c) * x, so this is
    EXACTLY the colour model fed with three identical channels. how "mean" (the paper's text): a third of that for
    C = 3. The patches then enter three times weaker against bias and positions, as if the features had been divided by
    6 std instead of 2 std, and fine-tuning has to undo it first. Filters that have one channel already come out
    as they are, either way. Raises minast.Error for another patch size.
    """
    if how not in RGB:
        raise Error(f'rgb is {how!r}: it must be "sum" (the official code) or "mean" (the paper).')
    if filters.ndim != 4 or filters.shape[2:] != (PATCH, PATCH):
        raise Error(f"the patch filters are {filters.shape}: minast's patches are 16 x 16, (D, channels, 16, 16).")
    merged = filters.sum(axis=1) if how == "sum" else filters.mean(axis=1)
    return merged.reshape(len(filters), PATCH * PATCH)


def square_grid(rows, prefix, what="the positions"):
    """Sides of a ViT's square grid, (g, g) with g^2 = rows - prefix.

    Raises minast.Error with the counts where it does not come out whole: a row taken for a prefix token that is none
    would shift every position by one, without any other sign.
    """
    g = isqrt(max(rows - prefix, 0))
    if g == 0 or g * g != rows - prefix:
        raise Error(
            f"{what} have {rows} rows: less {prefix} of the prefix token{'s' * (prefix != 1)} that is {rows - prefix}, "
            "which is no square grid (a ViT has 1 + g x g rows, a distilled DeiT 2 + g x g)."
        )
    return g, g


def split_positions(pos, prefix, grid):
    """Rows of the prefix tokens, and the rest as a grid.   pos (P + f t, D) -> (P, D), (f, t, D)"""
    if len(pos) != prefix + prod(grid):
        raise Error(
            f"the positions have {len(pos)} rows: {prefix} prefix + {grid[0]} x {grid[1]} patches need "
            f"{prefix + prod(grid)}."
        )
    return pos[:prefix], pos[prefix:].reshape(*grid, pos.shape[1])


def cut_middle(x, size, axis):
    """The middle `size` entries, from n // 2 - size // 2 on: the official code's centre, for odd sizes too."""
    start = x.shape[axis] // 2 - size // 2
    return np.take(x, np.arange(start, start + size), axis)


def stretch(x, size, axis):
    """Linear interpolation to `size` entries; pixel centres, no corners aligned, no antialiasing.

    Entry i is read at s = max((i + 1/2) n / size - 1/2, 0), between floor(s) and the next one (the last repeats):
    torch's interpolate(mode="bilinear", align_corners=False), one axis at a time (bilinear is separable).
    """
    n = x.shape[axis]
    at = np.maximum((np.arange(size) + 0.5) * (n / size) - 0.5, 0)
    low = np.minimum(at.astype(int), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = (at - low).astype(x.dtype).reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share


def resize_grid(x, grid):
    """Cut from the middle where `grid` is smaller, stretched where it is larger.   x (f, t, D) -> (*grid, D)

    Per axis: frequency may be cut while time is stretched, as for a 24 x 24 ViT and 12 x 101 patches.
    """
    for axis in (1, 0):  # time first, as the official code; the order does not change the result
        size = grid[axis]
        x = cut_middle(x, size, axis) if size <= x.shape[axis] else stretch(x, size, axis)
    return x


def adapt_positions(pos, prefix, grid, new_grid):
    """Positions for another grid; the prefix tokens' rows stay as they are.   (P + f t, D) -> (P + f' t', D)

    Raises minast.Error where `pos` does not have P + f t rows.
    """
    first, rest = split_positions(pos, prefix, grid)
    if tuple(grid) == tuple(new_grid):
        return pos
    return np.concatenate([first, resize_grid(rest, new_grid).reshape(-1, pos.shape[1])])
