"""The picture of `predict --explain`: where in a recording a label was heard."""

import os

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
    path: str | os.PathLike, model: AST, info: Info, mel: np.ndarray, label: int, title: str = ""
) -> None:
    """Draw `relevance_over_time` over the recording's spectrogram into a PNG.

    Of a recording with more than COLUMNS frames, each column of the picture is the mean of several. Raises minast.Error
    as `atomic` does.
    """
    fig = plots.figure(10, 4)
    axes = fig.subplots()
    values, rate = relevance_over_time(model, info, mel, label), info.features.rate
    plots.relevance(axes, in_columns(mel), in_columns(values), rate)
    begin, seconds = (FRAME - hop_seconds(rate)) / 2, len(mel) * hop_seconds(rate)
    for image in axes.images:
        image.set_extent((begin, begin + seconds, -0.5, mel.shape[1] - 0.5))
    axes.set_xlim(begin, begin + seconds)
    axes.set_title(plots.plain(title), parse_math=False)
    plots.save_figure(fig, path)


def in_columns(x: np.ndarray) -> np.ndarray:
    """At most COLUMNS rows, each the mean of as many.   (T, F) -> (C, F); x itself if it has no more"""
    step = -(-len(x) // COLUMNS)
    starts = np.arange(0, len(x), step)
    return x if step == 1 else np.add.reduceat(x, starts) / np.diff([*starts, len(x)])[:, None]
