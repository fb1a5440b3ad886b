"""What a layout says: for every weight of minast, which arrays of the file it is made of, and how."""

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from ...config import MODEL, ModelConfig
from ...errors import Error
from ...storage.schema import Whole, checked
from ..readers import Tensors
from ..settings import Settings

BEFORE = re.compile(r"(^|[./])(norm_pre|ln_pre|pre_layrnorm|pre_norm)[./]")  # a norm of the patches, as CLIP has


@dataclass(frozen=True)
class Part:
    """An array of a file, or a slice of one in which all blocks are stacked.   -> rows of a weight

    source: its name. shape: the one it must have in the file. arrange: array -> minast's layout, linear weights being
    (out, in).
    """

    source: str
    shape: tuple[int, ...]
    arrange: Callable[[np.ndarray], np.ndarray] = lambda x: x
    block: int | None = None  # index on a leading axis, for big_vision's stacked blocks


@dataclass
class Layout:
    """A recognised file: its sizes, and `parts`: {weight of minast: [Part, ...]}, to be stacked along the first axis.

    The patch filters, arranged as (D, C, 16, 16), and the positions are separate, since they are adapted.
    """

    kind: str  # in words, for the report
    dim: int
    depth: int
    heads: int
    prefix_tokens: int
    patch: Part
    positions: Part
    position_prefix: int  # rows of the positions that belong to prefix tokens; 0 in big_vision, where [CLS] has none
    parts: dict[str, list[Part]] = field(default_factory=dict)
    head: bool = False  # the file has an audio head: the parts have mlp_head.*
    audio: bool = False  # the positions are on an AST's grid, not on a square
    classes: int = 0
    eps: float = 1e-6  # of the encoder's layer norms
    head_eps: float = 1e-5
    gelu: str = "erf"
    config: ModelConfig | None = None  # of a minast checkpoint: fields that nothing below the loader asks for stay
    settings: Settings | None = None  # what the file itself says about labels and features
    assumed: list[str] = field(default_factory=list)  # what was taken for granted, for the report

    def all_parts(self) -> list[Part]:
        """Every array of the file that a weight is made of."""
        return [self.patch, self.positions, *(part for parts in self.parts.values() for part in parts)]

    def lowest_blocks(self, depth: int) -> "Layout":
        """The same without the blocks from number `depth` on, counted from 0."""
        kept = {name: parts for name, parts in self.parts.items() if block_of(name) < depth}
        config = self.config and replace(self.config, depth=depth)
        return replace(self, depth=depth, parts=kept, config=config)

    def check(self, file: Tensors) -> None:
        """Raises minast.Error that names the first array that is missing or has another shape."""
        wanted = self.all_parts()
        missing = [part.source for part in wanted if part.source not in file]
        if missing:
            raise Error(
                f"{file.path}: read as {self.kind}, {len(missing)} of {len(wanted)} arrays are missing, the first is "
                f"{missing[0]!r}."
            )
        for part in wanted:
            if file.shapes[part.source] != part.shape:
                raise Error(
                    f"{file.path}: the array {part.source!r} has shape {file.shapes[part.source]}: {self.kind} of "
                    f"width {self.dim} and depth {self.depth} with {self.heads} heads needs {part.shape}."
                )

        if stray := self.stray(file):
            raise Error(
                f"{file.path}: read as {self.kind}, it has {stray[0]!r}, which has no place in minast's model: that "
                "would compute something else."
            )

    def stray(self, file: Tensors) -> list[str]:
        """Arrays that no weight is made of where they change what is computed: in a block, or before the first one."""
        sources = {}
        for name, parts in self.parts.items():
            sources.setdefault(block_of(name), []).extend(part.source for part in parts if part.block is None)
        blocks = tuple(os.path.commonprefix(found) for i, found in sources.items() if i >= 0 and found)
        return [name for name in self.ignored(file) if name.startswith(blocks) or BEFORE.search(name)]

    def ignored(self, file: Tensors) -> list[str]:
        """Names of the arrays that no weight is made of."""
        used = {part.source for part in self.all_parts()}
        return [name for name in file.shapes if name not in used]


def block_of(name: str) -> int:
    """The number of the block that a weight of minast belongs to, from 0; -1 outside of blocks."""
    return int(name.split(".")[1]) if name.startswith("blocks.") else -1


def fetch(file: Tensors, part: Part) -> np.ndarray:
    """The array of a part, arranged."""
    array = file.read(part.source)
    return part.arrange(array if part.block is None else array[part.block])


def fill(view: np.ndarray, file: Tensors, parts: list[Part], xp=np) -> None:
    """Copy the parts into a weight, one below the other; only one array of the file is in memory at a time.

    xp: the array module of `view`, NumPy or CuPy.
    """
    at = 0
    for part in parts:
        array = fetch(file, part)
        view[at : at + len(array)] = xp.asarray(array)
        at += len(array)
    assert at == len(view)


# -- for layouts ---------------------------------------------------------------------------------------------------


def shape_of(file, name):
    """Shape of an array that the layout needs. Raises minast.Error if it is missing."""
    if name not in file:
        raise Error(f"{file.path}: the array {name!r} is missing.")
    return file.shapes[name]


CHANNELS = Whole(1, 64)


def size(file, name, value, kind=None):
    """A number of a shape, if a model can have it.   name: a field of ModelConfig, or with `kind` any other"""
    try:
        return checked(kind or MODEL[name], value, name)
    except Error as error:
        raise Error(f"{file.path}: by the shapes of its arrays, {error}") from None


def count_blocks(file, prefix, suffix):
    """How many of prefix0suffix, prefix1suffix, ... there are, without a gap."""
    depth = 0
    while f"{prefix}{depth}{suffix}" in file:
        depth += 1
    if depth == 0:
        raise Error(f"{file.path}: the array {f'{prefix}0{suffix}'!r} is missing: there is no first block.")
    return size(file, "depth", depth)


def split_heads(file, dim, heads=None):
    """Number of heads: as given, else by heads of width 64, which all published ViT, DeiT and AST models have."""
    if heads is not None:
        checked(MODEL["heads"], heads, "heads")
    if heads is None and dim % 64:
        raise Error(
            f"{file.path}: the model's width is {dim}, which is not a multiple of 64, the width of a head in published "
            "models: say how many heads it has (heads=, --heads)."
        )
    heads = heads or dim // 64
    if dim % heads:
        raise Error(
            f"{file.path}: the model's width is {dim}, which is not a multiple of its {heads} heads: give the right "
            "number (heads=, --heads)."
        )
    return heads
