"""A classifier on the embeddings of an index: who is held out, the penalty, how good it is, the checkpoint.

The head of an AST is a layer norm and a linear layer. So the regression sees embeddings that went through such a norm
with weight 1 and bias 0, h = LN(e), and its standardisation becomes the norm's weight and bias:

    W ((h - mean) / scale) + b = W (h * weight + bias) + b,     weight = 1 / scale,   bias = -mean / scale

The checkpoint is the encoder that the embeddings were taken from with that head: the same function of the sound.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import layers, metrics
from ..backend import BACKENDS
from ..checkpoint import config_from, description, load, open_checkpoint, save
from ..datasets import content
from ..datasets.clips import Clip, Clips
from ..datasets.draw import Units, dealt, held_out
from ..datasets.splits import SHARE
from ..errors import Error
from ..text import counted
from .index import Index
from .labels import Labelled
from .logistic import Logistic
from .taken import taken_from

FOLDS = 5  # of the cross-validation


class Parts(NamedTuple):
    """Who is for what, for each of n labelled segments; files and groups are never torn apart."""

    test: np.ndarray  # (n,) bool
    fold: np.ndarray  # (n,) of the cross-validation; of test segments 0
    words: str  # where the test files come from
    number: int | None  # the fold of the table that is for testing


class Measured(NamedTuple):
    """How good a probe is on files that it was not fitted to."""

    values: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    count: int
    what: str  # that was counted: "file" or "segment"


def head_eps(checkpoint: str) -> float:
    """The epsilon of a checkpoint's head."""
    with open_checkpoint(checkpoint) as archive:
        return config_from(archive.path, description(archive)).head_eps


def head_input(embeddings: np.ndarray, eps: float) -> np.ndarray:
    """LN(e) with weight 1 and bias 0.   embeddings (n, D) -> (n, D) float64"""
    d = embeddings.shape[1]
    return layers.layernorm_forward(embeddings, np.ones(d), np.zeros(d), eps)[0]


def divided(labelled: Labelled, digests: Sequence[bytes | None], fold: int | None, seed: int) -> Parts:
    """Hold out files for testing, and deal out the others for the cross-validation.

    Test files are those of the table's own split, or of its fold number `fold` (default: the first), else about a
    fifth of each class, drawn by `seed`. digests: of the recordings in `known_files`; copies stay together. Raises
    minast.Error for a fold that is not there, and for one without folds.
    """
    numbers = known_files(labelled)
    clips = clips_of(labelled, numbers)
    own = {number: labelled.fold.get(number) for number in numbers}
    given = {number: labelled.split.get(number, "") for number in numbers}
    number = None
    if any(given.values()):
        test, words = np.array([given[i] == "test" for i in numbers]), "the table's own split"
    elif any(each is not None for each in own.values()):
        there = sorted({each for each in own.values() if each is not None})
        number = there[0] if fold is None else fold
        if number not in there:
            raise Error(f"--fold is {fold}: the table has the folds {', '.join(map(str, there))}.")
        test, words = np.array([own[i] == number for i in numbers]), f"fold {number} of the table"
    else:
        units = Units.of(clips, len(labelled.labels), seed, digests)
        free, never = np.ones(len(units), bool), np.zeros(len(units), bool)
        test = held_out(units, SHARE, free, never, keep=1)[units.of_clip]
        words = f"about a fifth of each class, drawn with seed {seed}"
    if fold is not None and number is None:
        raise Error("--fold is for tables with a column fold, and without a column split.")
    if test.all():
        raise Error(f"all {counted(len(test), 'labelled file')} are for testing, {words}: none is left to learn from.")
    rest = np.flatnonzero(~test)
    units = Units.of(clips[rest], len(labelled.labels), seed, [digests[i] for i in rest])
    of_file = np.zeros(len(numbers), int)
    of_file[rest] = dealt(units, min(FOLDS, len(units)))[units.of_clip]
    place = np.searchsorted(numbers, labelled.files)
    return Parts(test[place], of_file[place], words, number)


def learnt_from(labelled: Labelled, digests: Sequence[bytes | None], chosen: np.ndarray) -> np.ndarray:
    """The clips of the chosen files for a checkpoint, which `evaluate` and `calibrate` then never hold out: the files,
    and their labelled events as parts.   digests, chosen (files,) bool: of `known_files` -> `content.shortened`"""
    found = []
    for number, digest, own in zip(known_files(labelled).tolist(), digests, chosen, strict=True):
        if own:
            found += [digest, *(content.of_part(digest, part) for part in labelled.parts.get(number, ()))]
    return content.shortened(found)


def known_files(labelled: Labelled) -> np.ndarray:
    """The numbers of the recordings that have labelled segments, rising."""
    return np.unique(labelled.files)


def clips_of(labelled: Labelled, numbers: np.ndarray) -> Clips:
    """Each recording with all labels that occur in it, for drawing."""
    starts = np.searchsorted(labelled.files, numbers)
    classes = np.maximum.reduceat(labelled.y, starts, axis=0)
    return Clips.of(
        Clip(str(number), tuple(np.flatnonzero(own).tolist()), "", None, group=labelled.group.get(number, ""))
        for number, own in zip(numbers.tolist(), classes, strict=True)
    )


def loss_of(labelled: Labelled, asked: str | None, path: str) -> str:
    """ "ce" where each segment has one label, else "bce"; or what is asked for. Raises minast.Error if that is not
    possible, or there is nothing to tell apart."""
    loss = asked or ("bce" if labelled.several else "ce")
    if loss == "ce" and labelled.several:
        raise Error(f"{path}: some segments have no label or several: softmax needs exactly one, leave out --loss.")
    there = labelled.y.any(axis=0) & ~labelled.y.all(axis=0)
    if not there.any():
        raise Error(
            f"{path}: there is nothing to tell apart: the labelled segments all have the label "
            f"{labelled.labels[0]!r}. Label also some without it, such as background, with a name of their "
            "own; rows with the verdict wrong are left out."
        )
    return loss


def measure(labelled: Labelled, test: np.ndarray, scores: np.ndarray, loss: str) -> Measured | None:
    """How good scores are, with 95 % intervals by drawing files, or groups of files.   scores (of test segments, K)

    Where labels are of whole files, a file's scores are the mean over its segments, as predict has them. None without
    test segments.
    """
    if not test.any():
        return None
    files, y = labelled.files[test], labelled.y[test]
    what = "segment"
    if labelled.whole:
        numbers, starts = np.unique(files, return_index=True)
        counts = np.diff(np.append(starts, len(files)))[:, None]
        scores, y, files, what = np.add.reduceat(scores, starts) / counts, y[starts], numbers, "file"
    numbers = files.tolist()
    groups = metrics.units([labelled.group.get(number, "") for number in numbers], list(map(str, numbers)))
    values = metrics.measures(scores, y, loss)
    return Measured(values, metrics.intervals(scores, y, loss, groups), len(y), what)


def write(out: str, source: str, index: Index, found: Logistic, labels: list[str], notes: dict) -> int:
    """Write the checkpoint.   -> the number of its weights.   source: the index's checkpoint; notes: for the new one"""
    model, info = load(source, BACKENDS[0])
    model = taken_from(model, index.about["block"], index.about["pool"], len(labels))
    w = model.w
    w["mlp_head.0.weight"][...], w["mlp_head.0.bias"][...] = 1 / found.scale, -found.mean / found.scale
    w["mlp_head.1.weight"][...], w["mlp_head.1.bias"][...] = found.w, found.b
    before = content.trained_on(info.notes)
    if before is not None:
        notes = {**notes, "trained_before": content.pack(before)}
    save(out, model, labels, info.features, found.loss, notes=notes)
    return model.parameters
