"""What minast takes from CuPy exists in the CuPy that is installed, by these names: it needs no GPU to look."""

import importlib
import inspect
import re

import pytest

from minast.cuda import cublas
from tests import fake_cupy

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

NAMES = {
    "cupy": "ndarray empty empty_like zeros zeros_like asarray ascontiguousarray concatenate where from_dlpack isnan "
    "square RawModule arange eye stack copyto einsum get_default_memory_pool abs divide exp log log1p maximum multiply "
    "sqrt tanh float32 float64",
    "cupy.fft": "rfft",
    "cupy.lib.stride_tricks": "sliding_window_view",
    "cupy.random": "default_rng",
    "cupy.random.Generator": "standard_normal random",
    "cupyx": "empty_pinned",
    "cupyx.scipy.special": "erf",
    "cupy.cuda": "Device Event Graph MemoryPool Stream get_current_stream using_allocator set_allocator "
    "get_elapsed_time",
    "cupy.cuda.runtime": "getDeviceCount getDeviceProperties memGetInfo runtimeGetVersion",
    "cupy.cuda.Stream": "begin_capture end_capture record wait_event synchronize null __enter__ __exit__",
    "cupy.cuda.Event": "record synchronize",
    "cupy.cuda.Graph": "launch",
    "cupy.cuda.Device": "compute_capability attributes id synchronize",
    "cupy.cuda.MemoryPool": "malloc free_all_blocks free_bytes total_bytes",
    "cupy.ndarray": "get set copy view data device flags strides fill",
    "cupy.RawKernel": "max_dynamic_shared_size_bytes __call__",
}


def found(path):
    """The module, or the class in a module, of this name."""
    try:
        return importlib.import_module(path)
    except ImportError:
        module, name = path.rsplit(".", 1)
        return getattr(found(module), name)


@pytest.mark.parametrize("path", NAMES)
def test_names(path):
    missing = [name for name in NAMES[path].split() if not hasattr(found(path), name)]
    assert not missing


OWN = r"__(module|doc|dict|weakref|name|spec|package|loader|hash|init|del)__|_[a-z]\w*|give"  # not CuPy's


def offered():
    """(path, value) of what the stand-in's modules, and its classes that minast uses most, have."""
    made = fake_cupy.modules() | {
        "cupy.ndarray": fake_cupy.ndarray,
        "cupy.cuda.MemoryPool": fake_cupy.device.MemoryPool,
        "cupy.random.Generator": fake_cupy.arrays.Generator,
    }
    return [
        (f"{path}.{name}", value)
        for path, each in made.items()
        for name, value in vars(each).items()
        if not re.fullmatch(OWN, name)
    ]


def parameters(function):
    """The names of a function's parameters; None if it takes any. Cython's are in the first line of the docstring."""
    try:
        taken = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):
        written = re.search(r"\((.*?)\)", function.__doc__ or "")
        return [part.split("=")[0].split()[-1].strip("*") for part in written[1].split(",")] if written else None
    return (
        None if any(p.kind is p.VAR_KEYWORD for p in taken) else [p.name for p in taken if p.kind != p.VAR_POSITIONAL]
    )


def test_the_stand_in_offers_what_cupy_has():
    """No other names, and no other parameters."""
    for path, ours in offered():
        module, name = path.rsplit(".", 1)
        theirs = getattr(found(module), name)  # AttributeError: CuPy has no such name
        if inspect.isfunction(ours) and not name.startswith("__"):
            known = parameters(theirs)
            assert known is None or set(parameters(ours)) <= {*known, "self"}, (path, known)


def test_how_they_are_called():
    """Cython keeps the signature in the first line of a docstring."""
    stream = cupy.cuda.Stream
    assert stream.begin_capture.__doc__.startswith("_BaseStream.begin_capture(self, mode=None)")
    assert "set(self, arr, stream=None)" in cupy.ndarray.set.__doc__
    assert "Graph.launch(self, stream=None)" in cupy.cuda.Graph.launch.__doc__
    assert "non_blocking" in stream.__doc__ and stream.null.ptr == 0


def test_nccl_has_these_functions_and_constants():
    try:
        from cupy.cuda import nccl
    except ImportError as error:
        pytest.skip(f"NCCL is not installed: {error}")
    if not nccl.available:  # an empty module stands in for it
        pytest.skip("NCCL is not installed")
    names = "NcclCommunicator NcclError get_unique_id groupStart groupEnd NCCL_SUM NCCL_CHAR NCCL_FLOAT32 NCCL_FLOAT64"
    assert not [name for name in names.split() if not hasattr(nccl, name)]
    calls = {"allReduce": 6, "reduceScatter": 6, "reduce": 7, "send": 5, "recv": 5, "broadcast": 6}
    for name, arguments in calls.items():
        signature = getattr(nccl.NcclCommunicator, name).__doc__.split(")")[0]
        assert signature.count(",") == arguments, signature  # self is one more


def test_cublas_has_these_functions_and_constants():
    try:
        from cupy_backends.cuda.libs import cublas as theirs
    except ImportError as error:
        pytest.skip(f"cuBLAS is not installed: {error}")
    library = cublas.library()
    assert all(getattr(library, name) for name in cublas.SIGNATURES)
    assert (theirs.CUBLAS_COMPUTE_32F, theirs.CUBLAS_GEMM_DEFAULT) == (cublas.COMPUTE_32F, cublas.DEFAULT_ALGORITHM)
    assert len(cublas.SIGNATURES["cublasGemmEx"]) == theirs.gemmEx.__doc__.split("->")[0].count(",") + 1
