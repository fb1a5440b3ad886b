"""What a case is, and the sizes of all of them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple


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
    def rows(self) -> tuple[int, int]:
        """(B N, H D): all tokens of all clips."""
        return self.B * self.N, self.H * self.D


REAL, TOY = Sizes(), Sizes(2, 2, 50, 16, 46, 32, 7, 3001)


class Case(NamedTuple):
    """One kernel's job.

    call(), wanted(): the results of the kernel and of the reference, a tuple of arrays each. bytes: what one call must
    move, each input read once and each result written once. half(): the reference as a function to call, in float16;
    torch(torch): the same job in PyTorch, in this dtype; None where there is none.
    """

    name: str
    call: Callable
    wanted: Callable
    bytes: int
    half: Callable | None = None
    torch: Callable | None = None


def versions(name: str, call: Callable, wanted: Callable, size: int, half: Callable, torch: Callable) -> Iterator[Case]:
    """The cases of a kernel's two versions. call: takes `version`; all else as in Case."""
    for version in (0, 1):
        yield Case(f"{name}, version {version}", partial(call, version=version), wanted, size, half, torch)
