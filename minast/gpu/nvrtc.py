"""NVRTC, NVIDIA's run-time compiler, by ctypes: compiles kernels as CuPy does, without a GPU or driver."""

import ctypes
import functools
import importlib.util
from collections.abc import Iterable
from pathlib import Path

from ..errors import Error

OPTIONS = ("-std=c++17", "-lineinfo")  # what `launch` asks CuPy for
CUPY_ADDS = ("-ftz=true", "--device-as-default-execution-space")  # CuPy 14, to every kernel; and -arch of the device
INSTALL = "pip install nvidia-cuda-nvrtc nvidia-cuda-runtime nvidia-cuda-crt"


@functools.cache
def _installed():
    """(library, folders with cuda_fp16.h) of NVIDIA's wheels or a CUDA toolkit; (None, []) if there is none."""
    roots = [Path("/usr/local/cuda")]
    spec = importlib.util.find_spec("nvidia")
    for place in spec.submodule_search_locations if spec else ():
        roots[:0] = sorted(p for p in Path(place).iterdir() if p.is_dir())
    patterns = ("lib/libnvrtc.so.*", "lib64/libnvrtc.so.*", "bin/nvrtc64_*.dll")
    libraries = [p for r in roots for pattern in patterns for p in sorted(r.glob(pattern))]
    libraries = [p for p in libraries if "builtins" not in p.name and ".alt." not in p.name]
    headers = [r / "include" for r in roots if (r / "include" / "cuda_fp16.h").is_file()]
    return (libraries[0], headers) if libraries and headers else (None, [])


def available() -> bool:
    """Whether NVRTC and CUDA's headers are installed."""
    return _installed()[0] is not None


@functools.cache
def version() -> str:
    """NVRTC's version, like "13.0"; "" if it is not installed."""
    if not available():
        return ""
    nvrtc, major, minor = ctypes.CDLL(str(_installed()[0])), ctypes.c_int(), ctypes.c_int()
    nvrtc.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor))
    return f"{major.value}.{minor.value}"


def compile_text(text: str, name: str, arch: str, expressions: Iterable[str]) -> tuple[bytes, str]:
    """Compile CUDA C++ for compute capability `arch` ("90") -> (cubin, compiler's log)

    name: of the file, for messages. expressions: kernels to instantiate, like "softmax_forward<float>".
    Raises minast.Error with the compiler's messages, or if NVRTC is not installed.
    """
    path, headers = _installed()
    if path is None:
        raise Error(f"NVRTC is not installed: {INSTALL}")
    for builtins in path.parent.glob("libnvrtc-builtins.so.*"):
        ctypes.CDLL(str(builtins))  # found by name from now on: a wheel's folder is on no search path
    nvrtc = ctypes.CDLL(str(path))
    program, size = ctypes.c_void_p(), ctypes.c_size_t()
    nvrtc.nvrtcCreateProgram(ctypes.byref(program), text.encode(), name.encode(), 0, None, None)
    try:
        for expression in expressions:
            nvrtc.nvrtcAddNameExpression(program, expression.encode())
        options = [*OPTIONS, *CUPY_ADDS, f"-arch=sm_{arch}", "--ptxas-options=-v"]
        options += [f"-I{h}" for h in headers]
        array = (ctypes.c_char_p * len(options))(*(o.encode() for o in options))
        failed = nvrtc.nvrtcCompileProgram(program, len(options), array)
        nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
        log = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetProgramLog(program, log)
        if failed:
            wrong = [line for line in log.value.decode().splitlines() if "error" in line] or [f"NVRTC error {failed}"]
            raise Error(f"{name} does not compile for compute capability {arch}:\n" + "\n".join(wrong[:8]))
        nvrtc.nvrtcGetCUBINSize(program, ctypes.byref(size))
        cubin = ctypes.create_string_buffer(size.value)
        nvrtc.nvrtcGetCUBIN(program, cubin)
        return cubin.raw, log.value.decode()
    finally:
        nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
