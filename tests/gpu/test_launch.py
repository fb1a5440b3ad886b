"""The one door: what it refuses, how it reads a kernel's declaration, what it hands to CuPy and to the compiler."""

import shlex
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from minast import launch
from minast.emulator import build as emulator_build
from minast.emulator import run as emulator
from minast.errors import Error
from minast.gpu import kernel_source, signature
from minast.storage import cache
from tests.emulated import FEATURES, needs_emulator, run

SOURCE = """
// instantiate: f<{float,__half},{16,32}> plain
// instantiate: g<__nv_bfloat16>
template <typename T, int D /* width, "not a string */>
__global__ void __launch_bounds__(128) f(const T* __restrict__ x, float4* const y, int rows, unsigned int seed,
                                         size_t n,  // elements
                                         float scale) {}
extern "C" __global__ void plain(unsigned char* mask, long long n, bool flag, const void* any) {}
// __global__ void commented(int x) {}
template <typename T = float>
__global__ __launch_bounds__(THREADS, 2) void g(T* x) { printf("// __global__ void quoted(int x) {}"); }
"""


@pytest.fixture
def source(tmp_path, monkeypatch):
    monkeypatch.setattr(kernel_source, "RECHECK", 0)
    path = tmp_path / "source.cu"
    path.write_text(SOURCE)
    return path


def test_declarations_are_read(source):
    loaded = kernel_source.load(source)
    assert set(loaded.kernels) == {"f", "plain", "g"}
    kernel, arguments, name = loaded.split("f< float , 16 >")
    assert (arguments, name, kernel.threads) == (("float", "16"), "f<float,16>", 128)
    got = [(p.name, p.type, p.pointer, p.const) for p in kernel.bind(arguments)]
    assert got == [("x", "float", True, True), ("y", "float4", True, False), ("rows", "int", False, False),
                   ("seed", "unsigned int", False, False), ("n", "size_t", False, False),
                   ("scale", "float", False, False)]  # fmt: skip
    plain = loaded.split("plain")[0].bind(())
    assert [p.type for p in plain] == ["unsigned char", "long long", "bool", "void"]
    assert loaded.kernels["g"].threads is None


def test_instantiations_are_listed_and_grouped(source):
    loaded = kernel_source.load(source)
    assert loaded.groups == (
        ("f<float,16>", "f<float,32>", "f<__half,16>", "f<__half,32>", "plain"),
        ("g<__nv_bfloat16>",),
    )
    assert loaded.group("f<__half,32>") == loaded.groups[0] and loaded.group("f<float,64>") == ("f<float,64>",)


def refused(match, *args, kernel="scalars<int>", **how):
    with pytest.raises(Error, match=match):
        run(kernel, *args, **how)


GOOD = (np.zeros(7), 1, 2, 3, 0.5, 0.5, True, np.float16(1))


@pytest.mark.parametrize(
    "number, value, match",
    [
        (1, np.int64(1), r"argument 1 \(i\) is int, 4 bytes: got int64, 8 bytes; pass numpy.int32\(1\)"),
        (1, 2**31, "2147483648 does not fit into its 4 bytes"),
        (1, 1.0, "pass numpy.int32, not float"),
        (1, True, "pass numpy.int32, not bool"),
        (2, -1, "does not fit"),
        (3, np.int32(1), "is long long, 8 bytes: got int32"),
        (4, np.float64(1), "is float, 4 bytes: got float64"),
        (4, "1", "pass numpy.float32, not str"),
        (6, 1, "pass numpy.bool, not int"),
        (1, np.zeros(1, np.int32), "pass numpy.int32, not ndarray"),
        (0, 3, "is a pointer to double: pass a NumPy or CuPy array, not int"),
        (0, np.zeros(7, np.float32), "is a pointer to double: pass a float64 array, not float32"),
        (0, np.zeros(7, ">f8"), "pass a float64 array, not >f8"),
        (0, np.zeros(14)[::2], r"is not contiguous \(shape \(7,\), strides \(16,\)\)"),
        (0, np.zeros((7, 2)).T, "is not contiguous"),
        (0, np.broadcast_to(np.zeros(1), 1), "is written by the kernel, and the array is read-only"),
    ],
)
def test_arguments_that_do_not_match_are_refused(number, value, match):
    args = [*GOOD]
    args[number] = value
    refused(match, *args)


def test_the_number_of_arguments():
    refused("takes 8 arguments .out, i, u, l, f, d, b, h., got 7", *GOOD[:7])


def test_kernels_and_files_that_are_not_there(source):
    refused(r"features.cu has no kernel 'missing'; it has .*where", kernel="missing")
    refused("takes 1 template arguments", kernel="scalars<int,3>")
    with pytest.raises(Error, match=r"there is no kernel file .*nothing.cu; .* has "):
        launch.launch("nothing.cu", "f", 1, 1, ())
    source.write_text('#include "nowhere.cuh"\n')
    with pytest.raises(Error, match=r"source\.cu, line 1: there is no nowhere.cuh"):
        launch.launch(source, "f", 1, 1, ())


def test_shapes_that_no_device_takes(source):
    refused("at most 1024 threads", 1, kernel="prints", block=1025)
    refused("at most 1024 threads, and 64 along z", 1, kernel="prints", block=(1, 1, 65))
    refused("65535", 1, kernel="prints", grid=(1, 70000))
    refused("positive integers", 1, kernel="prints", grid=0)
    refused("dynamic shared memory is 0 to 232448 bytes, not 232449", 1, kernel="prints", shared_bytes=232449)
    with pytest.raises(Error, match=r"declares __launch_bounds__\(128\); a block of \(256, 1, 1\) has 256 threads"):
        launch.launch(source, "f<float,16>", 1, 256, (None, None, 1, 1, 1, 1.0))


def test_types_that_cannot_be_checked(source):
    kernels = "__global__ void f(S s) {}\ntemplate <typename T> __global__ void g(T x) {}\n"
    source.write_text("struct S { int a; };\n" + kernels)
    with pytest.raises(Error, match="a parameter of type 'S' cannot be checked"):
        launch.launch(source, "f", 1, 1, (3,))
    with pytest.raises(Error, match="bfloat16 scalar has no NumPy type"):
        launch.launch(source, "g<__nv_bfloat16>", 1, 1, (3.0,))
    with pytest.raises(Error, match="vectors cannot be passed by value"):
        launch.launch(source, "g<float4>", 1, 1, (3.0,))


# -- the way to the emulator


@needs_emulator
def test_a_source_that_does_not_compile_is_shown_by_its_own_lines(source):
    source.write_text("__global__ void f(int n) {\n  n = undeclared;\n}\n")
    with pytest.raises(Error, match=r"not compile for the emulator:\nsource.cu:2:7: error: .*undeclared"):
        launch.launch(source, "f", 1, 1, (1,))


def test_without_a_compiler_the_sentence_names_the_package(source, monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "empty"))
    monkeypatch.delenv("CXX", raising=False)
    if emulator_build.sys.platform != "linux":
        pytest.skip("the platform is refused first")
    found = r" and found none: install the package g\+\+ \(Debian, Ubuntu: apt install g\+\+; "
    for cxx, looked in [(None, r"the C\+\+ compiler g\+\+"), ("", r"the C\+\+ compiler g\+\+"),
                        ("ccache g++ -m64", "'ccache', since .CXX is 'ccache g\\+\\+ -m64',")]:  # fmt: skip
        if cxx is not None:
            monkeypatch.setenv("CXX", cxx)
        with pytest.raises(Error, match="looked for " + looked + found):
            emulator_build.library(kernel_source.load(source), ("plain",))
    monkeypatch.setenv("CXX", "g++ '-m64")
    with pytest.raises(Error, match=r"CXX is .* cannot be read as a command: No closing quotation"):
        emulator_build.compiler()


@needs_emulator
def test_a_compiler_with_arguments(source, monkeypatch, tmp_path):
    """$CXX may name a wrapper and have arguments; a wrapper whose compiler is missing is told apart."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    source.write_text("__global__ void f(int* x) { *x = NUMBER; }\n")
    wrapper, asked = tmp_path / "a wrapper", tmp_path / "asked"
    wrapper.write_text(f'#!/bin/sh\necho "$*" >> {asked}\nexec "$@"\n')
    wrapper.chmod(0o755)
    for number in (7, 8):  # other arguments, another library
        monkeypatch.setenv("CXX", f"'{wrapper}' {shlex.join(emulator_build.compiler())} -DNUMBER={number}")
        assert emulator_build.library(kernel_source.load(source), ("f",)).is_file()
        assert f"-DNUMBER={number} -std" in asked.read_text()
        monkeypatch.delenv("CXX")
    assert len(list((tmp_path / "cache" / "emulator").iterdir())) == 2
    monkeypatch.setenv("CXX", f"'{wrapper}' no-such-compiler")
    with pytest.raises(Error, match=r"C\+\+ compiler `'.*a wrapper' no-such-compiler` does not run: .*not found"):
        emulator_build.library(kernel_source.load(source), ("f",))


@pytest.mark.parametrize("platform, machine", [("darwin", "arm64"), ("win32", "AMD64"), ("linux", "riscv64")])
def test_elsewhere_is_not_supported(monkeypatch, platform, machine):
    monkeypatch.setattr(emulator_build.sys, "platform", platform)
    monkeypatch.setattr(emulator_build.platform, "machine", lambda: machine)
    with pytest.raises(Error, match=r"emulator is not supported here .* Linux, x86-64 and aarch64"):
        emulator_build.check_platform()


@needs_emulator
def test_libraries_are_cached_by_content(source, monkeypatch, tmp_path):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    source.write_text("__global__ void f(int* x) { *x = 1; }\n")
    first = emulator_build.library(kernel_source.load(source), ("f",))
    assert first.parent == tmp_path / "cache" / "emulator" and [p.name for p in first.parent.iterdir()] == [first.name]
    built = first.stat().st_mtime_ns
    assert emulator_build.library(kernel_source.load(source), ("f",)) == first and first.stat().st_mtime_ns == built
    source.write_text("__global__ void f(int* x) { *x = 2; }\n")
    assert emulator_build.library(kernel_source.load(source), ("f",)) != first
    monkeypatch.delenv("MINAST_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache.cache_folder() == tmp_path / "xdg" / "minast"


@needs_emulator
def test_an_edited_kernel_is_compiled_again(source):
    x = np.zeros(1, np.int32)
    for n in (1, 2):
        source.write_text(f"__global__ void f(int* x) {{ *x += {10**n}; }}\n")
        launch.launch(source, "f", 1, 1, (x,))
    assert x[0] == 110


def test_shared_declarations_are_rewritten():
    def rewritten(text):
        return " ".join(emulator_build.rewrite(text).split())

    assert rewritten("extern __shared__ __align__(16) unsigned char raw[];") == (
        "unsigned char * raw = emu::dynamic_shared<unsigned char >();"
    )
    assert rewritten("static __shared__ T tile[A][B + 1], row[C];") == (
        'static char tile_key; auto& tile = emu::static_shared<T[A][B + 1]>(&tile_key, "tile[A][B+1]", 1); '
        'static char row_key; auto& row = emu::static_shared<T[C]>(&row_key, "row[C]", 1);'
    )
    assert 'static_shared<Four<T, 2>[2]>(&x_key, "x[2]", 16)' in rewritten("__shared__ alignas(16) Four<T, 2> x[2];")
    assert "static_shared<float>" in rewritten("__shared__ float total;")
    assert not rewritten("// __shared__ float total;")
    with pytest.raises(Error, match="emulator cannot read `__shared__ 3;`"):
        emulator_build.rewrite("__shared__ 3;")


# -- the way to CuPy: a stand-in that records what it is given


class FakeArray(np.ndarray):
    """Looks like cupy.ndarray as far as launch can see."""

    __module__ = "cupy"
    device = types.SimpleNamespace(id=0)


@pytest.fixture
def cupy(monkeypatch):
    calls = []

    class Function:
        max_dynamic_shared_size_bytes = 48 * 1024

        def __call__(self, grid, block, args, shared_mem):
            calls.append(("call", grid, block, args, shared_mem, self.max_dynamic_shared_size_bytes))

    class RawModule:
        def __init__(self, **how):
            calls.append(("module", how))

        def get_function(self, name):
            calls.append(("get", name))
            return Function()

    class Device:
        id = 0

    fake = types.SimpleNamespace(RawModule=RawModule, cuda=types.SimpleNamespace(Device=Device))
    monkeypatch.setitem(sys.modules, "cupy", fake)
    monkeypatch.setattr(launch, "_functions", {})
    kinds = {FakeArray: "cupy", np.ndarray: "numpy"}
    monkeypatch.setattr(signature, "kind", lambda value: kinds.get(type(value), "other"))
    return calls


def on_device(x):
    return np.asarray(x).view(FakeArray)


def test_cupy_gets_one_text_and_exact_types(cupy):
    y = on_device(np.zeros(32, np.float32))
    launch.launch(FEATURES, "optional", 2, 32, (None, y), shared_bytes=100_000)
    launch.launch(FEATURES, "optional", (2, 3), 32, (y, y))
    kinds = [c[0] for c in cupy]
    assert kinds == ["module", "get", "call", "call"], "compiled once"
    how = cupy[0][1]
    assert how["name_expressions"] == ("optional",) and "-std=c++17" in how["options"]
    assert '#include "' not in how["code"] and "ldmatrix_x4" in how["code"], "includes are pasted in"
    _, grid, block, args, shared, limit = cupy[2]
    assert (grid, block, shared, limit) == ((2, 1, 1), (32, 1, 1), 100_000, 100_000)
    assert type(args[0]) is np.uint64 and args[0] == 0 and args[1] is y


def test_a_file_for_one_capability_is_compiled_for_it(cupy):
    arrays = (on_device(np.zeros(n, t)) for n, t in ((96, np.float16), (32, np.float16), (1, np.float32)))
    qkv, out, lse = arrays
    launch.launch("attention_hopper.cu", "attention_wgmma<__half,32,1>", 1, 256, (qkv, None, out, lse, 1, 1, 1.0))
    assert cupy[0][1]["options"] == ("-std=c++17", "-lineinfo", "-arch=sm_90a")


def test_scalars_for_cupy_have_the_declared_width(cupy):
    out = on_device(np.zeros(7))
    launch.launch(FEATURES, "scalars<int>", 1, 1, (out, 1, 2, 3, 4, 5.0, True, np.float16(6)))
    types_ = [type(a) for a in cupy[-1][3][1:]]
    assert types_ == [np.int32, np.uint32, np.int64, np.float32, np.float64, np.bool_, np.float16]
    with pytest.raises(Error, match="got int64, 8 bytes"):
        launch.launch(FEATURES, "scalars<int>", 1, 1, (out, np.int64(1), 2, 3, 4, 5.0, True, np.float16(6)))


def test_arrays_of_two_kinds_or_another_device(cupy):
    x, y = np.zeros(32, np.float32), on_device(np.zeros(32, np.float32))
    with pytest.raises(Error, match="some arrays are NumPy's and some CuPy's"):
        launch.launch(FEATURES, "optional", 1, 32, (x, y))
    y.device = types.SimpleNamespace(id=1)
    with pytest.raises(Error, match=r"argument 1 \(y\) is on device 1, the current one is 0"):
        launch.launch(FEATURES, "optional", 1, 32, (None, y))


def test_kernels_are_found_in_a_checkout_and_in_an_installed_package():
    assert (kernel_source.folder() / "ptx.cuh").is_file() and (kernel_source.emulator_folder() / "emulator.h").is_file()
    setup = (Path(__file__).resolve().parents[2] / "setup.py").read_text()
    assert '"minast.kernels": "kernels"' in setup


def test_default_mode_is_guarded():
    assert emulator.DEFAULT.guard is True


@needs_emulator
def test_a_compiler_that_writes_nothing(monkeypatch, tmp_path):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path))
    monkeypatch.setenv("CXX", "true")
    with pytest.raises(Error, match=r"`.*true` reports success but wrote no library"):
        emulator_build.runtime()
