"""Compiling kernels for real GPUs, by nvcc or NVRTC; no GPU is needed."""

import functools
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from ...console.arguments import whole
from ...errors import Error
from ...gpu import kernel_source, nvrtc

ARCHITECTURES = ("75", "80", "90")  # compute capabilities of Turing, Ampere, Hopper


def architecture(text: str) -> str:
    """A `type` for argparse: a compute capability without its dot."""
    return str(whole(50, 200)(text))


def compiler() -> str | None:
    """ "nvcc" or "nvrtc", whichever is installed, in this order; None without either."""
    return "nvcc" if shutil.which("nvcc") else "nvrtc" if nvrtc.available() else None


def chosen(use: str | None = None) -> str:
    """`use`, or the compiler that is installed. Raises Error if none is."""
    if use := use or compiler():
        return use
    raise Error(f"neither nvcc nor NVRTC is installed: {nvrtc.INSTALL}")


@functools.cache
def version(use: str) -> str:
    """ "13.0.88" of nvcc, "13.0" of NVRTC."""
    if use == "nvrtc":
        return nvrtc.version()
    told = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"V([\d.]+)", told)
    return found[1] if found else told


def target(source: kernel_source.Source, arch: str) -> str | None:
    """What to compile a file for on compute capability `arch`: "90a" for "90" where it needs that; None: it cannot run.

    source: a `kernel_source.Source`.
    """
    if not source.capability:
        return arch
    return source.capability if source.capability.rstrip("a") == arch else None


def compiled(source: kernel_source.Source, names: list[str], arch: str, use: str) -> tuple[bytes, str]:
    """Instantiate the kernels `names` of a `kernel_source.Source`.   -> (cubin, what ptxas reports on each)

    arch: a compute capability, "90"; use: "nvcc" or "nvrtc". Raises Error with the compiler's messages.
    """
    if use == "nvrtc":
        return nvrtc.compile_text(source.text, source.name, arch, names)
    with tempfile.TemporaryDirectory() as scratch:
        file, cubin = Path(scratch) / "kernel.cu", Path(scratch) / "kernel.cubin"
        kept = ", ".join(f"(const void*)&{name}" for name in names)  # an address instantiates without the parameters
        file.write_text(f"{source.text}\nconst void* kept[] = {{{kept}}};\n")
        flags = [*nvrtc.OPTIONS, "-ftz=true", f"-arch=sm_{arch}", "-cubin", "-Xptxas", "-v"]
        run = subprocess.run(["nvcc", *flags, "-o", str(cubin), str(file)], capture_output=True, text=True)
        if run.returncode:
            wrong = [line for line in run.stderr.splitlines() if "error" in line] or run.stderr.splitlines()
            raise Error(f"{source.name} does not compile for compute capability {arch}:\n" + "\n".join(wrong[:8]))
        return cubin.read_bytes(), run.stderr
