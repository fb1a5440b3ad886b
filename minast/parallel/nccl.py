"""Ranks through NCCL, one process a GPU: arrays of CuPy. What is small goes through MPI, or pipes.

Everything is queued on a stream of its own, which waits for the kernels before it; so sums over ranks are computed
while the backward pass goes on, and the host waits for nothing.
"""

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import Error
from ..layers import Array
from .collectives import Begun, Ranks
from .group import Group

VISIBLE = "CUDA_VISIBLE_DEVICES"
WHERE = "pip install nvidia-nccl-cu13, or nvidia-nccl-cu12 for CUDA 12"


def pick_device(group: Group) -> None:
    """Leave this process the one GPU that its place on the machine says; to be called before CUDA is used.

    It is done by CUDA_VISIBLE_DEVICES, since all threads of a process heed it. Where that names one GPU already, as
    launchers do for each process, or fewer than there are processes, nothing changes.
    """
    there = [name for name in os.environ.get(VISIBLE, "").replace(" ", "").split(",") if name]
    if not there:
        os.environ[VISIBLE] = str(group.local_rank)
    elif len(there) >= max(2, group.local_size):
        os.environ[VISIBLE] = there[group.local_rank]


class NcclGroup(Ranks):
    """The ranks of `group`, with arrays on this process's GPU.

    Raises minast.Error if NCCL is not there, or two ranks share a GPU.
    """

    def __init__(self, group: Any, xp: Any):
        try:
            from cupy.cuda import nccl
        except ImportError:
            nccl = None
        if nccl is None or not nccl.available:  # CuPy's module is there without the library, and empty
            raise Error(f"several processes on GPUs need NCCL, which cannot be loaded: {WHERE}.")
        self.group, self.xp, self.nccl = group, xp, nccl
        self.rank, self.size = group.rank, group.size
        self.local_rank, self.local_size = group.local_rank, group.local_size
        token = np.array(nccl.get_unique_id() if not self.rank else [0] * 128, np.int64)
        group.broadcast(token)
        try:
            self.comm = nccl.NcclCommunicator(self.size, tuple(token.tolist()), self.rank)
        except nccl.NcclError as error:
            raise Error(f"NCCL does not connect the {self.size} processes: {error}. Is there a GPU for each?") from None
        self.stream = xp.cuda.Stream(non_blocking=True)
        self.types = {np.dtype(np.float32): nccl.NCCL_FLOAT32, np.dtype(np.float64): nccl.NCCL_FLOAT64}

    def __getattr__(self, name):  # talk, gather, leave, watch ...
        return getattr(self.__dict__["group"], name)

    def talk(self, message: bytes, local: bool = False) -> list[bytes]:
        """See `Group`."""
        return self.group.talk(message, local)

    def collect(self, own: np.ndarray, lengths: Sequence[int]) -> np.ndarray | None:
        """See `Group`."""
        return self.group.collect(own, lengths)

    def broadcast(self, array: Array) -> None:
        """See `Group`; also of an array on the GPU."""
        host = array if isinstance(array, np.ndarray) else array.get()
        self.group.broadcast(host)
        if host is not array:
            array.set(host)

    # -- arrays ----------------------------------------------------------------------------------------------------

    def _begin(self, steps):
        """Queue all of it: to the stream a request is done when it is made."""
        self.stream.wait_event(self.xp.cuda.get_current_stream().record())
        with self.stream:
            begun = Begun(steps)
            begun.advance(lambda request: True)
        begun.event = self.stream.record()
        return begun

    def wait(self, begun: Sequence[Any]) -> None:
        """See `Group`: the stream that computes waits, not the host."""
        for each in begun:
            self.xp.cuda.get_current_stream().wait_event(each.event)

    def _sum(self, part):
        n, kind = part.size, self.types[part.dtype]
        self.comm.allReduce(part.data.ptr, part.data.ptr, n, kind, self.nccl.NCCL_SUM, self.stream.ptr)
        return part

    def _sum_scatter(self, part, cut, own):
        kind, add, stream = self.types[part.dtype], self.nccl.NCCL_SUM, self.stream.ptr
        if len({s.stop - s.start for s in cut}) == 1:
            self.comm.reduceScatter(part.data.ptr, own.data.ptr, own.size, kind, add, stream)
            return own
        with self._together():
            for root, s in enumerate(cut):
                if s.stop > s.start:
                    self.comm.reduce(part[s].data.ptr, own.data.ptr, s.stop - s.start, kind, add, root, stream)
        return own

    def _exchange(self, part, cut, rows):
        char, stream = self.nccl.NCCL_CHAR, self.stream.ptr
        with self._together():
            for other, s in enumerate(cut):
                if s.stop > s.start:
                    self.comm.send(part[s].data.ptr, part[s].nbytes, char, other, stream)
                if rows.shape[1]:
                    self.comm.recv(rows[other].data.ptr, rows[other].nbytes, char, other, stream)
        return rows

    def _spread(self, part, cut):
        char, stream = self.nccl.NCCL_CHAR, self.stream.ptr
        with self._together():
            for root, s in enumerate(cut):
                if s.stop > s.start:
                    self.comm.broadcast(part[s].data.ptr, part[s].data.ptr, part[s].nbytes, char, root, stream)
        return part

    def _together(self):
        return _Together(self.nccl)


class _Together:
    """Calls that NCCL runs as one."""

    def __init__(self, nccl):
        self.nccl = nccl

    def __enter__(self):
        self.nccl.groupStart()

    def __exit__(self, *_):
        self.nccl.groupEnd()
