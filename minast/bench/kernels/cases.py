"""What a case of the kernels' benchmark is, and at what sizes they are run."""

from dataclasses import dataclass
from typing import Any, NamedTuple


@dataclass(frozen=True)
class Sizes:
    """B clips, H heads of width D, N tokens, T frames, F mel bins, K classes, `weights` numbers for Adam."""

    B: int = 32
    H: int = 12
    N: int = 1214
    D: int = 64
    T: int = 1024
    F: int = 128
    K: int = 527
    weights: int = 87_000_000

    @property
    def rows(self):
        return self.B * self.N, self.H * self.D


REAL, TOY = Sizes(), Sizes(2, 2, 50, 16, 46, 32, 7, 3001)


class Case(NamedTuple):
    """call() and wanted(): the kernel's and the reference's results, a tuple of arrays each; bytes of one call.

    half(), torch(torch): the same job on the stored numbers, in float16 by layers.py, in all types by torch; each
    returns what is to be called.
    """

    name: str
    call: Any
    wanted: Any
    bytes: int
    half: Any = None
    torch: Any = None
