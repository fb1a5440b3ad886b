"""Clips that are too much alike to be on both sides of a split: copies of a file, the same sound, one group."""

from collections.abc import Sequence

import numpy as np

from ..text import counted, visible
from . import content
from .clips import CODES, SPLITS
from .common import Dataset, named
from .near import Pair, connected

TRAIN = CODES["train"]


def groups(dataset: Dataset) -> list[list[int]]:
    """Places in `dataset.clips` of files with the same content, in groups of two and more."""
    return content.copies(content.of_clips(dataset.clips, "looking for copies"))


def by_sound(clips: int, copies: list[list[int]], pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Places of clips that hold the same sound, their copies included, in groups of two and more.

    pairs: places of clips with the same sound.
    """
    links = [*pairs, *((group[0], i) for group in copies for i in group[1:])]
    number = connected(clips, links)
    heard = np.unique(number[[a for a, _ in pairs]]) if len(pairs) else []
    return [np.flatnonzero(number == k).tolist() for k in heard]


def crossing(dataset: Dataset, found: list[list[int]]) -> list[list[int]]:
    """Those groups that have clips in more than one split."""
    splits = dataset.clips.splits
    return [group for group in found if len(np.unique(splits[group])) > 1]


def torn(dataset: Dataset, found: list[list[int]]) -> list[list[int]]:
    """Those groups whose clips have different labels."""
    return [group for group in found if len({dataset.clips[i].labels for i in group}) > 1]


# -- in words ------------------------------------------------------------------------------------------------------


def sentences(dataset: Dataset, found: list[list[int]], pairs: Sequence[Pair] = ()) -> list[str]:
    """What is to be said about copies (`groups`) and clips with the same sound (`near.pairs`), by kind of trouble."""
    said = _about(dataset, found, ("is a copy of", "are copies of", "copies"), "files")
    if pairs:
        same = ("holds the same sound as", "hold the same sound as", "clips that hold the same sound")
        said += _about(
            dataset, by_sound(len(dataset.clips), found, [(pair.a, pair.b) for pair in pairs]), same, "clips", pairs
        )
    return said


def _about(dataset, found, words, what, pairs=()):
    """Sentences about groups of clips: those across the split, those with several labels, and the others."""
    clips, (one, many, alike), said = dataset.clips, words, []
    crossed = crossing(dataset, found)
    for outer, inner, trouble in (
        ((CODES["valid"], CODES["test"]), TRAIN, "results are too good"),
        ((CODES["test"],), CODES["valid"], "the model is chosen by clips that it is tested on"),
    ):
        both = [g for g in crossed if (clips.splits[g] == inner).any() and np.isin(clips.splits[g], outer).any()]
        if inner != TRAIN:
            both = [g for g in both if not (clips.splits[g] == TRAIN).any()]
        if n := sum(int(np.isin(clips.splits[g], outer).sum()) for g in both):
            out, into = ("held-out", "training") if inner == TRAIN else ("test", "validation")
            kinds = (f"{out} clip {one} a {into} clip", f"{out} clips {many} {into} clips")
            said.append(f"{counted(n, *kinds)}, so {trouble}; such as {_example(dataset, both, pairs, outer, inner)}")
    if different := torn(dataset, found):
        first = different[0]
        other = next(i for i in first if clips[i].labels != clips[first[0]].labels)
        labels = sorted({dataset.labels[k] for i in (first[0], other) for k in clips[i].labels})
        names = " and ".join(visible(clips[i].name) for i in (first[0], other))
        recordings = counted(len(different), "recording has", "recordings have")
        said.append(f"{recordings} several labels in {alike}; such as {names}: {named(labels)}")
    kept = [g for g in found if g not in crossed]
    if n := sum(len(g) - (what == "files") for g in kept):  # the first of the copies of a file is none
        together = "; they are kept together in the split" if dataset.drawn else ""
        example = _example(dataset, kept, pairs)
        thing = "file" if what == "files" else "clip"
        said.append(f"{counted(n, f'{thing} {one} another', f'{what} {many} others')}, such as {example}{together}")
    return said


def _example(dataset, found, pairs, outer=None, inner=None):
    """ "a.wav, which is b.wav", or what two clips share: a pair across the split, if there is one."""
    clips, splits = dataset.clips, dataset.clips.splits
    inside = {i for group in found for i in group}
    fitting = [pair for pair in pairs if pair.a in inside]
    if outer is not None:
        across = [p for p in fitting if {splits[p.a] in outer, splits[p.b] in outer} == {True, False}]
        fitting = across or fitting
    if fitting:
        return heard(dataset, max(fitting, key=lambda pair: pair.same.correlation))
    if outer is None:
        return " and ".join(visible(clips[i].name) for i in found[0][:2])
    first = found[0]
    held, known = (next(i for i in first if splits[i] in side) for side in (outer, (inner,)))
    return f"{visible(clips[held].name)}, which is {visible(clips[known].name)}"


def heard(dataset: Dataset, pair: Pair) -> str:
    """What was measured: "a.wav from 1.32 s and b.wav from 0.10 s: the same for 3.5 s, correlation 0.98"."""
    a, b = (visible(dataset.clips[i].name) for i in (pair.a, pair.b))
    start, other, seconds, correlation = pair.same
    places = f"{a} from {start:.2f} s and {b} from {other:.2f} s"
    return f"{places}: the same for {seconds:.2f} s, correlation {correlation:.2f}"


# -- groups on both sides --------------------------------------------------------------------------------------------


def leaked(dataset: Dataset) -> list[tuple[str, dict[str, int]]]:
    """Groups with clips in more than one split: name, {split: clips}."""
    clips = dataset.clips
    some = np.flatnonzero(clips.groups >= 0)
    if not len(some):
        return []
    keys, first, counts = np.unique(
        clips.groups[some].astype(np.int64) * 4 + clips.splits[some], return_index=True, return_counts=True
    )
    starts = np.unique(keys // 4, return_index=True)[1]
    ends = np.append(starts[1:], len(keys))
    return [
        (clips[int(some[first[i]])].group, {("", *SPLITS)[keys[k] % 4]: int(counts[k]) for k in range(i, end)})
        for i, end in zip(starts, ends, strict=True)
        if end - i > 1
    ]


def leaks(dataset: Dataset) -> list[str]:
    """A sentence about groups on both sides of the split; none if there are none."""
    found = leaked(dataset)
    if not found:
        return []
    total = len(np.unique(dataset.clips.groups[dataset.clips.groups >= 0]))
    name, counts = max(found, key=lambda each: sum(each[1].values()))
    where = " and ".join(f"{n} {split}" for split, n in counts.items())
    those = f"{len(found)} of {counted(total, 'group')} {'has' if len(found) == 1 else 'have'} clips"
    return [
        f"{those} on both sides of the split, such as {visible(name, 80)!r} ({where} clips): results say little about "
        "speakers, recordings or sites that are new; folds that are drawn, such as with --folds 5, keep groups apart"
    ]
