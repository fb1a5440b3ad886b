"""The instructions in the innermost loops of the tensor-core kernels, counted in the compiled code; no GPU is needed.

  python -m minast.bench sass             a table at compute capability 9.0; needs nvdisasm and a CUDA compiler
  python -m minast.bench sass --readme    writes the table into kernels/README.md

A second table counts the loads that the kernels which only move memory have in flight (flight.py).

A multiprocessor's scheduler issues one instruction per cycle, of whatever kind. So the instructions around the products
decide how busy the tensor cores can be; loads from shared memory have a limit of their own. The count is of the text of
a loop, including branches that only the last tile takes.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

from ... import cli
from ...errors import Error
from ...gpu import kernel_source
from .. import readme
from . import compile as compiling
from . import flight

INSTALL = "pip install nvidia-cuda-nvdisasm"
KERNELS = {  # kernel -> its file; at the width of AST's heads
    "attention_mma<__nv_bfloat16,64,2>": "attention.cu",
    "attention_mma_async<__nv_bfloat16,64,2>": "attention.cu",
    "attention_mma_lean<__nv_bfloat16,64,2>": "attention.cu",
    "attention_wgmma<__nv_bfloat16,64,3>": "attention_hopper.cu",
    "attention_mma_dkv<__nv_bfloat16,64,1>": "attention_backward.cu",
    "attention_mma_dkv<__nv_bfloat16,64,2>": "attention_backward.cu",
    "attention_mma_dq<__nv_bfloat16,64,2>": "attention_backward.cu",
    "attention_wgmma_dkv<__nv_bfloat16,64,2>": "attention_hopper_backward.cu",
    "attention_wgmma_dq<__nv_bfloat16,64,2>": "attention_hopper_backward.cu",
}
LOAD = "LDSM"


class Loop(NamedTuple):
    """A loop that contains products: its instructions, those of them that are products, and matrix loads.

    work: what the products do, in units of 16 x 8 x 16, one HMMA's; an HGMMA of a warpgroup does several for each warp.
    """

    instructions: int
    products: int
    work: int
    loads: int


def disassembler() -> str:
    """The path of nvdisasm, from a CUDA toolkit or its wheel. Raises Error if it is not installed."""
    if found := shutil.which("nvdisasm"):
        return found
    for folder in sys.path:
        if found := sorted(Path(folder).glob("nvidia/*/bin/nvdisasm")):
            return str(found[-1])
    raise Error(f"nvdisasm is not installed: {INSTALL}")


def loops(source: str, kernel: str, arch: str = "90") -> list[Loop]:
    """[Loop, ...] of one instantiation, in the order of the code; a nested loop comes before the one around it.

    source: a file name in kernels/; kernel: a name from its list of instantiations; arch: a compute capability. Raises
    Error without a compiler or nvdisasm, and where it does not compile.
    """
    return counted(listing(source, kernel, arch), kernel.split("<")[0])


def code_of(source: str, kernel: str, arch: str = "90") -> str:
    """The SASS of one instantiation. Arguments and errors as in `loops`."""
    return section(listing(source, kernel, arch), kernel.split("<")[0])


def listing(source: str, kernel: str, arch: str = "90") -> str:
    """What nvdisasm prints of one instantiation. Arguments and errors as in `loops`."""
    disassemble = disassembler()
    text = kernel_source.load(source)
    target = compiling.target(text, arch)
    if target is None:
        raise Error(f"{source} is for compute capability {text.capability} alone, not for {arch}.")
    cubin, _ = compiling.compiled(text, [kernel], target, compiling.chosen())
    with tempfile.TemporaryDirectory() as scratch:
        file = Path(scratch) / "kernel.cubin"
        file.write_bytes(cubin)
        done = subprocess.run([disassemble, "-c", str(file)], capture_output=True, text=True)
    if done.returncode:
        raise Error(f"nvdisasm: {done.stderr.strip()}")
    return done.stdout


def counted(listing: str, name: str) -> list[Loop]:
    """The loops of the kernel template `name`, from nvdisasm's text. Raises Error if it is not in there."""
    return _loops(section(listing, name))


def section(listing: str, name: str) -> str:
    """The code of the kernel `name`, a template or not, in nvdisasm's text. Raises Error if it is not in there."""
    wanted = re.compile(rf"(?<!\d){len(name)}{name}")  # as it is mangled: its length, itself
    for part in re.split(r"\n(?=\.text\.)", listing):
        if wanted.search(part.split("\n", 1)[0]):
            return part
    raise Error(f"there is no code of {name}")


def _loops(text):
    kinds, labels, found = [], {}, []
    for line in text.split("\n"):
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(kinds)
        elif code := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ +)?([A-Z0-9]+)(.*);", line):
            ends = code[1] == "EXIT" and "@" not in line
            kinds.append(("END" if ends else code[1], _work(code[1], code[2])))
            back = re.search(r"`\((\.L_x_\d+)\)", code[2])
            if code[1] == "BRA" and back and back[1] in labels:
                loop = kinds[labels[back[1]] :]
                products = [work for _, work in loop if work]
                # Behind the kernel's end are only paths that are seldom taken, and branch back to where they came from.
                if products and ("END", 0) not in loop:
                    loads = sum(kind == LOAD for kind, _ in loop)
                    found.append(Loop(len(loop), len(products), sum(products), loads))
    return found


def _work(kind, rest):
    """Products of 16 x 8 x 16 that a warp does with this instruction: HMMA.16816 one, HGMMA.64x128x16 sixteen."""
    if kind == "HMMA":
        return 1
    shape = re.match(r"\.64x(\d+)x16\b", rest) if kind == "HGMMA" else None
    return int(shape[1]) // 8 if shape else 0


def table(found: dict[str, list[Loop]]) -> str:
    """Markdown, a row per loop; for a loop around another, what it adds.   found: {kernel: [Loop, ...]}"""
    lines = [
        "| kernel | loop | instructions | products | of 16 x 8 x 16 | others for each | matrix loads (LDSM) for each |",
        "| --- | --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for kernel, (first, *around) in found.items():
        others, loads = (first.instructions - first.products) / first.work, first.loads / first.work
        kind = "inner" if around else "over the tiles"
        cells = [kind, str(first.instructions), str(first.products), str(first.work), f"{others:.2f}", f"{loads:.2f}"]
        lines.append(f"| `{kernel}` | {' | '.join(cells)} |")
        for loop in around:
            besides = loop.instructions - first.instructions
            more = loop.products - first.products, loop.work - first.work
            lines.append(f"| | over the tiles, besides | {besides} | {more[0]} | {more[1]} | | |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    p = cli.Parser("bench sass", __doc__)
    p.add_argument("--arch", type=compiling.architecture, default="90", help="compute capability (default: 90)")
    readme.add_flag(p)
    args = p.parse_args(argv)
    text = table({kernel: loops(source, kernel, args.arch) for kernel, source in KERNELS.items()})
    moving = {
        kernel: flight.count(code_of(source, kernel, args.arch)) for kernel, (source, _) in flight.KERNELS.items()
    }
    readme.show_or_write("sass", f"{text}\n\n{flight.NOTE}\n\n{flight.table(moving)}", args.readme)
    return 0
