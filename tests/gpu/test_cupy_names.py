"""What minast takes from CuPy exists in the CuPy that is installed, by these names: it needs no GPU to look."""

import importlib

import pytest

from minast.cuda import cublas

cupy = pytest.importorskip("cupy", reason="CuPy is not installed")

NAMES = {
    "cupy": "ndarray empty empty_like zeros zeros_like asarray ascontiguousarray concatenate where from_dlpack isnan "
    "square RawModule",
    "cupyx": "empty_pinned",
    "cupy.cuda": "Device Event Graph MemoryPool Stream get_current_stream using_allocator set_allocator "
    "get_elapsed_time",
    "cupy.cuda.runtime": "getDeviceCount getDeviceProperties memGetInfo runtimeGetVersion",
    "cupy.cuda.Stream": "begin_capture end_capture record wait_event synchronize null __enter__ __exit__",
    "cupy.cuda.Event": "record synchronize",
    "cupy.cuda.Graph": "launch",
    "cupy.cuda.Device": "compute_capability attributes id",
    "cupy.cuda.MemoryPool": "malloc free_all_blocks total_bytes",
    "cupy.ndarray": "get set copy view data device flags strides",
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
