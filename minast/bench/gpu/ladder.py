"""The ladder of attention kernels as a picture: TFLOP/s of each version, a panel for each type.

Lines across a panel: the fastest backend of torch's attention, and cuBLAS's largest product, in that type. Counted are
4 B H N^2 D FLOP for everybody. matplotlib is imported when it is drawn.
"""

import os

from ...errors import Error
from ..kernels.in_torch import TORCH
from .device import DTYPES
from .device_rows import in_column, measured

COLOURS = {"float32": "tab:blue", "float16": "tab:orange", "bfloat16": "tab:red"}


def versions(rows):
    """{type: [rows of its versions, from the first]} of those that a GPU gave."""
    mine = sorted((r for r in measured(rows) if r.job == "attention forward"), key=lambda r: r.version)
    found = {dtype: [r for r in mine if r.dtype == dtype] for dtype in DTYPES}
    return {dtype: ladder for dtype, ladder in found.items() if ladder}


def lines(ladder):
    """{label: TFLOP/s} of the two lines of a panel, as they stood beside its last version."""
    last, found = ladder[-1], {}
    column = {name: seconds for name, seconds in last.libraries.items() if in_column(name, TORCH)}
    if column:
        best = min(column, key=column.get)
        found[f"best SDPA ({best.removeprefix(f'{TORCH}: ')})"] = last.rate * last.ours / column[best] / 1000
    if last.share:
        found["cuBLAS GEMM"] = last.rate / last.share / 1000
    return found


def draw(axes, ladder):
    """One type's bars and lines.   axes: of matplotlib; ladder: its rows"""
    dtype = ladder[0].dtype
    bars = axes.bar([f"version {r.version}" for r in ladder], [r.rate / 1000 for r in ladder], color=COLOURS[dtype])
    axes.bar_label(bars, fmt="%.3g")
    for (label, value), style in zip(lines(ladder).items(), ("-", "--"), strict=False):
        axes.axhline(value, color="k", linestyle=style, label=f"{label}: {value:.3g}")
    top = max([r.rate / 1000 for r in ladder] + list(lines(ladder).values()))
    axes.set(title=dtype, ylabel="TFLOP/s", ylim=(0, 1.25 * top))  # the legend stands above all of them
    if lines(ladder):
        axes.legend(fontsize=8, loc="upper left")


def refuse(path, rows=None):
    """An Error, before anything runs, if there is nowhere to put the picture, or `rows`, if given, hold no ladder."""
    folder = os.path.dirname(os.fspath(path)) or "."
    if not os.path.isdir(folder):
        raise Error(f"{path}: there is no folder {folder}.")
    if rows is not None and not versions(rows):
        raise Error(f"{path}: the ladder shows what a GPU was measured to do, and these rows hold no attention of one.")


def write(path, rows):
    """The picture as a PNG, whole or not at all."""
    from ... import plots

    refuse(path, rows)
    found = versions(rows)
    figure = plots.figure(1.5 + 2.8 * len(found), 4.2)
    for axes, ladder in zip(figure.subplots(1, len(found), squeeze=False)[0], found.values(), strict=True):
        draw(axes, ladder)
    figure.suptitle(f"attention forward on {plots.plain(measured(rows)[0].device)}", parse_math=False)
    plots.save_figure(figure, path)
