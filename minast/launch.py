"""Every CUDA kernel is run by `launch`, which checks its arguments: on the GPU or in the emulator.

CuPy arrays run on the GPU, NumPy arrays in the emulator:

    launch("softmax.cu", "softmax_forward<float>", grid=-(-rows // 4), block=(32, 4), args=(x, p, rows, columns))
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .emulator.run import emulation, run
from .errors import Error
from .gpu import dry_run, kernel_source, nvrtc
from .gpu.cupy_cache import check_cupy_cache
from .gpu.signature import check_shape, dim3, signature_of

__all__ = ["emulation", "launch"]

_functions: dict = {}  # (device, text, name) -> [CuPy's kernel, its limit of dynamic shared memory]


def launch(
    source: str | Path,
    kernel: str,
    grid: int | Sequence[int],
    block: int | Sequence[int],
    args: Sequence[Any],
    shared_bytes: int = 0,
) -> None:
    """Run one kernel; return when it is queued on the current stream (CuPy) or done (NumPy).

    source: a file name in kernels/, or a pathlib.Path to a .cu file of your own.
    kernel: its name with template arguments, "attention_rows<64>".
    grid, block: one to three integers.  shared_bytes: dynamic shared memory.
    args: as the kernel declares them. Arrays must have the declared element type (bfloat16 is passed as uint16), be
      C-contiguous and all NumPy or all CuPy; None is a null pointer. A NumPy scalar must have exactly the declared
      type; a Python int, float or bool is converted if its value fits.

    Raises minast.Error for anything that does not match the kernel's declaration or the limits of a GPU. The emulator
    also raises IndexError for an access outside an array or at a misaligned address, and minast.Error for a deadlock, a
    failed assert, __trap, a stack overflow or an integer division by zero.
    """
    if (recorder := dry_run.current_recorder()) is not None:
        return recorder.launch(source, kernel, grid, block, args, shared_bytes)
    text = kernel_source.load(source)
    signature = signature_of(text, kernel)
    grid, block = dim3(grid, "grid"), dim3(block, "block")
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
        check_cupy_cache()
        # Includes are pasted in: CuPy's cache of compiled kernels does not see changes of included files.
        # One instantiation a module, kept in CuPy's cache: a step of base in bfloat16 has 30, which NVRTC compiles in
        # half the time of their 17 `// instantiate:` groups (kernels/README.md, "Compiling").
        # CuPy adds -arch=sm_90; with -arch=sm_90a beside it, NVRTC takes the latter.
        options = (*nvrtc.OPTIONS, *([f"-arch=sm_{text.capability}"] if text.capability else []))
        module = cupy.RawModule(code=text.text, options=options, name_expressions=(signature.name,))
        _functions[key] = [module.get_function(signature.name), 48 * 1024]
    function, allowed = _functions[key]
    if shared_bytes > allowed:  # more than 48 KB must be requested, once
        function.max_dynamic_shared_size_bytes = _functions[key][1] = shared_bytes
    # A null pointer is passed as eight zero bytes: CuPy does not take None.
    pointers = [np.uint64(0) if v is None else v for v in values]
    function(grid, block, tuple(pointers), shared_mem=shared_bytes)
