"""Scores and embeddings of whole clips: the same code for validation, the commands and `Classifier`.

A clip longer than the model's input is cut into segments (`features.segment_starts`), the last one flush with the
clip's end; the result of a clip is the mean over its segments.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from . import metrics
from .checkpoint import Info
from .config import FeatureConfig
from .decisions.calibration import probabilities as probabilities
from .errors import Error
from .features import frame_count, hop_seconds, model_inputs, normalise, segment_starts, segments
from .model import AST

BATCH = 16  # segments that go through the model together
KEPT = ("accuracy", "mAP", "AUC", "d_prime")  # measures of each epoch in history.csv


def by_clip(function: Callable, clips: Iterable[Iterable[np.ndarray]], batch: int = BATCH) -> Iterator[np.ndarray]:
    """`function` of the segments of each clip, clip by clip.   clips of segments (frames, F) -> arrays (W, ...)

    function: (B, frames, F) -> (B, ...) NumPy. It is called with `batch` segments at a time, whichever clips they
    belong to, so that many short clips take no longer than a few long ones. clips may be a generator, and so may each
    clip: no more than `batch` segments are held at a time. A clip without segments gives an empty array.
    """
    waiting, unfinished = [], deque()  # segments with their clip's rows; each clip's rows and how many there will be

    def compute():
        for (_, rows), row in zip(waiting, function(np.stack([x for x, _ in waiting])), strict=True):
            rows.append(row)
        waiting.clear()

    for clip in clips:
        rows, count = [], 0
        for segment in clip:
            count += 1
            waiting.append((segment, rows))
            if len(waiting) == batch:
                compute()
        unfinished.append((rows, count))
        while unfinished and len(unfinished[0][0]) == unfinished[0][1]:
            yield np.array(unfinished.popleft()[0])
    if waiting:
        compute()
    for rows, _ in unfinished:
        yield np.array(rows)


def segment_scores(model: AST, loss: str) -> Callable[[np.ndarray], np.ndarray]:
    """The function that gives each segment's probabilities, for `by_clip`.   (B, frames, F) -> (B, K) float64"""
    return lambda x: probabilities(model.numpy(model.forward(x)).astype(np.float64), loss)


def segment_embeddings(model: AST) -> Callable[[np.ndarray], np.ndarray]:
    """`model.embed`, for `by_clip`.   (B, frames, F) -> (B, D) float32

    It raises minast.Error for a model whose embeddings are not finite.
    """

    def function(x):
        rows = model.numpy(model.embed(x)).astype(np.float32, copy=False)
        if not np.isfinite(rows).all():
            raise Error("the model's embeddings are not numbers: its weights are damaged or were never trained.")
        return rows

    return function


def clip_mean(rows: np.ndarray) -> np.ndarray:
    """A clip's scores: the mean over its segments, each of the same weight.   rows (W, K) -> (K,)"""
    return (rows * (1 / len(rows))).sum(axis=0)


def clip_scores(model: AST, info: Info, mels: Sequence[np.ndarray], batch: int = BATCH, bar=None) -> np.ndarray:
    """The mean of the segments' probabilities of each clip.   mels: n log-mels (T, F) -> (n, K) float64

    info: anything with `features` and `loss`. bar: a tqdm bar, advanced once per clip.
    """

    def inputs():
        for i in range(len(mels)):
            yield model_inputs(mels[i], info.features)
            if bar is not None:
                bar.update()

    scores = np.zeros((len(mels), model.config.classes))
    for total, rows in zip(scores, by_clip(segment_scores(model, info.loss), inputs(), batch), strict=True):
        total[:] = clip_mean(rows)
    return scores


def segment_times(seconds: float, features: FeatureConfig, hop: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Where the segments of a clip that lasts `seconds` begin and end.   -> starts (W,) s, ends (W,) s

    The segments are those of `features.segment_starts`; hop: in frames (default: end to end). The last one ends with
    the clip.
    """
    step, frames = hop_seconds(features.rate), frame_count(round(seconds * features.rate), features.rate)
    starts = segment_starts(frames, features.frames, hop) * step
    ends = np.minimum(starts + features.frames * step, seconds)
    ends[-1] = seconds  # the last frame begins 25 ms before the end, or less
    return starts, ends


def sliding(mel: np.ndarray, features: FeatureConfig, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping segments, one every `hop` frames, as model inputs.   mel (T, F) -> starts (W,) s, x (W, frames, F)

    They begin at `features.segment_starts`: the last one ends with the clip, and a clip shorter than a segment is
    padded. Raises minast.Error for a hop that is not a whole number of at least 1.
    """
    if not isinstance(hop, (int, np.integer)) or hop < 1:
        raise Error(f"the hop between segments is {hop!r}: it must be a whole number of frames, at least 1.")
    starts = segment_starts(len(mel), features.frames, hop) * hop_seconds(features.rate)
    return starts, normalise(segments(mel, features.frames, hop), features.mean, features.std)


def scores_over_time(
    model: AST, info: Info, mel: np.ndarray, hop: int, batch: int = BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of each of `sliding`'s segments: what is heard, and when.   -> starts (W,) s, (W, K) float64"""
    starts, x = sliding(mel, info.features, hop)
    return starts, next(by_clip(segment_scores(model, info.loss), [x], batch))


def mean_loss(scores: np.ndarray, targets: np.ndarray, loss: str) -> float:
    """The training loss, computed from probabilities of clips.   scores, targets (n, K) -> nats a clip

    loss: "ce" (summed over classes) or "bce" (mean over classes).
    """
    p = np.clip(scores, 1e-12, 1 - 1e-12)
    if loss == "ce":
        return float(-(targets * np.log(p)).sum() / len(p))
    return float(-(targets * np.log(p) + (1 - targets) * np.log1p(-p)).mean())


def measures(scores: np.ndarray, targets: np.ndarray, loss: str) -> dict[str, float]:
    """{name: number} of scores and targets (n, K). The first selects the best epoch: accuracy, or mAP ("bce")."""
    found = metrics.measures(scores, targets, loss)
    return {name: found[name] for name in KEPT if name in found}
