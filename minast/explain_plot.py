"""The picture of `predict --explain`: where in a recording a label was heard."""

import os

import numpy as np

from . import plots
from .checkpoint import Info
from .explain import on_spectrogram, relevance
from .features import model_inputs
from .model import AST
from .scoring import clip_scores


def relevance_over_time(model: AST, info: Info, mel: np.ndarray, label: int) -> np.ndarray:
    """The relevance map of a whole recording for one class.   mel (T, F) -> (T, F), not negative

    Each segment's map (`explain.relevance`) is weighted by the segment's probability of the class. label: its number. A
    remainder too short for a segment stays 0.
    """
    x = model_inputs(mel, info.features)  # (W, frames, F)
    frames = x.shape[1]
    parts = [mel[i * frames : (i + 1) * frames] for i in range(len(x))]
    share = np.concatenate([clip_scores(model, info, [part])[:, label] for part in parts])  # (W,)
    maps = on_spectrogram(model.config, relevance(model, x, label)) * share[:, None, None]
    values = np.zeros(mel.shape)
    covered = maps.reshape(-1, mel.shape[1])[: len(mel)]  # without the padding
    values[: len(covered)] = covered
    return values


def save_explanation(
    path: str | os.PathLike, model: AST, info: Info, mel: np.ndarray, label: int, title: str = ""
) -> None:
    """Draw `relevance_over_time` over the recording's spectrogram into a PNG. Raises minast.Error as `atomic` does."""
    fig = plots.figure(10, 4)
    axes = fig.subplots()
    plots.relevance(axes, mel, relevance_over_time(model, info, mel, label), info.features.rate)
    axes.set_title(plots.plain(title), parse_math=False)
    plots.save_figure(fig, path)
