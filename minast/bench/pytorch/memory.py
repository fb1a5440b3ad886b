"""How much memory PyTorch takes: on the GPU, and in what autograd saves for the backward pass."""

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from . import runtime


def allocated(device) -> int:
    """Bytes of the GPU that PyTorch's tensors occupy now; 0 on a CPU."""
    torch = sys.modules.get("torch")
    return torch.cuda.memory_allocated() if torch and device.gpu else 0


def peak(device, step: Callable) -> tuple[int, int]:
    """(allocated, reserved): the peak in bytes of tensors, and of the caching allocator, over two calls of step()."""
    torch = runtime.for_device(device)
    torch.cuda.reset_peak_memory_stats()
    step(), step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def free_compiled(device) -> None:
    """Drop what torch.compile keeps of the models it has seen, and with it their memory."""
    if compiler := sys.modules.get("torch._dynamo"):
        compiler.reset()
    device.release()


@contextmanager
def saved_for_backward(torch, weights: Iterable) -> Iterator[dict[int, int]]:
    """-> {address: bytes} of what autograd saves inside the block, each storage once.

    Weights, their 16-bit copies and their transposes are left out: they do not grow with the batch.
    """
    from torch.autograd.graph import saved_tensors_hooks

    shapes = {tuple(w.shape) for w in weights} | {tuple(w.T.shape) for w in weights if w.ndim == 2}
    found = {}

    def pack(t):
        if t.layout == torch.strided and tuple(t.shape) not in shapes:
            storage = t.untyped_storage()
            found[storage.data_ptr()] = storage.nbytes()
        return t

    with saved_tensors_hooks(pack, lambda t: t):
        yield found
