"""`report.json`: all numbers of a run, from which its page and comparisons are made.

    format        1
    name          of the run's folder; minast, written, command: by which version, when, by which command
    machine       system, processor, cores, threads, backend, python, numpy, gpu (null without one)
    settings      {name: {"value", "default"}}; default: what the data's recipe says, null for what has none
    model         the fields of ModelConfig; weights, their number; head, "softmax" or "sigmoid"; loss, by which results
                  are measured: "ce" (one label per clip) or "bce" (several)
    features      the fields of FeatureConfig
    data          name, labels (K names), split_from, splits {split: clips}, counts {split: [K numbers]}, notes and
                  skipped (sentences), longer (tested clips that are longer than the model's input), seconds [shortest,
                  median, longest] of the tested clips
    history       a dictionary per epoch, as in history.csv
    result        split ("test" or "validation"), clips, groups (number of recordings or speakers, null without any),
                  epoch (whose weights are quoted), chosen (whether validation clips chose it), averaged ([first, last]
                  epoch whose weights are averaged, or null), scored (the split that history is of), measure (which of
                  the numbers is the headline), values {measure: number}, intervals {measure: [low, high]} of 95 %,
                  remarks (sentences, such as that it is at chance level)
    classes       one per class: label, clips, AP, AUC, precision, recall, F1, threshold (null: the highest probability
                  decides, or the label is never given)
    confusion     [[true, predicted, clips], ...] of the cells that are not empty; null for several labels per clip
    calibration   before, after {ece, bins [{count, probability, share}]}: as the model is, and as the checkpoint's
                  decisions calibrate it with slope and bias; null where it has none
    clips         one per tested clip: name (its path below the data's folder), content (16 hexadecimal digits of its
                  SHA-256, null without a file), group, labels [numbers], loss, right (it gets its labels and no other),
                  top [[number, probability], ...] the five likeliest
    scores        [K probabilities] of each tested clip, in the order of `clips`; null for more than MOST_SCORES numbers
    mistakes      the clips with the highest loss, worst first: clip (place in `clips`), about (the class in question),
                  nearest [{name, labels, cosine}, ...]: training clips by the cosine of embeddings
    compared      how many training clips were looked at for `nearest`
    cost          seconds (training), memory_bytes (the most that the process took; null where the system does not say)

Numbers that are not finite are null. Later versions add fields and keep these.
"""

import os
import platform
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict

import numpy as np

from .. import metrics, scoring, threads
from ..checkpoint import Info
from ..config import FeatureConfig
from ..console.say import printable
from ..datasets import Clip, Dataset, summary
from ..datasets.content import of_clips
from ..decisions import calibration_error
from ..decisions.reliability import reliability
from ..features import hop_seconds, model_inputs
from ..model import AST
from ..storage.files import below, common_folder
from ..version import __version__

FORMAT = 1
MOST_SCORES = 1_000_000  # numbers: 8 MB
MISTAKES = 20
NEAREST = 5
MOST_COMPARED = 2000  # training clips
TOP = 5


def run_record(
    model: AST,
    info: Info,
    dataset: Dataset,
    tested: Sequence[np.ndarray],
    clips: Sequence[Clip],
    scores: np.ndarray,
    *,
    name: str,
    split: str,
    epoch: int | None,
    chosen: bool,
    scored: str = "test",
    train: Sequence[np.ndarray] = (),
    train_clips: Sequence[Clip] = (),
    intervals: dict | None = None,
    groups: Sequence[str] | None = None,
    remarks: Sequence[str] = (),
    settings: dict | None = None,
    defaults: dict | None = None,
    history: Sequence[dict] = (),
    command: str | None = None,
) -> dict:
    """What report.json holds.   tested: n log-mels (T, F) of `clips`, scores (n, K) of the model that is quoted

    train, train_clips: log-mels of the training clips, among which the nearest are looked for; of many, in a
    sample (`drawn`). intervals: of the measures (default: computed here). groups: what each tested clip
    belongs to. settings, defaults: {name: value}. Others: as in this module's text, under the same names.
    """
    targets, labels = dataset.targets(clips), list(info.labels)
    loss = dataset.scored_as
    counts, values = dataset.counts(), scoring.measures(scores, targets, loss)
    losses = clip_losses(scores, targets, loss)
    given = given_labels(info, scores) if loss == info.loss else metrics.decided(scores, loss)
    right = (given == (targets > 0.5)).all(axis=1)
    sample = drawn(len(train), len(history))
    names = short_names([*clips, *(train_clips[i] for i in sample)])
    groups = groups if groups is not None and any(groups) else None
    if intervals is None:
        intervals = metrics.intervals(scores, targets, loss, groups and metrics.units(groups))
    found = {
        "format": FORMAT,
        "name": name,
        "minast": __version__,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
        "machine": machine(model),
        "settings": {
            key: {"value": value, "default": (defaults or {}).get(key)} for key, value in (settings or {}).items()
        },
        "model": {**asdict(model.config), "weights": model.parameters, "head": info.head, "loss": loss},
        "features": asdict(info.features),
        "data": {
            "name": os.path.basename(dataset.name.rstrip(os.sep)) or dataset.name,
            "labels": labels,
            "split_from": dataset.split_from,
            "splits": {s: len(dataset.of(s)) for s in counts},
            "counts": {s: [int(v) for v in n] for s, n in counts.items()},
            "notes": list(summary.as_json(dataset)["notes"]),
            "skipped": [str(each) for each in dataset.skipped],
            **lengths(tested, info.features),
        },
        "history": list(history),
        "result": {
            "split": split,
            "clips": len(clips),
            "groups": len(set(filter(None, groups))) if groups else None,
            "epoch": epoch,
            "chosen": chosen,
            "averaged": info.notes.get("averaged"),
            "scored": scored,
            "measure": next(iter(values)),
            "values": values,
            "intervals": {measure: list(pair) for measure, pair in intervals.items()},
            "remarks": list(remarks),
        },
        "classes": class_rows(info, scores, targets, given, loss),
        "confusion": confusions(scores, targets) if loss == "ce" else None,
        "calibration": calibration(info, scores, targets),
        "clips": clip_rows(clips, names, groups, scores, losses, right),
        "scores": [[_short(v) for v in row] for row in scores.tolist()] if scores.size <= MOST_SCORES else None,
        "cost": {"seconds": history[-1].get("seconds") if history else None, "memory_bytes": peak_memory()},
    }
    about = in_question(scores, targets, loss)
    found |= mistakes(model, info, tested, about, losses, right, train, train_clips, sample, names)
    return plain(found)


# -- clips ---------------------------------------------------------------------------------------------------------


def clip_losses(scores: np.ndarray, targets: np.ndarray, loss: str) -> np.ndarray:
    """`scoring.mean_loss` of each clip alone, in nats.   scores, targets (n, K) -> (n,)"""
    return np.array([scoring.mean_loss(s[None], t[None], loss) for s, t in zip(scores, targets, strict=True)])


def given_labels(info: Info, scores: np.ndarray) -> np.ndarray:
    """The labels that each clip gets: the likeliest ("ce"), or those at or above their thresholds.   (n, K) bool

    The thresholds are the checkpoint's, of calibrated probabilities, or 0.5.
    """
    if info.loss == "bce" and info.decisions is not None:
        return info.decisions.given(info.decisions.calibrated(scores))
    return metrics.decided(scores, info.loss)


def clip_rows(
    clips: Sequence[Clip],
    names: Callable[[Clip], str],
    groups: Sequence[str] | None,
    scores: np.ndarray,
    losses: np.ndarray,
    right: np.ndarray,
) -> list[dict]:
    """A dictionary per clip."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    return [
        {
            "name": names(clip),
            "content": content,
            "group": groups[i] if groups else "",
            "labels": [int(k) for k in clip.labels],
            "loss": _short(float(losses[i])),
            "right": bool(right[i]),
            "top": [[int(k), _short(float(scores[i, k]))] for k in order[i]],
        }
        for i, (clip, content) in enumerate(zip(clips, contents(clips), strict=True))
    ]


def contents(clips: Sequence[Clip]) -> list[str | None]:
    """What tells the clips' files from others: 16 hexadecimal digits of their SHA-256; None without a file."""
    return [found.hex()[:16] if found else None for found in of_clips(clips)]


def short_names(clips: Sequence[Clip]) -> Callable[[Clip], str]:
    """The function that names a clip: by its path below the folder that all these have in common."""
    folders = {os.path.dirname(os.path.abspath(clip.path)) for clip in clips if clip.path}
    common = common_folder(folders)
    if len(folders) == 1:
        common = os.path.dirname(common)
    if not common:
        return lambda clip: clip.name

    def short(clip):
        path = below(clip.path, common) if clip.path else clip.name
        return path + clip.name.removeprefix(clip.path) if clip.part else path

    return short


def lengths(mels: Sequence[np.ndarray], features: FeatureConfig) -> dict:
    """How long the clips are, and how many are longer than the model's input."""
    frames = np.array([len(mels[i]) for i in range(len(mels))])
    seconds = np.percentile(frames, (0, 50, 100)) * hop_seconds(features.rate)
    return {"seconds": [round(float(s), 3) for s in seconds], "longer": int((frames > features.frames).sum())}


# -- classes -------------------------------------------------------------------------------------------------------


def class_rows(info: Info, scores: np.ndarray, targets: np.ndarray, given: np.ndarray, loss: str) -> list[dict]:
    """A dictionary per class; NaN where a number is not defined.   scores, targets, given (n, K)"""
    limits = [None] * len(info.labels)
    if loss == "bce":
        limits = [0.5] * len(info.labels) if info.decisions is None else list(info.decisions.thresholds)
    columns = {"label": info.labels, **metrics.class_measures(scores, targets, given), "threshold": limits}
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def confusions(scores: np.ndarray, targets: np.ndarray) -> list[list[int]]:
    """The cells of the confusion matrix that are not empty: [true, predicted, clips]."""
    pairs = np.c_[targets.argmax(axis=1), scores.argmax(axis=1)]
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.c_[cells, counts].tolist()


def calibration(info: Info, scores: np.ndarray, targets: np.ndarray) -> dict:
    """The calibration error and the reliability diagram, as the model is and as its decisions calibrate it."""
    found = {"before": _reliability(scores, targets, info.loss), "after": None, "slope": None, "bias": None}
    if info.decisions is not None and info.decisions.calibrates:
        found["after"] = _reliability(info.decisions.calibrated(scores), targets, info.loss)
        found |= {"slope": info.decisions.slope, "bias": info.decisions.bias}
    return found


def _reliability(scores, targets, loss):
    bins = reliability(scores, targets, loss)
    names = "count", "probability", "share"
    rows = [dict(zip(names, row, strict=True)) for row in zip(*bins, strict=True)]
    return {"ece": calibration_error(scores, targets, loss), "bins": rows}


# -- mistakes ------------------------------------------------------------------------------------------------------


def mistakes(
    model: AST,
    info: Info,
    tested: Sequence[np.ndarray],
    about: np.ndarray,
    losses: np.ndarray,
    right: np.ndarray,
    train: Sequence[np.ndarray],
    train_clips: Sequence[Clip],
    sample: np.ndarray,
    names: Callable[[Clip], str],
) -> dict:
    """The clips with the highest loss, what is in question, and the training clips that the model finds most alike."""
    worst = np.argsort(-losses, kind="stable")
    worst = [int(i) for i in worst if not right[i]][:MISTAKES] or [int(i) for i in worst[: MISTAKES // 4]]
    found = [{"clip": i, "about": int(about[i]), "nearest": []} for i in worst]
    if len(sample):
        own = unit(embeddings(model, info, [tested[i] for i in worst]))
        others = unit(embeddings(model, info, train, sample))
        for entry, row in zip(found, own @ others.T, strict=True):
            for j in np.argsort(-row, kind="stable")[:NEAREST]:
                clip = train_clips[int(sample[j])]
                near = {"name": names(clip), "labels": [int(k) for k in clip.labels], "cosine": round(float(row[j]), 4)}
                entry["nearest"].append(near)
    return {"mistakes": found, "compared": len(sample)}


def drawn(count: int, epochs: int) -> np.ndarray:
    """Which training clips are looked at: all, or some by chance, in order.

    An embedding takes about a third of a training step. So that they take at most a twentieth of the training's time,
    there are at most 0.15 for each clip of each epoch, and MOST_COMPARED; but 100 at any rate.
    """
    most = max(100, min(MOST_COMPARED, int(0.15 * count * epochs)))
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(0).choice(count, most, replace=False))


def in_question(scores: np.ndarray, targets: np.ndarray, loss: str) -> np.ndarray:
    """The class that a mistake is about: the one predicted ("ce"), the one with the largest error ("bce").   -> (n,)"""
    return (scores if loss == "ce" else np.abs(scores - targets)).argmax(axis=1)


def embeddings(model: AST, info: Info, mels: Sequence[np.ndarray], chosen: Sequence[int] | None = None) -> np.ndarray:
    """The mean of the segments' embeddings of each clip, as `Classifier.embed`.   -> (n, D) float32"""
    from tqdm import tqdm

    chosen = range(len(mels)) if chosen is None else chosen
    bar = tqdm(chosen, desc="embeddings", unit="clip", disable=None, leave=False, delay=1)
    rows = scoring.by_clip(scoring.segment_embeddings(model), (model_inputs(mels[i], info.features) for i in bar))
    return np.array([row.mean(axis=0) for row in rows])


def unit(rows: np.ndarray) -> np.ndarray:
    """Rows of length 1."""
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


# -- where it ran --------------------------------------------------------------------------------------------------


def machine(model: AST) -> dict:
    """What the run was computed on."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": processor(),
        "cores": os.cpu_count(),
        "threads": threads.count(),
        "backend": model.backend.name,
        "gpu": gpu(model),
        "python": platform.python_version(),
        "numpy": np.__version__,
    }


def processor() -> str:
    """The processor's name, as the system says it."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as f:
            return next(line.split(":", 1)[1].strip() for line in f if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def gpu(model: AST) -> str | None:
    """The name of the GPU that computed, if one did."""
    if model.xp is np:
        return None
    return model.xp.cuda.runtime.getDeviceProperties(model.xp.cuda.Device().id)["name"].decode()


def peak_memory() -> int | None:
    """Bytes of memory that this process has taken at most; None on Windows."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most if sys.platform == "darwin" else most * 1024


# -- plain values --------------------------------------------------------------------------------------------------


def plain(value: object) -> object:
    """A value ready for JSON: NumPy's numbers become Python's, tuples lists, NaN and infinities null."""
    if isinstance(value, dict):
        return {str(key): plain(v) for key, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    return printable(value.item() if isinstance(value, np.generic) else value)


def _short(value):
    """A probability or a loss with 7 digits, as many as float32 has."""
    return float(f"{value:.7g}")
