"""Scratch memory of cuBLAS, one for each stream: products on one stream run in order and share it, others must not.

A captured graph contains the address of its capture stream's workspace, on whatever stream it is replayed. So each
`executor.Executor` captures on a stream of its own, whose workspace goes with the executor. CuPy's per-thread default
stream (CUPY_CUDA_PER_THREAD_DEFAULT_STREAM=1) has one address in all threads: there, a thread needs its own Stream.
Source: NVIDIA's cuBLAS manual, cublasSetWorkspace, and section "CUDA Graphs Support".
"""

import numpy as np

from ..layers import Array

BYTES = 32 * 2**20  # the manual's recommendation for compute capability 9.0; others need less
workspaces: dict = {}  # (device, stream) -> memory


def workspace(stream: int) -> Array:
    """The workspace of a stream (its address) of the current device: `BYTES` bytes, from no pool, which might be a
    graph's."""
    import cupy

    key = cupy.cuda.Device().id, stream
    if key not in workspaces:
        with cupy.cuda.using_allocator(None):
            workspaces[key] = cupy.empty(BYTES, np.uint8)
    return workspaces[key]


def release(device: int, stream: int) -> None:
    """Free the workspace of a stream that is used no more; CUDA waits for what still runs."""
    workspaces.pop((device, stream), None)
