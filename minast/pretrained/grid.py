"""The grid of patches that a source's positions are on: as it says, as published, or a square.

An AST's positions are frequency by time; an image model's are a square. A file holds their number only.
"""

from math import prod

from ..config import ModelConfig, grid_shape
from ..errors import Error
from .adapt import square_grid
from .settings import GEOMETRY

# (stride, frames) of 128 mel bins that were published, by name; no two of them give the same number of patches.
# Source: the official code, README.md ("Pretrained Models") and egs/esc50/run_esc.sh.
PUBLISHED = {
    (10, 1024): "AudioSet",  # 12 x 101 patches
    (12, 1024): "AudioSet at stride 12",  # 10 x 85
    (14, 1024): "AudioSet at stride 14",  # 9 x 73
    (16, 1024): "AudioSet at stride 16",  # 8 x 64
    (10, 512): "ESC-50",  # 12 x 50
    (10, 128): "Speech Commands V2",  # 12 x 12
}


def find_grid(path, layout, settings, given=None):
    """-> (mel bins, frames and strides that make the source's grid, by name; (rows, columns); [what was assumed])

    The grid is the one `given`, else what the source's settings say, else that of the published AST with as many
    positions. An image model's is a square and says nothing about mel bins, frames and strides: they are AST base's
    then. Raises minast.Error, with the counts, if none fits.
    """
    rows, prefix, assumed = layout.positions.shape[-2], layout.position_prefix, []
    geometry, why = {name: getattr(ModelConfig, name) for name in GEOMETRY}, "as grid says"
    try:
        if given is not None:
            grid = _pair(given)
            if layout.audio:
                geometry = geometry_of(grid)
                assumed.append(f"{in_words(geometry)}: a grid of {grid[0]} x {grid[1]} alone does not tell")
        elif not layout.audio:
            grid = square_grid(rows, prefix)
        elif len(settings.geometry) == len(GEOMETRY):
            geometry, grid = settings.geometry, grid_shape(**settings.geometry)
            why = (
                f"as {geometry['frames']} frames of {geometry['mel_bins']} mel bins at strides {geometry['fstride']} "
                f"and {geometry['tstride']} need"
            )
        else:
            grid, name = published_grid(rows - prefix)
            geometry = geometry_of(grid)
            assumed.append(
                f"a grid of {grid[0]} x {grid[1]} patches, {in_words(geometry)}: so many positions has the published "
                f"AST for {name} (see grid=, --grid)"
            )
    except Error as error:
        raise Error(f"{path}: {error}") from None
    if rows != prefix + prod(grid):
        raise Error(
            f"{path}: the positions have {rows} rows, not {prefix} + {grid[0]} x {grid[1]} = {prefix + prod(grid)}, "
            f"{why}."
        )
    return geometry, grid, assumed


def published_grid(patches: int) -> tuple[tuple[int, int], str]:
    """The grid of a published AST by its number of patches.   -> ((rows, columns), its name)

    Raises minast.Error for any other number: a wrong grid would show nowhere.
    """
    for (stride, frames), name in PUBLISHED.items():
        grid = grid_shape(128, frames, stride, stride)
        if prod(grid) == patches:
            return grid, name
    raise Error(
        f"its positions are those of {patches} patches, and no published AST has so many: say which grid they are on, "
        "as rows x columns (grid=(12, 101), --grid 12x101)."
    )


def geometry_of(grid: tuple[int, int]) -> dict[str, int]:
    """Mel bins, frames and strides that make an AST's grid; the shortest length for an unpublished one."""
    for stride, frames in PUBLISHED:
        if grid_shape(128, frames, stride, stride) == tuple(grid):
            return {"mel_bins": 128, "frames": frames, "fstride": stride, "tstride": stride}
    stride = next((s for s in (10, 12, 14, 16) if grid_shape(128, 16, s, s)[0] == grid[0]), 10)
    mel_bins = 128 if grid_shape(128, 16, stride, stride)[0] == grid[0] else 16 + (grid[0] - 1) * stride
    return {"mel_bins": mel_bins, "frames": 16 + (grid[1] - 1) * stride, "fstride": stride, "tstride": stride}


def in_words(geometry: dict[str, int]) -> str:
    """ "1024 frames of 128 mel bins at stride 10" """
    return "{frames} frames of {mel_bins} mel bins at stride {fstride}".format(**geometry)


def _pair(grid):
    """(rows, columns), if that is what was given."""
    if not isinstance(grid, (tuple, list)) or len(grid) != 2 or not all(isinstance(n, int) and n > 0 for n in grid):
        raise Error(f"grid is {grid!r}: it must be two whole numbers above 0, (rows, columns).")
    return tuple(grid)
