"""Every instantiation of every kernel compiles for real GPUs and spills nothing; the table in kernels/README.md."""

import os
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest

from minast.bench import readme
from minast.bench.kernels import compile as compiling
from minast.bench.kernels import registers
from minast.errors import Error
from minast.gpu import kernel_source, nvrtc
from minast.storage.cache import private_folder
from tests.emulated import FEATURES
from tests.gpu.test_emulator_hopper import HOPPER

CACHE = private_folder("compile")  # the user's own, kept by content: compiling everything takes minutes
SOURCES = sorted(p.name for p in kernel_source.folder().glob("*.cu"))


@pytest.fixture
def needs_compiler():
    """A compiler for GPUs. Where there is none the test is skipped, or fails: see `without`."""
    if compiling.compiler() is None:
        without(f"no nvcc and no NVRTC: {nvrtc.INSTALL}")


@pytest.fixture
def needs_nvrtc():
    if not nvrtc.available():
        without(f"no NVRTC: {nvrtc.INSTALL}")


def without(reason):
    """Skip; or fail, in CI (CI=true), where '.[dev]' was installed: it brings NVRTC, which must then be found."""
    outcome(os.environ.get("CI"), installed("nvidia-cuda-nvrtc"))(reason)


def outcome(ci, wheel):
    return pytest.fail if ci == "true" and wheel else pytest.skip


def installed(package):
    try:
        return bool(metadata.version(package))
    except metadata.PackageNotFoundError:
        return False


def test_without_a_compiler_ci_fails_where_one_was_installed_and_others_skip():
    assert outcome("true", True) is pytest.fail
    assert outcome("true", False) is outcome("", True) is outcome(None, True) is pytest.skip


def test_what_is_installed_is_known():
    assert installed("numpy") and not installed("no-such-package")


def test_the_extra_has_what_the_sentence_names():
    """And `.ci/run` runs these tests where that extra is installed, with CI=true."""
    setup = (Path(__file__).resolve().parents[2] / "setup.py").read_text()
    wheels = re.search(r"^nvrtc = \((.*)\)$", setup, re.M)[1].replace('"', "").split(", ")
    assert nvrtc.INSTALL.split()[2:] == wheels and "*compile_" in re.search(r'"dev": \[(.*)\]', setup)[1]
    ci = (Path(__file__).resolve().parents[2] / ".ci" / "run").read_text()
    assert "'.[dev]'" in ci and "export CI=true" in ci and "tests/bench/test_registers.py" in ci


def test_every_kernel_is_listed_for_compilation():
    for source in SOURCES:
        loaded = kernel_source.load(source)
        listed = {name.split("<")[0] for group in loaded.groups for name in group}
        assert listed == set(loaded.kernels), f"{source}: its `// instantiate:` lines"
        for group in loaded.groups:
            for name in group:
                kernel, arguments, _ = loaded.split(name)
                assert all(p.pointer or p.type in kernel_source.TYPES for p in kernel.bind(arguments)), name


@pytest.mark.parametrize("arch", compiling.ARCHITECTURES)
@pytest.mark.parametrize("source", SOURCES)
def test_compiles_without_spills(needs_compiler, source, arch):
    for usage in registers.usages(source, arch, cache=CACHE):
        assert usage.spills == 0, f"{usage.kernel} spills {usage.spills} bytes on sm_{arch}"
        assert usage.registers <= 255 and usage.shared <= 48 * 1024


def test_the_emulators_test_kernels_are_cuda_too(needs_compiler):
    assert registers.usages(FEATURES, "80", cache=CACHE)
    assert registers.usages(HOPPER, "90", cache=CACHE) and not registers.usages(HOPPER, "80", cache=CACHE)


@pytest.mark.parametrize("use", ["nvcc", "nvrtc"])
def test_the_hopper_kernels_keep_their_products_asynchronous(use):
    """ptxas says so (C7510 to C7519) where it waits after each product, or adds fences."""
    if use == "nvcc" and not shutil.which("nvcc"):
        pytest.skip("no nvcc")
    if use == "nvrtc" and not nvrtc.available():
        without(nvrtc.INSTALL)
    for file in ("attention_hopper.cu", "attention_hopper_backward.cu"):
        source = kernel_source.load(file)
        names = [name for group in source.groups for name in group]
        log = compiling.compiled(source, names, compiling.target(source, "90"), use)[1]
        assert log.count("Compiling entry function") == len(names)
        assert "(C75" not in log and "setmaxnreg" not in log


def test_nvrtc_takes_90a_of_two_architectures(needs_nvrtc, monkeypatch):
    """CuPy adds -arch=sm_90 to the options that `launch` gives it."""
    source, kernel = kernel_source.load("attention_hopper.cu"), ["attention_wgmma<__half,32,1>"]
    trap, _ = nvrtc.compile_text(source.text, source.name, "90", kernel)
    monkeypatch.setattr(nvrtc, "OPTIONS", (*nvrtc.OPTIONS, "-arch=sm_90a"))
    whole, _ = nvrtc.compile_text(source.text, source.name, "90", kernel)
    assert len(whole) > 4 * len(trap) > 0


def test_a_file_for_one_capability_is_compiled_for_it_alone():
    source, other = kernel_source.load("attention_hopper.cu"), kernel_source.load("softmax.cu")
    assert [compiling.target(source, arch) for arch in compiling.ARCHITECTURES] == [None, None, "90a"]
    assert [compiling.target(other, arch) for arch in compiling.ARCHITECTURES] == ["75", "80", "90"]


def test_the_compilers_messages_name_the_kernels_own_lines(needs_compiler, tmp_path):
    wrong = tmp_path / "wrong.cu"
    wrong.write_text("// instantiate: f\n__global__ void f(int n) {\n  n = undeclared;\n}\n")
    with pytest.raises(Error, match=r"for compute capability 90:\n(.*/)?wrong.cu\(3\).*undeclared"):
        registers.usages(wrong, "90", cache=tmp_path)


def test_the_run_time_compiler_takes_them_too(needs_nvrtc, tmp_path):
    """A table from NVRTC alone, in a fresh folder; only some files, since all take a minute."""
    found = {
        (source, arch): registers.usages(source, arch, use="nvrtc", cache=tmp_path)
        for source in ("softmax.cu", "loss.cu")
        for arch in compiling.ARCHITECTURES
    }
    for (source, _), listed in found.items():
        assert {u.kernel for u in listed} == {n for g in kernel_source.load(source).groups for n in g}
        assert all(u.spills == 0 < u.registers for u in listed)
    assert registers.table(found).count("\n") == 1 + 3 + 5 and nvrtc.version()


@pytest.mark.parametrize("source", SOURCES)
def test_the_run_time_compiler_reads_every_file(needs_nvrtc, source):
    """It is stricter than nvcc: no functions of the host, no standard library. One kernel of each file."""
    text = kernel_source.load(source)
    assert nvrtc.compile_text(text.text, text.name, "90", text.groups[0][:1])


SPILLING = """// instantiate: f
__global__ void __launch_bounds__(1024) f(const float* x, float* y, int n) {
  float kept[200];
#pragma unroll
  for (int i = 0; i < 200; ++i) kept[i] = x[i * n + threadIdx.x];
  __syncthreads();
#pragma unroll
  for (int i = 0; i < 200; ++i) y[i * n + threadIdx.x] = kept[i] * kept[(i + 77) % 200];
}
"""


@pytest.mark.parametrize("use", ["nvcc", "nvrtc"])
def test_a_kernel_that_spills_is_seen(use, tmp_path):
    if use == "nvcc" and not shutil.which("nvcc"):
        pytest.skip("no nvcc")
    if use == "nvrtc" and not nvrtc.available():
        without(nvrtc.INSTALL)
    (tmp_path / "spills.cu").write_text(SPILLING)
    (usage,) = registers.usages(tmp_path / "spills.cu", "80", use=use, cache=tmp_path)
    assert usage.spills > 0 and usage.registers <= 64


def test_another_compiler_compiles_again(needs_compiler, monkeypatch, tmp_path):
    (tmp_path / "f.cu").write_text("// instantiate: f\n__global__ void f(int* x) { *x = 1; }\n")
    for version in ("1", "2", "2"):
        monkeypatch.setattr(compiling, "version", lambda use, version=version: version)
        registers.usages(tmp_path / "f.cu", "80", cache=tmp_path)
    assert len(list(tmp_path.glob("*.json"))) == 2


LOG = """ptxas info    : Compiling entry function '_Z1fIfLb1ELi64EEvPKf' for 'sm_90'
ptxas info    : Function properties for _Z1fIfLb1ELi64EEvPKf
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 48 registers, used 1 barriers, 4224 bytes smem
ptxas info    : Compiling entry function 'g' for 'sm_90'
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 8 registers
"""


def test_what_ptxas_says_is_read():
    assert registers.parsed(LOG, "90") == [
        registers.Usage("f<float,true,64>", "90", 48, 4224, 20),
        registers.Usage("g", "90", 8, 0, 0),
    ]


def test_without_binutils_the_sentence_names_the_package(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Error, match=r"c\+\+filt, .* is not installed: install the package binutils"):
        registers.parsed(LOG, "90")


def test_the_table_has_a_row_per_kernel():
    found = {("h.cu", "80"): [registers.Usage("h<1>", "80a", 168, 48, 0)]}
    for arch, f, half, g in (("75", 30, 40, 8), ("80", 32, 20, 9)):
        needs = (("g", g, 0, 4 if arch == "75" else 0), ("f<__half>", half, 64, 0), ("f<float>", f, 128, 0))
        found["a.cu", arch] = [registers.Usage(name, arch, *numbers) for name, *numbers in needs]
    rows = registers.table(found, ("75", "80")).splitlines()
    assert rows[0].count("|") == rows[1].count("|") == rows[2].count("|")
    assert rows[2:] == [
        "| `h` | h.cu | 1 | - | 168 | 48 | 0 |",
        "| `f` | a.cu | 2 | 40 | 32 | 128 | 0 |",
        "| `g` | a.cu | 1 | 8 | 9 | 0 | 4 |",
    ]


def test_the_readme_lists_every_kernel():
    table = readme.read(readme.of_kernels(), "registers")
    names = {name for source in SOURCES for name in kernel_source.load(source).kernels}
    assert names == set(re.findall(r"^\| `(\w+)` \|", table, re.M)), "run python -m minast.bench registers --readme"


def test_the_command_reports_spills(monkeypatch, capsys):
    usage = registers.Usage("f<float>", "90", 255, 0, 8)
    monkeypatch.setattr(registers, "everything", lambda *_: {("a.cu", "90"): [usage]})
    monkeypatch.setattr(compiling, "version", lambda use: "13.0")  # nothing is compiled: no compiler is needed
    assert registers.main(["--arch", "90", "--with", "nvcc"]) == 1
    captured = capsys.readouterr()
    assert "| `f` | a.cu | 1 | 255 | 0 | 8 |" in captured.out and "f<float> spills 8 bytes on sm_90" in captured.err
