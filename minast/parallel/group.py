"""What ranks can do together: one small interface, and the group of a process that is alone."""

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import Error
from ..layers import Array

# What launchers tell their processes: Open MPI; MPICH, Intel MPI and srun --mpi=pmi2; MVAPICH; srun, also without any
# MPI, which would be that many runs of their own. A batch script of Slurm has no step, and is one process.
SIZES = ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE", "MV2_COMM_WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
GRID = 2**12  # elements: where a flat array may be cut between ranks, counted from its upper end


class Elsewhere(Error):
    """Another rank has failed, and says why."""


class Group:
    """A process that is alone; the groups of several have the same methods, and do something.

    rank: 0 ... size - 1. local_rank, local_size: among the ranks on this machine. All ranks must call the same methods
    in the same order. Arrays are changed in place. wire: "float32" sends numbers as they are, "bfloat16" rounds float32
    to bfloat16 for the way; sums are in float32. fixed: sums are ((a + b) + (c + d)) over the ranks, whatever their
    number; otherwise the library decides. `begin_*` returns at once, `wait` when the result is there.
    """

    rank = local_rank = 0
    size = local_size = 1
    flag = ""  # the flag that starts as many processes again; "" under a launcher
    thread: int | None = None  # the only thread that sees this group; None: all

    # -- arrays of the model, of any size --------------------------------------------------------------------------

    def begin_all_reduce(self, part: Array, wire: str = "float32", fixed: bool = False) -> Any:
        """part (n,) becomes its sum over all ranks."""

    def begin_reduce_scatter(self, part: Array, wire: str = "float32", fixed: bool = False) -> Any:
        """part (n,): the piece of each rank, `pieces(n, size)[rank]`, becomes its sum; the rest is undefined."""

    def begin_all_gather(self, part: Array) -> Any:
        """part (n,): every rank has its own piece of it, and gets those of all others."""

    def wait(self, begun: Sequence[Any]) -> None:
        """Until all of these are done; on a GPU, work that is queued from now on comes after them."""

    def on(self, xp: Any) -> "Group":
        """The same ranks for arrays of NumPy or CuPy. On GPUs all ranks must call it at the same time."""
        return self

    # -- small things ----------------------------------------------------------------------------------------------

    def talk(self, message: bytes, local: bool = False) -> list[bytes]:
        """What every rank says, in their order; local: those on this machine. Raises Elsewhere if one has failed."""
        return [message]

    def gather(self, numbers: Sequence[float]) -> np.ndarray:
        """The numbers of every rank.   (k,) -> (size, k) float64"""
        own = np.asarray(numbers, np.float64)
        return np.stack([np.frombuffer(each) for each in self.talk(own.tobytes())])

    def total(self, numbers: Sequence[float]) -> list[float]:
        """Their exact sums over the ranks, rounded once: the order of ranks does not matter.   (k,) -> k floats"""
        return [math.fsum(column) for column in self.gather(numbers).T]

    def barrier(self, local: bool = False) -> None:
        """Wait for all ranks, or for those on this machine."""
        self.talk(b"", local)

    def broadcast(self, array: np.ndarray) -> None:
        """Every rank's array gets the numbers of rank 0's."""

    def collect(self, own: np.ndarray, lengths: Sequence[int]) -> np.ndarray | None:
        """The arrays of all ranks, one after the other, on rank 0; None elsewhere.   lengths: of each rank's"""
        return own

    def shared(self, make: Callable[[], str]) -> str:
        """make() of rank 0, on all ranks: for what must not happen twice, such as choosing a folder."""
        found = self.talk(make().encode("utf-8", "surrogateescape") if not self.rank else b"")[0]
        return found.decode("utf-8", "surrogateescape")

    def farewell(self, words: Callable[[], str]) -> None:
        """What to say beside which rank was lost, if one is."""


SINGLE = Group()


def pieces(n: int, size: int) -> list[slice]:
    """range(n) cut among `size` ranks, at multiples of GRID from its end: whose are which.   -> a slice each

    Within blocks of GRID from the end nothing is cut, so sums over such blocks are the same for any number of ranks.
    """
    blocks = -(-n // GRID)
    edges = [max(0, n - GRID * (blocks - blocks * i // size)) for i in range(size)] + [n]
    return [slice(a, b) for a, b in pairwise(edges)]


def share_of(clips: int, rank: int, size: int) -> slice:
    """Which of `clips` in a row are a rank's."""
    return slice(clips * rank // size, clips * (rank + 1) // size)
