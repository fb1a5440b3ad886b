"""The grid of patches that a source's positions are on: as it says, as published, or a square.

An AST's positions are frequency by time; an image model's are a square. A file holds their number only.
"""

from math import prod

from ..config import ModelConfig, grid_shape
from ..errors import Error
from .adapt import square_grid
from .settings import GEOMETRY

# Strides and lengths that were published; no two of them give the same number of patches.
PUBLISHED = [(stride, frames) for stride in (10, 12, 14, 16) for frames in (1024, 512, 128)]


def find_grid(path, layout, settings, given=None):
    """-> (mel bins, frames and strides that make the source's grid, by name; (rows, columns))

    The grid is the one `given`, else what the source's settings say, else known by the number of positions. An image
    model's is a square and says nothing about mel bins, frames and strides: they are AST base's then.
    Raises minast.Error, with the counts, if none fits.
    """
    rows, prefix = layout.positions.shape[-2], layout.position_prefix
    geometry, why = {name: getattr(ModelConfig, name) for name in GEOMETRY}, "as source_grid says"
    try:
        if given is not None:
            grid = _pair(given)
            geometry = geometry_of(grid) if layout.audio else geometry
        elif not layout.audio:
            grid = square_grid(rows, prefix)
        elif len(settings.geometry) == len(GEOMETRY):
            geometry, grid = settings.geometry, grid_shape(**settings.geometry)
            why = (
                f"as {geometry['frames']} frames of {geometry['mel_bins']} mel bins at strides {geometry['fstride']} "
                f"and {geometry['tstride']} need"
            )
        else:
            grid = official_grid(rows - prefix)
            geometry = geometry_of(grid)
    except Error as error:
        raise Error(f"{path}: {error}") from None
    if rows != prefix + prod(grid):
        raise Error(
            f"{path}: the positions have {rows} rows, not {prefix} + {grid[0]} x {grid[1]} = {prefix + prod(grid)}, "
            f"{why}."
        )
    return geometry, grid


def official_grid(patches: int) -> tuple[int, int]:
    """The grid of an official AST by its number of patches.   -> (rows, columns)

    The published ones (strides 10, 12, 14, 16; 10.24, 5.12 and 1.28 s) all differ in it. Any other number must be whole
    columns of 12 rows, which is what 128 mel bins make at stride 10; minast.Error, with the counts, if it is not.
    """
    for stride, frames in PUBLISHED:
        grid = grid_shape(128, frames, stride, stride)
        if prod(grid) == patches:
            return grid
    rows = grid_shape(128, 16, 10, 10)[0]
    if patches < rows or patches % rows:
        raise Error(
            f"the positions are those of {patches} patches: that is not a published AST, nor whole columns of {rows} "
            "(128 mel bins at stride 10): say which grid they are on (source_grid=, --source-grid)."
        )
    return rows, patches // rows


def geometry_of(grid: tuple[int, int]) -> dict[str, int]:
    """Mel bins, frames and strides that make an official AST's grid; the shortest length for an unpublished one."""
    for stride, frames in PUBLISHED:
        if grid_shape(128, frames, stride, stride) == tuple(grid):
            return {"mel_bins": 128, "frames": frames, "fstride": stride, "tstride": stride}
    stride = next((s for s, _ in PUBLISHED if grid_shape(128, 16, s, s)[0] == grid[0]), 10)
    return {"mel_bins": 128, "frames": 16 + (grid[1] - 1) * stride, "fstride": stride, "tstride": stride}


def _pair(grid):
    """(rows, columns), if that is what was given."""
    if not isinstance(grid, (tuple, list)) or len(grid) != 2 or not all(isinstance(n, int) and n > 0 for n in grid):
        raise Error(f"source_grid is {grid!r}: it must be two whole numbers above 0, (rows, columns).")
    return tuple(grid)
