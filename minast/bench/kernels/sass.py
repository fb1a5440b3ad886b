"""What a GPU issues in the innermost loops of the tensor-core kernels: instructions of the compiled code, counted.

  python -m minast.bench sass                     at compute capability 9.0; needs no GPU, but nvdisasm and a compiler
  python -m minast.bench sass --readme            the same, written into kernels/README.md

A multiprocessor's scheduler issues one instruction a cycle, of whatever kind. So what stands around the products
decides how busy the tensor cores can be; the loads from shared memory have a limit of their own besides. Counted is the
text of a loop, branches that are taken for the last tile alone included.
"""

import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from ... import cli
from ...errors import Error
from ...gpu import kernel_source
from .. import readme
from .registers import compiler

INSTALL = "pip install nvidia-cuda-nvdisasm"
KERNELS = {  # kernel -> the file it is in; at the size of AST's heads
    "attention_mma<__nv_bfloat16,64,2>": "attention.cu",
    "attention_mma_async<__nv_bfloat16,64,2>": "attention.cu",
    "attention_mma_lean<__nv_bfloat16,64,2>": "attention.cu",
    "attention_mma_dkv<__nv_bfloat16,64,1>": "attention_backward.cu",
    "attention_mma_dkv<__nv_bfloat16,64,2>": "attention_backward.cu",
    "attention_mma_dq<__nv_bfloat16,64,2>": "attention_backward.cu",
}
PRODUCT, LOAD, EXP = "HMMA", "LDSM", "MUFU"


class Loop(NamedTuple):
    """A loop with products in it: how many instructions in all, and of the kinds that matter here."""

    instructions: int
    products: int
    loads: int
    exps: int


def disassembler():
    """The path of nvdisasm: of a CUDA toolkit, or of its wheel."""
    if found := shutil.which("nvdisasm"):
        return found
    for folder in sys.path:
        if found := sorted(Path(folder).glob("nvidia/*/bin/nvdisasm")):
            return str(found[-1])
    raise Error(f"nvdisasm is not installed: {INSTALL}")


def loops(source, kernel, arch="90"):
    """-> list of Loop, in the order of the code, of one instantiation; a nested loop comes before the one around it."""
    text, use, disassemble = kernel_source.load(source), compiler(), disassembler()
    if use is None:
        raise Error("neither nvcc nor NVRTC is installed: pip install '.[compile]'")
    with tempfile.TemporaryDirectory() as scratch:
        cubin = Path(scratch) / "kernel.cubin"
        if use == "nvcc":
            file = Path(scratch) / "kernel.cu"
            file.write_text(f"{text.text}\nconst void* kept = (const void*)&{kernel};\n")
            command = ["nvcc", "-std=c++17", f"-arch=sm_{arch}", "-cubin", "-o", str(cubin), str(file)]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                raise Error(f"{kernel} does not compile: {done.stderr.strip().splitlines()[-1]}")
        else:
            from ...gpu.nvrtc import compile_text

            cubin.write_bytes(compile_text(text.text, text.name, arch, [kernel])[0])
        done = subprocess.run([disassemble, "-c", str(cubin)], capture_output=True, text=True)
    if done.returncode:
        raise Error(f"nvdisasm: {done.stderr.strip()}")
    return counted(done.stdout, kernel.split("<")[0])


def counted(listing, name):
    """The loops of the function whose mangled name has `name` in it, from nvdisasm's text."""
    wanted = f"{len(name)}{name}I"  # as it is mangled: its length, itself, template arguments
    for section in re.split(r"\n(?=\.text\.)", listing):
        if wanted in section.split("\n", 1)[0]:
            return _loops(section)
    raise Error(f"there is no code of {name}")


def _loops(section):
    kinds, labels, found = [], {}, []
    for line in section.split("\n"):
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(kinds)
        elif code := re.match(r"\s+/\*[0-9a-f]+\*/\s+(?:@!?U?P\w+ +)?([A-Z0-9]+)(.*);", line):
            kinds.append(code[1])
            back = re.search(r"`\((\.L_x_\d+)\)", code[2])
            if code[1] == "BRA" and back and back[1] in labels:
                body = Counter(kinds[labels[back[1]] :])
                if body[PRODUCT]:
                    found.append(Loop(body.total(), body[PRODUCT], body[LOAD], body[EXP]))
    return found


def table(found):
    """Markdown, a row per loop; of one around another, what it has besides.   found: {kernel: [Loop]}"""
    lines = [
        "| kernel | loop | instructions | HMMA | others for each | matrix loads (LDSM) for each |",
        "| --- | --- | ---: | ---: | ---: | ---: |",
    ]
    for kernel, (first, *around) in found.items():
        others, loads = (first.instructions - first.products) / first.products, first.loads / first.products
        kind = "inner" if around else "over the tiles"
        cells = [kind, str(first.instructions), str(first.products), f"{others:.2f}", f"{loads:.2f}"]
        lines.append(f"| `{kernel}` | {' | '.join(cells)} |")
        for loop in around:
            besides = loop.instructions - first.instructions
            lines.append(f"| | over the tiles, besides | {besides} | {loop.products - first.products} | | |")
    return "\n".join(lines)


def main(argv=None):
    p = cli.Parser("bench sass", __doc__)
    p.add_argument("--arch", default="90", help="compute capability (default 90)")
    readme.add_flag(p)
    args = p.parse_args(argv)
    if not args.arch.isdecimal():
        raise cli.Error(f"--arch is {args.arch!r}: a compute capability without its dot, as 80 or 90.")
    text = table({kernel: loops(source, kernel, args.arch) for kernel, source in KERNELS.items()})
    readme.show_or_write("sass", text, args.readme)
    return 0
