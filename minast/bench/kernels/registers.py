"""Compile every kernel for real GPUs, with nvcc or NVRTC; no GPU is needed.

python -m minast.bench registers             what each kernel needs, as a table; exit status 1 if one spills registers
python -m minast.bench registers --readme          the same, written into kernels/README.md
"""

import functools
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from ... import cli
from ...errors import Error
from ...files import cache_folder
from ...gpu import kernel_source, nvrtc
from .. import readme

ARCHITECTURES = ("75", "80", "90")  # Turing, Ampere, Hopper


@dataclass(frozen=True)
class Usage:
    """What one instantiation needs on one architecture, as ptxas reports it; shared: static shared memory, bytes."""

    kernel: str
    arch: str
    registers: int
    shared: int
    spills: int


def compiler():
    """ "nvcc", "nvrtc" or None, what is installed, in this order."""
    return "nvcc" if shutil.which("nvcc") else "nvrtc" if nvrtc.available() else None


def usages(source, arch, use=None, cache=None):
    """Compile all that a kernel file lists for one architecture; a list of Usage, kept by content in `cache`.

    Raises Error where it does not compile, or no compiler is installed.
    """
    use = use or compiler()
    if use is None:
        raise Error(f"neither nvcc nor NVRTC is installed: {nvrtc.INSTALL}")
    text = kernel_source.load(source)
    names = [name for group in text.groups for name in group]
    key = repr((text.text, names, arch, use, _version(use)))
    kept = Path(cache or cache_folder()) / "compile" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if kept.is_file():
        return [Usage(**u) for u in json.loads(kept.read_text())]
    if use == "nvcc":
        found = _parse(_nvcc_log(text, names, arch), arch)
    else:
        found = _parse(nvrtc.compile_text(text.text, text.name, arch, names)[1], arch)
    missing = {re.sub(r"\s", "", n.replace("unsigned int", "unsigned")) for n in names} - {u.kernel for u in found}
    if missing:
        raise Error(f"{text.name}: {use} made no code for {', '.join(sorted(missing))}")
    kept.parent.mkdir(parents=True, exist_ok=True)
    scratch = kept.with_suffix(f".{os.getpid()}")
    scratch.write_text(json.dumps([asdict(u) for u in found]))
    scratch.replace(kept)
    return found


def everything(architectures=ARCHITECTURES, use=None, cache=None, workers=None):
    """{(file, architecture): [Usage, ...]} of all of kernels/."""
    sources = sorted(p.name for p in kernel_source.folder().glob("*.cu"))
    jobs = [(source, arch) for source in sources for arch in architectures]
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        return dict(zip(jobs, pool.map(lambda job: usages(*job, use, cache), jobs), strict=True))


def table(found, architectures=ARCHITECTURES):
    """A Markdown table, a row per kernel: the most that any of its instantiations needs."""
    kernels = {}
    for (source, _), listed in found.items():
        for u in reversed(listed):  # ptxas starts with the last
            kernels.setdefault((source, u.kernel.split("<")[0]), []).append(u)
    titles = " | ".join(f"{a[0]}.{a[1:]}" for a in architectures)
    lines = [
        f"| kernel | file | instantiations | registers at {titles} | static shared memory, bytes | spilled bytes |",
        "| --- | --- | ---: |" + " ---: |" * (len(architectures) + 2),
    ]
    for (source, kernel), listed in kernels.items():
        registers = [str(max(u.registers for u in listed if u.arch == a)) for a in architectures]
        cells = [f"`{kernel}`", source, str(len({u.kernel for u in listed})), *registers]
        cells += [str(max(u.shared for u in listed)), str(sum(u.spills for u in listed))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


@functools.cache
def _version(use):
    """ "13.0.88" of nvcc, "13.0" of NVRTC."""
    if use == "nvrtc":
        return nvrtc.version()
    told = subprocess.run(["nvcc", "--version"], capture_output=True, text=True).stdout
    found = re.search(r"V([\d.]+)", told)
    return found[1] if found else told


def _nvcc_log(text, names, arch):
    """What ptxas says. Naming a kernel's address instantiates it, without repeating its parameters."""
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "kernel.cu"
        kept = ", ".join(f"(const void*)&{name}" for name in names)
        file.write_text(f"{text.text}\nconst void* kept[] = {{{kept}}};\n")
        command = [
            "nvcc",
            "-std=c++17",
            f"-arch=sm_{arch}",
            "-cubin",
            "-Xptxas",
            "-v",
            "-o",
            f"{scratch}/out",
            str(file),
        ]
        run = subprocess.run(command, capture_output=True, text=True)
    if run.returncode:
        wrong = [line for line in run.stderr.splitlines() if "error" in line] or run.stderr.splitlines()
        raise Error(f"{text.name} does not compile for compute capability {arch}:\n" + "\n".join(wrong[:8]))
    return run.stderr


def _parse(log, arch):
    entries = re.split(r"Compiling entry function '", log)[1:]
    mangled = [e.split("'")[0] for e in entries]
    try:
        plain = subprocess.run(["c++filt", *mangled], capture_output=True, text=True, check=True).stdout.splitlines()
    except FileNotFoundError:
        raise Error("kernels' names are read by c++filt, which is not here: install the package binutils.") from None
    found = []
    for name, entry in zip(plain, entries, strict=True):
        # 'void softmax_forward<float, (bool)1>(float const*, int)' -> 'softmax_forward<float,true>'
        name = name.removeprefix("void ").replace("(bool)1", "true").replace("(bool)0", "false")
        name = re.sub(r"\s", "", name.replace("unsigned int", "unsigned"))
        name = re.match(r"\w+(<[^()]*>)?", name.replace("(int)", ""))[0]
        spills = sum(map(int, re.findall(r"(\d+) bytes spill (?:stores|loads)", entry)))
        shared = re.search(r"(\d+) bytes smem", entry)
        registers = int(re.search(r"Used (\d+) registers", entry)[1])
        found.append(Usage(name, arch, registers, int(shared[1]) if shared else 0, spills))
    return found


def main(argv=None):
    """The command; returns the exit status."""
    parser = cli.Parser("bench registers", __doc__)
    parser.add_argument("--arch", nargs="+", default=list(ARCHITECTURES), help="compute capabilities: 75 80 90")
    parser.add_argument("--with", dest="use", choices=("nvcc", "nvrtc"), help="compiler; default: what is installed")
    parser.add_argument("--all", action="store_true", help="a line for every instantiation")
    readme.add_flag(parser)
    options = parser.parse_args(argv)
    use = options.use or compiler()
    found = everything(options.arch, use)
    listed = [u for of_file in found.values() for u in of_file]
    if options.readme:
        note = "The most that any instantiation needs; dynamic shared memory is asked for at launch and is not in here."
        text = f"{note} Compiled by {use} {_version(use)}.\n\n{table(found, options.arch)}"
        readme.write(readme.of_kernels(), "registers", text)
    elif options.all:
        for u in listed:
            print(f"{u.kernel:50} sm_{u.arch} {u.registers:4} registers {u.shared:6} shared {u.spills:4} spilled")
    else:
        print(table(found, options.arch))
    spilled = [u for u in listed if u.spills]
    for u in spilled:
        print(f"{u.kernel} spills {u.spills} bytes on sm_{u.arch}", file=sys.stderr)
    return 1 if spilled else 0
