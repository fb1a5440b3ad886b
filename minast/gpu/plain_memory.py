"""Plain memory: every array of a GPU is an allocation of its own, for runs under NVIDIA's compute-sanitizer.

memcheck knows allocations, and reports an access outside of them. CuPy's pool and the arena (memory.py) hand out parts
of large ones: there, an overrun lands in a neighbour and is not seen. With MINAST_PLAIN_MEMORY=1 there is neither, so
there are no CUDA graphs either, and everything is slower.
"""

import os
from types import ModuleType

from ..errors import Error

VARIABLE = "MINAST_PLAIN_MEMORY"


def wanted() -> bool:
    """Whether the environment asks for plain memory. Raises minast.Error for a value other than 0, 1 or nothing."""
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "0", "1"):
        raise Error(f"{VARIABLE} is {value!r}: it must be 1, for an allocation of its own for each array, or 0.")
    return value == "1"


def apply(cupy: ModuleType) -> None:
    """Turn CuPy's pool off if plain memory is wanted: what is allocated from now on comes from the driver."""
    if wanted():
        cupy.cuda.set_allocator(None)
