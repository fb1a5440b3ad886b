"""What was understood of a data set, in lines to print and in values for JSON."""

import numpy as np

from ..text import counted, listed, visible
from .common import Dataset

MOST = 20  # classes in the table; of more, the smallest and the largest are shown
WIDTH = 40  # characters of a label
KINDS = {"train": "training", "valid": "validation"}  # of clips, in a sentence


def understood(dataset: Dataset) -> list[str]:
    """Name, clips per class and split, what was assumed and what is skipped: the lines that commands print."""
    counts = dataset.counts()
    clips = ", ".join(f"{len(dataset.of(split))} {split}" for split in counts) or str(len(dataset.clips))
    noun = "clip" if len(dataset.clips) == 1 else "clips"
    classes = counted(len(dataset.labels), "class", "classes")
    head = f"{visible(dataset.name)}: {clips} {noun}, {classes}; split: {dataset.split_from}"
    return [head, *table(dataset.labels, counts), *remarks(dataset)]


def table(labels: list[str], counts: dict[str, np.ndarray]) -> list[str]:
    """Clips per class and split. Classes that are all alike are one line, of more than 20 the extremes are shown."""
    if not counts or not labels:
        return []
    if len(labels) > 1 and all((n == n[0]).all() for n in counts.values()):
        names = ", ".join(visible(name, WIDTH) for name in labels[:MOST]) + (", ..." if len(labels) > MOST else "")
        return [f"  each class has {listed([f'{n[0]} {split}' for split, n in counts.items()], 'and')}: {names}"]
    shown = list(range(len(labels)))
    if len(labels) > MOST:
        order = np.argsort(sum(counts.values()), kind="stable")
        shown = [*order[: MOST // 2], None, *order[-MOST // 2 :]]
    width = max(5, *(len(visible(labels[k], WIDTH)) for k in shown if k is not None))
    lines = ["  " + "class".ljust(width) + "".join(f"{split:>8}" for split in counts)]
    for k in shown:
        if k is None:
            lines.append(f"  ... {len(labels) - MOST} classes with numbers between these ...")
        else:
            lines.append("  " + visible(labels[k], WIDTH).ljust(width) + "".join(f"{n[k]:8d}" for n in counts.values()))
    return lines


def remarks(dataset: Dataset) -> list[str]:
    """What was assumed, what is skipped, and classes that some split lacks, a line each."""
    lines = [f"note: {text}" for text in (*dataset.notes, *_gaps(dataset))]
    return [*lines, *(f"skipped: {each}" for each in dataset.skipped)]


def _gaps(dataset):
    """Sentences about classes that a split has no clips of."""
    counts = dataset.counts()
    found = []
    for split, n in counts.items():
        lacking = [visible(name, WIDTH) for name, own in zip(dataset.labels, n, strict=True) if own == 0]
        if not lacking or len(counts) < 2:
            continue
        names = ", ".join(lacking[:5]) + (", ..." if len(lacking) > 5 else "")
        count = counted(len(lacking), "class has", "classes have")
        means = "cannot be learned" if split == "train" else "cannot be measured there"
        found.append(f"{count} no {KINDS.get(split, split)} clips and {means}: {names}")
    return found


def as_json(dataset: Dataset) -> dict:
    """The same as plain values."""
    counts = dataset.counts()
    return {
        "data": dataset.name,
        "clips": len(dataset.clips),
        "split_from": dataset.split_from,
        "multilabel": dataset.multilabel,
        "classes": [
            {"label": name, **{split: int(n[k]) for split, n in counts.items()}}
            for k, name in enumerate(dataset.labels)
        ],
        "notes": [*dataset.notes, *_gaps(dataset)],
        "skipped": [
            {"what": each.what, "count": len(each.paths), "some": list(each.paths[:10])} for each in dataset.skipped
        ],
    }
