"""Where a model computes: a backend's name -> its array module, layer functions and optimizer."""

import importlib.util
import math
import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from types import ModuleType

import numpy as np

from . import layers as reference
from . import optim
from .config import ModelConfig
from .encoder import AnyEncoder, Encoder
from .errors import Error
from .features import ON_CPU, Spectrograms
from .layers import Array
from .params import Views

BACKENDS = ("numpy", "fast", "cupy", "cuda", "emulator")
GPU = ("cupy", "cuda")  # backends that need one
VARIABLE = "MINAST_BACKEND"  # the backend where none is asked for
HALF_DTYPES = ("float16", "bfloat16")  # 16-bit compute dtypes
DTYPES = ("float32", "float64", "tf32", *HALF_DTYPES)
KERNELS_ONLY = ("tf32", *HALF_DTYPES)


@dataclass(frozen=True)
class Backend:
    """One of five ways to compute the same model. Get one from `choose`.

    name: "numpy", the reference; "fast", optimised for all cores of a CPU; "cupy", the reference's code on a GPU;
      "cuda", our kernels on a GPU; "emulator", our kernels on a CPU, slowly: for tests and for learning.
    xp: numpy or cupy. layers: a module with the functions of layers.py. Adam: the optimizer class.
    batch_elements: limit on clips x tokens x width in one pass; None: no limit.
    recompute_width: see `encoder.Encoder`.
    kernels: whether `layers` launches our kernels, whose memory can be planned (gpu/memory.py).
    around: -> the context that a pass of the model runs in.
    """

    name: str
    xp: ModuleType
    layers: ModuleType
    Adam: type[optim.Adam] = optim.Adam
    batch_elements: int | None = None
    recompute_width: float = math.inf
    kernels: bool = False
    around: Callable[[], AbstractContextManager] = nullcontext

    def checked_dtype(self, dtype: str | np.dtype | type) -> str:
        """The name of `dtype`. Raises minast.Error unless this backend can compute in it."""
        name = dtype if isinstance(dtype, str) else np.dtype(dtype).name
        if name not in DTYPES:
            raise Error(f"dtype is {name!r}: it must be float32, float64, tf32, float16 or bfloat16.")
        if name in KERNELS_ONLY and not self.kernels:
            raise Error(f"dtype {name} needs the backend cuda or emulator, this is {self.name}: use float32.")
        return name

    def layers_in(self, dtype: str) -> ModuleType:
        """`layers`, or for dtype "tf32" the module of the same names whose products are in TF32."""
        if dtype == "tf32":
            from .cuda import tf32

            return tf32
        return self.layers

    def encoder(self, config: ModelConfig, w: Views, dw: Views, dtype: str) -> AnyEncoder:
        """An `Encoder`, or a `HalfEncoder` with the same methods for a 16-bit dtype.   w, dw: weights and gradients

        Raises minast.Error if no 16-bit kernel has the model's width or head width.
        """
        if dtype in HALF_DTYPES:
            from .cuda.half_encoder import HalfEncoder

            return HalfEncoder(config, w, dw, self.layers, dtype)
        return Encoder(config, w, dw, self.layers_in(dtype), self.recompute_width)

    def spectrograms(self, rate: int) -> Spectrograms:
        """Where log-mel spectrograms at `rate` Hz are computed: on a GPU by the backend cuda, else on the CPU.

        The backend emulator leaves them to the CPU as well, where they take far less time; cuda/log_mel.py runs the
        kernels there if called. So does cuda at a rate whose FFT length has no kernel.
        """
        if self.name != "cuda":
            return ON_CPU
        from .cuda import log_mel

        return Spectrograms("cuda", log_mel.log_mels, log_mel.TOGETHER) if log_mel.fits(rate) else ON_CPU

    def plans_memory(self, config: ModelConfig, dtype: str) -> bool:
        """Whether kernels compute the model's whole pass, so that a dry run can plan its memory."""
        return self.kernels and dtype != "float64" and self.layers.fits(config.dim, config.heads)


def choose(name: str | None = None) -> Backend:
    """The backend of this name; None: of $MINAST_BACKEND, else "cuda" if this machine has a usable GPU, else "fast".

    A CPU backend also applies MINAST_THREADS to BLAS. Raises minast.Error for an unknown name, and if the backend needs
    a GPU and none is usable.
    """
    wanted = name or os.environ.get(VARIABLE)
    if wanted and wanted not in BACKENDS:
        what = f"there is no backend {name!r}" if name else f"{VARIABLE} is {wanted!r}, which is no backend"
        raise Error(f"{what}: choose one of {', '.join(BACKENDS)}.")
    name = wanted or ("cuda" if why_no_gpu() is None else "fast")
    if name in GPU:
        if why := why_no_gpu():
            raise Error(f"backend {name!r} {why}.")
        import cupy as xp

        from .gpu import plain_memory

        plain_memory.apply(xp)
    else:
        from . import threads

        threads.apply_count()
        xp = np
    if name in ("numpy", "cupy"):
        return Backend(name, xp, reference)
    if name == "fast":
        from . import fast

        limits = {"batch_elements": fast.BATCH_ELEMENTS, "recompute_width": fast.RECOMPUTE_WIDTH}
        return Backend(name, xp, fast, **limits, around=threads.one_blas_thread)
    from . import cuda

    return Backend(name, xp, cuda, cuda.Adam, kernels=True)


def why_no_gpu() -> str | None:
    """None if CuPy finds a GPU, else why not, as the end of a sentence."""
    if importlib.util.find_spec("cupy") is None:
        return "needs CuPy, which is not installed: pip install '.[gpu]' in the checkout (CUDA 13; '.[gpu12]' for 12)"
    from .gpu.cupy_cache import check_cupy_cache, safe_folder

    try:
        safe_folder()  # before CuPy is imported: it asks once where its folder is
        import cupy

        found = cupy.cuda.runtime.getDeviceCount()
    except Exception as error:  # CuPy's own errors, and ImportError if it does not match the installed CUDA
        return f"found no usable GPU: {error}"
    if not found:
        return "found no usable GPU"
    check_cupy_cache()
    return None


def weights_dtype(compute_dtype: str) -> np.dtype:
    """The type of weights, gradients and logits of a model that computes in `compute_dtype`: never of 16 bits."""
    return np.dtype("float32" if compute_dtype in KERNELS_ONLY else compute_dtype)


def to_numpy(x: Array) -> np.ndarray:
    """Any backend's array as a NumPy array: itself on a CPU, a copy from a GPU."""
    return x if isinstance(x, np.ndarray) else x.get()
