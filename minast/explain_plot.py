"""The picture of `predict --explain`: where in a recording labels were heard."""

import os
from collections.abc import Sequence

import numpy as np

from . import plots
from .checkpoint import Info
from .explain import on_spectrogram, relevance
from .features import FRAME, hop_seconds, normalise, pad_or_trim, segment_starts
from .model import AST
from .scoring import BATCH, segment_scores

COLUMNS = 4000  # of a picture; it has fewer pixels


def relevance_over_time(model: AST, info: Info, mel: np.ndarray, label: int) -> np.ndarray:
    """The relevance map of a whole recording for one class.   mel (T, F) -> (T, F), not negative

    Each segment's map (`explain.relevance`) is weighted by the segment's probability of the class; where two segments
    overlap, the value is the mean of both. label: the number of the class.
    """
    f, scores = info.features, segment_scores(model, info.loss)
    values, covered = np.zeros(mel.shape, np.float32), np.zeros((len(mel), 1), np.float32)
    starts = segment_starts(len(mel), f.frames)
    for at in range(0, len(starts), BATCH):
        part = starts[at : at + BATCH]
        x = normalise(np.stack([pad_or_trim(mel[i:], f.frames) for i in part]), f.mean, f.std)
        maps = on_spectrogram(model.config, relevance(model, x, label)) * scores(x)[:, label, None, None]
        for start, found in zip(part, maps, strict=True):
            values[start : start + f.frames] += found[: len(mel) - start]  # without the padding
            covered[start : start + f.frames] += 1
    values /= covered
    return values


def save_explanation(
    path: str | os.PathLike,
    model: AST,
    info: Info,
    mel: np.ndarray,
    labels: Sequence[int],
    titles: Sequence[str],
    over_time: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Draw `relevance_over_time` of each label over the recording's spectrogram, one below the other, into a PNG.

    labels: numbers of classes; titles: one for each. over_time: where the segments start (W,) s, and their
    probabilities (W, K), which are drawn below for these labels. Of a recording with more than COLUMNS frames, each
    column of the picture is the mean of several. Raises minast.Error as `atomic` does.
    """
    rows = len(labels) + (over_time is not None)
    fig = plots.figure(10, 4 if rows == 1 else 1 + 2.6 * rows)
    panels = fig.subplots(rows, 1, squeeze=False, sharex=over_time is None)[:, 0]
    rate, spectrogram = info.features.rate, in_columns(mel)
    begin, seconds = (FRAME - hop_seconds(rate)) / 2, len(mel) * hop_seconds(rate)
    for axes, label, title in zip(panels, labels, titles, strict=False):
        plots.relevance(axes, spectrogram, in_columns(relevance_over_time(model, info, mel, label)), rate)
        for image in axes.images:
            image.set_extent((begin, begin + seconds, -0.5, mel.shape[1] - 0.5))
        axes.set_xlim(begin, begin + seconds)
        axes.set_title(plots.plain(title, 100), parse_math=False)
    if over_time is not None:
        starts, scores = over_time
        names = [info.labels[k] for k in labels]
        plots.scores(panels[-1], starts, scores[:, labels], names, info.features.frames * hop_seconds(rate))
        panels[-1].set_xlim(begin, begin + seconds)
    plots.save_figure(fig, path)


def in_columns(x: np.ndarray) -> np.ndarray:
    """At most COLUMNS rows, each the mean of as many.   (T, F) -> (C, F); x itself if it has no more"""
    step = -(-len(x) // COLUMNS)
    starts = np.arange(0, len(x), step)
    return x if step == 1 else np.add.reduceat(x, starts) / np.diff([*starts, len(x)])[:, None]
