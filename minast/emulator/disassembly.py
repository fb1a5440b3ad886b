"""What the compiler made of a kernel: lines of instructions, and the arithmetic in each basic block. By binutils."""

import bisect
import os
import re
import subprocess
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

SPECIAL = {
    *("exp2f", "expf", "exp10f", "expm1f", "logf", "log2f", "log10f", "log1pf", "powf", "cbrtf"),
    *("sinf", "cosf", "sincosf", "tanf", "tanhf", "erff", "erfcf"),
}

# x86-64 and aarch64; packed instructions do not occur, since nothing is vectorised.
_CALLED = {"fmaxf": "compare", "fminf": "compare", "fmaf": "fma", "sqrtf": "divide or root"}
_PATTERNS = (
    ("fma", r"vfn?m(?:add|sub)\d+ss\b|fn?m(?:add|sub)\s+s\d"),
    ("add or multiply", r"v?(?:add|sub|mul)ss\b|f(?:add|sub|mul|nmul)\s+s\d"),
    ("divide or root", r"v?(?:div|sqrt)ss\b|f(?:div|sqrt)\s+s\d"),
    ("compare", r"v?(?:max|min|u?comi)ss\b|f(?:max|min)(?:nm)?\s+s\d|fcmpe?\s+s\d"),
    ("float64", r"v?(?:add|sub|mul|div|sqrt)sd\b|vfn?m(?:add|sub)\d+sd\b|fn?m?(?:add|sub|mul|div|sqrt)\s+d\d"),
)
_PATTERNS = tuple((name, re.compile(pattern)) for name, pattern in _PATTERNS)
_INSTRUCTION = re.compile(r"^\s*([0-9a-f]+):\s+(.*)$")
_CALL = re.compile(r"(?:call|bl|jmp|b)\s+[0-9a-f]+ <(\w+)(?:@plt)?>")
_BRANCH = re.compile(r"j(?!mp)\w+\s|(?:b\.\w+|cbn?z|tbn?z)\s")


def _run(*command):
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=60).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


class BasicBlock(NamedTuple):
    """One basic block. arithmetic: [(pc, class)], classes as in _PATTERNS or "special"; branch: the pc of its jump."""

    arithmetic: list[tuple[int, str]]
    branch: int


def basic_blocks(library: Path, blocks: Iterable[int]) -> dict[int, BasicBlock]:
    """{pc at which a basic block begins: BasicBlock}, without arithmetic where objdump is missing.

    A block reaches from one call of the coverage hook to the next.
    """
    text = _run("objdump", "-d", "--no-show-raw-insn", str(library))
    found, starts = [], set()
    for line in text.splitlines():
        if match := _INSTRUCTION.match(line):
            at, code = int(match[1], 16), match[2]
            call = _CALL.match(code)
            if found and found[-1][2] == "__sanitizer_cov_trace_pc":
                starts.add(at)
            found.append((at, code, call[1] if call else None))
    starts, places = sorted(starts | set(blocks)), [at for at, *_ in found]
    result = {}
    for pc in blocks:
        after = bisect.bisect_right(starts, pc)
        end = starts[after] if after < len(starts) else pc + 4096
        own, branch = [], pc
        for at, code, call in found[bisect.bisect_left(places, pc) : bisect.bisect_left(places, end)]:
            if call == "__sanitizer_cov_trace_pc":
                break
            if name := _class(code, call):
                own.append((at, name))
            if _BRANCH.match(code):
                branch = at
        result[pc] = BasicBlock(own, branch)
    return result


def _class(code, call):
    """The class of an instruction, or of a function of the C library that stands for one; None for the rest."""
    if call:
        return "special" if call in SPECIAL else _CALLED.get(call)
    return next((name for name, pattern in _PATTERNS if pattern.match(code)), None)


def lines(library: Path, places: Sequence[int]) -> dict[int, tuple[str, int] | None]:
    """{pc: (file, line) in a .cu or .cuh file, the innermost but ptx.cuh's}; None where it is in none."""
    if not places:
        return {}
    out = _run("addr2line", "-a", "-i", "-e", str(library), *(hex(p) for p in places))
    found = dict.fromkeys(places)
    at, candidates = None, {}
    for line in out.splitlines():
        if line.startswith("0x"):
            at = int(line, 16)
            candidates[at] = []
        elif at is not None:
            file, _, number = os.path.basename(line.split(" (")[0]).rpartition(":")
            if file.endswith((".cu", ".cuh")) and number.isdigit():
                candidates[at].append((file, int(number)))
    for at, named in candidates.items():
        found[at] = next((f for f in named if f[0] != "ptx.cuh"), named[0] if named else None)
    return found
