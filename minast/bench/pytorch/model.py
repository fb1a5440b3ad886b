"""transformers' AST in use: float32 training on a CPU; bfloat16, with torch.compile and CUDA graphs, for speed."""

from collections.abc import Callable
from contextlib import nullcontext

import numpy as np

from ..row import Skip
from . import runtime, twin

NAME = "transformers"
COMPILE = {}  # options of torch.compile


# -- training in float32 ---------------------------------------------------------------------------------------------


def loss(torch, module, x: np.ndarray, y: np.ndarray):
    """Binary cross-entropy of a twin on the CPU, a tensor.   x (B, T, F), y (B, K): NumPy"""
    logits = module(torch.from_numpy(x)).logits
    return torch.nn.functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(y))


def training_step(torch, module, x: np.ndarray, y: np.ndarray) -> Callable[[], None]:
    """A function: one step of forward, backward and Adam, in float32 on the CPU."""
    adam = torch.optim.Adam(module.parameters(), 1e-5)

    def step():
        adam.zero_grad()
        loss(torch, module, x, y).backward()
        adam.step()

    return step


# -- training in bfloat16 --------------------------------------------------------------------------------------------


class Trainer:
    """One way to train: autocast to bfloat16, binary cross-entropy, Adam (fused on a GPU).

    job: a `gpu.whole.Job`; attention: as `twin.twin` takes it; compiled: the whole model goes through torch.compile.
    Raises Skip where PyTorch cannot do it.
    """

    def __init__(self, device, job, attention: str = "sdpa", compiled: bool = False):
        self.torch, self.depth = runtime.for_device(device), job.config.depth
        self.where = torch_device(device)
        with runtime.errors_as_skips():
            self.module = twin.twin(job, attention).train().to(self.where)
            self.run = self.torch.compile(self.module, **COMPILE) if compiled else self.module
            self.x, self.y = (self.torch.tensor(a, device=self.where) for a in (job.x, job.y))
            self.adam = self.torch.optim.Adam(self.module.parameters(), 1e-5, fused=device.gpu)

    def gradient(self) -> tuple:
        """Forward and backward pass.   -> loss, logits (B, K): tensors"""
        self.adam.zero_grad()
        with self.torch.autocast(self.where, self.torch.bfloat16):
            logits = self.run(self.x).logits
        loss = self.torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), self.y)
        loss.backward()
        return loss, logits

    def step(self) -> None:
        """Forward, backward and Adam: what is timed."""
        self.gradient()
        self.adam.step()

    def results(self) -> tuple[np.ndarray, float, dict[str, np.ndarray]]:
        """-> logits (B, K), loss, {our name: gradient}, on the host. Raises Skip where PyTorch cannot do it."""
        with runtime.errors_as_skips():
            loss, logits = self.gradient()
            found = runtime.to_host(logits), loss.item(), twin.gradients(self.module, self.depth)
            self.adam.zero_grad()
        return found


def torch_device(device) -> str:
    """PyTorch's name of a `gpu.device.Device`."""
    return "cuda" if device.gpu else "cpu"


# -- the forward pass ------------------------------------------------------------------------------------------------

PRECISIONS = "autocast", "bfloat16 copy"


def forward(device, job, precision: str, compiled: bool = False) -> tuple[Callable, object]:
    """(run, x): a function of a tensor that returns logits, and the job's input.

    precision "autocast": float32 weights under autocast to bfloat16; "bfloat16 copy": weights and input in bfloat16.
    compiled: through torch.compile.
    """
    torch, where = runtime.for_device(device), torch_device(device)
    with runtime.errors_as_skips():
        module, x = twin.twin(job).eval().to(where), torch.tensor(job.x, device=where)
        if precision != "autocast":
            module, x = module.to(torch.bfloat16), x.to(torch.bfloat16)
        module = torch.compile(module, **COMPILE) if compiled else module

    def run(x):
        # No cache of cast weights: without autograd nothing is kept for the next call, and a graph must not hold it.
        cast = torch.autocast(where, torch.bfloat16, cache_enabled=False)
        with torch.inference_mode(), cast if precision == "autocast" else nullcontext():
            return module(x).logits

    return run, x


def graphed(torch, run: Callable, x) -> Callable:
    """`run` recorded as a CUDA graph: a function of a tensor that copies it into the graph's input, and replays."""
    with runtime.errors_as_skips(), torch.inference_mode():
        if x.device.type != "cuda":
            raise Skip("no CUDA graphs on a CPU")
        static, side = x.clone(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # PyTorch's manual asks for some calls on another stream first
            for _ in range(3):
                run(static)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run(static)

    def replay(x):
        with torch.inference_mode():
            static.copy_(x)
            graph.replay()
        return out

    return replay
