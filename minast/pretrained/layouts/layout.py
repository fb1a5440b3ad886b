"""What a layout says: for every weight of minast, which arrays of the file it is made of, and how."""

from dataclasses import dataclass, field

import numpy as np

from ...errors import Error


@dataclass(frozen=True)
class Part:
    """One array of a file, or a slice of one that has all blocks stacked.   -> rows of a weight

    source: its name. shape: what it must have there. arrange: its numbers -> minast's layout, linear weights (out, in).
    """

    source: str
    shape: tuple
    arrange: callable = lambda x: x
    block: int | None = None  # index on a leading axis, for big_vision's stacked blocks


@dataclass
class Layout:
    """A recognised file: its sizes, and `parts`: {weight of minast: [Part, ...]}, stacked along the first axis.

    The patch filters are kept apart, as (D, C, 16, 16), and so are the positions: they are what gets adapted.
    """

    kind: str  # in words, for the report
    dim: int
    depth: int
    heads: int
    prefix_tokens: int
    patch: Part
    positions: Part
    position_prefix: int  # rows of the positions that belong to prefix tokens; 0 in big_vision, which gives [CLS] none
    parts: dict = field(default_factory=dict)
    head: bool = False  # an audio head comes with it: the parts have mlp_head.*
    audio: bool = False  # positions on an AST's grid, not on a square
    classes: int = 0
    eps: float = 1e-6  # of the encoder's layer norms
    head_eps: float = 1e-5
    gelu: str = "erf"

    def all_parts(self):
        return [self.patch, self.positions, *(part for parts in self.parts.values() for part in parts)]

    def check(self, file):
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
                    f"{file.path}: the array {part.source!r} has shape {file.shapes[part.source]}: {self.kind} "
                    f"{self.dim} wide, {self.depth} deep, with {self.heads} heads needs {part.shape}."
                )

    def ignored(self, file):
        """Names of arrays that no weight is made of."""
        used = {part.source for part in self.all_parts()}
        return [name for name in file.shapes if name not in used]


def fetch(file, part):
    """The numbers of a part, arranged."""
    array = file.read(part.source)
    return part.arrange(array if part.block is None else array[part.block])


def fill(view, file, parts, xp=np):
    """Copy the parts into a weight, one under the other: one array of the file is in memory at a time."""
    at = 0
    for part in parts:
        array = fetch(file, part)
        view[at : at + len(array)] = xp.asarray(array)
        at += len(array)
    assert at == len(view)


def shape_of(file, name):
    """Shape of an array that the layout cannot do without. Raises minast.Error where it is missing."""
    if name not in file:
        raise Error(f"{file.path}: the array {name!r} is missing.")
    return file.shapes[name]


def count_blocks(file, prefix, suffix):
    """How many of prefix0suffix, prefix1suffix, ... there are, without a gap."""
    depth = 0
    while f"{prefix}{depth}{suffix}" in file:
        depth += 1
    if depth == 0:
        raise Error(f"{file.path}: the array {prefix}0{suffix!r} is missing: there is no first block.".replace("'", ""))
    return depth


def split_heads(file, dim, heads=None):
    """Number of heads: as told, else by heads 64 wide, which all published ViT, DeiT and AST models have."""
    if heads is not None and heads < 1:
        raise Error(f"heads is {heads}: a model has at least 1.")
    if heads is None and dim % 64:
        raise Error(
            f"{file.path}: the model is {dim} wide, which is no multiple of 64, a head's width in published models: "
            "say how many heads it has (heads=, --heads)."
        )
    heads = heads or dim // 64
    if dim % heads:
        raise Error(
            f"{file.path}: the model is {dim} wide, which is no multiple of its {heads} heads: give their right number "
            "(heads=, --heads)."
        )
    return heads
