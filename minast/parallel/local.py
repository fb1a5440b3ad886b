"""Ranks on this machine that the first one starts itself (`--workers`): Python's multiprocessing, and no MPI.

Arrays pass through windows in shared memory, one for each rank: all write to their own, and when all have, all read
what they need of the others'. What is small goes through pipes to rank 0, which tells everyone what all have said.
"""

import contextlib
import multiprocessing
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from multiprocessing import connection
from typing import Any, NamedTuple

import numpy as np

from .. import threads
from ..console import early, signals
from ..errors import Error, in_words, reason
from .collectives import Progress
from .group import Elsewhere
from .processes import ProcessGroup
from .watch import GRACE, Watch

WINDOW = 2**22  # bytes of each rank: what is passed on in one go
ANSWER = 60.0  # seconds in which rank 0 must hear of an error: longer than a step
FAILED = b"\1"  # the first byte of a message to rank 0: a rank has failed, and why; else it is 0


class Board:
    """What all ranks share: two windows for each, and whether any has failed. Rank 0 hands it to those that it starts.

    Two, so that one may be written while the other is still being read: window n + 2 is written when all have written
    n + 1, and so have read n.
    """

    def __init__(self, context: Any, size: int):
        self.size, self.memory, self.failed = size, context.RawArray("b", 2 * size * WINDOW), context.RawValue("b", 0)

    def window(self, number: int, rank: int, dtype: np.dtype, n: int) -> np.ndarray:
        """The first n elements of the window of this number of a rank."""
        return np.frombuffer(self.memory, dtype, n, WINDOW * (2 * rank + number % 2))


class Line(NamedTuple):
    """Rank 0 and another: one pipe for what they say, another for where they are in sums, which go on meanwhile."""

    words: connection.Connection
    meetings: connection.Connection

    def close(self) -> None:
        """Here; the other end then notices."""
        self.words.close()
        self.meetings.close()


class LocalGroup(ProcessGroup):
    """Rank 0 and the processes that it has started, or one of these.

    lines: to ranks 1, 2 ... on rank 0, else the one to rank 0. processes: on rank 0, those of the others.
    """

    def __init__(self, board: Board, rank: int, lines: Sequence[Line], processes: Sequence[Any] = ()):
        self.board, self.processes = board, list(processes)
        self.pipes, self.links = [line.words for line in lines], [line.meetings for line in lines]
        self.rank = self.local_rank = rank
        self.size = self.local_size = board.size
        self.flag = f" --workers {self.size}"
        self.passed = 0  # windows
        self.watch = None  # until all are known
        self.progress = Progress(lambda request: next(request, True))
        numbers = [int(word) for word in self.talk(str(os.getpid()).encode())]
        self.watch = Watch(self, dict(enumerate(numbers)))

    # -- arrays: requests are generators that yield False until they are done --------------------------------------

    def _sum(self, part):
        def take(s, windows):
            np.add(windows[0], windows[1], out=part[s])
            for window in windows[2:]:
                part[s] += window

        return self._pass(part, slice(0, part.size), take)

    def _sum_scatter(self, part, cut, own):
        def take(s, windows):
            found, there = common(s, cut[self.rank])
            own[there] = sum(window[found] for window in windows)

        return self._pass(part, slice(0, part.size), take)

    def _exchange(self, part, cut, rows):
        def take(s, windows):
            found, there = common(s, cut[self.rank])
            for row, window in zip(rows, windows, strict=True):
                row[there] = window[found]

        return self._pass(part, slice(0, part.size), take)

    def _spread(self, part, cut):
        def take(s, windows):
            for piece, window in zip(cut, windows, strict=True):
                found, there = common(s, piece)
                part[piece][there] = window[found]

        return self._pass(part, cut[self.rank], take)

    def _pass(self, part: np.ndarray, shown: slice, take: Callable) -> Generator[bool, None, None]:
        """Show `shown` of a flat array to all, as much as fits a window at a time; then take(place, all windows)."""
        step = WINDOW // part.itemsize
        for start in range(0, part.size, step):
            s = slice(start, min(part.size, start + step))
            windows = [self.board.window(self.passed, i, part.dtype, s.stop - s.start) for i in range(self.size)]
            self.passed += 1
            found, there = common(s, shown)
            windows[self.rank][found] = part[shown][there]
            yield from self._meet()
            take(s, windows)

    def _meet(self) -> Generator[bool, None, None]:
        """Until all ranks have come here. That the system carries the word keeps what was written before it."""
        with self._nobody_is_gone():
            for link in self.links:
                if self.rank:
                    link.send_bytes(b"here")
                while not link.poll():
                    yield False
                link.recv_bytes()
            for link in self.links if not self.rank else ():
                link.send_bytes(b"all are here")

    def wait(self, begun: Sequence[Any]) -> None:
        """See `Group`. Raises Elsewhere if another rank has failed, and will never come to its part of a sum."""
        self.progress.wait(begun, self._hear)

    # -- small things ----------------------------------------------------------------------------------------------

    def talk(self, message: bytes, local: bool = False) -> list[bytes]:
        """See `Group`."""
        with self._nobody_is_gone():
            if self.rank:
                self.pipes[0].send_bytes(b"\0" + message)
                return [self.pipes[0].recv_bytes() for _ in range(self.size)]
            said = {0: message} | dict(self._heard())
            said = [said[rank] for rank in range(self.size)]
            for pipe in self.pipes:
                for each in said:
                    pipe.send_bytes(each)
            return said

    def broadcast(self, array: np.ndarray) -> None:
        """See `Group`."""
        flat = array.reshape(-1)
        cut = [slice(0, 0 if rank else flat.size) for rank in range(self.size)]
        self.wait([self._begin(iter([self._spread(flat, cut)]))])

    def collect(self, own: np.ndarray, lengths: Sequence[int]) -> np.ndarray | None:
        """See `Group`."""
        own = np.ascontiguousarray(own)
        with self._nobody_is_gone():
            if self.rank:
                self.pipes[0].send_bytes(b"\0" + own.tobytes())
                return None
            others = {rank: np.frombuffer(word, own.dtype) for rank, word in self._heard()}
            return np.concatenate([own, *(others[rank] for rank in range(1, self.size))])

    def _heard(self) -> Iterator[tuple[int, bytes]]:
        """On rank 0, what each of the others says, as it comes: (rank, words). Raises Elsewhere for a failed one."""
        left = {pipe: rank for rank, pipe in enumerate(self.pipes, 1)}
        while left:
            for pipe in connection.wait(list(left)):
                word = pipe.recv_bytes()
                if word[:1] == FAILED:
                    raise Elsewhere(word[1:].decode("utf-8", "replace"))
                yield left.pop(pipe), word[1:]

    def _hear(self):
        if not self.rank and self.board.failed.value:
            list(self._heard())  # others may be in the same sum, and silent: whoever has failed is not

    @contextlib.contextmanager
    def _nobody_is_gone(self):
        """A pipe ends when its process does: `watch` then ends this process as well, and says why."""
        try:
            yield
        except (EOFError, OSError):
            if self.watch is None:
                self._not_begun()
            if not self.rank and self.watch.ended.is_set():
                raise  # this process has ended the others itself
            time.sleep(2 * GRACE)
            if not self.rank:
                self.say(f"minast: a process was lost, and the run ends. {self.watch.farewell()}")
            self.abort(2)

    def _not_begun(self):
        if self.rank:
            os._exit(2)
        hint = (
            ""
            if early.is_the_program()
            else ' A script must be a file, and call this below `if __name__ == "__main__"`.'
        )
        raise Error(f"one of the {self.size} processes ended before it could begin.{hint}") from None

    # -- the end ---------------------------------------------------------------------------------------------------

    def leave(self) -> None:
        """All ranks are done: from now on nobody minds if one of them is gone."""
        self.watch.stop()
        with contextlib.suppress(EOFError, OSError):
            self.barrier()

    def failed(self, sentence: str) -> None:
        """Of a rank that is not the first: tell rank 0, which says it to the user and ends all others.

        Where rank 0 does not hear it for ANSWER seconds, in a sum on a GPU, this rank says it, and ends; so all end.
        """
        self.board.failed.value = 1
        with contextlib.suppress(EOFError, OSError):
            self.pipes[0].send_bytes(FAILED + sentence.encode("utf-8", "replace"))
        self.stay(ANSWER)
        self.say(f"minast: {sentence}")
        os._exit(2)

    def stay(self, seconds: float | None = None) -> None:
        """Until rank 0 ends this process, or is gone, or for so many seconds."""
        try:
            while self.pipes[0].poll(seconds):
                self.pipes[0].recv_bytes()
        except (EOFError, OSError):
            os._exit(2)

    def abort(self, status: int) -> None:
        """End all ranks at once: those that rank 0 does not end itself notice that it is gone."""
        for process in self.processes:
            process.kill()
        if self.rank:
            time.sleep(GRACE / 4)  # so that others find rank 0 gone, and not this one as well
        os._exit(status)


def common(window: slice, piece: slice) -> tuple[slice, slice]:
    """Where a window of an array and a piece of it overlap: as a slice of the window, and of the piece."""
    start = max(window.start, piece.start)
    n = max(0, min(window.stop, piece.stop) - start)
    return tuple(slice(start - s.start, start - s.start + n) if n else slice(0, 0) for s in (window, piece))


@contextlib.contextmanager
def started(size: int, life: Callable[[LocalGroup], object]) -> Iterator[LocalGroup]:
    """A group of this process, as rank 0, and of size - 1 others that are started now, each of which runs life(group).

    They share the threads of this process. life: what can be pickled. Raises minast.Error if one cannot begin.
    """
    if multiprocessing.current_process().daemon:
        raise Error("this process was started as a daemon, which may not start others: leave --workers out.")
    lines, processes = [], []
    with threads.fixed():
        try:
            group = _begun(size, life, lines, processes)
            try:
                yield group
                group.leave()
            finally:
                group.watch.stop()
                group.progress.stop()
        finally:
            for process in processes:
                process.kill()
                process.join()
            for line in lines:
                line.close()


def _begun(size, life, lines, processes):
    """Start them: adds to `lines` and `processes`.   -> the group"""
    context, count = multiprocessing.get_context("spawn"), max(1, threads.count() // size)  # a fork copies held locks
    threads.set_count(count)
    try:
        board = Board(context, size)
        with signals.held_back():
            for rank in range(1, size):
                here, there = map(Line, *(context.Pipe() for _ in Line._fields))
                lines.append(here)
                process = context.Process(target=_live, args=(board, rank, there, count, life), daemon=True)
                process.start()
                processes.append(process)
                there.close()  # so that a pipe ends when the process does
        return LocalGroup(board, 0, lines, processes)
    except OSError as error:
        raise Error(f"{size} processes cannot be started here: {reason(error)}. Use fewer --workers.") from None
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):  # the terminal may be gone
            print(
                "Stopped while the processes were starting: nothing was done yet. Run the same command again.",
                flush=True,
            )
        raise


def _live(board, rank, line, count, life):
    from tqdm import tqdm

    signals.ignore()  # those of a terminal come to all processes: rank 0 tells the others
    tqdm.set_lock(threading.RLock())  # its own one is for several processes, and would be left behind
    threads.set_count(count)
    group = LocalGroup(board, rank, [line])
    try:
        life(group)
        group.leave()
    except KeyboardInterrupt:  # all ranks have agreed to stop
        group.stay()
    except (Error, OSError, MemoryError) as error:
        group.failed(in_words(error))
    except BaseException as error:
        traceback.print_exc(file=sys.__stderr__)
        group.failed(f"process {rank + 1} of {group.size}: {reason(error)}.")
