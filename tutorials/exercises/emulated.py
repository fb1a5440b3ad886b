"""Checks of exercises whose answer is CUDA source: compiled and run in the emulator, in several thread orders."""

import re

import lab
from minast.errors import Error
from minast.launch import emulation, launch

from .verdict import NotDone, Wrong

ORDERS = lab.ORDERS


def compiled(answer, kernel, name="answer.cu"):
    """The reader's source in a file.   answer: text -> Path. Raises NotDone or Wrong where it is no such kernel."""
    if not isinstance(answer, str):
        raise NotDone(f"the answer is text, the source of a kernel; this is of type {type(answer).__name__}.")
    try:
        lab.emulator_build.check_platform()
        lab.emulator_build.compiler()
    except Error as reason:
        raise NotDone(f"a kernel cannot be tried here: {reason}") from None
    if not re.search(rf"__global__\s+void\s+{kernel}\s*\(", answer):
        raise Wrong(f"the source declares no kernel `__global__ void {kernel}(...)`.")
    return lab.file(answer, name)


def run(path, kernel, grid, block, args, shared_bytes=0, given="", **modes):
    """One launch; what the emulator reports becomes the verdict."""
    try:
        with emulation(**modes):
            launch(path, kernel, grid, block, args, shared_bytes)
    except (Error, IndexError) as reason:
        raise Wrong(f"for {given}, the emulator stops your kernel: {reason}") from None


def order(modes):
    """{"order": "random", "seed": 1} -> 'threads in random order, seed 1'"""
    seed = f", seed {modes['seed']}" if "seed" in modes else ""
    return f"threads in {modes['order']} order{seed}"
