"""Backend names -> (array module, layer functions)."""

import importlib
import importlib.util

import numpy as np

from .errors import Error

OPS = {"numpy": "layers", "fast": "fast", "cupy": "layers", "cuda": "cuda", "emulator": "cuda"}
BACKENDS = tuple(OPS)
GPU = ("cupy", "cuda")  # those that need one


def choose(name=None):
    """(name, xp, ops) of a backend; None takes the best one that this machine has: "cuda", else "fast".

    On a CPU, "numpy" is the reference and "fast" the same with all cores. On a GPU, "cupy" is the reference's code and
    "cuda" takes our kernels; "emulator" runs those on a CPU, slowly: for tests and for learning.
    """
    name = name or ("cuda" if why_no_gpu() is None else "fast")
    if name not in BACKENDS:
        raise Error(f"there is no backend {name!r}: choose one of {', '.join(BACKENDS)}.")
    if name in GPU:
        if why := why_no_gpu():
            raise Error(f"backend {name!r} {why}.")
        import cupy as xp
    else:
        from . import threads

        threads.obey()
        xp = np
    return name, xp, importlib.import_module(f".{OPS[name]}", __package__)


def why_no_gpu():
    """None where CuPy finds a GPU, else the rest of a sentence."""
    if importlib.util.find_spec("cupy") is None:
        return "needs CuPy, which is not installed: pip install '.[gpu]' in the checkout (CUDA 13; '.[gpu12]' for 12)"
    try:
        import cupy

        found = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own errors, and ImportError where it does not fit the installed CUDA
        return f"found no usable GPU: {error}"
    return None if found else "found no usable GPU"


def to_numpy(x):
    """A NumPy copy of any backend's array."""
    return x if isinstance(x, np.ndarray) else x.get()
