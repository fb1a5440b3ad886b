"""Compiles a .cu file to a shared library for the CPU: one textual pass, then g++, cached by content."""

import functools
import hashlib
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from ..errors import Error
from ..gpu import kernel_source
from ..storage.cache import check_private, private_folder
from ..storage.files import atomic

# -fno-gnu-unique, hidden symbols: libraries with the same template must not share its statics. -g1: line numbers.
FLAGS = ("-std=gnu++17", "-O2", "-g1", "-shared", "-fPIC", "-pthread", "-fno-gnu-unique", "-fvisibility=hidden",
         "-fno-math-errno", "-ffp-contract=fast", "-fno-strict-aliasing", "-march=native")  # fmt: skip

# Added by guard mode: traps for misaligned vector loads, which fault on a GPU, and for indices beyond an array.
CHECKS = ("-fsanitize=alignment,bounds", "-fsanitize-undefined-trap-on-error")
DEBUG = ("-O0", "-g3")

# Added for a report: calls at each access to memory and each basic block (kernels/emulator/count.h), in code that stays
# close to its source. The race detector's own library, which the compiler would link, stays out.
COUNTED = ("-O1", "-DMINAST_COUNT", "-fno-exceptions", "-finline-functions", "-finline-small-functions",
           "-fno-tree-sra", "-fno-reorder-blocks", "-fsanitize=thread", "-fsanitize-coverage=trace-pc",
           "-nodefaultlibs", "-lstdc++", "-lm", "-lgcc_s", "-lgcc", "-lc")  # fmt: skip


def check_platform() -> None:
    """Raises minast.Error if the emulator does not run on this platform."""
    machine = platform.machine().lower()
    if not sys.platform.startswith("linux") or machine not in ("x86_64", "amd64", "aarch64", "arm64"):
        raise Error(
            f"the CUDA emulator is not supported here ({sys.platform} {machine}): it runs on Linux, x86-64 and aarch64 "
            "(on Windows: WSL); backend 'fast' runs everywhere"
        )


def library(
    source: kernel_source.Source, names: Sequence[str], checked: bool = True, debug: bool = False, counted: bool = False
) -> Path:
    """The path of a library that exports the kernels `names` as minast_entry_0, 1, ...; built if needed.

    checked: with CHECKS.  debug: not optimised, with symbols, for stepping through it with gdb.  counted: for a report.

    Raises minast.Error if there is no compiler, or if the source does not compile.
    """
    kernels = "".join(f"MINAST_KERNEL({i}, ({name}))\n" for i, name in enumerate(names))
    text = f'#include "emulator.h"\n{rewrite(source.text)}\n#line 1 "kernels"\n{kernels}'
    chosen = (*(CHECKS if checked else ()), *(DEBUG if debug else ()), *(COUNTED if counted else ()))
    return built(text, source.name, "-march=native", *chosen)


def runtime() -> Path:
    """The path of the runtime library that the kernels' libraries call; built if needed."""
    return built('#include "runtime.cpp"\n', "runtime")


def rewrite(text: str) -> str:
    """The textual pass: __shared__ declarations become references to the block's memory, system includes are removed.

    Raises minast.Error for a __shared__ declaration that it cannot parse.
    """
    text = kernel_source.without_comments(text)
    text = re.sub(r"^[^\S\n]*#\s*include\s*<.*$", "", text, flags=re.M)  # the line stays: errors name lines
    text = re.sub(
        r"\bextern\s+__shared__\s+((?:__align__|alignas)\s*\([^()]*\)\s*)?([^;\[\]]*?)(\w+)\s*\[\s*\]\s*;",
        r"\2* \3 = emu::dynamic_shared<\2>();",
        text,
    )
    return re.sub(r"(?:\bstatic\s+)?\b__shared__\s+([^;]*);", _static_shared, text)


def _static_shared(match):
    declaration = match[1]
    align = re.match(r"\s*(?:__align__|alignas)\s*\(([^()]*)\)", declaration)
    first, *more = kernel_source.split_commas(declaration[align.end() if align else 0 :])
    # The shortest type that is followed by only a name and its dimensions.
    parts = re.fullmatch(r"(.+?[\s*>])(\w+)\s*((?:\[[^\]]*\]\s*)*)", first.strip(), re.S)
    if not parts:
        raise Error(f"the emulator cannot read `__shared__ {declaration};`: write a type, a name and sizes")
    type_ = parts[1].strip()
    arrays = [(parts[2], parts[3])] + [(m[1], m[2]) for m in (re.fullmatch(r"(\w+)\s*(.*)", d, re.S) for d in more)]
    align = align[1] if align else "1"
    lines = []
    for name, size in arrays:
        shown = name + "".join(size.split())
        lines.append(
            f"static char {name}_key; auto& {name} = "
            f'emu::static_shared<{type_}{size}>(&{name}_key, "{shown}", {align});'
        )
    return " ".join(lines) + "\n" * declaration.count("\n")


INSTALL = "install the package g++ (Debian, Ubuntu: apt install g++; Fedora: dnf install gcc-c++)"


def compiler() -> tuple[str, ...]:
    """The C++ compiler as the start of a command: $CXX, which may have arguments ("ccache g++", "g++ -m64"), or g++.

    Raises minast.Error if it is not installed.
    """
    named = os.environ.get("CXX", "").strip()
    try:
        words = shlex.split(named) or ["g++"]
    except ValueError as error:
        raise Error(f"$CXX is {named!r}, which cannot be read as a command: {error}") from None
    path = shutil.which(words[0])
    if path:
        return (path, *words[1:])
    if named:
        raise Error(f"the CUDA emulator looked for {words[0]!r}, since $CXX is {named!r}, and found none: {INSTALL}")
    raise Error(f"the CUDA emulator looked for the C++ compiler g++ and found none: {INSTALL}, or name another in $CXX")


@functools.cache
def _compiler_version(command):
    result = subprocess.run([*command, "--version"], capture_output=True, text=True)
    if result.returncode:
        why = (result.stderr.strip() or f"exit status {result.returncode}").splitlines()[0]
        raise Error(f"the C++ compiler `{shlex.join(command)}` does not run: {why}")
    return result.stdout


@functools.cache
def _processor():
    """What -march=native depends on: machines may share a cache folder."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return sorted({line for line in lines if line.split(":")[0].strip().lower() in ("flags", "features", "model name")})


def built(text: str, name: str, *flags: str) -> Path:
    """The path of a C++ text's library, from the cache or the compiler. Raises minast.Error as `library` does."""
    check_platform()
    cxx = compiler()
    emulator = kernel_source.emulator_folder()
    headers = [p.read_bytes() for p in sorted(emulator.glob("*.*"))]
    key = repr((text, headers, FLAGS, flags, cxx[1:], _compiler_version(cxx), _processor()))
    name_and_key = f"{Path(name).stem}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.so"
    path = private_folder("emulator") / name_and_key
    if path.is_file():
        check_private(path)  # it is loaded and run
        return path
    with tempfile.TemporaryDirectory() as scratch:
        built = Path(scratch) / "library.so"
        command = [*cxx, *FLAGS, *flags, "-I", str(emulator), "-x", "c++", "-", "-o", str(built), "-ldl"]
        run = subprocess.run(command, input=text, capture_output=True, text=True)
        if run.returncode:
            wrong = [line for line in run.stderr.splitlines() if "error" in line] or run.stderr.splitlines()
            raise Error(f"{name} does not compile for the emulator:\n" + "\n".join(wrong[:8]))
        if not built.is_file():
            raise Error(f"`{shlex.join(cxx)}` reports success but wrote no library: is it a C++ compiler?")
        with atomic(path, private=True) as f:
            f.write(built.read_bytes())
    return path
