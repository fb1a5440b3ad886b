"""What the notebooks on kernels and their exercises share: CUDA source in a file, a run of it, its report in words."""

import difflib
import itertools
import re
import tempfile
from pathlib import Path

import show
from exercises.verdict import NotDone, Wrong
from minast.emulator import build as emulator_build
from minast.errors import Error
from minast.launch import emulation, launch

ORDERS = ({"order": "forward"}, {"order": "reverse"}, {"order": "random", "seed": 1}, {"order": "random", "seed": 2})
_folder = tempfile.TemporaryDirectory(prefix="minast-lab-")  # goes away with the process
_numbers = itertools.count(1)


def need_emulator():
    """End the notebook with a sentence where kernels cannot be run: no C++ compiler, or neither Linux nor WSL."""
    try:
        emulator_build.check_platform()
        emulator_build.compiler()
    except Error as reason:
        raise SystemExit(f"This notebook compiles and runs CUDA kernels, which cannot be done here: {reason}") from None


def file(text, name="mine.cu"):
    """CUDA source in a temporary file of its own.   text -> Path, for `launch`; its first line is line 1"""
    path = Path(_folder.name) / str(next(_numbers)) / name
    path.parent.mkdir()
    path.write_text(text.lstrip("\n"), encoding="utf-8")
    return path


def attempt(source, kernel, grid, block, args, shared_bytes=0, **modes):
    """Launch a kernel; print what goes wrong instead of raising it.   -> did it run to its end?

    modes: those of `minast.launch.emulation`.
    """
    try:
        with emulation(**modes):
            launch(source, kernel, grid, block, args, shared_bytes)
    except (Error, IndexError) as reason:
        print(f"{type(reason).__name__}: {reason}")
        return False
    return True


def diff(file_name, old, new):
    """The lines in which two kernels of one file differ, as `diff -u` writes them without its heads. -> text"""
    path = show.kernel_source.folder() / file_name
    text = path.read_text(encoding="utf-8")
    parts = [show._definition(text, name, file_name).splitlines() for name in (old, new)]
    return "\n".join(line for line in list(difflib.unified_diff(*parts, n=1, lineterm=""))[2:])


# -- checks of exercises whose answer is CUDA source -----------------------------------------------------------


def compiled(answer, kernel, name="answer.cu"):
    """The reader's source in a file.   answer: text -> Path. Raises NotDone or Wrong where it is no such kernel."""
    if not isinstance(answer, str):
        raise NotDone(f"the answer is text, the source of a kernel; this is of type {type(answer).__name__}.")
    try:
        emulator_build.check_platform()
        emulator_build.compiler()
    except Error as reason:
        raise NotDone(f"a kernel cannot be tried here: {reason}") from None
    if not re.search(rf"__global__\s+void\s+{kernel}\s*\(", answer):
        raise Wrong(f"the source declares no kernel `__global__ void {kernel}(...)`.")
    return file(answer, name)


def judged_run(path, kernel, grid, block, args, shared_bytes=0, given="", **modes):
    """One launch; what goes wrong in it becomes the verdict.   -> with report=True, what the emulator counted"""
    try:
        with emulation(**modes) as found:
            launch(path, kernel, grid, block, args, shared_bytes)
        return found[0] if modes.get("report") else None
    except (Error, IndexError) as reason:
        raise Wrong(f"for {given}, the emulator stops your kernel: {reason}") from None


def order_of(modes):
    """{"order": "random", "seed": 1} -> 'threads in random order, seed 1'"""
    seed = f", seed {modes['seed']}" if "seed" in modes else ""
    return f"threads in {modes['order']} order{seed}"
