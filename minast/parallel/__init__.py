"""Training and scoring with several processes: on the cores of one machine, on its GPUs, on many machines.

    python -m minast.train my_sounds/ --workers 2
    mpiexec -n 4 python -m minast.train my_sounds/

Each process ("rank") has the whole model and a part of every batch; gradients are added over all ranks in each step.
`group` says what ranks can do together, `collectives` how, `local`, `mpi` and `nccl` through what. `gradients` adds
while the backward pass still runs, `optimizer` has one gradient norm for all ranks and may divide Adam's moments among
them, `watch` notices a lost rank, `scaling` predicts the time of a step. README.md is for users.

Nothing of this is imported by a process that was started on its own.
"""

import contextlib
import os
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from .. import threads
from ..console.say import complain
from ..errors import Error, in_words
from .group import SINGLE, SIZES, Elsewhere, Group

STARTED = "PMIX_RANK"  # srun --mpi=pmix
_joined: list[Group] = []
_spreading = threading.Lock()  # one at a time, of several threads: all have one environment, and one number of threads


def world() -> Group:
    """The ranks that this process works with: those of `joined`, or of this thread's `spread`; else it alone."""
    return next((g for g in reversed(_joined) if g.thread in (None, threading.get_ident())), SINGLE)


def launched() -> bool:
    """Whether a launcher such as mpiexec started this process as one of several, as far as its environment tells."""
    sizes = [os.environ[name] for name in SIZES if name in os.environ]
    return any(size != "1" for size in sizes) if sizes else STARTED in os.environ


@contextlib.contextmanager
def joined() -> Iterator[Group]:
    """Within it, `world()` is all processes that mpiexec or srun has started together; a process alone stays alone.

    All ranks must enter it, and do the same in it. Rank 0 speaks: what others print is dropped. An error on any rank
    ends all of them, after one sentence, with exit status 2. Raises minast.Error if MPI cannot be used, or knows of no
    other process.
    """
    if _joined or not launched():
        yield world()
        return
    from .mpi import connect

    group = connect()
    _joined.append(group)
    try:
        with silent() if group.rank else contextlib.nullcontext(), settled(group):
            yield group
        group.leave()
    except Elsewhere:
        group.leave()
        raise SystemExit(2) from None
    except (Error, OSError, MemoryError) as error:
        if group.failed(in_words(error)):
            complain(in_words(error))
        group.leave()  # nobody ends before it is said: launchers end all as soon as one does
        raise SystemExit(2) from None
    except KeyboardInterrupt as stopped:
        group.failed("stopped")
        group.finalize()  # the command ends without the rest of Python, which would do it
        if group.rank:
            raise SystemExit(getattr(stopped, "status", 130)) from None
        raise
    except SystemExit:
        group.leave()
        raise
    except BaseException:
        traceback.print_exc(file=sys.__stderr__)
        group.abort(1)
    finally:
        _joined.remove(group)


def spread(work: Callable[[Any], Any], argument: Any, workers: int) -> Any:
    """work(argument) by this process and workers - 1 others that it starts, as ranks.   -> what it returns here

    They share this process's threads. Both are sent to them, so they must be what can be pickled. Raises minast.Error
    if there are several ranks already, and what work raises, on any rank.
    """
    if workers == 1:
        return work(argument)
    if world().size > 1:
        raise Error(f"--workers {workers} is for one process, and there are {world().size} already: leave it out.")
    from .local import started

    life = partial(_live, work, argument)
    with _spreading, started(workers, life) as group:
        return life(group)


def _live(work, argument, group):
    from .nccl import VISIBLE, pick_device

    before = os.environ.get(VISIBLE)
    pick_device(group)
    group.thread = threading.get_ident()
    _joined.append(group)
    try:
        with silent() if group.rank else contextlib.nullcontext():
            return work(argument)
    finally:
        _joined.remove(group)
        os.environ.pop(VISIBLE, None) if before is None else os.environ.update({VISIBLE: before})


@contextlib.contextmanager
def settled(group: Group) -> Iterator[None]:
    """Within it each rank has its part of this machine: a GPU, and its share of the cores if no number was asked for.

    A rank that the launcher has bound to some cores shares them with those that are bound to the same.
    """
    from .nccl import pick_device

    pick_device(group)
    asked = os.environ.get(threads.VARIABLE)
    if asked is None and hasattr(os, "sched_getaffinity"):
        cores = repr(sorted(os.sched_getaffinity(0))).encode()
        threads.set_count(max(1, len(os.sched_getaffinity(0)) // group.talk(cores, local=True).count(cores)))
    try:
        yield
    finally:
        if asked is None:
            os.environ.pop(threads.VARIABLE, None)


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within it, nothing that is printed appears."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
