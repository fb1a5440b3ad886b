"""The emulator's raw counts of one launch, as kernels/emulator/lockstep.h hands them out; report.py reads them."""

import ctypes
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..gpu.kernel_source import Parameter, Source

ACCESSES = ("load", "store", "atomic", "matrix load", "copy")  # kernels/emulator/api.h, Access


class _Argument(ctypes.Structure):
    _fields_ = (("reads", ctypes.c_void_p), ("writes", ctypes.c_void_p), ("phase", ctypes.c_int64))


class _Access(ctypes.Structure):
    _fields_ = (("pc", ctypes.c_uint64), ("access", ctypes.c_int32), ("shared", ctypes.c_int32),
                ("bytes", ctypes.c_int32), ("unused", ctypes.c_int32),
                *((name, ctypes.c_uint64) for name in ("requests", "lanes", "distinct", "sectors", "least", "turns",
                                                       "least_turns", "ahead")))  # fmt: skip


class _Block(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_uint64) for name in ("pc", "steps", "lanes", "parted"))


class _Sync(ctypes.Structure):
    _fields_ = (("what", ctypes.c_char_p), ("file", ctypes.c_char_p),
                *((name, ctypes.c_int64) for name in ("line", "pc", "requests", "lanes")))  # fmt: skip


@dataclass
class Counts:
    """What one launch did. pc: offsets in `library`.

    accesses: {(pc, access, shared, bytes): dict of numbers}; blocks: {pc: (steps, lanes, parted)} of basic blocks;
    executed: {pc: (threads,)}; syncs: {(pc, what, file, line): (requests, lanes)}; reads, writes: {argument's number:
    array of the argument's shape}; memory (2, threads): accesses of each thread of a block to global and shared memory,
    summed over the blocks; barriers: least and most of a block.
    """

    source: Source
    kernel: str
    parameters: Sequence[Parameter]
    library: Path
    grid: tuple[int, int, int]
    block: tuple[int, int, int]
    shared_bytes: int
    accesses: dict = field(default_factory=dict)
    blocks: dict = field(default_factory=dict)
    executed: dict = field(default_factory=dict)
    syncs: dict = field(default_factory=dict)
    reads: dict = field(default_factory=dict)
    writes: dict = field(default_factory=dict)
    itemsizes: dict = field(default_factory=dict)
    static_shared: int = 0
    memory: Any = None
    barriers: tuple[int, int] = (0, 0)


@contextmanager
def counting(runtime: ctypes.CDLL, counts: Counts, values: Sequence[Any]) -> Iterator[None]:
    """Within this context one launch of the emulator is counted; afterwards `counts` is filled in."""
    requests = (_Argument * max(1, len(values)))()
    for i, (request, parameter, value) in enumerate(zip(requests, counts.parameters, values, strict=False)):
        if parameter.pointer and value is not None:
            counts.reads[i], counts.writes[i] = (np.zeros(value.shape, np.uint32) for _ in range(2))
            request.reads, request.writes = counts.reads[i].ctypes.data, counts.writes[i].ctypes.data
            counts.itemsizes[i], request.phase = value.itemsize, _phase(value)
    runtime.minast_count.argtypes, runtime.minast_count.restype = (ctypes.c_void_p,), None
    runtime.minast_count(ctypes.cast(requests, ctypes.c_void_p))
    try:
        yield
        _collect(runtime, counts)
    finally:
        runtime.minast_count(None)


def _phase(value):
    """Bytes from the last sector boundary to the array's start: CuPy's memory begins on one, a slice of it may not."""
    root = value
    while isinstance(root.base, np.ndarray):
        root = root.base
    return (value.ctypes.data - root.ctypes.data) % 32


def _rows(function, kind):
    function.argtypes, function.restype = (ctypes.c_void_p, ctypes.c_int64), ctypes.c_int64
    rows = (kind * max(1, function(None, 0)))()
    return rows[: function(ctypes.cast(rows, ctypes.c_void_p), len(rows))]


def _collect(runtime, counts):
    for row in _rows(runtime.minast_accesses, _Access):
        key = row.pc, ACCESSES[row.access], bool(row.shared), row.bytes
        total = counts.accesses.setdefault(key, dict.fromkeys((n for n, _ in _Access._fields_[5:]), 0))
        for name in total:
            total[name] += getattr(row, name)
    threads = int(np.prod(counts.block))
    for row in _rows(runtime.minast_blocks, _Block):
        before = counts.blocks.get(row.pc, (0, 0, 0))
        counts.blocks[row.pc] = before[0] + row.steps, before[1] + row.lanes, before[2] + row.parted
    for row in _rows(runtime.minast_syncs, _Sync):
        key = row.pc, row.what.decode(), row.file.decode(), row.line
        before = counts.syncs.get(key, (0, 0))
        counts.syncs[key] = before[0] + row.requests, before[1] + row.lanes
    runtime.minast_executed.argtypes = (ctypes.c_uint64, ctypes.c_void_p, ctypes.c_int64)
    for pc in counts.blocks:
        executed = counts.executed[pc] = np.zeros(threads, np.uint64)
        runtime.minast_executed(pc, executed.ctypes.data, threads)
    counts.memory, barriers = np.zeros((2, threads), np.uint64), np.zeros(2, np.uint64)
    runtime.minast_threads.argtypes = (ctypes.c_void_p, ctypes.c_int64, ctypes.c_void_p)
    runtime.minast_threads(counts.memory.ctypes.data, threads, barriers.ctypes.data)
    counts.static_shared = runtime.minast_static_shared()
    counts.barriers = int(barriers[0]), int(barriers[1])
