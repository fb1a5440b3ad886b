"""transformers' AST as it is trained and run where speed counts: bfloat16, fused Adam, torch.compile, CUDA graphs."""

import sys
from contextlib import nullcontext

import numpy as np

from .. import twin
from ..kernels import in_torch
from ..kernels.in_torch import reasons
from ..table import Skip

NAME = "transformers"
COMPILE = {}  # options of torch.compile


def torch_for(where):
    """PyTorch, for the device of a Place; Skip without it, or without transformers."""
    torch = twin.torch()
    return in_torch.torch_with_cuda() if where.gpu else torch


class Trainer:
    """One way of training: autocast to bfloat16, the loss over all classes, Adam.

    job: a `whole.Job`. attention: of `twin`. compiled: by torch.compile, as its users do, the whole model.
    """

    def __init__(self, where, job, attention="sdpa", compiled=False):
        self.torch, self.device, self.depth = torch_for(where), "cuda" if where.gpu else "cpu", job.config.depth
        with reasons():
            self.module = twin.twin(job, attention).train().to(self.device)
            self.run = self.torch.compile(self.module, **COMPILE) if compiled else self.module
            self.x, self.y = (self.torch.tensor(a, device=self.device) for a in (job.x, job.y))
            self.adam = self.torch.optim.Adam(self.module.parameters(), 1e-5, fused=where.gpu)

    def gradient(self):
        """-> loss, logits"""
        self.adam.zero_grad()
        with self.torch.autocast(self.device, self.torch.bfloat16):
            logits = self.run(self.x).logits
        loss = self.torch.nn.functional.binary_cross_entropy_with_logits(logits.float(), self.y)
        loss.backward()
        return loss, logits

    def step(self):
        self.gradient()
        self.adam.step()

    def results(self):
        """-> logits (B, K), loss, {our name: gradient}, on the host; Skip where PyTorch cannot do it"""
        with reasons():
            loss, logits = self.gradient()
            found = logits.detach().float().cpu().numpy(), loss.item(), twin.gradients(self.module, self.depth)
            self.adam.zero_grad()
        return found


def allocated(where):
    """Bytes of the GPU that PyTorch has in use."""
    torch = sys.modules.get("torch")
    return torch.cuda.memory_allocated() if torch and where.gpu else 0


def peak(where, step):
    """(allocated, reserved): the most bytes of the GPU that PyTorch used, and held, in two steps."""
    torch = torch_for(where)
    torch.cuda.reset_peak_memory_stats()
    step(), step()
    torch.cuda.synchronize()
    return torch.cuda.max_memory_allocated(), torch.cuda.max_memory_reserved()


def forget(where):
    """Let go of what torch.compile keeps of the models it has seen: they would hold their memory."""
    compiler = sys.modules.get("torch._dynamo")
    if compiler:
        compiler.reset()
    where.release()


# -- the forward pass ----------------------------------------------------------------------------------------------

PRECISIONS = "autocast", "bfloat16 copy"


def forward(where, job, precision):
    """(function of a tensor that gives logits, the tensor): under autocast, or weights and input in bfloat16."""
    torch, device = torch_for(where), "cuda" if where.gpu else "cpu"
    with reasons():
        module, x = twin.twin(job).eval().to(device), torch.tensor(job.x, device=device)
        if precision != "autocast":
            module, x = module.to(torch.bfloat16), x.to(torch.bfloat16)

    def run(x):
        # no cache of cast weights: without gradients nothing is kept for the next call, and a graph may not hold it
        cast = torch.autocast(device, torch.bfloat16, cache_enabled=False)
        with torch.inference_mode(), cast if precision == "autocast" else nullcontext():
            return module(x).logits

    return run, x


def graphed(torch, run, x):
    """run as a CUDA graph: a function of a tensor that copies it to where the graph reads, and replays."""
    with reasons(), torch.inference_mode():
        if x.device.type != "cuda":
            raise Skip("no CUDA graphs on a CPU")
        still, side = x.clone(), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):  # as PyTorch's manual asks: some calls outside, on another stream
            for _ in range(3):
                run(still)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            out = run(still)

    def replay(x):
        with torch.inference_mode():
            still.copy_(x)
            graph.replay()
        return out

    return replay


def host(tensor):
    """A tensor's values as a float32 NumPy array."""
    return np.asarray(tensor.detach().float().cpu().numpy())
