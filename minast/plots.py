"""Pictures: learning curves, confusion matrix, scores per class; spectrograms, relevance maps, scores over time.

Functions with a `path` write a PNG; functions with `axes` draw into a figure of the caller's and write nothing.
matplotlib is imported when something is drawn.
"""

import functools
import os
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import QuadMesh
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

from . import metrics
from .console.say import note
from .errors import Error
from .features import FRAME, bin_of, hop_seconds
from .fonts import fit_fonts
from .storage.files import atomic
from .text import counted, visible

MOST_CLASSES = 2000  # in a confusion matrix: about as many as its picture has pixels
MOST_NAMES = 100  # on its axes: more would overlap
PER_CLASS = {"ce": "confusion.png", "bce": "average_precision.png"}  # the file that `per_class` draws, by loss
SPECTROGRAM, RELEVANCE, SIGNED, SHARE = "viridis", "autumn_r", "coolwarm", "Blues"  # colour maps, the same everywhere
TICKS_HZ = (100, 200, 500, 1000, 2000, 4000, 7000, 15000)


def figure(width: float = 7.0, height: float = 4.0) -> "Figure":
    """An empty matplotlib figure, in inches, that needs no display."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def colours(name: str, count: int) -> np.ndarray:
    """The colours of a map, from its lowest value to its highest.   -> (count, 3) uint8"""
    from matplotlib import colormaps

    return (colormaps[name](np.linspace(0, 1, count))[:, :3] * 255 + 0.5).astype(np.uint8)


def save_figure(fig: "Figure", path: str | os.PathLike) -> None:
    """Write a figure as a PNG, atomically. Raises minast.Error if the file cannot be written.

    Characters that no installed font has are drawn as boxes, and a note says so.
    """
    if left := fit_fonts(fig):
        note_boxes(left)
    with atomic(path) as f, warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # on missing characters, narrow axes, slow legends
        fig.savefig(f, format="png", dpi=110)


@functools.cache
def note_boxes(characters: str) -> None:
    """Say once that these characters cannot be drawn."""
    note(
        f"no installed font has {visible(characters, 40)}: pictures show boxes. Noto Sans CJK has most of the world's."
    )


def plain(text: str, limit: int = 60) -> str:
    """A user's text, ready to be drawn: on one line, not too long, escapes for what is no character."""
    return visible(text, limit)


def learning_curves(
    history: Sequence[dict],
    path: str | os.PathLike,
    measure: str = "accuracy",
    title: str = "",
    scored: str = "test",
    epoch: int | None = None,
) -> None:
    """Draw losses (left) and accuracy or mAP (right) over epochs.

    history: one dictionary per epoch, as in a checkpoint's `info.history`. measure: "accuracy" or "mAP". scored: the
    clips that were scored after each epoch, "validation" or "test". epoch: the one whose weights are kept, which is
    marked; its figure ends the title.
    """
    fig = figure(9, 3.6)
    draw_learning_curves(fig.subplots(1, 2), history, measure, scored, epoch)
    if epoch:
        value = history[epoch - 1][measure]
        title += f": {measure} {f'{value:.1%}' if measure == 'accuracy' else f'{value:.3f}'} after epoch {epoch}"
    fig.suptitle(visible(title, 100), parse_math=False)
    save_figure(fig, path)


def draw_learning_curves(
    axes: Sequence["Axes"],
    history: Sequence[dict],
    measure: str = "accuracy",
    scored: str = "test",
    epoch: int | None = None,
) -> None:
    """`learning_curves` on two axes of the caller's."""
    left, right = axes
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["train_loss"] for row in history], marker=".", label="training")
    left.plot(epochs, [row["valid_loss"] for row in history], marker=".", label=scored)
    left.set(xlabel="epoch", ylabel="loss (nats)")
    top1 = "training" if measure == "accuracy" else "training: top guess is a label"
    right.plot(epochs, [row["train_top1"] for row in history], marker=".", label=top1)
    right.plot(epochs, [row[measure] for row in history], marker=".", label=scored)
    right.set(xlabel="epoch", ylabel=measure, ylim=(0, 1.02))
    for each in (left, right):
        if epoch:
            each.axvline(epoch, color="0.4", linestyle=":", linewidth=1.2, label=f"epoch {epoch}")
        each.grid(alpha=0.3)
        each.legend()
        each.xaxis.get_major_locator().set_params(integer=True)


def confusion(matrix: np.ndarray, labels: Sequence[str], path: str | os.PathLike) -> None:
    """Draw a confusion matrix: true class by row, predicted by column.   matrix (K, K), as of `metrics`

    Cells show counts (up to 30 classes); their colour is the share of the row. Of more than MOST_NAMES classes, every
    second, third ... is named. The title says how many clips are right. Raises minast.Error for more than MOST_CLASSES.
    """
    refuse_many(labels)
    k = len(labels)
    size = min(24.0, 3.0 + 0.42 * k)
    fig = figure(size + 0.8, size)
    axes = fig.subplots()
    image = draw_confusion(axes, matrix, labels)
    right, clips = int(np.trace(matrix)), int(matrix.sum())
    fig.suptitle(f"accuracy {right / max(1, clips):.1%}: {right} of {counted(clips, 'clip')}", fontsize=11)
    fig.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    save_figure(fig, path)


def refuse_many(labels: Sequence[str]) -> None:
    """minast.Error if there are too many classes for a confusion matrix that one can look at."""
    if len(labels) > MOST_CLASSES:
        raise Error(f"there is no picture of the confusion matrix: {len(labels)} classes, at most {MOST_CLASSES} fit.")


def draw_confusion(axes: "Axes", matrix: np.ndarray, labels: Sequence[str]) -> "AxesImage":
    """`confusion` on axes of the caller's.   -> the image, for a colour bar"""
    k = len(labels)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, vmin=0, vmax=1, cmap=SHARE)
    axes.set(xlabel="predicted", ylabel="true")
    named = range(0, k, -(-k // MOST_NAMES))
    names = [plain(labels[i]) for i in named]
    axes.set_xticks(named, names, rotation=90, parse_math=False)
    axes.set_yticks(named, names, parse_math=False)
    if k <= 30:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                j, i, str(matrix[i, j]), ha="center", va="center", fontsize=8, color="w" if share[i, j] > 0.5 else "k"
            )
    return image


def per_class(
    scores: np.ndarray, targets: np.ndarray, labels: Sequence[str], loss: str, path: str | os.PathLike
) -> None:
    """Draw the confusion matrix (loss "ce") or the average precision of each class ("bce").   scores, targets (n, K)"""
    if loss == "ce":
        refuse_many(labels)  # before a matrix of as many rows and columns is made
        confusion(metrics.confusion_matrix(scores, targets.argmax(axis=1)), labels, path)
    else:
        class_bars(metrics.average_precision(scores, targets), labels, path)


def class_bars(
    values: np.ndarray, labels: Sequence[str], path: str | os.PathLike, name: str = "average precision"
) -> None:
    """Draw one bar per class, the best 100 classes first.   values (K,) in [0, 1], NaN for a class without clips

    For clips with several labels, where a confusion matrix is not defined. Classes without clips are named, not drawn.
    """
    values = np.asarray(values, float)
    there = np.flatnonzero(~np.isnan(values))
    order = there[np.argsort(-values[there], kind="stable")][:MOST_NAMES]
    fig = figure(7, min(20.0, 2 + 0.25 * len(order)))
    axes = fig.subplots()
    axes.barh(range(len(order)), values[order])
    for i, k in enumerate(order):
        axes.text(min(values[k] + 0.01, 0.93), i, f"{values[k]:.2f}", va="center", fontsize=8)
    axes.set_yticks(range(len(order)), [plain(labels[k]) for k in order], parse_math=False)
    axes.set(xlabel=name, xlim=(0, 1), ylim=(len(order) - 0.4, -0.6))
    axes.grid(alpha=0.3, axis="x")
    mean = f", mean {values[there].mean():.3f}" if len(there) else ""
    axes.set_title(f"{name} of {len(there)} classes{mean}", fontsize=11)
    if lacking := [plain(labels[k], 30) for k in np.flatnonzero(np.isnan(values))]:
        some = ", ".join(lacking[:8]) + (", ..." if len(lacking) > 8 else "")
        fig.supxlabel(visible(f"not drawn, no clips: {some}", 110), fontsize=8, parse_math=False)
    save_figure(fig, path)


# -- sound over time: everything below draws into `axes` ----------------------------------------------------------


def spectrogram(
    axes: "Axes",
    mel: np.ndarray,
    rate: int = 16000,
    start: float = 0.0,
    hz: bool = True,
    label: str | None = "log power (nats)",
    **style,
) -> "AxesImage":
    """Draw a log-mel spectrogram, time in s to the right and frequency upwards.   mel (T, F) -> the image

    Columns are centred on their frames: 12.5 ms, 22.5 ms, ... after `start` (s). rate: Hz. hz: mark frequencies in Hz
    (spaced in mel, as the filters are) rather than mel bins. label: of the colour bar; None for no bar. style: passed
    to imshow (cmap, vmin, vmax, alpha). Raises minast.Error for an array that is not (T, F).
    """
    mel = np.asarray(mel)
    if mel.ndim != 2:
        raise Error(f"the spectrogram has shape {mel.shape}: one clip is drawn, (frames, mel bins).")
    T, F = mel.shape
    hop = hop_seconds(rate)
    begin = start + FRAME / 2 - hop / 2
    extent = (begin, begin + T * hop, -0.5, F - 0.5)
    style = {"origin": "lower", "aspect": "auto", "interpolation": "nearest", "cmap": SPECTROGRAM, **style}
    image = axes.imshow(mel.T, extent=extent, **style)
    axes.set(xlabel="time (s)", ylabel="frequency (Hz)" if hz else "mel bin")
    if hz:
        shown = [f for f in TICKS_HZ if bin_of(f, rate, F) < F - 0.5]
        axes.set_yticks([bin_of(f, rate, F) for f in shown], [f"{f}" for f in shown])
        axes.set_ylim(-0.5, F - 0.5)
    if label:
        axes.figure.colorbar(image, ax=axes, label=label)
    return image


def relevance(
    axes: "Axes",
    mel: np.ndarray,
    values: np.ndarray,
    rate: int = 16000,
    start: float = 0.0,
    hz: bool = True,
    label: str | None = "relevance",
    limit: float | None = None,
) -> "AxesImage":
    """Draw a relevance map over its spectrogram, which shows through in grey.   mel (T, F), values (T, F) -> the image

    A map without negative values goes from transparent to red. In one with negative values, red speaks for the class
    and blue against it. limit: the value drawn in full colour (default: the 99.5th percentile of |values|); set it to
    compare pictures. Other arguments: as in `spectrogram`. Raises minast.Error for shapes that differ.
    """
    values = np.asarray(values)
    if values.shape != np.shape(mel):
        raise Error(f"the map has shape {values.shape}, its spectrogram {np.shape(mel)}: they must be the same.")
    spectrogram(axes, mel, rate, start, hz, None, cmap="gray")
    limit = limit or np.percentile(np.abs(values), 99.5) or np.abs(values).max() or 1.0
    signed = values.min() < 0
    alpha = 0.8 * np.clip(np.abs(values) / limit, 0, 1).T  # where nothing is relevant the spectrogram shows through
    style = {"cmap": SIGNED, "vmin": -limit} if signed else {"cmap": RELEVANCE, "vmin": 0}
    image = spectrogram(axes, values, rate, start, hz, None, vmax=limit, alpha=alpha, **style)
    if label:
        from matplotlib.cm import ScalarMappable

        bar = ScalarMappable(image.norm, image.cmap)  # without the alpha of single pixels
        axes.figure.colorbar(bar, ax=axes, label=label)
    return image


def scores(
    axes: "Axes",
    starts: np.ndarray,
    values: np.ndarray,
    labels: Sequence[str],
    seconds: float,
    label: str | None = "probability",
    **style,
) -> "QuadMesh":
    """Draw the scores of segments over time, one row per class.   starts (W,) s, values (W, K) -> the image

    seconds: the length of a segment. Segments may overlap: each is drawn around its middle, halfway to its neighbours,
    the first one from its start and the last one to its end.
    label: of the colour bar; None for no bar. style: passed to pcolormesh. Raises minast.Error for shapes that do not
    fit, or no segments at all.
    """
    starts, values = np.asarray(starts, float), np.asarray(values)
    if values.shape != (len(starts), len(labels)) or len(starts) == 0:
        raise Error(
            f"the scores have shape {values.shape}: {len(starts)} segments and {len(labels)} labels need "
            f"({len(starts)}, {len(labels)}), and there must be at least one segment."
        )
    middles = starts + seconds / 2
    edges = np.r_[starts[0], (middles[1:] + middles[:-1]) / 2, starts[-1] + seconds]
    image = axes.pcolormesh(
        edges, np.arange(len(labels) + 1), values.T, **{"vmin": 0, "vmax": 1, "cmap": SPECTROGRAM, **style}
    )
    axes.set_yticks(np.arange(len(labels)) + 0.5, [plain(name) for name in labels], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel="time (s)")
    if label:
        axes.figure.colorbar(image, ax=axes, label=label)
    return image
