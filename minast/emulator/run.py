"""Runs a CUDA kernel on the CPU: `emulation` sets how, `run` does it and raises an exception for what goes wrong."""

import ctypes
import functools
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import Error
from ..gpu.kernel_source import Parameter, Source
from . import build as emulator_build
from . import counters
from .report import Report

ORDERS = {"forward": 0, "reverse": 1, "random": 2}
INSTRUCTIONS = ("ptx.cuh", "hopper.cuh", "wgmma.cuh")  # the line of interest is their caller's
GUARDS = {False: 0, None: 0, True: 1, "end": 1, "start": 2}


@dataclass(frozen=True)
class Modes:
    """Settings of the emulator; see `emulation`."""

    guard: bool | str = True
    order: str = "forward"
    seed: int = 0
    workers: int = 0
    debug: bool = False
    report: Report | bool | None = None


DEFAULT = Modes()
_modes = ContextVar("minast_emulation", default=DEFAULT)


@contextmanager
def emulation(**modes: Any) -> Iterator[Modes | Report]:
    """Within this context, changes how kernels are emulated; settings that are not named stay unchanged.

    guard: True or "end": each array ends at an unreadable page, and an access beyond it raises IndexError; "start":
      each array begins after one, at its own address modulo 16. Both also check alignment, as strictly as the array's
      own, and the bounds of local and static shared arrays. False: kernels use the arrays themselves, unchecked: 1.4
      times as fast, measured on the tests' kernels.
    order: "forward", "reverse" or "random": the order of threads, warps and blocks, and when asynchronous copies happen
      (as late as possible, at once, at random). A data race changes results in one of them.
    seed: of the random order.  workers: OS threads, 0 for one per CPU.
    debug: compile without optimisation, for stepping through the kernel with gdb (best with workers=1).
    report: True counts what each launch does, per source line (report.py), and gives the Report to `as`; kernels are
      compiled for it once more, always checked, and run ten to a hundred times slower. Launches in contexts inside of
      this one are counted too.

    Raises minast.Error for an unknown value, TypeError for an unknown name.

        with emulation(order="random", seed=3):
            launch(...)
    """
    if modes.get("report") is True:
        modes["report"] = Report()
    wanted = replace(_modes.get(), **modes)
    if not (wanted.report is None or wanted.report is False or isinstance(wanted.report, Report)):
        raise Error(f"report is {wanted.report!r}: it must be True or False")
    if wanted.order not in ORDERS:
        raise Error(f"order is {wanted.order!r}: it must be one of {', '.join(ORDERS)}")
    if wanted.guard not in GUARDS:
        raise Error(f"guard is {wanted.guard!r}: it must be True, False, 'end' or 'start'")
    if not 0 <= wanted.workers <= 64:
        raise Error(f"workers is {wanted.workers}: it must be 0 (one per CPU) to 64")
    token = _modes.set(wanted)
    try:
        yield wanted.report if isinstance(modes.get("report"), Report) else wanted
    finally:
        _modes.reset(token)


# The structures of kernels/emulator/report.h.
class _Argument(ctypes.Structure):
    _fields_ = (("value", ctypes.c_void_p), ("bytes", ctypes.c_int64), ("element", ctypes.c_int32),
                ("writable", ctypes.c_int32))  # fmt: skip


class _Report(ctypes.Structure):
    _fields_ = (("kind", ctypes.c_int32), ("block", ctypes.c_uint32 * 3), ("thread", ctypes.c_uint32 * 3),
                ("argument", ctypes.c_int32), ("access", ctypes.c_int32), ("offset", ctypes.c_int64),
                ("pc", ctypes.c_uint64), ("caller", ctypes.c_uint64), ("text", ctypes.c_char * 3072))  # fmt: skip


class _Launch(ctypes.Structure):
    _fields_ = (("grid", ctypes.c_uint32 * 3), ("block", ctypes.c_uint32 * 3), ("shared_bytes", ctypes.c_int64),
                ("workers", ctypes.c_int32), ("order", ctypes.c_int32), ("guard", ctypes.c_int32),
                ("arguments", ctypes.c_int32), ("seed", ctypes.c_uint64), ("argument", ctypes.POINTER(_Argument)),
                ("report", ctypes.POINTER(_Report)), ("printed", ctypes.c_void_p),
                ("printed_capacity", ctypes.c_int64), ("printed_bytes", ctypes.c_int64),
                ("dropped_calls", ctypes.c_int64), ("dropped_bytes", ctypes.c_int64),
                ("patient", ctypes.c_int32))  # fmt: skip


_lock = threading.Lock()  # one launch at a time: the process has one set of signal handlers and stacks
_functions: dict = {}
_PRINT_BYTES = 1 << 20


class _Function(NamedTuple):
    library: ctypes.CDLL
    path: Path
    entry: int
    sizes: int


def run(
    source: Source,
    name: str,
    parameters: Sequence[Parameter],
    grid: tuple[int, int, int],
    block: tuple[int, int, int],
    values: Sequence[Any],
    shared_bytes: int,
) -> None:
    """Run the kernel `name`; values: NumPy arrays, None, or scalars of the declared types. Raises as `launch` does.

    What the kernel prints goes to sys.stdout. Ctrl-C stops the launch with KeyboardInterrupt; if the program has a
    SIGINT handler of its own, that one is called first, and only a second Ctrl-C stops the launch.
    """
    modes = _modes.get()
    runtime, counted = _runtime(), isinstance(modes.report, Report)
    function = _function(source, name, counted or GUARDS[modes.guard] != 0, modes.debug, counted)
    arguments = (_Argument * max(1, len(values)))()
    kept = []
    for argument, parameter, value in zip(arguments, parameters, values, strict=True):
        if parameter.pointer:
            size = value.nbytes if value is not None else 0
            element = value.itemsize if value is not None else 1
            pointer = value.ctypes.data if value is not None else None
            argument.value, argument.bytes, argument.element = pointer, size, element
            argument.writable = not parameter.const
        else:
            cell = np.array(value)
            kept.append(cell)
            argument.value, argument.bytes, argument.element = cell.ctypes.data, -1, cell.itemsize
    workers = modes.workers or min(64, len(os.sched_getaffinity(0)))
    report, handler = _Report(), signal.getsignal(signal.SIGINT)
    counts = counted and counters.Counts(source, name, parameters, function.path, grid, block, shared_bytes)
    with _lock:
        launch = _Launch(
            grid=grid, block=block, shared_bytes=shared_bytes, workers=workers, order=ORDERS[modes.order],
            guard=GUARDS[modes.guard], arguments=len(values), seed=modes.seed, argument=arguments,
            report=ctypes.pointer(report), printed=ctypes.addressof(_printed), printed_capacity=_PRINT_BYTES,
            patient=callable(handler) and handler is not signal.default_int_handler,
        )  # fmt: skip
        with nullcontext() if not counted else counters.counting(_runtime_library(), counts, values):
            runtime(function.entry, function.sizes, ctypes.byref(launch))
        printed = _printed.raw[: launch.printed_bytes] if launch.printed_bytes else b""
    if printed or launch.dropped_calls:
        sys.stdout.write(_shown(name, printed.decode(errors="replace"), launch.dropped_calls, launch.dropped_bytes))
    if report.kind == 12:
        signal.raise_signal(signal.SIGINT)  # the program's handler is installed again
        raise KeyboardInterrupt
    if report.kind:
        raise _exception(report, source, name, parameters, values, function.path)
    if counted:
        modes.report.add(counts)


_printed = ctypes.create_string_buffer(_PRINT_BYTES)


def _shown(name, text, calls, dropped):
    """What a launch printed, and a line about what did not fit in its buffer."""
    if not calls:
        return text
    many = calls > 1
    lost = f"{calls} more call{'s' * many} of printf, {dropped} bytes, {'are' if many else 'is'} not shown"
    newline = "\n" if text and not text.endswith("\n") else ""
    return f"{text}{newline}[minast: {name}: {lost}: its buffer holds {_PRINT_BYTES >> 20} MiB per launch]\n"


def _function(source, name, checked, debug, counted):
    """A kernel's entry point, cached by the source's text: an edited file is compiled again."""
    key = source.text, name, checked, debug, counted
    if key not in _functions:
        group = (name,) if counted else source.group(name)
        path = emulator_build.library(source, group, checked, debug, counted)
        library = ctypes.CDLL(str(path))
        for i, member in enumerate(group):
            sizes = getattr(library, f"minast_sizes_{i}")
            sizes.restype = ctypes.c_void_p
            entry = ctypes.cast(getattr(library, f"minast_entry_{i}"), ctypes.c_void_p).value
            _functions[source.text, member, checked, debug, counted] = _Function(library, path, entry, sizes())
    return _functions[key]


@functools.cache
def _runtime_library():
    """The runtime library, which is loaded globally because the kernels' libraries link to it."""
    return ctypes.CDLL(str(emulator_build.runtime()), mode=ctypes.RTLD_GLOBAL)


@functools.cache
def _runtime():
    """minast_launch of the runtime library."""
    library = _runtime_library()
    library.minast_launch.argtypes = (ctypes.c_void_p, ctypes.c_void_p, ctypes.POINTER(_Launch))
    library.minast_launch.restype = None
    return library.minast_launch


def _exception(report, source, name, parameters, values, library):
    """The exception for a report of kernels/emulator/report.h."""
    block, thread = (f"({','.join(map(str, x))})" for x in (report.block, report.thread))
    where = f"{name}: block {block} thread {thread}"
    text = report.text.decode(errors="replace")
    line = _source_line(library, report.pc) if report.pc else ""
    access = ("accesses", "reads", "writes")[report.access]
    if report.kind in (1, 4, 14):
        value = values[report.argument]
        element = report.offset // value.itemsize
        described = (
            f"argument {report.argument} ({parameters[report.argument].name}, {value.dtype}{value.shape}), "
            f"element {element} of {value.size} (byte {report.offset} of {value.nbytes})"
        )
        if report.kind == 4:
            return IndexError(f"{name} wrote outside {described}; the thread is not known")
        if report.kind == 14:
            return Error(
                f"{name} changed what it declares const: {described}; the thread is not known. Declare the parameter "
                "without const, or write elsewhere"
            )
        return IndexError(f"{where} {access} {described}{line}")
    if report.kind == 2:
        return IndexError(f"{where} {access} byte {report.offset} of {text}{line}")
    if report.kind == 3:
        return IndexError(f"{where} {access} address {report.offset & (2**64 - 1):#x}, which is in no array{line}")
    if report.kind == 5:
        return IndexError(f"{name}: block {block} wrote byte {report.offset} of {text}; the thread is not known")
    if report.kind == 6:
        return Error(f"{name}: block {block} is deadlocked: {text}")
    if report.kind == 7:
        return Error(f"{where}: {text}")
    if report.kind == 8:
        return Error(f"{where}: a vector load or store whose address is not a multiple of its size{line}")
    if report.kind == 13:
        what = "an address that is not a multiple of the accessed size, or an index beyond a local or shared array"
        return IndexError(f"{where}: {what}{line}")
    if report.kind == 9:
        return Error(f"{where} needs more than the 128 KB of stack that the emulator gives a thread")
    if report.kind == 10:
        return Error(f"{where} divides an integer by zero{line}")
    return Error(f"{name} could not be launched: {text or 'not enough address space for the guarded arrays'}")


def _source_line(library, pc):
    """' at softmax.cu:41', from addr2line, which comes with the compiler; '' if it is unknown."""
    try:
        command = ["addr2line", "-i", "-e", str(library), hex(pc)]
        found = subprocess.run(command, capture_output=True, text=True, timeout=20).stdout.split("\n")
    except (OSError, subprocess.SubprocessError):
        return ""
    # Innermost first; the emulator's own headers are skipped.
    lines = [os.path.basename(f.split(" (")[0]) for f in found if f and not f.startswith("?")]
    lines = [f for f in lines if f.split(":")[0].endswith((".cu", ".cuh"))]
    return next((f" at {f}" for f in lines if f.split(":")[0] not in INSTRUCTIONS), f" at {lines[0]}" if lines else "")
