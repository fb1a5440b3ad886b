"""PyTorch itself: whether it is here, its settings, and arrays that go in and out."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ... import threads
from ..libraries import load
from ..row import Skip


def with_transformers():
    """The module torch, set to as many CPU threads as minast. Raises Skip unless torch and transformers load."""
    torch, _ = load("torch"), load("transformers")
    torch.set_num_threads(threads.count())
    return torch


def with_cuda():
    """The module torch. Raises Skip where it does not load or finds no GPU."""
    torch = load("torch")
    if not torch.cuda.is_available():
        raise Skip("torch has no CUDA here")
    return torch


def for_device(device):
    """The module torch for a whole model on a `gpu.device.Device`. Raises Skip as the two functions above do."""
    torch = with_transformers()
    return with_cuda() if device.gpu else torch


@contextmanager
def without_tf32(torch) -> Iterator[None]:
    """Float32 products in full float32 instead of TF32's 10 bits of mantissa; restores the settings at the end."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = False
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value


def to_torch(torch, x):
    """A tensor on the memory of array x; bfloat16 (uint16) goes as int16, which every version of DLPack knows."""
    return torch.from_dlpack(x.view(np.int16)).view(torch.bfloat16) if x.dtype == np.uint16 else torch.from_dlpack(x)


def to_array(xp, tensor):
    """A tensor's values as a float32 array of NumPy or CuPy, on the tensor's own device."""
    return xp.from_dlpack(tensor.detach().float().contiguous())


def to_host(tensor) -> np.ndarray:
    """A tensor's values as a float32 NumPy array."""
    return tensor.detach().float().cpu().numpy()
