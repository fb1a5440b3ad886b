"""The kernels' jobs in PyTorch, in the same type, for the column beside ours. torch is an argument: it may be missing.

A job is a function without arguments that gives the results as a tuple of tensors; it is compared, then timed.
"""

from contextlib import contextmanager, nullcontext

import numpy as np

from ...errors import Error
from ..table import Skip

TORCH = "torch"
SDPA = {"flash": "FLASH_ATTENTION", "cudnn": "CUDNN_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "math": "MATH"}


@contextmanager
def reasons():
    """Whatever goes wrong inside of PyTorch becomes a Skip that says it: no kernel, no compiler, not enough memory."""
    try:
        yield
    except (Skip, Error):
        raise
    except Exception as error:  # torch's own errors are of many classes
        said = str(error).strip().splitlines() or [""]
        raise Skip(f"{type(error).__name__}: {said[0][:160]}".removesuffix(": ")) from None


@contextmanager
def no_tf32(torch):
    """float32 products in float32, not in TF32's 10 bits; the settings are restored."""
    settings = torch.backends.cuda.matmul, torch.backends.cudnn
    before = [setting.allow_tf32 for setting in settings]
    try:
        for setting in settings:
            setting.allow_tf32 = False
        yield
    finally:
        for setting, value in zip(settings, before, strict=True):
            setting.allow_tf32 = value


def torch_with_cuda():
    try:
        import torch
    except ImportError:
        raise Skip("torch is not installed") from None
    if not torch.cuda.is_available():
        raise Skip("torch has no CUDA here")
    return torch


def to_torch(torch, x):
    """The same memory as a tensor; bfloat16 by way of int16, which every version of DLPack knows."""
    return torch.from_dlpack(x.view(np.int16)).view(torch.bfloat16) if x.dtype == np.uint16 else torch.from_dlpack(x)


def to_array(xp, tensor):
    """A tensor's values as a float32 array."""
    return xp.from_dlpack(tensor.detach().float().contiguous())


def forward(torch, function, *arrays):
    """function(tensors) of these arrays, without a graph"""
    tensors = [to_torch(torch, x) for x in arrays]

    def job():
        with torch.no_grad():
            return (function(*tensors),)

    return job


def backward(torch, function, dy, *arrays):
    """The gradients of function(tensors) to each of them; dy: that of its result, None for a loss"""
    tensors = [to_torch(torch, x).detach().requires_grad_() for x in arrays]
    y, d = function(*tensors), None if dy is None else to_torch(torch, dy)
    return lambda: torch.autograd.grad(y, tensors, d, retain_graph=True)


def patches(torch, kind, stride=10, size=16):
    """x (B, T, F) -> patches (B, N, size * size) of type kind, as layers.unfold_forward has them"""

    def function(x):
        windows = x.unfold(1, size, stride).unfold(2, size, stride)  # (B, gt, gf, size over time, size over frequency)
        return windows.permute(0, 2, 1, 4, 3).reshape(len(x), -1, size * size).to(kind)

    return function


def adam(torch, w, g, like, lr):
    """A step of torch's AdamW, fused on a GPU, with the settings of `like`, an optim.Adam -> w, m, v"""
    p = torch.nn.Parameter(to_torch(torch, w))
    p.grad, how = to_torch(torch, g), {"betas": like.betas, "eps": like.eps, "weight_decay": like.weight_decay}
    optimizer = torch.optim.AdamW([p], lr=lr, fused=p.is_cuda, **how)

    def job():
        optimizer.step()
        return p, optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]

    return job


def sdpa(torch, qkv, do, heads, backend=None):
    """torch's scaled_dot_product_attention on qkv (B, N, 3 H D), do (B, N, H D), by a backend of `SDPA` or its choice.

    -> (results, calls), forward and backward each: results() packs o (B, N, H D) and dqkv (B, N, 3 H D) as ours are;
    calls() are what is timed, without the packing.
    """
    B, N, C = do.shape
    q, k, v = (x.detach().requires_grad_() for x in qkv.view(B, N, 3, heads, -1).permute(2, 0, 3, 1, 4))  # (B, H, N, D)

    def attend():
        from torch.nn.attention import SDPBackend, sdpa_kernel

        with sdpa_kernel(getattr(SDPBackend, SDPA[backend])) if backend else nullcontext():
            return torch.nn.functional.scaled_dot_product_attention(q, k, v)

    o, d = attend(), do.view(B, N, heads, -1).transpose(1, 2)

    def forward():
        with torch.no_grad():
            return attend()

    def backward():  # by the same backend: it is fixed when o is made
        return torch.autograd.grad(o, (q, k, v), d, retain_graph=True)

    def packed_o():
        return forward().transpose(1, 2).reshape(B, N, C)

    def packed_dqkv():
        return torch.stack(backward()).permute(1, 3, 0, 2, 4).reshape(B, N, 3 * C)

    return (packed_o, packed_dqkv), (forward, backward)
