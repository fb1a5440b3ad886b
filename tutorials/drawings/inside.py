"""One transformer block forward and backward, and what a GPU is made of."""

import re
from itertools import pairwise
from pathlib import Path

from minast.config import ModelConfig
from minast.gpu import kernel_source

from .svg import ACCENT, INK, LINE, SOFT, Drawing

PINK = "#aa4499"


def block():
    """A pre-norm block forward, read downwards, and beside it the same lines backward, read upwards."""
    c = ModelConfig.preset("base", prefix_tokens=2)
    T, D = c.tokens, c.dim
    steps = [  # (forward, backward, width of its output, has weights)
        ("norm1", "d norm1", D, True),
        ("linear: q, k, v", "dx = dy W, dW += dyᵀ x", 3 * D, True),
        (f"attention, {c.heads} heads", "d attention", D, False),
        ("linear", "dx = dy W, dW += dyᵀ x", D, True),
        None,
        ("norm2", "d norm2", D, True),
        ("linear", "dx = dy W, dW += dyᵀ x", 4 * D, True),
        ("GELU", "dy · slope", 4 * D, False),
        ("linear", "dx = dy W, dW += dyᵀ x", D, True),
        None,
    ]
    d = Drawing(760, 584, "A transformer block, forward and backward")
    d.words(180, 26, "forward, downwards", 16, bold=True)
    d.words(560, 26, "backward, upwards", 16, bold=True, color=PINK)
    top, pitch, w, h = 106, 44, 170, 28
    y = [top + pitch * i for i in range(len(steps))]
    for column, centre, color in ((0, 210, INK), (1, 550, PINK)):
        side = centre - 118 if column == 0 else centre + 118  # where the residual runs
        d.words(centre, 56, f"x ({T}, {D})" if column == 0 else f"dx ({T}, {D})", 14, mono=True)
        ends = [66, *[y[i] + 14 for i, s in enumerate(steps) if s is None], y[-1] + 58]
        joins = []  # backward, the residual's gradient is added to the branch's here
        for a, b in pairwise(ends[:-1]):
            split = a + (14 if a == 66 else 22)
            inner = -12 if column == 0 else 12
            _way(
                d,
                [(centre + (0 if column == 0 else 9), split), (side, split), (side, b), (centre + inner, b)],
                color,
                column,
            )
            joins.append(split)
        for i, step in enumerate(steps):
            before = 66 if i == 0 else y[i - 1] + (h if steps[i - 1] else 25)
            reach = y[i] + (3 if step is None else 0)
            _way(d, [(centre, before), (centre, reach)], color, column)
            if step is None:
                d.add("circle", cx=centre, cy=y[i] + 14, r=11, fill="#ffffff", stroke=color, stroke_width=1.6)
                d.words(centre, y[i] + 14, "+" if column == 0 else "=", 16, bold=True, color=color)
                continue
            fill = ("weight" if step[3] else "token") if column == 0 else "gradient"
            d.box(centre - w / 2, y[i], w, h, step[column], fill=fill, size=13.5, bold=False)
            if column == 0 and step[2] != D:
                d.words(
                    centre + w / 2 + 8, y[i] + h / 2, f"({T}, {step[2]})", 12.5, anchor="start", mono=True, color=SOFT
                )
        _way(d, [(centre, y[-1] + 25), (centre, y[-1] + 54)], color, column)
        for split in joins if column else []:
            d.add("circle", cx=centre, cy=split, r=8, fill="#ffffff", stroke=color, stroke_width=1.6)
            d.words(centre, split, "+", 14, bold=True, color=color)
        d.words(centre, y[-1] + 66, f"y ({T}, {D})" if column == 0 else f"dy ({T}, {D})", 14, mono=True)
    for i, words in enumerate(("residual:", "x goes on", "unchanged")):
        d.words(10, y[2] + 17 * i, words, 13, anchor="start", color=SOFT)
    for i, words in enumerate(("dy goes", "both ways;", "the two", "gradients", "add up")):
        d.words(753, y[6] + 17 * i, words, 12, anchor="end", color=PINK)
    return d


def _way(d, points, color, column):
    """An arrow along points that are listed downwards; upwards in the backward column."""
    d.arrow(*(points if column == 0 else points[::-1]), color=color, width=1.5)


def gpu():
    """Thread, warp, block and grid, and the parts of a GPU on which they run; numbers of an NVIDIA H100 SXM."""
    warp = _constant("common.cuh", "WARP")
    d = Drawing(760, 430, "Thread, warp, multiprocessor, memory")
    d.words(120, 26, "what you write", 16, bold=True)
    d.words(500, 26, "where it runs (H100 SXM)", 16, bold=True)
    rows = [
        (50, "thread", "one program, its own numbers", "gradient"),
        (128, f"warp: {warp} threads", "one instruction for all", "gradient"),
        (206, "block: up to 1024", "shared memory and barriers", "gradient"),
        (284, "grid: all blocks", "in any order", "gradient"),
    ]
    for y, name, what, fill in rows:
        d.box(16, y, 216, 52, name, what, fill=fill, size=15)
    for (y, *_), (below, *_) in pairwise(rows):
        d.arrow((124, y + 52), (124, below), color=SOFT)

    d.box(290, 44, 450, 228, fill="#f2f6fa")
    d.words(515, 62, "multiprocessor: 132 of them", 15, bold=True)
    for i in range(4):
        x = 304 + 107 * i
        d.box(x, 78, 100, 76, fill="sound")
        d.words(x + 50, 92, "scheduler", 13)
        for lane in range(warp):
            look = {"width": 4, "height": 7, "fill": ACCENT if i == 0 else LINE}
            d.add("rect", x=x + 10 + 5.1 * (lane % 16), y=104 + 10 * (lane // 16), **look)
        d.words(x + 50, 138, f"{warp} lanes", 12, color=SOFT)
    d.box(304, 164, 421, 44, "registers, 256 KiB", "a thread's own numbers; nothing is faster", fill="token", size=14)
    d.box(304, 216, 421, 44, "shared memory and L1 cache, 256 KiB", "a block's own", fill="token", size=14)
    d.box(290, 292, 450, 44, "L2 cache, 50 MB", "shared by all multiprocessors", fill="weight", size=14)
    d.box(
        290,
        356,
        450,
        52,
        "memory, 80 GB, 3.35 TB/s",
        "every array; fetched in sectors of 32 bytes",
        fill="weight",
        size=14,
    )
    d.arrow((515, 272), (515, 292), color=SOFT)
    d.arrow((515, 356), (515, 336), color=SOFT)
    d.arrow((515, 336), (515, 356), color=SOFT)
    d.arrow((515, 292), (515, 272), color=SOFT)
    for way in (
        [(232, 76), (262, 76), (262, 106), (304, 106)],
        [(232, 154), (262, 154), (262, 114), (304, 114)],
        [(232, 232), (290, 232)],
        [(232, 310), (276, 310), (276, 262), (290, 262)],
    ):
        d.line(*way, color=ACCENT, dashed=True, width=1.3)
    return d


def _constant(file, name):
    """A whole number that a kernel file declares."""
    text = Path(kernel_source.folder() / file).read_text(encoding="utf-8")
    return int(re.search(rf"constexpr int {name} = (\d+);", text)[1])
