"""Training and scoring with several processes: on the cores of one machine, on its GPUs, on many machines.

    mpiexec -n 4 python -m minast.train my_sounds/

Each process ("rank") has the whole model and a part of every batch; gradients are added over all ranks in each step.
`group` says what ranks can do together, `collectives` how, `mpi` and `nccl` through which library. `gradients` adds
while the backward pass still runs, `optimizer` has one gradient norm for all ranks and may divide Adam's moments among
them, `watch` notices a lost rank, `scaling` predicts the time of a step. README.md is for users.

Nothing of this is imported by a process that was started on its own.
"""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator

from .. import threads
from ..console.say import complain
from ..errors import Error, reason
from .group import SINGLE, SIZES, Elsewhere, Group

STARTED = "PMIX_RANK"  # srun --mpi=pmix
_joined: list[Group] = []


def world() -> Group:
    """The ranks that this process works with: those of `joined`, else this process alone."""
    return _joined[-1] if _joined else SINGLE


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
        sentence = error if isinstance(error, Error) else in_words(error)
        if group.failed(str(sentence)):
            complain(sentence)
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


def in_words(error: OSError | MemoryError) -> str:
    """What a full disk or memory, or a file that is gone, has to say."""
    if isinstance(error, MemoryError):
        return f"out of memory ({error}): use a smaller model or batch, or fewer processes."
    return f"{error.filename or 'a file or stream'}: {error.strerror or reason(error)}."


@contextlib.contextmanager
def silent() -> Iterator[None]:
    """Within it, nothing that is printed appears."""
    with (
        open(os.devnull, "w", encoding="utf-8") as nowhere,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
    ):
        yield
