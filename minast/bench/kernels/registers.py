"""The registers, shared memory and spills of every kernel, as the compiler reports them.

  python -m minast.bench registers             a table; exit status 1 if a kernel spills registers
  python -m minast.bench registers --all       a line for every instantiation
  python -m minast.bench registers --readme    writes the table into kernels/README.md

It needs nvcc or NVRTC, but no GPU.
"""

import contextlib
import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from ... import cli
from ...errors import Error
from ...gpu import kernel_source
from ...storage.cache import private_folder
from ...storage.files import atomic
from .. import readme
from . import compile as compiling

NOTE = (
    "The most that any instantiation needs; dynamic shared memory is requested at launch and not included. "
    "The kernels in attention_hopper*.cu are compiled for 9.0a alone, and their warpgroups exchange registers."
)


@dataclass(frozen=True)
class Usage:
    """What one instantiation needs on one architecture. shared: static shared memory, spills: local memory; bytes."""

    kernel: str
    arch: str
    registers: int
    shared: int
    spills: int


def usages(source: str | Path, arch: str, use: str | None = None, cache: str | Path | None = None) -> list[Usage]:
    """Compile all that a kernel file lists.   -> list of Usage, cached by content; empty if it cannot run there

    source: a file name in kernels/ or a path; arch: a compute capability, "90"; use: "nvcc", "nvrtc", or None for what
    is installed; cache: a folder. Raises Error where it does not compile, or no compiler is installed.
    """
    use, text = compiling.chosen(use), kernel_source.load(source)
    arch = compiling.target(text, arch)
    if arch is None:
        return []
    names = [name for group in text.groups for name in group]
    key = repr((text.text, names, arch, use, compiling.version(use)))
    kept = Path(cache or private_folder("compile")) / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    with contextlib.suppress(OSError, ValueError, TypeError):  # none yet, or a damaged one: it is made again
        return [Usage(**u) for u in json.loads(kept.read_text())]
    found = parsed(compiling.compiled(text, names, arch, use)[1], arch)
    missing = {re.sub(r"\s", "", n.replace("unsigned int", "unsigned")) for n in names} - {u.kernel for u in found}
    if missing:
        raise Error(f"{text.name}: {use} generated no code for {', '.join(sorted(missing))}")
    with atomic(kept, "w") as f:
        json.dump([asdict(u) for u in found], f)
    return found


def everything(
    architectures: Sequence[str] = compiling.ARCHITECTURES, use: str | None = None
) -> dict[tuple[str, str], list[Usage]]:
    """{(file, architecture): [Usage, ...]} of all of kernels/, compiled on all cores."""
    sources = sorted(p.name for p in kernel_source.folder().glob("*.cu"))
    jobs = [(source, arch) for source in sources for arch in architectures]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return dict(zip(jobs, pool.map(lambda job: usages(*job, use), jobs), strict=True))


def parsed(log: str, arch: str) -> list[Usage]:
    """[Usage, ...] from what ptxas reports. Raises Error without c++filt, which reads the mangled names."""
    entries = re.split(r"Compiling entry function '", log)[1:]
    mangled = [e.split("'")[0] for e in entries]
    try:
        plain = subprocess.run(["c++filt", *mangled], capture_output=True, text=True, check=True).stdout.splitlines()
    except FileNotFoundError:
        raise Error(
            "c++filt, which reads the names of kernels, is not installed: install the package binutils."
        ) from None
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


def table(found: dict[tuple[str, str], list[Usage]], architectures: Sequence[str] = compiling.ARCHITECTURES) -> str:
    """Markdown, a row per kernel: the most that any of its instantiations needs.   found: as from `everything`"""
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
        registers = [max((u.registers for u in listed if u.arch.rstrip("a") == a), default=None) for a in architectures]
        registers = ["-" if r is None else str(r) for r in registers]
        cells = [f"`{kernel}`", source, str(len({u.kernel for u in listed})), *registers]
        cells += [str(max(u.shared for u in listed)), str(sum(u.spills for u in listed))]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status, 1 if a kernel spills."""
    p = cli.Parser("bench registers", __doc__)
    p.add_argument(
        "--arch",
        nargs="+",
        type=compiling.architecture,
        default=list(compiling.ARCHITECTURES),
        help="compute capabilities: 75 80 90",
    )
    p.add_argument("--with", dest="use", choices=("nvcc", "nvrtc"), help="compiler (default: the one installed)")
    p.add_argument("--all", action="store_true", help="a line for every instantiation")
    readme.add_flag(p)
    args = p.parse_args(argv)
    use = compiling.chosen(args.use)
    found = everything(args.arch, use)
    listed = [u for of_file in found.values() for u in of_file]
    if args.all and not args.readme:
        for u in listed:
            print(f"{u.kernel:50} sm_{u.arch} {u.registers:4} registers {u.shared:6} shared {u.spills:4} spilled")
    else:
        note = f"{NOTE} Compiled by {use} {compiling.version(use)}."
        readme.show_or_write("registers", f"{note}\n\n{table(found, args.arch)}", args.readme)
    spilled = [u for u in listed if u.spills]
    for u in spilled:
        print(f"{u.kernel} spills {u.spills} bytes on sm_{u.arch}", file=sys.stderr)
    return 1 if spilled else 0
