"""The picture of calibration: a reliability diagram."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from .. import plots
from .reliability import BINS, Reliability, calibration_error, reliability

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def save_reliability(path: str | os.PathLike, scores: Mapping[str, np.ndarray], targets: np.ndarray, loss: str) -> None:
    """Draw a reliability diagram of each of some scores, side by side, into a PNG.   {title: (N, K)}, targets (N, K)

    Titles get the calibration error. Raises minast.Error if the file cannot be written.
    """
    fig = plots.figure(0.6 + 3.9 * len(scores), 4.6)
    panels = fig.subplots(1, len(scores), squeeze=False, sharey=True)[0]
    for axes, (title, each) in zip(panels, scores.items(), strict=True):
        draw_reliability(axes, reliability(each, targets, loss))
        axes.set_title(f"{title}: ECE {calibration_error(each, targets, loss):.3f}")
    panels[0].set_ylabel("share that is right")
    plots.save_figure(fig, path)


def draw_reliability(axes: "Axes", found: Reliability) -> None:
    """Draw one diagram: a bar for each bin, up to the share that came true; numbers of predictions behind it, in grey.

    Calibrated predictions end at the diagonal. The grey bars have a scale of their own, the logarithm of the number.
    """
    edges = np.arange(BINS) / BINS
    often = np.log1p(found.count) / np.log1p(max(1, found.count.max()))
    style = {"width": 1 / BINS, "align": "edge"}
    axes.bar(edges, often, color="0.92", label="number of predictions (log)", **style)
    axes.bar(
        edges, np.nan_to_num(found.share), color="C0", alpha=0.75, edgecolor="w", label="share that is right", **style
    )
    axes.plot([0, 1], [0, 1], color="0.3", linestyle="--", linewidth=1.2, label="calibrated")
    axes.plot(found.probability, found.share, ".", color="C3", label="mean probability of the bin")
    axes.set(xlabel="probability", xlim=(0, 1), ylim=(0, 1))
    axes.legend(fontsize=7, loc="upper left")
