"""Backend names -> (array module, layer functions)."""

import importlib.util

import numpy as np

from .errors import Error

BACKENDS = ("numpy", "cupy")  # more join as their modules do


def choose(name=None):
    """(name, xp, ops) of a backend; None takes the best one that this machine has.

    "numpy" is the reference on a CPU, "cupy" the same code on a GPU.
    """
    name = name or "numpy"
    if name not in BACKENDS:
        raise Error(f"there is no backend {name!r}: choose one of {', '.join(BACKENDS)}.")
    from . import layers

    if name == "numpy":
        return name, np, layers
    if importlib.util.find_spec("cupy") is None:
        raise Error(
            f"backend {name!r} needs CuPy, which is not installed: pip install 'minast[gpu]' (CUDA 13) or [gpu12]."
        )
    import cupy

    try:
        cupy.cuda.runtime.getDeviceCount()
    except cupy.cuda.runtime.CUDARuntimeError as error:
        raise Error(f"backend {name!r} found no usable GPU: {error}.") from None
    return name, cupy, layers


def to_numpy(x):
    """A NumPy copy of any backend's array."""
    return x if isinstance(x, np.ndarray) else x.get()
