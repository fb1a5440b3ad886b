"""Files that cannot be used: all of them are named at once, and left out where the user asks for it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from .. import cli
from ..datasets import Clip, Dataset
from ..datasets.common import checked, quoted
from ..errors import Error
from ..text import visible
from .feature_cache import FeatureCache

SHOWN = 20  # files that are named; data check lists all


def usable(
    dataset: Dataset, bad: Sequence[tuple[Clip, Error]], skip: bool = False, training: bool = False, data: str = ""
) -> Dataset:
    """The data set without the clips that could not be read; prints which, and how many of which class.

    bad: as FeatureCache collects them; files that a table names and that are not there come on top. skip: whether to go
    on without them. training: whether what is left must be fit to train on. data: the DATA argument, for advice.
    Raises minast.Error if there are bad files and `skip` is not set, or if a class has lost all its clips.
    """
    sentences = [each.reason for each in dataset.bad] + [str(error) for _, error in bad]
    if not sentences:
        return dataset
    lost = Counter(label for each in dataset.bad for label in each.labels)
    lost += Counter(dataset.labels[k] for clip, _ in bad for k in clip.labels)
    total = len(dataset.clips) + len(dataset.bad)
    if not skip and len(sentences) == 1:
        raise Error(f"{sentences[0]} --skip-bad goes on without it.")
    for sentence in sentences[:SHOWN]:
        cli.complain(sentence) if not skip else cli.note(f"left out: {sentence}")
    if len(sentences) > SHOWN:
        more = cli.counted(len(sentences) - SHOWN, "more file")
        cli.note(f"{more} cannot be used: python -m minast.data check {visible(data or dataset.name)} lists all.")
    per_class = ", ".join(f"{n} of {quoted(label, 40)}" for label, n in lost.most_common(10))
    per_class += ", ..." if len(lost) > 10 else ""
    if not skip:
        raise Error(
            f"{len(sentences)} of {total} files cannot be used ({per_class}): mend or remove them, or go on without "
            "them with --skip-bad."
        )
    verb = "is" if len(sentences) == 1 else "are"
    cli.note(f"{len(sentences)} of {cli.counted(total, 'file')} {verb} left out: {per_class}.")
    out = {clip for clip, _ in bad}
    left = replace(dataset, clips=dataset.clips[np.array([clip not in out for clip in dataset.clips], bool)], bad=())
    kept = set(left.clips.labels.values.tolist())
    emptied = [name for k, name in enumerate(dataset.labels) if k not in kept and name in lost]
    if emptied and training:
        raise Error(
            f"{visible(dataset.name)}: no file of class {quoted(emptied[0], 40)} can be used: mend them, or take "
            "the class out."
        )
    return checked(left) if training else left


def say_notes(*caches: FeatureCache) -> None:
    """Print what is to be said about recordings, such as those that are cut short, and how many they are."""
    found = [(clip, note) for cache in caches for clip, note in cache.notes]
    if not found:
        return
    clips, total = len({clip for clip, _ in found}), sum(map(len, caches))
    for clip, note in found[:5]:
        cli.note(f"{visible(clip.name)}: {note.rstrip('.')}.")
    shown = f"; 5 of {len(found)} are shown" if len(found) > 5 else ""
    cli.note(f"there are notes on {clips} of {cli.counted(total, 'clip')}{shown}.")
