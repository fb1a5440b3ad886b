"""Scores and embeddings of whole clips: the same code for validation, the commands and `Classifier`.

A clip longer than the model's input is cut into segments (`features.segment_starts`), the last one flush with the
clip's end; the result of a clip is the mean over its segments.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence

import numpy as np

from . import metrics
from .checkpoint import Info
from .config import FeatureConfig
from .console.say import as_started
from .decisions.calibration import probabilities as probabilities
from .errors import Error
from .features import frame_count, hop_seconds, model_inputs, normalise, segment_starts, segments
from .model import AST
from .parallel.group import SINGLE, Group

BATCH = 16  # segments that go through the model together
CHANCE = 0.55  # AUC: what is below is of no use, even if it is no accident
KEPT = ("accuracy", "mAP", "AUC", "d_prime")  # measures of each epoch in history.csv


def in_batches(function: Callable, items: Iterable[tuple], batch: int = BATCH) -> Iterator[tuple]:
    """`function` of a stream of segments, in their order.   (segment (frames, F), tag) -> (its row (...), tag)

    function: (B, frames, F) -> (B, ...) NumPy. It is called with `batch` segments at a time, whichever sounds they
    belong to, so that many short ones take no longer than a few long ones; no more than that many are held. An item
    whose segment is None comes out as it is, in its place: it tells, for example, that a sound has ended.
    """
    waiting, segments = [], []

    def computed():
        rows = iter(function(np.stack(segments)) if segments else ())
        for segment, tag in waiting:
            yield (None if segment is None else next(rows)), tag
        waiting.clear()
        segments.clear()

    for item in items:
        if item[0] is None and not waiting:
            yield item
            continue
        waiting.append(item)
        if item[0] is not None:
            segments.append(item[0])
        if len(segments) == batch:
            yield from computed()
    yield from computed()


def by_clip(function: Callable, clips: Iterable[Iterable[np.ndarray]], batch: int = BATCH) -> Iterator[np.ndarray]:
    """`in_batches`, clip by clip.   clips of segments (frames, F) -> arrays (W, ...)

    clips may be a generator, and so may each clip. A clip without segments gives an empty array.
    """

    def items():
        for clip in clips:
            for segment in clip:
                yield segment, False
            yield None, True

    rows = []
    for row, ended in in_batches(function, items(), batch):
        if ended:
            yield np.array(rows)
            rows = []
        else:
            rows.append(row)


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


def clip_scores(
    model: AST, info: Info, mels: Sequence[np.ndarray], batch: int = BATCH, bar=None, group: Group = SINGLE
) -> np.ndarray:
    """The mean of the segments' probabilities of each clip.   mels: n log-mels (T, F) -> (n, K) float64

    info: anything with `features` and `loss`. bar: a tqdm bar, advanced once per clip. group: processes that share the
    work, each with the same clips and the same model; all get all scores. `batch` clips in a row stay together, so
    that clips of one segment have the same bits for any number of processes.
    """
    own = [i for i in range(len(mels)) if i // batch % group.size == group.rank]

    def inputs():
        for done, i in enumerate(own):
            yield model_inputs(mels[i], info.features)
            if bar is not None:  # the others are about as far
                bar.update(len(mels) * (done + 1) // len(own) - len(mels) * done // len(own))

    scores = np.zeros((len(mels), model.config.classes))
    for i, rows in zip(own, by_clip(segment_scores(model, info.loss), inputs(), batch), strict=True):
        scores[i] = clip_mean(rows)
    if group.size > 1:
        for rank, rows in enumerate(group.talk(scores[own].tobytes())):
            places = [i for i in range(len(mels)) if i // batch % group.size == rank]
            scores[places] = np.frombuffer(rows).reshape(-1, scores.shape[1])
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


def at_chance(result: dict[str, float]) -> bool:
    """Whether a model's AUC, which is 0.5 for any guess however frequent the classes are, is below CHANCE."""
    return bool(result["AUC"] < CHANCE)


def chance(result: dict[str, float], intervals: dict[str, tuple[float, float]], tested: str) -> str:
    """A sentence if a model is `at_chance`, or if nobody can tell, since the interval of its AUC holds 0.5; else "".

    result, intervals: of `metrics`. tested: on what, such as "6 clips".
    """
    auc, (low, high) = result["AUC"], intervals["AUC"]
    interval = "" if np.isnan(low) else f" (95 % interval {low:.3f} to {high:.3f})"
    if at_chance(result):
        return as_started(
            f"This is chance level: AUC {auc:.3f}{interval}, and guessing gives 0.5. Train longer, or from pretrained "
            "weights (--pretrained), and look for wrong labels with python -m minast.data check DATA."
        )
    if low <= 0.5:
        return f"On {tested} this cannot be told from chance: AUC {auc:.3f}{interval}, and guessing gives 0.5."
    return ""


def measures(scores: np.ndarray, targets: np.ndarray, loss: str) -> dict[str, float]:
    """{name: number} of scores and targets (n, K). The first selects the best epoch: accuracy, or mAP ("bce")."""
    found = metrics.measures(scores, targets, loss)
    return {name: found[name] for name in KEPT if name in found}
