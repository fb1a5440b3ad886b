"""Single kernels' jobs in PyTorch, in the same dtype. torch is an argument, because it may be missing.

A job is a function without arguments that returns its results as a tuple of tensors; it is checked, then timed.
"""

from collections.abc import Callable
from contextlib import nullcontext

from ... import optim
from .runtime import to_torch

TORCH = "torch"  # the name of its column
SDPA = {"flash": "FLASH_ATTENTION", "cudnn": "CUDNN_ATTENTION", "efficient": "EFFICIENT_ATTENTION", "math": "MATH"}


def forward(torch, function: Callable, *arrays) -> Callable[[], tuple]:
    """A job: function(*tensors) of these arrays, without autograd."""
    tensors = [to_torch(torch, x) for x in arrays]

    def job():
        with torch.no_grad():
            return (function(*tensors),)

    return job


def backward(torch, function: Callable, dy, *arrays) -> Callable[[], tuple]:
    """A job: the gradients of function(*tensors) with respect to each array. dy: the result's, None for a scalar loss.

    The forward pass runs once, here; the job is the backward pass alone.
    """
    tensors = [to_torch(torch, x).detach().requires_grad_() for x in arrays]
    y, d = function(*tensors), None if dy is None else to_torch(torch, dy)
    return lambda: torch.autograd.grad(y, tensors, d, retain_graph=True)


def patches(torch, dtype, stride: int = 10, size: int = 16) -> Callable:
    """A function: x (B, T, F) -> patches (B, N, size * size) of this torch dtype, as `layers.unfold_forward` gives."""

    def function(x):
        windows = x.unfold(1, size, stride).unfold(2, size, stride)  # (B, gt, gf, size over time, size over frequency)
        return windows.permute(0, 2, 1, 4, 3).reshape(len(x), -1, size * size).to(dtype)

    return function


def adam(torch, w, g, like: optim.Adam, lr: float) -> Callable[[], tuple]:
    """A job: a step of AdamW, fused on a GPU, with the settings of `like`, an `optim.Adam`.   -> w, m, v"""
    p = torch.nn.Parameter(to_torch(torch, w))
    p.grad, how = to_torch(torch, g), {"betas": like.betas, "eps": like.eps, "weight_decay": like.weight_decay}
    optimizer = torch.optim.AdamW([p], lr=lr, fused=p.is_cuda, **how)

    def job():
        optimizer.step()
        return p, optimizer.state[p]["exp_avg"], optimizer.state[p]["exp_avg_sq"]

    return job


def sdpa(torch, qkv, do, heads: int, backend: str | None = None) -> tuple[tuple, tuple]:
    """scaled_dot_product_attention by a backend of `SDPA`, or by PyTorch's choice.   qkv (B, N, 3 H D), do (B, N, H D)

    -> (results, calls), each a pair (forward, backward). results() pack o (B, N, H D) and dqkv (B, N, 3 H D) in our
    layout, for the check; calls() leave that out, and are timed.
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

    def backward():  # by the same backend, which is fixed when o is computed
        return torch.autograd.grad(o, (q, k, v), d, retain_graph=True)

    def packed_o():
        return forward().transpose(1, 2).reshape(B, N, C)

    def packed_dqkv():
        return torch.stack(backward()).permute(1, 3, 0, 2, 4).reshape(B, N, 3 * C)

    return (packed_o, packed_dqkv), (forward, backward)
