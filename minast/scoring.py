"""Scores and embeddings of whole clips: the same code for validation, the commands and `Classifier`.

A clip longer than the model's input is cut into segments (`features.segments`); the result of a clip is the mean over
its segments.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from . import metrics
from .checkpoint import Info
from .config import FeatureConfig
from .errors import Error
from .features import hop_seconds, model_inputs, normalise, pad_or_trim
from .layers import softmax_forward
from .model import AST

BATCH = 16  # segments that go through the model together


def probabilities(logits: np.ndarray, loss: str) -> np.ndarray:
    """Softmax for a model trained with loss "ce", sigmoid for "bce".   logits (..., K) -> (..., K)"""
    if loss == "ce":
        return softmax_forward(logits)[0]
    e = np.exp(-np.abs(logits))
    return np.where(logits >= 0, 1 / (1 + e), e / (1 + e))


def by_clip(function: Callable, clips: Iterable[np.ndarray], batch: int = BATCH) -> Iterator[np.ndarray]:
    """`function` of the segments of each clip, clip by clip.   clips of (W, frames, F) -> arrays (W, ...)

    function: (B, frames, F) -> (B, ...) NumPy. It is called with `batch` segments at a time, whichever clips they
    belong to, so that many short clips take no longer than a few long ones. clips may be a generator.
    """
    waiting, unfinished = [], deque()  # segments with their clip's rows; each clip's rows and how many there will be

    def compute():
        for (_, rows), row in zip(waiting, function(np.stack([x for x, _ in waiting])), strict=True):
            rows.append(row)
        waiting.clear()

    for clip in clips:
        rows = []
        unfinished.append((rows, len(clip)))
        for segment in clip:
            waiting.append((segment, rows))
            if len(waiting) == batch:
                compute()
        while unfinished and len(unfinished[0][0]) == unfinished[0][1]:
            yield np.stack(unfinished.popleft()[0])
    if waiting:
        compute()
    for rows, _ in unfinished:
        yield np.stack(rows)


def clip_scores(model: AST, info: Info, mels: Sequence[np.ndarray], batch: int = BATCH, bar=None) -> np.ndarray:
    """The mean of the segments' probabilities of each clip.   mels: n log-mels (T, F) -> (n, K) float64

    info: anything with `features` and `loss`. bar: a tqdm bar, advanced once per clip.
    """

    def inputs():
        for i in range(len(mels)):
            yield model_inputs(mels[i], info.features)
            if bar is not None:
                bar.update()

    def segment_scores(x):
        return probabilities(model.numpy(model.forward(x)).astype(np.float64), info.loss)

    scores = np.zeros((len(mels), model.config.classes))
    for total, rows in zip(scores, by_clip(segment_scores, inputs(), batch), strict=True):
        total[:] = (rows * (1 / len(rows))).sum(axis=0)
    return scores


def clip_embeddings(
    model: AST, features: FeatureConfig, mels: Iterable[np.ndarray], batch: int = BATCH
) -> Iterator[np.ndarray]:
    """`model.embed` of the segments of each clip, clip by clip.   mels: log-mels (T, F) -> arrays (W, D) float32

    mels may be a generator. Raises minast.Error for a model whose embeddings are not finite.
    """
    inputs = (model_inputs(mel, features) for mel in mels)
    for rows in by_clip(lambda x: model.numpy(model.embed(x)).astype(np.float32, copy=False), inputs, batch):
        if not np.isfinite(rows).all():
            raise Error("the model's embeddings are not numbers: its weights are damaged or were never trained.")
        yield rows


def segment_times(segments: int, features: FeatureConfig, seconds: float) -> tuple[np.ndarray, np.ndarray]:
    """Where the segments of a clip that lasts `seconds` begin and end.   -> starts (W,) s, ends (W,) s

    They are contiguous; the last one ends with the clip if its padding would reach further.
    """
    length = features.frames * hop_seconds(features.rate)
    starts = np.arange(segments) * length
    return starts, np.minimum(starts + length, seconds)


def sliding(mel: np.ndarray, features: FeatureConfig, hop: int) -> tuple[np.ndarray, np.ndarray]:
    """Overlapping segments, one every `hop` frames, as model inputs.   mel (T, F) -> starts (W,) s, x (W, frames, F)

    Whole segments only, but at least one: a clip shorter than a segment is padded by `pad_or_trim`. Raises minast.Error
    for a hop that is not a whole number of at least 1.
    """
    if not isinstance(hop, (int, np.integer)) or hop < 1:
        raise Error(f"the hop between segments is {hop!r}: it must be a whole number of frames, at least 1.")
    first = np.arange(0, max(1, len(mel) - features.frames + 1), hop)
    x = np.stack([pad_or_trim(mel[i:], features.frames) for i in first])
    return first * hop_seconds(features.rate), normalise(x, features.mean, features.std)


def scores_over_time(
    model: AST, info: Info, mel: np.ndarray, hop: int, batch: int = BATCH
) -> tuple[np.ndarray, np.ndarray]:
    """The probabilities of each of `sliding`'s segments: what is heard, and when.   -> starts (W,) s, (W, K) float64"""
    starts, x = sliding(mel, info.features, hop)
    logits = [model.numpy(model.forward(x[i : i + batch])) for i in range(0, len(x), batch)]
    return starts, probabilities(np.concatenate(logits).astype(np.float64), info.loss)


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
    shared = {
        "mAP": metrics.mean_average_precision(scores, targets),
        "AUC": metrics.roc_auc(scores, targets),
        "d_prime": metrics.d_prime(scores, targets),
    }
    return {"accuracy": metrics.accuracy(scores, targets), **shared} if loss == "ce" else shared
