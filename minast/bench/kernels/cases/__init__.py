"""The jobs of the kernels that only move memory: for each our kernel, the reference, and the same in PyTorch.

Each function takes a Device, Sizes and a dtype's name, and yields Cases. It is a generator, so that the arrays of one
case are freed before those of the next are made.
"""

from collections.abc import Iterator

from ...gpu.device import Device
from .case import Case, Sizes
from .class_attention import few_queries
from .losses import losses
from .norms import norms, residuals
from .patches import patches, patchout, tokens
from .pointwise import gelus, softmaxes
from .reductions import adam, columns
from .spectrograms import spectrograms


def cases(device: Device, sizes: Sizes, dtype: str) -> Iterator[Case]:
    """All cases of a dtype. Adam, its norm and spectrograms are float32 alone, the fused residual and norm 16 bits."""
    for make in (patches, norms, gelus, softmaxes, losses, columns, tokens, patchout, few_queries, spectrograms):
        yield from make(device, sizes, dtype)
    yield from (adam if dtype == "float32" else residuals)(device, sizes, dtype)
