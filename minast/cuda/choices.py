"""Which version of attention a GPU runs: a table of what has been measured on it, and the default elsewhere.

`minast bench attention` times all versions that run on a device. A line is added here only from such a table, for the
kind of device and the head width that were measured.
"""

from typing import NamedTuple


class Choice(NamedTuple):
    """A version of the 16-bit kernels; of version 7 also how many warpgroups of a block compute."""

    version: int
    warpgroups: int | None = None


DEFAULT = Choice(6)
# (compute capability, head width, "forward" or "backward") -> the fastest; nothing has been measured yet
MEASURED: dict[tuple[str, int, str], Choice] = {}


def attention_choice(capability: str, width: int, way: str) -> Choice:
    """The Choice for 16-bit attention on a device of this compute capability ("90"), with heads of this width.

    way: "forward" or "backward".
    """
    return MEASURED.get((capability, width, way), DEFAULT)
