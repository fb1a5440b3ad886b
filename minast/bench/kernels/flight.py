"""Loads in flight and instructions of the kernels that only move memory, counted in the compiled code.

A load takes hundreds of cycles. A warp that issues several before it uses the first waits once for all of them; one
that uses each value before the next load waits for each. Counted are the loads that a thread issues before it uses the
result of one of them, and its instructions, on one way through the kernel: that of aligned rows, on which most is
read and written by vectors (8 or 16 bytes a thread), with all operands, and of such ways the shortest. A kernel without
vector loads is counted with the loads that it has.
"""

import operator
import re
from typing import NamedTuple

KERNELS = {  # kernel -> (its file, values of a thread on that way; 0 where its loops differ in that)
    "layernorm_forward<__nv_bfloat16,6>": ("layernorm.cu", 24),
    "layernorm_backward<__nv_bfloat16,6>": ("layernorm.cu", 24),
    "residual_norm_forward<__nv_bfloat16,6>": ("residual.cu", 24),
    "residual_norm_backward<__nv_bfloat16,6>": ("residual.cu", 24),
    "narrow<__nv_bfloat16>": ("residual.cu", 4),
    "gelu_forward<__nv_bfloat16,false>": ("gelu.cu", 8),
    "gelu_forward<__half,false>": ("gelu.cu", 8),
    "gelu_forward<float,false>": ("gelu.cu", 4),
    "gelu_backward<__nv_bfloat16,false>": ("gelu.cu", 8),
    "gelu_backward<__half,false>": ("gelu.cu", 8),
    "gelu_backward_sums<__nv_bfloat16,false>": ("gelu.cu", 8),
    "gelu_backward_sums<__half,false>": ("gelu.cu", 8),
    "softmax_forward<__nv_bfloat16>": ("softmax.cu", 16),
    "softmax_backward<__nv_bfloat16>": ("softmax.cu", 16),
    "class_attention_forward<__nv_bfloat16,64,2>": ("class_attention.cu", 32),
    "class_attention_backward<__nv_bfloat16,64,2>": ("class_attention.cu", 32),
    "attention_delta<__nv_bfloat16,64>": ("attention_backward.cu", 16),
    "column_partials<__nv_bfloat16>": ("columns.cu", 16),
    "column_finish": ("columns.cu", 0),
    "tokens_forward<float>": ("tokens.cu", 4),
    "tokens_backward<__nv_bfloat16>": ("tokens.cu", 16),
    "patchout_forward": ("tokens.cu", 4),
    "patchout_backward": ("tokens.cu", 4),
    "pool_forward<__nv_bfloat16>": ("tokens.cu", 4),
    "pool_backward<__nv_bfloat16>": ("tokens.cu", 4),
    "spread<__nv_bfloat16>": ("tokens.cu", 4),
    "unfold_strip<__nv_bfloat16>": ("unfold.cu", 0),
    "unfold_gather<__nv_bfloat16>": ("unfold.cu", 4),
    "bce_forward<float>": ("loss.cu", 0),
    "ce_forward<float,int>": ("loss.cu", 0),
    "adam_step<__nv_bfloat16,false>": ("adamw.cu", 4),
    "square_sums": ("adamw.cu", 32),
}
VECTOR = ("64", "128")
NOTE = (
    "The kernels that only move memory: loads that a thread issues before it uses the result of one of them, and its "
    "instructions, on the way through the code that aligned rows take. All operands are given, and each loop counts "
    "once."
)


class Instruction(NamedTuple):
    """One line of SASS. guarded: it has a predicate; width: bits of a load or store; rest: its operands."""

    kind: str
    guarded: bool
    width: str
    rest: str


class Count(NamedTuple):
    """loads: the most in flight; instructions: of the way through the kernel on which they are."""

    loads: int
    instructions: int


def parsed(section: str) -> tuple[list[Instruction], dict[str, int]]:
    """(instructions, {label: index of the one behind it}) of one kernel's listing."""
    code, labels = [], {}
    for line in section.split("\n"):
        if label := re.match(r"(\.L_x_\d+):", line):
            labels[label[1]] = len(code)
        elif found := re.match(r"\s+/\*[0-9a-f]+\*/\s+(@!?U?P\w+ +)?([A-Z0-9]+)(\S*)(.*);", line):
            width = next((w for w in found[3].split(".") if w in VECTOR), "32")
            code.append(Instruction(found[2], bool(found[1]), width, found[4]))
    return code, labels


def way(code: list[Instruction], labels: dict[str, int]) -> list[Instruction]:
    """The instructions from start to end on the way with the most vector loads, of these with the most vector stores.

    Of several the one with the most loads of any kind (all operands are given), then with the fewest calls (a 64-bit
    division where 32 bits do), then the shortest. Where a kernel has no vector loads, or stores, all of its loads, or
    stores, count as such. Branches back are not taken.
    """
    loads, stores = _counted(code, "LDG"), _counted(code, "STG")
    best: list[tuple | None] = [None] * (len(code) + 1)  # at each instruction what counts so far, and where from
    best[0] = (0,) * 5, None
    ends = []
    for at, one in enumerate(code):
        if best[at] is None:
            continue
        step = one in loads, one in stores, one.kind == "LDG", -(one.kind == "CALL"), -1
        done = tuple(map(operator.add, best[at][0], step))
        if one.kind == "EXIT":
            ends.append((done, at))
        jump = re.search(r"`\((\.L_x_\d+)\)", one.rest) if one.kind == "BRA" else None
        always = not one.guarded and (one.kind == "EXIT" or re.match(r"\s*`", one.rest if jump else ""))
        for to in ([] if always else [at + 1]) + ([labels[jump[1]]] if jump and jump[1] in labels else []):
            if to > at and (best[to] is None or best[to][0] < done):
                best[to] = done, at
    found, at = [], max(ends)[1]
    while at is not None:
        found.append(code[at])
        at = best[at][1]
    return found[::-1]


def _counted(code, kind):
    """The loads (LDG) or stores (STG) that count: those of vectors, if there are any."""
    every = [one for one in code if one.kind == kind]
    return {one for one in every if one.width in VECTOR} or set(every)


def in_flight(code: list[Instruction]) -> int:
    """The most loads from global memory that count, of which no result is used before the last is issued."""
    most, pending, count, loads = 0, set(), 0, _counted(code, "LDG")
    for one in code:
        if one in loads:
            target, address = one.rest.split(",", 1)
            if pending & _registers(address):
                pending, count = set(), 0
            first, words = int(re.search(r"R(\d+)", target)[1]), max(1, int(one.width) // 32)
            pending |= set(range(first, first + words))
            count += 1
            most = max(most, count)
        elif pending & _registers(one.rest.split(",", 1)[-1] if one.kind not in ("STG", "STS") else one.rest):
            pending, count = set(), 0
    return most


def _registers(operands):
    return {int(n) for n in re.findall(r"\bR(\d+)", operands)}


def count(section: str) -> Count:
    """The Count of one kernel's code, from `sass.section`."""
    code = way(*parsed(section))
    return Count(in_flight(code), len(code))


def table(found: dict[str, Count]) -> str:
    """Markdown, a row for each kernel."""
    lines = [
        "| kernel | loads in flight | instructions of a thread | for each value |",
        "| --- | ---: | ---: | ---: |",
    ]
    for kernel, (loads, instructions) in found.items():
        values = KERNELS[kernel][1]
        each = f"{instructions / values:.1f}" if values else ""
        lines.append(f"| `{kernel}` | {loads} | {instructions} | {each} |")
    return "\n".join(lines)
