"""The registers and static shared memory of one kernel, as NVIDIA's compiler reports them; no GPU is needed."""

import functools
import re

from . import nvrtc
from .kernel_source import Source


def needs(source: Source, kernel: str, capability: str = "80") -> tuple[int, int] | None:
    """(registers of a thread, bytes of static shared memory of a block) of an instantiation; None without NVRTC.

    Raises minast.Error if the source does not compile for a GPU.
    """
    return _needs(source.text, source.name, kernel, capability) if nvrtc.available() else None


@functools.lru_cache(256)
def _needs(text, name, kernel, capability):
    log = nvrtc.compile_text(text, name, capability, [kernel])[1]
    registers = re.search(r"Used (\d+) registers", log)
    shared = re.search(r"(\d+) bytes smem", log)
    return int(registers[1]), int(shared[1]) if shared else 0
