"""Where a model computes: a name -> the array module, the layer functions and what goes with them."""

import importlib.util
import math
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from . import layers as reference
from . import optim
from .config import ModelConfig
from .encoder import Encoder
from .errors import Error

BACKENDS = ("numpy", "fast", "cupy", "cuda", "emulator")
GPU = ("cupy", "cuda")  # those that need one
HALF_DTYPES = ("float16", "bfloat16")  # compute dtypes of 16 bits
DTYPES = ("float32", "float64", *HALF_DTYPES)


@dataclass(frozen=True)
class Backend:
    """One of five ways to compute the same model.

    name: "numpy", the reference; "fast", the same on all cores of a CPU; "cupy", the reference's code on a GPU; "cuda",
      our kernels on a GPU; "emulator", our kernels on a CPU, slowly: for tests and for learning.
    xp: numpy or cupy. layers: a module with the functions of layers.py. Adam: the optimizer's class.
    batch_numbers: tokens x width that go through a model together; None: a whole batch, however large.
    recompute_width: see `encoder.Encoder`.
    kernels: whether `layers` launches kernels of ours, whose memory can be planned (gpu/memory.py).
    """

    name: str
    xp: ModuleType
    layers: ModuleType
    Adam: type[optim.Adam] = optim.Adam
    batch_numbers: int | None = None
    recompute_width: float = math.inf
    kernels: bool = False

    def checked_dtype(self, dtype) -> str:
        """The name of a compute dtype that this backend has. Raises minast.Error for any other."""
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        if name not in DTYPES:
            raise Error(f"dtype is {name!r}: it must be float32, float64, float16 or bfloat16.")
        if name in HALF_DTYPES and not self.kernels:
            raise Error(f"dtype {name} needs the backend cuda or emulator, this is {self.name}: use float32.")
        return name

    def encoder(self, config: ModelConfig, w, dw, dtype: str):
        """The encoder that computes in `dtype`.   w, dw: Views of the weights and of their gradients"""
        if dtype in HALF_DTYPES:
            from .cuda.half_encoder import HalfEncoder

            return HalfEncoder(config, w, dw, self.layers, dtype)
        return Encoder(config, w, dw, self.layers, self.recompute_width)

    def plans_memory(self, config: ModelConfig, dtype: str) -> bool:
        """Whether kernels do all of a model's pass, so that its memory can be planned by a dry run."""
        return self.kernels and dtype != "float64" and self.layers.fits(config.dim, config.heads)


def choose(name: str | None = None) -> Backend:
    """The backend of this name; None takes the best one that this machine has: "cuda", else "fast".

    Raises minast.Error for an unknown name, and where a GPU is needed and none is found.
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
    if name in ("numpy", "cupy"):
        return Backend(name, xp, reference)
    if name == "fast":
        from . import fast

        return Backend(name, xp, fast, batch_numbers=fast.BATCH_NUMBERS, recompute_width=fast.RECOMPUTE_WIDTH)
    from . import cuda

    return Backend(name, xp, cuda, cuda.Adam, kernels=True)


def why_no_gpu() -> str | None:
    """None where CuPy finds a GPU, else the rest of a sentence that says why it does not."""
    if importlib.util.find_spec("cupy") is None:
        return "needs CuPy, which is not installed: pip install '.[gpu]' in the checkout (CUDA 13; '.[gpu12]' for 12)"
    try:
        import cupy

        found = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own errors, and ImportError where it does not fit the installed CUDA
        return f"found no usable GPU: {error}"
    return None if found else "found no usable GPU"


def to_numpy(x):
    """A NumPy array of any backend's array: itself on a CPU, a copy from a GPU."""
    return x if isinstance(x, np.ndarray) else x.get()
