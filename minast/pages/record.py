"""`report.json`: all numbers of a run, from which its page and comparisons are made.

    format        1
    name          of the run's folder; minast, written, command: by which version, when, by which command
    machine       system, processor, cores, threads, backend, python, numpy, gpu (null without one)
    settings      {name: {"value", "default"}}; default: what the data's recipe says, null for what has none
    model         the fields of ModelConfig, and "weights", their number
    features      the fields of FeatureConfig
    data          name, labels (K names), multilabel, split_from, splits {split: clips}, counts {split: [K numbers]},
                  notes and skipped (sentences), longer (tested clips that are longer than the model's input),
                  seconds [shortest, median, longest] of the tested clips
    history       a dictionary per epoch, as in history.csv
    result        split, clips, epoch, chosen ("last", "valid": by the validation clips, "test": on these very clips),
                  measure (which of the numbers is the headline), values {measure: number},
                  intervals {measure: [low, high]} of 95 %, at chance (true if the model knows no more than the classes'
                  frequencies; null if there is no telling)
    classes       one per class: label, clips, AP, AUC, accuracy (one label per clip: = recall), precision, recall, F1,
                  threshold (null: the highest probability decides)
    confusion     [[true, predicted, clips], ...] of the cells that are not empty; null for several labels per clip
    calibration   ece, bins [{low, high, clips, confidence, accuracy}], temperature; null where it was not computed
    clips         one per tested clip: name, content (16 hexadecimal digits of its SHA-256, null without a file), labels
                  [numbers], loss, right, top [[number, probability], ...] the five likeliest
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
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from .. import metrics, scoring, threads
from ..checkpoint import Info
from ..config import FeatureConfig
from ..console.say import printable
from ..datasets import Clip, Dataset, summary
from ..datasets.content import digests
from ..features import hop_seconds, model_inputs
from ..model import AST
from ..version import __version__

FORMAT = 1
MOST_SCORES = 1_000_000  # numbers: 8 MB
MISTAKES = 20
NEAREST = 5
MOST_COMPARED = 2000  # training clips
TOP = 5
BINS = 15  # of the reliability diagram


def run_record(
    model: AST,
    info: Info,
    dataset: Dataset,
    tested: Sequence[np.ndarray],
    clips: Sequence[Clip],
    scores: np.ndarray,
    *,
    train: Sequence[np.ndarray] = (),
    train_clips: Sequence[Clip] = (),
    name: str,
    split: str,
    chosen: str,
    measure: str,
    settings: dict,
    defaults: dict | None = None,
    history: Sequence[dict] | None = None,
    command: str | None = None,
) -> dict:
    """What report.json holds.   tested: n log-mels (T, F) of `clips`, scores (n, K) of the model that is quoted

    train, train_clips: the training clips and their log-mels, among which the nearest are looked for; without them, or
    where there are more than MOST_COMPARED, in a sample. split, chosen, measure: as in the module's text. settings,
    defaults: {name: value}. history: of the whole run (default: the checkpoint's).
    """
    targets, labels = dataset.targets(clips), list(info.labels)
    loss = "bce" if dataset.multilabel else "ce"  # how it is measured: AST's recipe for words trains one label with bce
    counts = dataset.counts()
    each = clip_losses(scores, targets, loss)
    thresholds = class_thresholds(info) if loss == "bce" else None
    right = correct(scores, targets, loss, thresholds)
    history = info.history if history is None else history
    record = {
        "format": FORMAT,
        "name": name,
        "minast": __version__,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
        "machine": machine(model),
        "settings": {key: {"value": value, "default": (defaults or {}).get(key)} for key, value in settings.items()},
        "model": {**asdict(model.config), "weights": model.parameters},
        "features": asdict(info.features),
        "data": {
            "name": dataset.name,
            "labels": labels,
            "multilabel": dataset.multilabel,
            "split_from": dataset.split_from,
            "splits": {s: len(dataset.of(s)) for s in counts},
            "counts": {s: [int(v) for v in n] for s, n in counts.items()},
            "notes": summary.as_json(dataset)["notes"],
            "skipped": [str(each) for each in dataset.skipped],
            **lengths(tested, info.features),
        },
        "history": list(history),
        "result": {
            "split": split,
            "clips": len(clips),
            "epoch": info.history[-1]["epoch"] if info.history else None,
            "chosen": chosen,
            "measure": measure,
            "values": scoring.measures(scores, targets, loss),
            "intervals": intervals(scores, targets, loss),
            "at_chance": None,
        },
        "classes": class_rows(labels, scores, targets, loss, thresholds),
        "confusion": confusions(scores, targets) if loss == "ce" else None,
        "calibration": calibration(scores, targets, loss, info),
        "clips": clip_rows(clips, scores, each, right),
        "scores": [[_short(v) for v in row] for row in scores.tolist()] if scores.size <= MOST_SCORES else None,
        "cost": {"seconds": history[-1].get("seconds") if history else None, "memory_bytes": peak_memory()},
    }
    record["result"]["at_chance"] = at_chance(record["result"], targets, loss)
    record |= mistakes(model, info, tested, scores, targets, each, right, train, train_clips)
    return plain(record)


# -- clips ---------------------------------------------------------------------------------------------------------


def clip_losses(scores: np.ndarray, targets: np.ndarray, loss: str) -> np.ndarray:
    """`scoring.mean_loss` of each clip alone, in nats.   scores, targets (n, K) -> (n,)"""
    return np.array([scoring.mean_loss(s[None], t[None], loss) for s, t in zip(scores, targets, strict=True)])


def class_thresholds(info: Info) -> np.ndarray | None:
    """From which probability on a label is given (K,); None if a clip has exactly one, the likeliest."""
    if info.loss == "ce":
        return None
    decided = getattr(getattr(info, "decisions", None), "thresholds", None)
    return np.full(len(info.labels), 0.5) if decided is None else np.asarray(decided, float)


def guesses(scores: np.ndarray, thresholds: np.ndarray | None) -> np.ndarray:
    """The labels that the model gives.   (n, K) -> (n, K) bool"""
    if thresholds is not None:
        return scores >= thresholds
    return scores.argmax(axis=1)[:, None] == np.arange(scores.shape[1])


def correct(scores: np.ndarray, targets: np.ndarray, loss: str, thresholds: np.ndarray | None) -> np.ndarray:
    """Whether a clip gets its labels: the likeliest is its own ("ce"), all and no other ("bce").   -> (n,) bool"""
    if loss == "ce":
        return targets[np.arange(len(targets)), scores.argmax(axis=1)] > 0.5
    return (guesses(scores, thresholds) == (targets > 0.5)).all(axis=1)


def clip_rows(clips: Sequence[Clip], scores: np.ndarray, losses: np.ndarray, right: np.ndarray) -> list[dict]:
    """A dictionary per clip."""
    order = np.argsort(-scores, axis=1, kind="stable")[:, :TOP]
    contents = digests([clip.path for clip in clips])
    return [
        {
            "name": clip.name,
            "content": content.hex()[:16] if content else None,
            "labels": [int(k) for k in clip.labels],
            "loss": _short(float(losses[i])),
            "right": bool(right[i]),
            "top": [[int(k), _short(float(scores[i, k]))] for k in order[i]],
        }
        for i, (clip, content) in enumerate(zip(clips, contents, strict=True))
    ]


def lengths(mels: Sequence[np.ndarray], features: FeatureConfig) -> dict:
    """How long the clips are, and how many are longer than the model's input."""
    frames = np.array([len(mels[i]) for i in range(len(mels))])
    seconds = np.percentile(frames, (0, 50, 100)) * hop_seconds(features.rate)
    return {"seconds": [round(float(s), 3) for s in seconds], "longer": int((frames > features.frames).sum())}


# -- classes -------------------------------------------------------------------------------------------------------


def class_rows(
    labels: Sequence[str], scores: np.ndarray, targets: np.ndarray, loss: str, thresholds: np.ndarray | None
) -> list[dict]:
    """A dictionary per class; NaN where a number is not defined."""
    ap, auc = metrics.average_precision(scores, targets), metrics.roc_auc_per_class(scores, targets)
    given, true = guesses(scores, thresholds), targets > 0.5
    hits, said, there = (given & true).sum(axis=0), given.sum(axis=0), true.sum(axis=0)
    rows = []
    for k, label in enumerate(labels):
        precision = hits[k] / said[k] if said[k] else np.nan
        recall = hits[k] / there[k] if there[k] else np.nan
        f1 = 2 * hits[k] / (said[k] + there[k]) if there[k] else np.nan
        row = {"label": label, "clips": int(there[k]), "AP": ap[k], "AUC": auc[k]}
        row |= {"accuracy": recall} if loss == "ce" else {}
        row |= {"precision": precision, "recall": recall, "F1": f1}
        rows.append({**row, "threshold": None if thresholds is None else thresholds[k]})
    return rows


def confusions(scores: np.ndarray, targets: np.ndarray) -> list[list[int]]:
    """The cells of the confusion matrix that are not empty: [true, predicted, clips]."""
    pairs = np.c_[targets.argmax(axis=1), scores.argmax(axis=1)]
    cells, counts = np.unique(pairs, axis=0, return_counts=True)
    return np.c_[cells, counts].tolist()


def intervals(scores: np.ndarray, targets: np.ndarray, loss: str) -> dict:
    """95 % bootstrap intervals over the clips: {measure: (low, high)}."""
    if not hasattr(metrics, "intervals"):
        return {}
    return {name: list(pair) for name, pair in metrics.intervals(scores, targets, loss).items()}


def at_chance(result: dict, targets: np.ndarray, loss: str) -> bool | None:
    """Whether the interval of the headline reaches down to what knowing the classes' frequencies gives."""
    pair = result["intervals"].get(result["measure"])
    if pair is None:
        return None
    share = targets.mean(axis=0)
    return bool(pair[0] <= (share.max() if loss == "ce" else share[share > 0].mean()))


def calibration(scores: np.ndarray, targets: np.ndarray, loss: str, info: Info) -> dict:
    """How sure the model is, against how often it is right, in BINS bins of equal width.

    Of "ce", the probability of the likeliest class of each clip; of "bce", every probability of every clip. ece = sum
    over bins of their share times |accuracy - confidence|. Source: Guo et al. 2017, "On calibration of modern neural
    networks", section 2.
    """
    if loss == "ce":
        sure = scores.max(axis=1)
        right = targets[np.arange(len(targets)), scores.argmax(axis=1)] > 0.5
    else:
        sure, right = scores.ravel(), targets.ravel() > 0.5
    place = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins, ece = [], 0.0
    for b in range(BINS):
        own = place == b
        n = int(own.sum())
        confidence, accuracy = (float(sure[own].mean()), float(right[own].mean())) if n else (None, None)
        ece += n / len(sure) * abs(accuracy - confidence) if n else 0.0
        bins.append(
            {"low": b / BINS, "high": (b + 1) / BINS, "clips": n, "confidence": confidence, "accuracy": accuracy}
        )
    temperature = getattr(getattr(info, "decisions", None), "temperature", None)
    return {"ece": ece, "bins": bins, "temperature": temperature}


# -- mistakes ------------------------------------------------------------------------------------------------------


def mistakes(
    model: AST,
    info: Info,
    tested: Sequence[np.ndarray],
    scores: np.ndarray,
    targets: np.ndarray,
    losses: np.ndarray,
    right: np.ndarray,
    train: Sequence[np.ndarray],
    train_clips: Sequence[Clip],
) -> dict:
    """The clips with the highest loss, what is in question, and the training clips that the model finds most alike."""
    worst = np.argsort(-losses, kind="stable")
    worst = [int(i) for i in worst if not right[i]][:MISTAKES] or [int(i) for i in worst[: MISTAKES // 4]]
    about = [in_question(scores[i], targets[i], info.loss) for i in worst]
    found = [{"clip": i, "about": k, "nearest": []} for i, k in zip(worst, about, strict=True)]
    sample = np.arange(len(train))
    if len(train) > MOST_COMPARED:
        sample = np.sort(np.random.default_rng(0).choice(len(train), MOST_COMPARED, replace=False))
    if len(sample):
        own = unit(embeddings(model, info, [tested[i] for i in worst]))
        others = unit(embeddings(model, info, train, sample))
        for entry, row in zip(found, own @ others.T, strict=True):
            for j in np.argsort(-row, kind="stable")[:NEAREST]:
                clip = train_clips[sample[j]]
                near = {"name": clip.name, "labels": [int(k) for k in clip.labels], "cosine": round(float(row[j]), 4)}
                entry["nearest"].append(near)
    return {"mistakes": found, "compared": len(sample)}


def in_question(scores: np.ndarray, targets: np.ndarray, loss: str) -> int:
    """The class that a mistake is about: the one predicted ("ce"), the one with the largest error ("bce")."""
    return int(scores.argmax() if loss == "ce" else np.abs(scores - targets).argmax())


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
