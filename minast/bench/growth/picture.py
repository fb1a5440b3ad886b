"""The curves as a picture: a row for each thing that grows, time to the left, memory to the right, both in log-log."""

import os

import numpy as np

from ... import plots
from . import slopes
from .page import fits, shown, size
from .plan import AXES, JOBS
from .stored import Found

LEAST = 4.0  # the least ratio of the ends of a vertical axis: noise on a level line stays small
COLOURS = dict(zip(JOBS, ("tab:blue", "tab:orange", "tab:green", "tab:red", "tab:purple"), strict=True))
ROOM = 0.4  # above the curves, for the legend, as a share of their own


def draw(path: str | os.PathLike, found: Found) -> None:
    """Write the picture as a PNG, atomically."""
    made = fits(found)
    axes = [axis for axis in AXES if any(fit.axis == axis for fit in made)]
    figure = plots.figure(9.6, 2.9 * len(axes))
    for row, axis in zip(figure.subplots(len(axes), 2, squeeze=False), axes, strict=True):
        for panel, cost in zip(row, (slopes.TIME, slopes.MEMORY), strict=True):
            _panel(panel, [fit for fit in made if (fit.axis, fit.cost) == (axis, cost)], axis, cost)
    toy = "toy sizes, whose figures mean nothing; " if found.rehearsal else ""
    figure.suptitle(f"{toy}measured (dots) and expected (dashed); slopes are those of the white part", fontsize=10)
    plots.save_figure(figure, path)


def _panel(panel, curves, axis, cost):
    """Points: measured; dashed: expected. The range that slopes are fitted to is white, the rest is grey."""
    divisor = 1 if cost == slopes.TIME else 2**20
    for fit in curves:
        colour = COLOURS[fit.job]
        said = f"{JOBS[fit.job][0]}: {shown(fit.slope)}, expected {shown(fit.wanted)}"
        panel.plot(fit.x, fit.y / divisor, "o-", color=colour, linewidth=1.2, markersize=4, label=said)
        panel.plot(fit.x, fit.expected / divisor, "--", color=colour, linewidth=1)
    if curves:
        x = curves[0].x
        panel.axvspan(x[0], x[curves[0].upper][0], color="0.95", zorder=0)
    panel.set(xscale="log", yscale="log")
    name, unit = AXES[axis]
    panel.set(xlabel=f"{name} ({unit})" if unit else name)
    panel.set(ylabel="seconds" if cost == slopes.TIME else "peak memory (MiB)")
    _ticks(panel, curves)
    panel.grid(alpha=0.3)
    panel.legend(fontsize=7.5, title="slope", title_fontsize=7.5, loc="upper left")


def _ticks(panel, curves):
    """The sizes that were measured, and plain numbers beside the curves, which fill no more than they deserve."""
    from matplotlib.ticker import LogFormatter, NullFormatter

    class Plain(LogFormatter):
        """0.01, and not 1e-02, where the other has a label."""

        def __call__(self, value, place=None):
            return f"{value:g}" * bool(super().__call__(value, place))

    if curves:
        x = np.unique(np.concatenate([fit.x for fit in curves]))
        panel.set_xticks(x, [size(value) for value in x])
        panel.xaxis.set_minor_formatter(NullFormatter())
    bottom, top = panel.get_ylim()
    middle, half = np.sqrt(bottom * top), np.sqrt(LEAST)
    bottom, top = min(bottom, middle / half), max(top, middle * half)
    panel.set_ylim(bottom, top * (top / bottom) ** ROOM)
    panel.yaxis.set_major_formatter(Plain())
    panel.yaxis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))
