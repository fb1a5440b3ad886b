"""Positional embeddings for another grid of patches: cut from the middle or stretched, one axis at a time.

Used when pretrained weights or a checkpoint are loaded for another length. Pure functions of arrays.
Source: AST, section 2.2, and the official code (src/models/ast_models.py).
"""

from math import prod

import numpy as np

from .errors import Error


def adapt_positions(
    pos: np.ndarray, prefix: int, grid: tuple[int, int], new_grid: tuple[int, int], cut: bool = True
) -> np.ndarray:
    """Positions for another grid; the rows of the prefix tokens stay as they are.   (P + f t, D) -> (P + f' t', D)

    prefix: P, the number of prefix tokens. grid: (f, t), patches along frequency and time; new_grid: (f', t').
    cut: take the middle of an axis that becomes shorter, as AST does; False: interpolate it.
    On the same grid `pos` itself is returned. Raises minast.Error if `pos` does not have P + f t rows.

        adapt_positions(pos, 1, (24, 24), (12, 101))        # of a ViT, (577, D) -> (1213, D)
    """
    first, rest = split_positions(pos, prefix, grid)
    if tuple(grid) == tuple(new_grid):
        return pos
    return np.concatenate([first, resize_grid(rest, new_grid, cut).reshape(-1, pos.shape[1])])


def split_positions(pos: np.ndarray, prefix: int, grid: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """Rows of the prefix tokens, and the rest as a grid.   pos (P + f t, D) -> (P, D), (f, t, D)"""
    if len(pos) != prefix + prod(grid):
        raise Error(
            f"the positions have {len(pos)} rows: {prefix} prefix + {grid[0]} x {grid[1]} patches need "
            f"{prefix + prod(grid)}."
        )
    return pos[:prefix], pos[prefix:].reshape(*grid, pos.shape[1])


def resize_grid(x: np.ndarray, grid: tuple[int, int], cut: bool = True) -> np.ndarray:
    """Cut from the middle where `grid` is smaller, stretched where it is larger.   x (f, t, D) -> (*grid, D)

    cut: False interpolates also where it is smaller. Each axis is treated by itself:
    a 24 x 24 ViT is cut in frequency and stretched in time to 12 x 101 patches.
    """
    for axis in (1, 0):  # time first, as the official code; the order does not change the result
        size = grid[axis]
        x = cut_middle(x, size, axis) if cut and size <= x.shape[axis] else stretch(x, size, axis)
    return x


def cut_middle(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """The middle `size` entries along `axis`, from n // 2 - size // 2 on: the official code's choice for odd sizes."""
    start = x.shape[axis] // 2 - size // 2
    return np.take(x, np.arange(start, start + size), axis)


def stretch(x: np.ndarray, size: int, axis: int) -> np.ndarray:
    """Linear interpolation to `size` entries along `axis`; pixel centres, corners not aligned, no antialiasing.

    Entry i is read at s = max((i + 1/2) n / size - 1/2, 0), between floor(s) and the next one (the last repeats):
    torch's interpolate(mode="bilinear", align_corners=False), one axis at a time (bilinear is separable).
    """
    n = x.shape[axis]
    at = np.maximum((np.arange(size) + 0.5) * (n / size) - 0.5, 0)
    low = np.minimum(at.astype(int), n - 1)
    high = np.minimum(low + 1, n - 1)
    share = (at - low).astype(x.dtype).reshape([-1 if a == axis % x.ndim else 1 for a in range(x.ndim)])
    return np.take(x, low, axis) * (1 - share) + np.take(x, high, axis) * share
