"""The names on the command line: every row, every table of kernels/README.md that is counted, other measurements."""

import sys
from collections.abc import Callable
from typing import NamedTuple

from . import exported, scaling
from .cpu import cache, features, free_threaded, models, peak, process, recordings, workers
from .cpu import kept as activations
from .gpu import backends, latency, step, throughput
from .gpu import memory as gpu_memory
from .growth import command as growth
from .kernels import attention, launches, memory_bound, precision, registers, sass
from .row import Row, Skip


class Entry(NamedTuple):
    """run: a row function, or a table's main(argv); what: a line for --help."""

    run: Callable
    what: str


def memory(rounds: int, backend: str | None = None) -> list[Row]:
    """The rows of a process that trains on the CPU, and of a GPU where there is one; of the latter with --backend."""
    if backend:
        return gpu_memory.memory(rounds, backend)
    rows = process.memory(rounds)
    try:
        return rows + gpu_memory.memory(rounds)
    except Skip as reason:
        print(f"memory of a GPU: left out: {reason}", file=sys.stderr)
        return rows


CPU = {
    "forward": Entry(models.forward("base", 1024, 10), "forward pass of base, one clip of 10 s"),
    "forward-small": Entry(models.forward("small", 500, 5), "forward pass of small, one clip of 5 s"),
    "forward-nano": Entry(models.forward("nano", 98, 1), "forward pass of nano, one clip of 1 s"),
    "base": Entry(models.training("base", 1024, 2, 10, "2.5x"), "training step of base, two clips of 10 s"),
    "small": Entry(models.training("small", 500, 16, 5, "2.4x"), "training step of small, 16 clips of 5 s"),
    "nano": Entry(models.training("nano", 98, 32, 1, "1.6x"), "training step of nano, 32 clips of 1 s"),
    "workers": Entry(workers.steps, "training steps of nano and small, by one process and by several (--workers)"),
    "free-threaded": Entry(free_threaded.step, "training step of nano, beside a Python without its lock (python3.14t)"),
    "peak": Entry(peak.shares, "a forward pass of base as a share of the SGEMM peak, and of the float32 peak (g++)"),
    "fewer": Entry(models.fewer, "training step of small with half of the patches (patchout), or half of it frozen"),
    "profile": Entry(models.profile, "the layers that take longest"),
    "log-mel": Entry(features.against_torchaudio, "log-mel features of 10 s, compared with torchaudio"),
    "log-mel-transformers": Entry(features.against_transformers, "the same, compared with transformers' extractor"),
    "cache": Entry(cache.fill, "features of 2000 files, computed and kept, beside a copy of files; takes 4 GB of disk"),
    "memory": Entry(memory, "peak memory of a training step of base; on a GPU too, if there is one"),
    "import": Entry(process.imports, "the time of `import minast`"),
    "predict": Entry(process.cold_start, "predict on one clip, as a whole process"),
    "scan": Entry(recordings.scan, "scan with nano, small and base: x real time, compared with transformers' pipeline"),
    "listen": Entry(recordings.listen, "listen with nano, small and base: p99 latency; takes minutes of real time"),
    "int8": Entry(exported.int8, "forward pass of an exported nano, small and base: int8 against float32"),
    "kept": Entry(activations.kept, "bytes that a block keeps for the backward pass in bfloat16"),
}
DEVICE = {  # those that take --backend
    "kernels": Entry(memory_bound.kernels, "each kernel that only moves memory: GB/s"),
    "attention": Entry(attention.attention, "each version of the attention kernel: GFLOP/s"),
    "backends": Entry(backends.backends, "forward pass and training step on every backend"),
    "step": Entry(step.step, "training step of base, 32 clips of 10 s, in bfloat16"),
    "latency": Entry(latency.latency, "forward pass of base on one clip, in bfloat16"),
    "throughput": Entry(
        throughput.throughput, "forward pass of base in batches of 1 to 128 clips, in bfloat16: clips/s"
    ),
    "memory": Entry(memory, "peak memory of a training step of base, 32 clips of 10 s, in bfloat16"),
}
ROWS = {**CPU, **DEVICE}
ON_REQUEST = ("cache", "fewer", "profile", "kept", "free-threaded")  # not in a run that names no rows
TABLES = {
    "registers": Entry(registers.main, "registers, shared memory and spills of each kernel"),
    "sass": Entry(sass.main, "instructions in the loops of attention, loads in flight of what only moves memory"),
    "launches": Entry(launches.main, "every launch and product of a training step, with bytes and FLOP"),
    "precision": Entry(precision.main, "gradients in TF32 and 16 bits against float32, tensor by tensor"),
    "scaling": Entry(scaling.main, "a step with 1 to 1024 GPUs, predicted; with mpiexec, measured beside it"),
}
COMMANDS = {
    "exported": Entry(exported.main, "what a checkpoint loses and gains as ONNX, and in int8, on a data set"),
    "growth": Entry(
        growth.main, "how time and memory grow with clips, batch, width and threads, beside what is expected"
    ),
}


def default(backend: str | None = None) -> list[str]:
    """The rows of a run that names none."""
    return list(DEVICE) if backend else [name for name in ROWS if name not in ON_REQUEST]


def lines(entries: dict[str, Entry]) -> str:
    """A line of help for each entry."""
    return "\n".join(f"  {name:22}{entry.what}" for name, entry in entries.items())
