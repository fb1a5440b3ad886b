"""The one door to a CUDA kernel: `launch` checks its arguments and runs it, on the GPU or in the emulator.

CuPy arrays go to the GPU, NumPy arrays to the emulator:

    launch("softmax.cu", "softmax_forward<float>", grid=rows, block=128, args=(x, y, np.int32(columns)))
"""

from typing import NamedTuple

import numpy as np

from .emulator.run import emulation, run
from .errors import Error
from .gpu import dry_run, kernel_source
from .gpu.kernel_source import TYPES

__all__ = ["emulation", "launch"]

MAX_SHARED = 227 * 1024  # of compute capability 9.0; the driver refuses what a smaller device does not have
_functions = {}  # (device, text, name) -> [CuPy's kernel, the dynamic shared memory it may have]


def launch(source, kernel, grid, block, args, shared_bytes=0):
    """Run one kernel and return when its work is queued (CuPy, on the current stream) or done (NumPy).

    source: a file name in kernels/, or a pathlib.Path to a .cu file of your own.
    kernel: its name with the template arguments, "attention_forward<float,64>".
    grid, block: an int or up to three.  shared_bytes: dynamic shared memory.
    args: as the kernel declares them. Arrays must have the declared element type (bfloat16 travels as uint16), be
      C-contiguous and all NumPy or all CuPy; None is a null pointer. A NumPy scalar must have exactly the declared
      type; a Python int, float or bool is converted to it if it fits.

    Raises Error for anything that does not match the kernel's declaration; the emulator adds IndexError for an access
    outside an array.
    """
    if (recorder := dry_run.recorder()) is not None:
        return recorder.launch(source, kernel, grid, block, args, shared_bytes)
    text = kernel_source.load(source)
    plan = _plans.get((text.text, kernel)) or _make_plan(text, kernel)
    name, checks = plan.name, plan.checks
    grid, block = _three(grid, "grid"), _three(block, "block")
    _check_shape(plan, grid, block, shared_bytes)
    if len(args) != len(checks):
        names = ", ".join(c.parameter.name for c in checks)
        raise Error(f"{name} takes {len(checks)} arguments ({names}), got {len(args)}")
    values = [_array(c, v) if c.parameter.pointer else _scalar(c, v) for c, v in zip(checks, args, strict=True)]
    kinds = {_kind(v) for c, v in zip(checks, values, strict=True) if c.parameter.pointer and v is not None}
    if len(kinds) > 1:
        raise Error(f"{name}: some arrays are NumPy's and some CuPy's; move them to one side")
    if kinds == {"cupy"}:
        _launch_cupy(text, plan, grid, block, values, shared_bytes)
    else:
        run(text, name, [c.parameter for c in checks], grid, block, values, shared_bytes)


class _Check(NamedTuple):
    """What one argument must be: its dtype (None: any), a multiple of how many elements, or which numbers."""

    parameter: kernel_source.Parameter
    what: str
    dtype: np.dtype | None
    elements: int
    numbers: tuple
    limits: tuple


class _Plan(NamedTuple):
    name: str
    threads: int | None
    checks: tuple


_plans = {}  # (text, kernel as the caller writes it) -> _Plan: a training step launches hundreds of kernels


def _make_plan(text, kernel):
    declared, template, name = text.split(kernel)
    checks = []
    for number, parameter in enumerate(declared.bind(template)):
        what = f"{name}, argument {number} ({parameter.name})"
        if parameter.pointer and parameter.type == "void":
            checks.append(_Check(parameter, what, None, 1, (), ()))
            continue
        if parameter.type not in TYPES:
            raise Error(f"{what}: a parameter of type {parameter.type!r} cannot be checked; declare a plain type")
        dtype, elements = TYPES[parameter.type]
        if not parameter.pointer and "bfloat16" in parameter.type:
            raise Error(f"{what}: a bfloat16 scalar has no NumPy type; declare the parameter float")
        if not parameter.pointer and elements != 1:
            raise Error(f"{what}: vectors cannot be passed by value; pass their elements")
        dtype = np.dtype(dtype)
        numbers = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[dtype.kind]
        limits = (np.iinfo(dtype).min, np.iinfo(dtype).max) if dtype.kind in "iu" else ()
        checks.append(_Check(parameter, what, dtype, elements, numbers, limits))
    _plans[text.text, kernel] = _Plan(name, declared.threads, tuple(checks))
    return _plans[text.text, kernel]


def _three(size, what):
    size = (size,) if isinstance(size, int | np.integer) else tuple(size)
    if not 1 <= len(size) <= 3 or any(int(n) != n or n < 1 for n in size):
        raise Error(f"{what} is one to three positive integers, not {size}")
    return tuple(int(n) for n in size) + (1,) * (3 - len(size))


def _check_shape(plan, grid, block, shared_bytes):
    """The limits of every device since compute capability 7.5."""
    threads = block[0] * block[1] * block[2]
    if threads > 1024 or block[2] > 64:
        raise Error(f"{plan.name}: a block has at most 1024 threads, and 64 along z; {block} is {threads}")
    if plan.threads and threads > plan.threads:
        raise Error(f"{plan.name} declares __launch_bounds__({plan.threads}); a block of {block} has {threads} threads")
    if grid[0] > 2**31 - 1 or grid[1] > 65535 or grid[2] > 65535:
        raise Error(f"{plan.name}: a grid has at most 2147483647 x 65535 x 65535 blocks, not {grid}")
    if not 0 <= shared_bytes <= MAX_SHARED:
        raise Error(f"{plan.name}: dynamic shared memory is 0 to {MAX_SHARED} bytes, not {shared_bytes}")


def _kind(value):
    if isinstance(value, np.ndarray):
        return "numpy"
    return "cupy" if type(value).__module__.split(".")[0] == "cupy" and hasattr(value, "data") else "other"


def _array(check, value):
    """The array as the kernel declares it, or an Error that says what to pass instead."""
    what, type_ = check.what, check.parameter.type
    if value is None:
        return None
    if _kind(value) == "other":
        raise Error(f"{what} is a pointer to {type_}: pass a NumPy or CuPy array, not {type(value).__name__}")
    if check.dtype is not None:
        if value.dtype != check.dtype and not ("nv_bfloat16" in type_ and value.dtype.name == "bfloat16"):
            raise Error(f"{what} is a pointer to {type_}: pass a {check.dtype} array, not {value.dtype}")
        if check.elements > 1 and value.size % check.elements:
            raise Error(f"{what} is a pointer to {type_}: {value.size} elements are no multiple of {check.elements}")
    if not value.flags.c_contiguous:
        raise Error(
            f"{what} is not contiguous (shape {value.shape}, strides {value.strides}): "
            "pass a copy made by ascontiguousarray"
        )
    if not check.parameter.const and isinstance(value, np.ndarray) and not value.flags.writeable:
        raise Error(f"{what} is written by the kernel, and the array is read-only")
    return value


def _scalar(check, value):
    """The number with the declared width, or an Error that says what to pass instead."""
    what, type_, dtype = check.what, check.parameter.type, check.dtype
    if isinstance(value, np.generic):
        if value.dtype != dtype:
            raise Error(
                f"{what} is {type_}, {dtype.itemsize} bytes: got {value.dtype}, {value.dtype.itemsize} bytes; "
                f"pass numpy.{dtype.name}({value})"
            )
        return value
    if not isinstance(value, check.numbers) or (isinstance(value, bool) and dtype.kind != "b"):
        raise Error(f"{what} is {type_}: pass numpy.{dtype.name}, not {type(value).__name__}")
    if check.limits and not check.limits[0] <= value <= check.limits[1]:
        raise Error(f"{what} is {type_}: {value} does not fit into its {dtype.itemsize} bytes")
    return dtype.type(value)


def _launch_cupy(text, plan, grid, block, values, shared_bytes):
    import cupy

    device = cupy.cuda.Device().id
    for check, value in zip(plan.checks, values, strict=True):
        if check.parameter.pointer and value is not None and value.device.id != device:
            raise Error(f"{check.what} is on device {value.device.id}, the current one is {device}")
    key = device, text.text, plan.name
    if key not in _functions:
        # All sources are pasted together: CuPy's cache of compiled kernels does not look into included files.
        module = cupy.RawModule(code=text.text, options=("-std=c++17", "-lineinfo"), name_expressions=(plan.name,))
        _functions[key] = [module.get_function(plan.name), 48 * 1024]
    function, allowed = _functions[key]
    if shared_bytes > allowed:  # more than 48 KB must be asked for, once
        function.max_dynamic_shared_size_bytes = _functions[key][1] = shared_bytes
    # A null pointer is eight zero bytes; CuPy's None would be no argument at all.
    pointers = [np.uint64(0) if v is None else v for v in values]
    function(grid, block, tuple(pointers), shared_mem=shared_bytes)
