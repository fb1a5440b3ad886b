"""What an image transformer's weights need before they take spectrograms: patch filters for one channel, positions.

Pure functions of arrays. How positions are cut and stretched is in minast/positions.py, which checkpoints use as well.
Source: AST, section 2.2, and the official code (src/models/ast_models.py). Where the two differ the default is the
code, since its checkpoints were made with it.
"""

from math import isqrt

import numpy as np

from ..config import PATCH
from ..errors import Error
from ..positions import adapt_positions, cut_middle, resize_grid, split_positions, stretch

RGB = ("sum", "mean")


def merge_rgb(filters: np.ndarray, how: str = "sum") -> np.ndarray:
    """Colour filters -> filters for one channel, flattened.   filters (D, C, 16, 16) -> (D, 256)

    how "sum" (the official code): w = sum_c w_c. A convolution is linear, sum_c w_c * x = (sum_c w_c) * x, so this is
    EXACTLY the colour model applied to three identical channels. how "mean" (the paper's text): a third of that for
    C = 3. The patches then enter three times weaker relative to bias and positions, as if the features had been divided
    by 6 std instead of 2 std, and fine-tuning has to undo it first. Filters with a single channel are unchanged either
    way. Raises minast.Error for another patch size.
    """
    if how not in RGB:
        raise Error(f'rgb is {how!r}: it must be "sum" (the official code) or "mean" (the paper).')
    if filters.ndim != 4 or filters.shape[2:] != (PATCH, PATCH):
        raise Error(f"the patch filters are {filters.shape}: minast's patches are 16 x 16, (D, channels, 16, 16).")
    merged = filters.sum(axis=1) if how == "sum" else filters.mean(axis=1)
    return merged.reshape(len(filters), PATCH * PATCH)


def square_grid(rows: int, prefix: int) -> tuple[int, int]:
    """The square grid of a ViT's positions: (g, g) with g^2 = rows - prefix.

    Raises minast.Error with the counts if that is not a square: with the wrong number of prefix tokens every position
    would be shifted by one, and nothing else would show it.
    """
    g = isqrt(max(rows - prefix, 0))
    if g == 0 or g * g != rows - prefix:
        raise Error(
            f"the positions have {rows} rows: less {prefix} of the prefix token{'s' * (prefix != 1)} that is "
            f"{rows - prefix}, which is not a square grid (a ViT has 1 + g x g rows, a distilled DeiT 2 + g x g)."
        )
    return g, g


__all__ = [
    "RGB",
    "adapt_positions",
    "cut_middle",
    "merge_rgb",
    "resize_grid",
    "split_positions",
    "square_grid",
    "stretch",
]
