"""The one door to a CUDA kernel: `launch` checks its arguments and runs it, on the GPU or in the emulator.

CuPy arrays go to the GPU, NumPy arrays to the emulator:

    launch("softmax.cu", "softmax_forward<float>", grid=rows, block=128, args=(x, y, np.int32(columns)))
"""

import numpy as np

from . import kernel_source
from .emulator import emulation, run
from .errors import Error
from .kernel_source import TYPES

__all__ = ["emulation", "launch"]

MAX_SHARED = 227 * 1024  # of compute capability 9.0; the driver refuses what a smaller device does not have
_modules = {}


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
    text = kernel_source.load(source)
    declared, template, name = text.split(kernel)
    parameters = declared.bind(template)
    grid, block = _three(grid, "grid"), _three(block, "block")
    _check_shape(name, declared, grid, block, shared_bytes)
    if len(args) != len(parameters):
        names = ", ".join(p.name for p in parameters)
        raise Error(f"{name} takes {len(parameters)} arguments ({names}), got {len(args)}")
    values = [_check(name, i, p, v) for i, (p, v) in enumerate(zip(parameters, args, strict=True))]
    kinds = {_kind(v) for p, v in zip(parameters, values, strict=True) if p.pointer and v is not None}
    if len(kinds) > 1:
        raise Error(f"{name}: some arrays are NumPy's and some CuPy's; move them to one side")
    if kinds == {"cupy"}:
        _launch_cupy(text, name, grid, block, parameters, values, shared_bytes)
    else:
        run(text, name, parameters, grid, block, values, shared_bytes)


def _three(size, what):
    size = (size,) if isinstance(size, int | np.integer) else tuple(size)
    if not 1 <= len(size) <= 3 or any(int(n) != n or n < 1 for n in size):
        raise Error(f"{what} is one to three positive integers, not {size}")
    return tuple(int(n) for n in size) + (1,) * (3 - len(size))


def _check_shape(name, declared, grid, block, shared_bytes):
    """The limits of every device since compute capability 7.5."""
    threads = block[0] * block[1] * block[2]
    if threads > 1024 or block[2] > 64:
        raise Error(f"{name}: a block has at most 1024 threads, and 64 along z; {block} is {threads}")
    if declared.threads and threads > declared.threads:
        raise Error(f"{name} declares __launch_bounds__({declared.threads}); a block of {block} has {threads} threads")
    if grid[0] > 2**31 - 1 or grid[1] > 65535 or grid[2] > 65535:
        raise Error(f"{name}: a grid has at most 2147483647 x 65535 x 65535 blocks, not {grid}")
    if not 0 <= shared_bytes <= MAX_SHARED:
        raise Error(f"{name}: dynamic shared memory is 0 to {MAX_SHARED} bytes, not {shared_bytes}")


def _kind(value):
    if isinstance(value, np.ndarray):
        return "numpy"
    return "cupy" if type(value).__module__.split(".")[0] == "cupy" and hasattr(value, "data") else "other"


def _check(kernel, number, parameter, value):
    """The value as the kernel declares it, or an Error that says what to pass instead."""
    what = f"{kernel}, argument {number} ({parameter.name})"
    if parameter.type not in TYPES and not (parameter.pointer and parameter.type == "void"):
        raise Error(f"{what}: a parameter of type {parameter.type!r} cannot be checked; declare a plain type")
    return _check_array(what, parameter, value) if parameter.pointer else _check_scalar(what, parameter, value)


def _check_array(what, parameter, value):
    if value is None:
        return None
    if _kind(value) == "other":
        raise Error(f"{what} is a pointer to {parameter.type}: pass a NumPy or CuPy array, not {type(value).__name__}")
    if parameter.type != "void":
        dtype, elements = TYPES[parameter.type]
        bfloat16 = "nv_bfloat16" in parameter.type and value.dtype.name == "bfloat16"
        if value.dtype != np.dtype(dtype) and not bfloat16:
            raise Error(f"{what} is a pointer to {parameter.type}: pass a {dtype} array, not {value.dtype}")
        if value.size % elements:
            raise Error(f"{what} is a pointer to {parameter.type}: {value.size} elements are no multiple of {elements}")
    if not value.flags.c_contiguous:
        raise Error(
            f"{what} is not contiguous (shape {value.shape}, strides {value.strides}): "
            "pass a copy made by ascontiguousarray"
        )
    if isinstance(value, np.ndarray) and not parameter.const and not value.flags.writeable:
        raise Error(f"{what} is written by the kernel, and the array is read-only")
    return value


def _check_scalar(what, parameter, value):
    dtype = np.dtype(TYPES[parameter.type][0])
    if parameter.type.endswith("bfloat16"):
        raise Error(f"{what}: a bfloat16 scalar has no NumPy type; declare the parameter float")
    if TYPES[parameter.type][1] != 1:
        raise Error(f"{what}: vectors cannot be passed by value; pass their elements")
    if isinstance(value, np.generic):
        if value.dtype != dtype:
            raise Error(
                f"{what} is {parameter.type}, {dtype.itemsize} bytes: got {value.dtype}, {value.dtype.itemsize} bytes; "
                f"pass numpy.{dtype.name}({value})"
            )
        return value
    fits = {"b": (bool,), "i": (int,), "u": (int,), "f": (int, float)}[dtype.kind]
    if not isinstance(value, fits) or (isinstance(value, bool) and dtype.kind != "b"):
        raise Error(f"{what} is {parameter.type}: pass numpy.{dtype.name}, not {type(value).__name__}")
    if dtype.kind in "iu" and not np.iinfo(dtype).min <= value <= np.iinfo(dtype).max:
        raise Error(f"{what} is {parameter.type}: {value} does not fit into its {dtype.itemsize} bytes")
    return dtype.type(value)


def _launch_cupy(text, name, grid, block, parameters, values, shared_bytes):
    import cupy

    device = cupy.cuda.Device().id
    for number, (parameter, value) in enumerate(zip(parameters, values, strict=True)):
        if parameter.pointer and value is not None and value.device.id != device:
            what = f"{name}, argument {number} ({parameter.name})"
            raise Error(f"{what} is on device {value.device.id}, the current one is {device}")
    key = device, text.text, name
    if key not in _modules:
        # All sources are pasted together: CuPy's cache of compiled kernels does not look into included files.
        module = cupy.RawModule(code=text.text, options=("-std=c++17", "-lineinfo"), name_expressions=(name,))
        _modules[key] = module.get_function(name)
    function = _modules[key]
    if shared_bytes > 48 * 1024 and function.max_dynamic_shared_size_bytes < shared_bytes:
        function.max_dynamic_shared_size_bytes = shared_bytes
    # None becomes eight zero bytes: CuPy passes a Python int, whatever its width, as such.
    pointers = [np.uint64(0) if p.pointer and v is None else v for p, v in zip(parameters, values, strict=True)]
    function(grid, block, tuple(pointers), shared_mem=shared_bytes)
