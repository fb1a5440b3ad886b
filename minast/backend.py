"""Backend names -> (array module, layer functions)."""

import importlib.util

import numpy as np

from .errors import Error

BACKENDS = ("numpy", "cupy", "cuda", "emulator")


def choose(name=None):
    """(name, xp, ops) of a backend; None takes the best one that this machine has.

    "numpy" is the reference on a CPU, "cupy" the same code on a GPU; "cuda" takes our kernels on a GPU, "emulator" the
    same kernels on a CPU, slowly: for tests and for learning.
    """
    name = name or ("cuda" if why_no_gpu() is None else "numpy")
    if name not in BACKENDS:
        raise Error(f"there is no backend {name!r}: choose one of {', '.join(BACKENDS)}.")
    if name in ("cupy", "cuda"):
        why = why_no_gpu()
        if why:
            raise Error(f"backend {name!r} {why}.")
        import cupy as xp
    else:
        xp = np
    if name in ("cuda", "emulator"):
        from . import cuda as ops
    else:
        from . import layers as ops
    return name, xp, ops


def why_no_gpu():
    """None where CuPy finds a GPU, else the rest of a sentence."""
    if importlib.util.find_spec("cupy") is None:
        return "needs CuPy, which is not installed: pip install 'minast[gpu]' (CUDA 13) or [gpu12]"
    try:
        import cupy

        found = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own errors, and ImportError where it does not fit the installed CUDA
        return f"found no usable GPU: {error}"
    return None if found else "found no usable GPU"


def to_numpy(x):
    """A NumPy copy of any backend's array."""
    return x if isinstance(x, np.ndarray) else x.get()
