"""Labelled clips, scored by one or several models that were not trained on them: the core of evaluate and calibrate."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from . import cli, metrics, scoring
from .console.arguments import FOLDS, SEEDS, whole
from .datasets import Clip, Dataset, content, open_dataset
from .datasets.common import named, quoted
from .datasets.splits import LEARNT, NOW
from .ensemble import Ensemble
from .errors import Error
from .parallel import world
from .training.alike import check_clips
from .training.bad_files import say_notes, usable
from .training.feature_cache import FeatureCache


class Tested(NamedTuple):
    """Clips and what the models say of them; K classes in the order of the first model's labels."""

    clips: Sequence[Clip]
    targets: np.ndarray  # (n, K) float32
    scores: np.ndarray  # (n, K), calibrated where the models are
    raw: np.ndarray  # (n, K), as the models give them
    familiar: int | None  # clips of the split that a model was trained on; None if its checkpoint does not say
    unreadable: int

    @property
    def groups(self) -> list[str] | None:
        """What each clip belongs to: its group, or itself; None if no clip has a group."""
        return metrics.units([clip.group for clip in self.clips])


def add_labelled_data(parser) -> None:
    """DATA, and the flags that say which of its clips are held out and how they are read."""
    cli.add_data(parser)
    parser.add_argument(
        "--seed",
        type=whole(0, SEEDS),
        metavar="N",
        help="seed of the split, if the data have none (default: the model's)",
    )
    parser.add_argument("--fold", type=whole(0, FOLDS), metavar="N", help=f"{cli.FOLD} (default: the model's)")
    cli.add_skip_bad(parser)
    parser.add_argument("--no-cache", action="store_true", help="do not cache features on disk")


def open_as_trained(args, ensemble: Ensemble) -> Dataset:
    """The data, with the seed and fold of the (first) model's training: the same clips are held out.

    Raises minast.Error if the data have classes that the model lacks, or several labels a clip for a softmax head.
    """
    first = ensemble.members[0]
    notes = first.info.notes
    seed = notes.get("seed", 0) if args.seed is None else args.seed
    drawn_by = notes.get("drawn_by", "position" if "seed" in notes else "content")  # version 0.1 drew by position
    known = content.trained_before(notes)
    if drawn_by == LEARNT and seed == notes.get("seed") and notes.get("trained_on") is not None:
        known = content.unpack(notes["trained_on"])
    elif drawn_by == LEARNT:  # another seed is asked for, or it has no list
        drawn_by = NOW
    drawn = {name: notes[name] for name in ("validation", "folds") if notes.get(name) is not None}
    if "folds" in drawn and divided_otherwise(args.data, seed, notes):
        del drawn["folds"]
    data = open_dataset(
        args.data,
        seed,
        args.fold,
        training=False,
        usual_fold=notes.get("fold"),
        drawn_by=drawn_by,
        trained_on=known,
        skip_bad=True,
        alike=notes.get("alike", ""),
        **drawn,
    )
    in_model_order(data, [], ensemble.labels, first.name)
    if data.multilabel and first.info.loss == "ce":
        raise Error(f"{data.name} has several labels a clip, {first.name} was trained to give exactly one (softmax).")
    return data


def divided_otherwise(data: str, seed: int, notes: dict) -> bool:
    """Whether data have folds or a split of their own, so that a model's drawn folds are not theirs.

    Where it was trained on some of the clips, those folds were drawn in place of the split. Built-in sounds have no
    files, by which it could be told.
    """
    own = open_dataset(data, seed, training=False, skip_bad=True)
    if own.folds or own.drawn:
        return bool(own.folds)
    known = content.trained_on({"trained_on": notes.get("trained_on")})
    if known is None or not len(known):
        return own.name != notes.get("data")
    return not content.known_to(own.clips, known).any()


def scored(ensemble: Ensemble, data: Dataset, split: str, args) -> Tested:
    """The clips of a split that no model was trained on, and their scores. args: `add_labelled_data`'s.

    Prints what is left out. Raises minast.Error if nothing is left, and as `usable` does.
    """
    clips, familiar = never_trained_on(data, split, ensemble)
    caches, bad = caches_of(ensemble, clips, not args.no_cache)
    usable(data, bad, args.skip_bad)
    clips = caches[0].clips
    if not len(clips):
        raise Error(f"{data.name}: no file of the {split} split can be used.")
    check_clips(world(), data.name, clips)
    for cache in dict.fromkeys(caches):
        say_notes(cache)
    raw, fair = [], []
    for member, order, cache in zip(ensemble.members, ensemble.orders, caches, strict=True):
        scores = progress_scores(member, cache, len(ensemble.members))[:, order]
        if not np.isfinite(scores).all():
            raise Error(
                f"{member.name}: the model's scores are not numbers: its weights are damaged or were never trained."
            )
        raw.append(scores)
        fair.append(member.decisions.calibrated(scores) if member.decisions is not None else scores)
    targets = in_model_order(data, clips, ensemble.labels, ensemble.name)
    return Tested(clips, targets, np.mean(fair, axis=0), np.mean(raw, axis=0), familiar, len(bad))


def caches_of(
    ensemble: Ensemble, clips: Sequence[Clip], kept: bool
) -> tuple[list[FeatureCache], list[tuple[Clip, Error]]]:
    """The features of clips for each member, of the clips that all of them can use.   -> caches, clips that one cannot

    A clip may be long enough at one rate and too short at another. kept: whether features are cached on disk.
    """
    bad = []
    while True:
        caches, found = {}, []
        for member in ensemble.members:
            features, where = member.features, member.model.backend.spectrograms(member.features.rate)
            key = (features.rate, features.mel_bins, features.window, where.made_by)
            if key not in caches:
                caches[key] = FeatureCache(clips, features, kept, bad=bad, spectrograms=where)
                clips = caches[key].clips
            found.append(caches[key])
        if all(len(cache) == len(clips) for cache in found):
            return found, bad


def progress_scores(member, mels, members=1):
    """Scores (n, K) of all clips by one model, with a progress bar."""
    from tqdm import tqdm

    label = "scores" if members == 1 else f"scores of {member.name}"
    with tqdm(total=len(mels), desc=label, unit="clip", disable=None, leave=False) as bar:
        return scoring.clip_scores(member.model, member.info, mels, bar=bar, group=world())


def never_trained_on(data: Dataset, split: str, ensemble: Ensemble) -> tuple[Sequence[Clip], int | None]:
    """The clips of a split without those that a model was trained on; of "train" and "all", all.

    -> clips, how many of the split a model was trained on (None if a checkpoint does not say). Clips are compared by
    content, so that renamed, added and deleted files, and copies, are recognised. Prints what was left out. Raises
    minast.Error if nothing is left.
    """
    clips = data.clips if split == "all" else data.of(split)
    if not len(clips):
        why = f": {data.split_from}; --split all scores all clips" if data.drawn else ""
        raise Error(f"{data.name} has no clips in the {split} split{why}.")
    lists = [content.trained_on(member.info.notes) for member in ensemble.members]
    for member, known in zip(ensemble.members, lists, strict=True):
        info = member.info
        trained = info.history or (info.notes.get("pretrained") and not info.notes.get("random_head"))
        if known is None and trained and any(clip.path for clip in clips):
            cli.note(f"{member.name} does not say which clips it was trained on: they may be among the scored ones.")
    familiar = seen(clips, lists)
    if familiar is None:
        return clips, None
    count = int(familiar.sum())
    said = None if any(known is None for known in lists) else count
    who = "the model was" if len(lists) == 1 else "a model was"
    if split == "all" and count:
        cli.note(f"{who} trained on {count} of these {cli.counted(len(clips), 'clip')}.")
    if split in ("train", "all") or not count:
        return clips, said
    if count == len(clips):
        raise Error(f"{data.name}: {who} trained on every clip of the {split} split: there is nothing to test.")
    verb, them = ("is", "it") if count == 1 else ("are", "them")
    of = f"{count} of {cli.counted(len(clips), 'clip')} of the {split} split"
    cli.note(f"{of} {verb} left out: {who} trained on {them}.")
    return [clip for clip, own in zip(clips, familiar, strict=True) if not own], said


def seen(clips: Sequence[Clip], lists: Sequence[np.ndarray | None]) -> np.ndarray | None:
    """Which clips are known by one of the lists `content.trained_on`.   -> (n,) bool; None if there is no list"""
    known = [each for each in lists if each is not None]
    return content.known_to(clips, content.distinct(np.concatenate(known))) if known else None


def fresh_split(data: Dataset, ensemble: Ensemble) -> str:
    """Where decisions are to be made: "valid" if a model was not trained on some clip of that split, else "test"."""
    clips = data.of("valid")
    familiar = seen(clips, [content.trained_on(member.info.notes) for member in ensemble.members])
    return "valid" if len(clips) and (familiar is None or not familiar.all()) else "test"


def in_model_order(data: Dataset, clips: Sequence[Clip], labels: Sequence[str], checkpoint: str) -> np.ndarray:
    """Targets (n, K) with a column for each class of the model; minast.Error if it lacks a class of the data."""
    lacking = [name for name in data.labels if name not in labels]
    if lacking:
        raise Error(
            f"{data.name} has {cli.counted(len(lacking), 'label')} that {checkpoint} lacks, the first is "
            f"{quoted(lacking[0], 80)}; the model knows {named(labels, 10)}."
        )
    targets = np.zeros((len(clips), len(labels)), np.float32)
    targets[:, [labels.index(name) for name in data.labels]] = data.targets(clips)
    return targets
