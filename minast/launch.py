"""The one door to a CUDA kernel: `launch` checks its arguments and runs it, on the GPU or in the emulator.

CuPy arrays go to the GPU, NumPy arrays to the emulator:

    launch("softmax.cu", "softmax_forward<float>", grid=rows, block=128, args=(x, y, np.int32(columns)))
"""

import numpy as np

from .emulator.run import emulation, run
from .errors import Error
from .gpu import dry_run, kernel_source
from .gpu.signature import check_shape, signature_of, three

__all__ = ["emulation", "launch"]

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
    signature = signature_of(text, kernel)
    grid, block = three(grid, "grid"), three(block, "block")
    check_shape(signature, grid, block, shared_bytes)
    values = signature.values(args)
    if signature.module(values) == "cupy":
        _launch_cupy(text, signature, grid, block, values, shared_bytes)
    else:
        run(text, signature.name, [a.parameter for a in signature.arguments], grid, block, values, shared_bytes)


def _launch_cupy(text, signature, grid, block, values, shared_bytes):
    import cupy

    device = cupy.cuda.Device().id
    for argument, value in zip(signature.arguments, values, strict=True):
        if argument.parameter.pointer and value is not None and value.device.id != device:
            raise Error(f"{argument.what} is on device {value.device.id}, the current one is {device}")
    key = device, text.text, signature.name
    if key not in _functions:
        # All sources are pasted together: CuPy's cache of compiled kernels does not look into included files.
        module = cupy.RawModule(code=text.text, options=("-std=c++17", "-lineinfo"), name_expressions=(signature.name,))
        _functions[key] = [module.get_function(signature.name), 48 * 1024]
    function, allowed = _functions[key]
    if shared_bytes > allowed:  # more than 48 KB must be asked for, once
        function.max_dynamic_shared_size_bytes = _functions[key][1] = shared_bytes
    # A null pointer is eight zero bytes; CuPy's None would be no argument at all.
    pointers = [np.uint64(0) if v is None else v for v in values]
    function(grid, block, tuple(pointers), shared_mem=shared_bytes)
