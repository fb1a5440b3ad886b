"""transformers' AST in use: on a CPU in three ways; bfloat16, with torch.compile and CUDA graphs, for speed."""

from collections.abc import Callable
from contextlib import nullcontext
from functools import cached_property

import numpy as np

from ..libraries import errors_as_skips
from ..row import Skip
from . import runtime, twin

NAME = "transformers"
COMPILE = {}  # options of torch.compile


# -- on a CPU --------------------------------------------------------------------------------------------------------


class OnProcessor:
    """The twin of a model on the CPU, as three sides: in float32, compiled, and under autocast to bfloat16.

    They share one copy of its weights; the model itself is let go once it is copied. Each method gives (the function to
    time, its result), and raises Skip without PyTorch.
    """

    def __init__(self, model):
        self.model = model

    @cached_property
    def torch(self):
        """PyTorch, with as many threads as minast."""
        return runtime.with_transformers()

    @cached_property
    def module(self):
        """The twin."""
        module, self.model = twin.twin(self.model), None
        return module

    @cached_property
    def adam(self):
        """Its optimizer, with the moments."""
        return self.torch.optim.Adam(self.module.parameters(), 1e-5)

    def forward(self, x: np.ndarray, compiled: bool = False, autocast: bool = False) -> tuple[Callable, np.ndarray]:
        """-> (a forward pass of x (B, T, F), its logits (B, K))"""
        module, inputs = self._run(compiled), self.torch.from_numpy(x)
        self.module.eval()

        def run():
            with self.torch.no_grad(), self._autocast(autocast):
                return module(inputs).logits

        return run, runtime.to_host(run())

    def training_step(
        self, x: np.ndarray, y: np.ndarray, compiled: bool = False, autocast: bool = False
    ) -> tuple[Callable, np.ndarray]:
        """-> (forward, backward and Adam, the loss before it)   x (B, T, F), y (B, K)"""
        module, inputs = self._run(compiled), self.torch.from_numpy(x)
        self.module.train()

        def loss():
            with self._autocast(autocast):
                logits = module(inputs).logits
            return bce(self.torch, logits, y)

        def step():
            self.adam.zero_grad()
            loss().backward()
            self.adam.step()

        return step, runtime.to_host(loss())

    def _run(self, compiled):
        return self.torch.compile(self.module, **COMPILE) if compiled else self.module

    def _autocast(self, enabled):
        return self.torch.autocast("cpu", self.torch.bfloat16, enabled=enabled)


def bce(torch, logits, y: np.ndarray):
    """Binary cross-entropy in float32, a tensor.   logits (B, K), y (B, K): NumPy"""
    return torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), torch.from_numpy(y))


# -- training in bfloat16 --------------------------------------------------------------------------------------------


class Trainer:
    """One way to train: autocast to bfloat16, binary cross-entropy, Adam (fused on a GPU).

    job: a `gpu.whole.Job`; attention: as `twin.twin` takes it; compiled: the whole model goes through torch.compile.
    Raises Skip where PyTorch cannot do it.
    """

    def __init__(self, device, job, attention: str = "sdpa", compiled: bool = False):
        self.torch, self.depth = runtime.for_device(device), job.config.depth
        self.where = torch_device(device)
        with errors_as_skips():
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
        with errors_as_skips():
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
    with errors_as_skips():
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
    with errors_as_skips(), torch.inference_mode():
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
