"""Copies of recordings: files with the same bytes."""

from ..text import counted, visible
from . import content
from .common import Dataset, named


def groups(dataset: Dataset) -> list[list[int]]:
    """Places in `dataset.clips` of files with the same content, in groups of two and more."""
    return content.copies(content.digests([clip.path for clip in dataset.clips], "looking for copies"))


def crossing(dataset: Dataset, found: list[list[int]]) -> list[list[int]]:
    """Those groups that have a clip in train and another in a split that is held out."""
    clips = dataset.clips
    return [g for g in found if len({clips[i].split == "train" for i in g}) > 1]


def sentences(dataset: Dataset, found: list[list[int]]) -> list[str]:
    """What is to be said about copies, one sentence for each kind of trouble."""
    clips, said = dataset.clips, []
    crossed = set(map(tuple, crossing(dataset, found)))
    if crossed:
        held_out = sum(clips[i].split != "train" for g in crossed for i in g)
        first = min(crossed)
        one = next(i for i in first if clips[i].split == "train")
        other = next(i for i in first if clips[i].split != "train")
        copies = "held-out clip is a copy of a training clip", "held-out clips are copies of training clips"
        said.append(
            f"{counted(held_out, *copies)}, which makes results too good; such as "
            f"{visible(clips[other].name)}, which is {visible(clips[one].name)}"
        )
    torn = [g for g in found if len({clips[i].labels for i in g}) > 1]
    if torn:
        first = torn[0]
        labels = sorted({dataset.labels[k] for i in first for k in clips[i].labels})
        names = " and ".join(visible(clips[i].name) for i in first[:2])
        recordings = counted(len(torn), "recording has", "recordings have")
        said.append(f"{recordings} several labels in copies; such as {names}: {named(labels)}")
    rest = sum(len(g) - 1 for g in found if tuple(g) not in crossed)
    if rest:
        kept = "; they are kept together in the split" if dataset.drawn else ""
        first = next(g for g in found if tuple(g) not in crossed)
        names = " and ".join(visible(clips[i].name) for i in first[:2])
        files = counted(rest, "file is a copy of another", "files are copies of others")
        said.append(f"{files}, such as {names}{kept}")
    return said
