"""Checks the arguments of a launch against the kernel's declaration."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ..errors import Error
from . import kernel_source
from .kernel_source import TYPES

MAX_SHARED = 227 * 1024  # for compute capability 9.0; on devices with less the driver refuses the launch


class Argument(NamedTuple):
    """Requirements on one argument.

    what: its description for messages. dtype: None means any. elements: an array's size must be a multiple.
    python_types: accepted for a scalar, within `limits`.
    """

    parameter: kernel_source.Parameter
    what: str
    dtype: np.dtype | None
    elements: int
    python_types: tuple
    limits: tuple


class Signature(NamedTuple):
    """A kernel's name with template arguments, its __launch_bounds__ (None: not declared) and its arguments."""

    name: str
    threads: int | None
    arguments: tuple

    def values(self, args: Sequence[Any]) -> list:
        """The arguments, converted to the declared types. Raises minast.Error for one that does not match."""
        if len(args) != len(self.arguments):
            names = ", ".join(a.parameter.name for a in self.arguments)
            raise Error(f"{self.name} takes {len(self.arguments)} arguments ({names}), got {len(args)}")
        return [
            _array(a, v) if a.parameter.pointer else _scalar(a, v) for a, v in zip(self.arguments, args, strict=True)
        ]

    def module(self, values: Sequence[Any]) -> str | None:
        """ "numpy" or "cupy", by the arrays among `values`; None without any. Raises minast.Error if they are mixed."""
        kinds = {kind(v) for a, v in zip(self.arguments, values, strict=True) if a.parameter.pointer and v is not None}
        if len(kinds) > 1:
            raise Error(f"{self.name}: some arrays are NumPy's and some CuPy's; move them to one side")
        return kinds.pop() if kinds else None


_known: dict = {}  # (text, kernel as the caller writes it) -> Signature: a training step launches hundreds of kernels


def signature_of(text: kernel_source.Source, kernel: str) -> Signature:
    """The Signature of a kernel like "softmax_forward<float>". Raises minast.Error if the source does not have it."""
    return _known.get((text.text, kernel)) or _read(text, kernel)


def _read(text, kernel):
    declared, template, name = text.split(kernel)
    arguments = []
    for number, parameter in enumerate(declared.bind(template)):
        what = f"{name}, argument {number} ({parameter.name})"
        if parameter.pointer and parameter.type == "void":
            arguments.append(Argument(parameter, what, None, 1, (), ()))
            continue
        if parameter.type not in TYPES:
            raise Error(f"{what}: a parameter of type {parameter.type!r} cannot be checked; declare a plain type")
        dtype, elements = TYPES[parameter.type]
        if not parameter.pointer and "bfloat16" in parameter.type:
            raise Error(f"{what}: a bfloat16 scalar has no NumPy type; declare the parameter float")
        if not parameter.pointer and elements != 1:
            raise Error(f"{what}: vectors cannot be passed by value; pass their elements")
        dtype = np.dtype(dtype)
        python_types = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[dtype.kind]
        limits = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else ()
        arguments.append(Argument(parameter, what, dtype, elements, python_types, limits))
    _known[text.text, kernel] = Signature(name, declared.threads, tuple(arguments))
    return _known[text.text, kernel]


def dim3(size: int | Sequence[int], what: str) -> tuple[int, int, int]:
    """One to three positive integers as three. Raises minast.Error for anything else; `what` is their name in it."""
    size = (size,) if isinstance(size, int | np.integer) else tuple(size)
    if not 1 <= len(size) <= 3 or any(int(n) != n or n < 1 for n in size):
        raise Error(f"{what} is one to three positive integers, not {size}")
    return tuple(int(n) for n in size) + (1,) * (3 - len(size))


def check_shape(
    signature: Signature, grid: tuple[int, int, int], block: tuple[int, int, int], shared_bytes: int
) -> None:
    """Raises minast.Error for a launch beyond the limits of all devices since 7.5, or the kernel's own bounds."""
    threads = block[0] * block[1] * block[2]
    if threads > 1024 or block[2] > 64:
        raise Error(f"{signature.name}: a block has at most 1024 threads, and 64 along z; {block} is {threads}")
    if signature.threads and threads > signature.threads:
        raise Error(
            f"{signature.name} declares __launch_bounds__({signature.threads}); "
            f"a block of {block} has {threads} threads"
        )
    if grid[0] > 2**31 - 1 or grid[1] > 65535 or grid[2] > 65535:
        raise Error(f"{signature.name}: a grid has at most 2147483647 x 65535 x 65535 blocks, not {grid}")
    if not 0 <= shared_bytes <= MAX_SHARED:
        raise Error(f"{signature.name}: dynamic shared memory is 0 to {MAX_SHARED} bytes, not {shared_bytes}")


def kind(value: Any) -> str:
    """ "numpy" or "cupy" for an array, "other" for anything else."""
    if isinstance(value, np.ndarray):
        return "numpy"
    return "cupy" if type(value).__module__.split(".")[0] == "cupy" and hasattr(value, "data") else "other"


def _array(argument, value):
    """The array if it is as declared, else an Error that says what to pass instead."""
    what, type_ = argument.what, argument.parameter.type
    if value is None:
        return None
    if kind(value) == "other":
        raise Error(f"{what} is a pointer to {type_}: pass a NumPy or CuPy array, not {type(value).__name__}")
    if argument.dtype is not None:
        if value.dtype != argument.dtype and not ("nv_bfloat16" in type_ and value.dtype.name == "bfloat16"):
            raise Error(f"{what} is a pointer to {type_}: pass a {argument.dtype} array, not {value.dtype}")
        if argument.elements > 1 and value.size % argument.elements:
            raise Error(
                f"{what} is a pointer to {type_}: {value.size} elements are not a multiple of {argument.elements}"
            )
    if not value.flags.c_contiguous:
        raise Error(
            f"{what} is not contiguous (shape {value.shape}, strides {value.strides}): "
            "pass a copy made by ascontiguousarray"
        )
    if not argument.parameter.const and isinstance(value, np.ndarray) and not value.flags.writeable:
        raise Error(f"{what} is written by the kernel, and the array is read-only")
    return value


def _scalar(argument, value):
    """The scalar as the declared type, or an Error that says what to pass instead."""
    what, type_, dtype = argument.what, argument.parameter.type, argument.dtype
    if isinstance(value, np.generic):
        if value.dtype != dtype:
            raise Error(
                f"{what} is {type_}, {dtype.itemsize} bytes: got {value.dtype}, {value.dtype.itemsize} bytes; "
                f"pass numpy.{dtype.name}({value})"
            )
        return value
    if not isinstance(value, argument.python_types) or (isinstance(value, bool) and dtype.kind != "b"):
        raise Error(f"{what} is {type_}: pass numpy.{dtype.name}, not {type(value).__name__}")
    if argument.limits and not argument.limits[0] <= value <= argument.limits[1]:
        raise Error(f"{what} is {type_}: {value} does not fit into its {dtype.itemsize} bytes")
    return dtype.type(value)
