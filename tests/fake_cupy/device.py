"""The device of the stand-in: streams, events, graphs, memory pools, and what a thread knows of them."""

import threading
import time
import types
import weakref

from minast.bench.gpu.device import STAND_IN


class CudaError(Exception):
    pass


class Stream:
    """What happens on it: a list of functions still to be called. `null` is the stream of those who name none."""

    def __init__(self, non_blocking=False, late=None):
        self.queue, self.recording, self.capturable = [], None, non_blocking
        self.late = state.late_streams if late is None else late
        self.ptr = id(self)
        state.all_streams.add(self)

    prompt = property(lambda self: not self.late and self.recording is None)  # does it work at once?

    def __enter__(self):
        state.streams.append(self)
        return self

    def __exit__(self, *_):
        state.streams.pop()

    def do(self, work):
        if self.recording is not None:
            self.recording.append(work)
        elif self.late:
            with state.lock:
                self.queue.append(work)
        else:
            work()

    def drain(self, count=None):
        """Do what was queued, up to the count-th entry ever."""
        state.forbidden("a wait")
        with state.lock:
            while self.queue and (count is None or self.done < count):
                self.done += 1
                self.queue.pop(0)()

    done = 0

    def synchronize(self):
        self.drain()

    def record(self, event=None):
        """An event without `stamp` cannot be timed: CUDA does not time those of a recorded graph either."""
        event = event or Event()
        event.stamp = None
        if self.recording is None:
            self.do(event.happened)
        event.stream, event.count = self, self.done + len(self.queue)
        return event

    def wait_event(self, event):
        if event.stream is not None and event.stream is not self:
            self.do(event.happen)

    def begin_capture(self, mode=None):
        if not self.capturable:
            raise CudaError("cudaErrorStreamCaptureUnsupported: the legacy stream cannot be recorded")
        self.recording = []

    def end_capture(self):
        recorded, self.recording = self.recording, None
        return Graph(recorded)

    def is_capturing(self):
        return self.recording is not None


class Event:
    """stamp: seconds on this machine's clock when its stream came to it, None before."""

    stream = count = stamp = None

    def __init__(self, block=False, disable_timing=False):
        self.timed = not disable_timing

    def record(self, stream=None):
        (stream or state.current).record(self)

    def happened(self):
        self.stamp = time.perf_counter()

    def happen(self):
        """All that was queued before it was recorded."""
        self.stream.drain(self.count)

    def synchronize(self):
        if self.stream is not None:
            self.happen()


def get_elapsed_time(start_event, end_event):
    """Milliseconds between two events that have both happened."""
    for event in (start_event, end_event):
        if event.stream is None or not event.timed:
            raise CudaError("cudaErrorInvalidResourceHandle: an event was not recorded, or without a time")
        if event.stamp is None:
            raise CudaError("cudaErrorNotReady: an event has not happened yet")
    return 1000 * (end_event.stamp - start_event.stamp)


class Graph:
    def __init__(self, work):
        self.work, self.launches = work, 0
        state.graphs.add(self)

    def launch(self, stream=None):
        self.launches += 1
        (stream or state.current).do(lambda: [work() for work in self.work])


class State(threading.local):
    """What CUDA keeps for a thread: its current stream and allocator. Everything else is the device's, for all threads.

    Other threads begin on the null stream. `lock`: one thread at a time changes what is queued.
    """

    lock = threading.RLock()
    all_streams = weakref.WeakSet()
    null = None
    current = property(lambda self: self.streams[-1] if self.streams else State.null)

    def __init__(self):
        self.streams, self.allocator = [], UNSET

    def begin(self, late):
        """A fresh device. late: which streams lag: "compute" the null stream, "copy" the others, "all", or None."""
        State.late_streams = late in ("copy", "all")
        State.null = Stream(late=late in ("compute", "all"))
        State.driver = Driver()
        State.pool = MemoryPool()  # CuPy's default
        State.default = State.pool.malloc
        State.allocated = State.bytes = 0  # arrays and their bytes, so far
        State.kept, State.graphs = [], weakref.WeakSet()  # the latter: those that somebody can still replay
        self.streams, self.allocator = [], UNSET

    def allocate(self, size):
        """`size` bytes by the allocator of the context, or of all threads.   -> the allocator, what frees them"""
        own = self.allocator is not UNSET
        if self.current.recording is not None and not own:
            raise CudaError("what a graph replays would lie in memory that others get")
        allocator = self.allocator if own else State.default
        return allocator, (malloc if allocator is None else allocator)(size)

    def forbidden(self, what):
        if self.current.recording is not None:
            raise CudaError(f"cudaErrorStreamCaptureInvalidated: {what} while a graph is recorded")


class OutOfMemoryError(MemoryError):
    pass


class Driver:
    """Gives the device's memory to pools, and to who asks for it directly. taken: bytes."""

    def __init__(self):
        self.taken = 0

    def take(self, size):
        if self.taken + size > MEMORY:
            raise OutOfMemoryError(f"Out of memory allocating {size:,} bytes (allocated so far: {self.taken:,} bytes).")
        self.taken += size


def malloc(size):
    """Memory of its own.   -> the function that frees it"""
    driver = State.driver
    driver.take(size)
    return lambda: driver.take(-size)


class MemoryPool:
    """Counts what its arrays use, and what it took from the driver for them and keeps. A free byte fits any array."""

    def __init__(self):
        self.driver, self.used, self.total = State.driver, 0, 0

    def malloc(self, size):
        """-> the function that gives the memory back to the pool"""
        size = -(-size // 512) * 512
        with state.lock:
            if (missing := self.used + size - self.total) > 0:
                self.driver.take(missing)
                self.total += missing
            self.used += size
        return lambda: self.give(size)

    def give(self, size):
        with state.lock:
            self.used -= size

    def used_bytes(self):
        return self.used

    def total_bytes(self):
        return self.total

    def free_bytes(self):
        return self.total - self.used

    def free_all_blocks(self, stream=None):
        with state.lock:
            self.driver.take(-self.free_bytes())
            self.total = self.used

    def __del__(self):  # by now no array is left: each holds on to `give`
        self.driver.take(-self.total)


UNSET, MEMORY = object(), 2**30  # no allocator of a context's own; the device's bytes
state = State()
state.begin(None)


def get_default_memory_pool():
    return State.pool


class using_allocator:
    def __init__(self, allocator=None):
        self.allocator = allocator

    def __enter__(self):
        self.outer, state.allocator = state.allocator, self.allocator

    def __exit__(self, *_):
        state.allocator = self.outer


def set_allocator(allocator=None):
    """For all threads, where no context has another. None: each array from the driver."""
    if state.allocator is not UNSET:
        raise ValueError("Can't change the global allocator inside `using_allocator` context manager")  # as CuPy says
    State.default = allocator


class Data:
    def __init__(self, ptr):
        self.ptr = ptr


class Device:
    id = 0
    compute_capability = "90"
    attributes = {"MaxSharedMemoryPerBlockOptin": 227 * 1024}  # noqa: RUF012

    def __init__(self, device=None):
        assert device in (None, 0)

    def synchronize(self):
        """Wait for all streams."""
        state.forbidden("a wait")
        for stream in list(State.all_streams):
            stream.drain()


runtime = types.SimpleNamespace(
    getDeviceCount=lambda: 1,
    runtimeGetVersion=lambda: 13000,
    getDeviceProperties=lambda device: {"name": STAND_IN.encode(), "totalGlobalMem": MEMORY, "major": 9, "minor": 0},
    memGetInfo=lambda: (MEMORY - State.driver.taken, MEMORY),
)
