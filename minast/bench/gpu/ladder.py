"""The versions of the attention kernel as a picture: TFLOP/s of each, a panel for each dtype.

Lines across a panel: the fastest backend of PyTorch's attention, and cuBLAS's largest product, in that dtype. All count
4 B H N^2 D FLOP. matplotlib is imported only to draw.
"""

import os

from ... import plots
from ...errors import Error
from ..pytorch.kernels import TORCH
from ..row import Row
from .device import DTYPES
from .rows import DeviceRow, in_column, measured

COLOURS = {"float32": "tab:blue", "float16": "tab:orange", "bfloat16": "tab:red"}


def by_dtype(rows: list[Row]) -> dict[str, list[DeviceRow]]:
    """{dtype: [rows of its attention versions, in order]} of the rows that a GPU gave."""
    ours = sorted((r for r in measured(rows) if r.job == "attention forward"), key=lambda r: r.version)
    found = {dtype: [r for r in ours if r.dtype == dtype] for dtype in DTYPES}
    return {dtype: ladder for dtype, ladder in found.items() if ladder}


def lines(ladder: list[DeviceRow]) -> dict[str, float]:
    """{label: TFLOP/s} of the lines across a panel, as they were measured beside its last version."""
    last, found = ladder[-1], {}
    column = {name: seconds for name, seconds in last.libraries.items() if in_column(name, TORCH)}
    if column:
        best = min(column, key=column.get)
        found[f"best SDPA ({best.removeprefix(f'{TORCH}: ')})"] = last.rate * last.ours / column[best] / 1000
    if last.share:
        found["cuBLAS GEMM"] = last.rate / last.share / 1000
    return found


def draw(axes, ladder: list[DeviceRow]) -> None:
    """The bars and lines of one dtype.   axes: matplotlib's; ladder: its rows"""
    dtype = ladder[0].dtype
    bars = axes.bar([f"version {r.version}" for r in ladder], [r.rate / 1000 for r in ladder], color=COLOURS[dtype])
    axes.bar_label(bars, fmt="%.3g")
    for (label, value), style in zip(lines(ladder).items(), ("-", "--"), strict=False):
        axes.axhline(value, color="k", linestyle=style, label=f"{label}: {value:.3g}")
    top = max([r.rate / 1000 for r in ladder] + list(lines(ladder).values()))
    axes.set(title=dtype, ylabel="TFLOP/s", ylim=(0, 1.25 * top))  # room for the legend above all of them
    if lines(ladder):
        axes.legend(fontsize=8, loc="upper left")


def refuse(path: str | os.PathLike, rows: list[Row] | None = None) -> None:
    """Raise Error if the picture's folder does not exist, or `rows`, if given, have no attention kernel of a GPU."""
    folder = os.path.dirname(os.fspath(path)) or "."
    if not os.path.isdir(folder):
        raise Error(f"{path}: there is no folder {folder}.")
    if rows is not None and not by_dtype(rows):
        raise Error(f"{path}: the ladder contains GPU measurements only, and these rows have no attention kernel.")


def write(path: str | os.PathLike, rows: list[Row]) -> None:
    """Write the picture as a PNG, atomically. Raises Error as `refuse` does."""
    refuse(path, rows)
    found = by_dtype(rows)
    figure = plots.figure(1.5 + 2.8 * len(found), 4.2)
    for axes, ladder in zip(figure.subplots(1, len(found), squeeze=False)[0], found.values(), strict=True):
        draw(axes, ladder)
    figure.suptitle(f"attention forward on {plots.plain(measured(rows)[0].device)}", parse_math=False)
    plots.save_figure(figure, path)
