"""Who is trained on and who is held out: names of splits and folds, and a split for data that come without one."""

import re
import unicodedata
from collections import Counter
from dataclasses import replace
from functools import cached_property

import numpy as np

from ..errors import Error
from ..text import counted, visible
from . import content, near, old_splits
from .clips import CODES, SPLITS, Clips
from .common import Dataset
from .draw import NO_PAIRS, Units, dealt, held_out, linked, numbers
from .duplicates import by_sound

SHARE = 0.2  # of each class is for testing, and of the rest for validation
NOW = "groups"  # how splits are drawn now; "content" and "position" are those of earlier versions
DRAWN_BY = (NOW, "content", "position")
LEARNT = "learnt"  # of a classifier on embeddings: for testing is what its checkpoint was not fitted to
ALIASES = {"train": "train", "training": "train", "trn": "train"}
ALIASES |= {"valid": "valid", "validation": "valid", "validate": "valid", "val": "valid", "dev": "valid"}
ALIASES |= {"test": "test", "testing": "test", "tst": "test", "eval": "test", "evaluation": "test"}
ALIASES |= {"heldout": "test", "holdout": "test"}
FILLING = ("set", "sets", "data", "split", "part", "audio", "wav", "wavs", "clips", "sounds", "recordings", "files")
FOLD = re.compile(r"fold[ _.-]*0*(\d{1,4})", re.IGNORECASE)


def split_of(name: str) -> str | None:
    """The split that a folder or a table means: "Training set", "audio_test", "VAL" -> "train", "test", "valid"."""
    words = [word for word in _words(name) if word not in FILLING and len(word) > 1 and not word.isdecimal()]
    return ALIASES.get(re.sub(r"(sets?|data|split|part)$", "", words[0]) or words[0]) if len(words) == 1 else None


def hinted_split(name: str) -> str | None:
    """The split that some word of a name means, as in "FSD50K.dev_audio"."""
    return next((ALIASES[word] for word in _words(name) if word in ALIASES), None)


def _words(name):
    """ "AudioTrain2017" -> ["audio", "train", "2017"]"""
    name = re.sub(r"(?<=[^\W\d_])(?=\d)|(?<=[a-z])(?=[A-Z])", " ", unicodedata.normalize("NFKC", name))
    return [word for word in re.split(r"[\W_]+", name.casefold()) if word]


def fold_of(name: str) -> int | None:
    """The number in "fold3", "Fold_03"."""
    match = FOLD.fullmatch(name.strip())
    return int(match[1]) if match else None


def assigned(
    dataset: Dataset,
    seed: int,
    fold: int | None = None,
    usual_fold: int | None = None,
    drawn_by: str = NOW,
    trained_on: np.ndarray | None = None,
    validation: float | None = None,
    folds: int | None = None,
    alike: bool | str = False,
) -> Dataset:
    """The data set with a split for each clip: its own, the fold's, or one drawn by `seed`.

    Arguments as in `open_dataset`. Raises minast.Error for a fold that is not there, for any where there is none, and
    for data that cannot be divided as asked.
    """
    own = dataset.folds
    if drawn_by == "position" and dataset.kind == "own" and fold is None and usual_fold is None:
        own = []  # version 0.1 knew no folds in a user's own data
    if folds is not None and own and len(own) != folds:
        raise Error(f"{visible(dataset.name)}: these data come in {len(own)} folds of their own, not in {folds}.")
    if fold is not None and not own and folds is None:
        raise Error(f"{dataset.name}: these data have no folds: leave out --fold.")
    drawing = Drawing(dataset, seed, trained_on, alike)
    if folds is not None and not own:
        dataset = drawing.folds(folds)
        own, alike = dataset.folds, dataset.alike  # the same sounds keep validation clips together
    if own:
        dataset = by_fold(dataset, own, fold if fold is not None else usual_fold if usual_fold in own else own[0])
    elif not (dataset.clips.splits > 0).all():
        if drawn_by == LEARNT:
            return drawing.unlearnt()
        if drawn_by != NOW:
            clips = old_splits.drawn(dataset.clips, seed, drawn_by, trained_on)
            return replace(dataset, clips=clips, drawn=True, split_from=f"a fifth of each class held out, seed {seed}")
        return drawing.whole(SHARE if validation is None else validation)
    if validation and not len(dataset.of("valid")):
        return validated(dataset, validation, seed, trained_on, alike)
    return dataset


def by_fold(dataset: Dataset, folds: list[int], test: int) -> Dataset:
    """One fold is the test set, the others are trained on."""
    if test not in folds or len(folds) < 2:
        numbers = ", ".join(map(str, folds))
        raise Error(f"{dataset.name}: fold {test} is to be the test set; there are the folds {numbers}.")
    clips = dataset.clips.with_splits(np.where(dataset.clips.folds == test, CODES["test"], CODES["train"]))
    return replace(dataset, clips=clips, fold=test, split_from=f"{dataset.split_from}: fold {test} is the test set")


def validated(dataset: Dataset, share: float, seed: int, trained_on: np.ndarray | None, alike: bool | str) -> Dataset:
    """A share of the training clips becomes the validation split; the others stay where they are."""
    train = dataset.clips.splits == CODES["train"]
    drawing = Drawing(replace(dataset, clips=dataset.clips[train]), seed, trained_on, alike)
    splits = dataset.clips.splits.copy()
    splits[train] = np.where(drawing.validation(share), CODES["valid"], CODES["train"])
    text = f"{dataset.split_from}; {percent(share)} of the training clips for validation, drawn with seed {seed}"
    found = replace(drawing.done(dataset.clips.with_splits(splits), text), drawn=dataset.drawn)
    tiny, said = drawing.below("three", 3)
    return found.noting(f"{said} to train on: such a class has no validation clip") if tiny else found


class Drawing:
    """Splits and folds for data that lack them. Nothing is read before something is drawn."""

    def __init__(self, dataset: Dataset, seed: int, trained_on: np.ndarray | None, alike: bool | str):
        self.dataset, self.seed, self.trained_on, self.alike = dataset, seed, trained_on, alike

    @cached_property
    def units(self) -> Units:
        """What is never torn apart."""
        clips, classes = self.dataset.clips, len(self.dataset.labels)
        return Units.of(clips, classes, self.seed, self._digests, np.concatenate([self._same[0], self._copied]))

    @cached_property
    def _digests(self):
        return content.of_clips(self.dataset.clips, "drawing the split")

    @cached_property
    def _copied(self):
        """Places of clips, in pairs (p, 2), that are from copies of a recording: parts of them may differ."""
        if self.dataset.clips.parts is None:
            return NO_PAIRS  # copies of a whole file have its digest
        paths = list(self.dataset.clips.paths())
        files = content.of_files(paths)
        copied = Counter(dict(zip(paths, files, strict=True)).values())  # how many paths a content has
        return linked(numbers([found if copied[found] > 1 else None for found in files]))

    @cached_property
    def _known(self):
        """Which clips `trained_on` knows."""
        return content.known_to(self.dataset.clips, self.trained_on)

    @cached_property
    def _same(self):
        """Places of clips with the same sound, in pairs (p, 2), and the same for a checkpoint."""
        if isinstance(self.alike, str):
            return content.unpack_groups(self.alike, self._digests), self.alike
        found = near.pairs(self.dataset.clips) if self.alike and near.affordable(self.dataset.clips) else []
        pairs = np.array([(pair.a, pair.b) for pair in found], int).reshape(-1, 2)
        return pairs, content.pack_groups(pairs, self._digests)

    @cached_property
    def joined(self) -> str:
        """How equal sounds join recordings or groups to fewer units, a clause; "" if they do not."""
        clips, classes = self.dataset.clips, len(self.dataset.labels)
        if not len(self._same[0]):
            return ""
        apart = len(Units.of(clips, classes, self.seed, self._digests, self._copied))
        if apart == len(self.units):
            return ""
        return f"equal sounds join the {apart} {self._kind} here to {len(self.units)}"

    def _sharing(self):
        """How many clips hold the same sound as another, their copies included."""
        groups = by_sound(len(self._digests), content.copies(self._digests), self._same[0].tolist())
        return sum(map(len, groups))

    @property
    def _kind(self):
        return "recordings or groups" if (self.dataset.clips.groups >= 0).any() else "recordings"

    def below(self, number, units):
        """The beginning of a note on classes with fewer units than that, and their number."""
        tiny = self.classes_below(units)
        what = f"{self._kind} without a sound in common" if self.joined else f"different {self._kind}"
        return tiny, f"{counted(tiny, 'class has', 'classes have')} fewer than {number} {what}"

    def validation(self, share: float, test: np.ndarray | None = None) -> np.ndarray:
        """Which clips are for validation: of each class a share of those that are not for testing.   (n,) -> (n,) bool

        They are the last in order, the test clips the first: so a clip that is added moves none from one to the other.
        """
        return self._chosen(share, keep=2, free=None if test is None else ~test, last=True)

    def _chosen(self, share, keep, free=None, last=False):
        units = self.units
        free = np.ones(len(units), bool) if free is None else units.containing(free)
        never = np.zeros(len(units), bool) if self.trained_on is None else units.containing(self._known)
        return held_out(units, share, free, never, keep, last)[units.of_clip]

    def whole(self, validation: float) -> Dataset:
        """A fifth of each class is for testing, and a share of the rest for validation."""
        test = self._chosen(SHARE, keep=1)
        valid = self.validation(validation, test) if validation else np.zeros(len(test), bool)
        splits = np.select([test, valid], [CODES["test"], CODES["valid"]], CODES["train"])
        text = "a fifth of each class for testing"
        text += f", {percent(validation)} of the rest for validation" if valid.any() else ""
        found = self.done(self.dataset.clips.with_splits(splits), f"{text}, drawn with seed {self.seed}")
        tiny, said = self.below("four", 4)
        ending = "such a class has no validation clip, and one that has only one of them no test clip either"
        return found.noting(f"{said}: {ending}") if validation and tiny else found

    def unlearnt(self) -> Dataset:
        """For testing is what has nothing in common with `trained_on`: no file, group or copy."""
        learnt = self.units.containing(self._known)[self.units.of_clip]
        splits = np.where(learnt, CODES["train"], CODES["test"])
        return self.done(self.dataset.clips.with_splits(splits), "what the model did not learn from is for testing")

    def folds(self, count: int) -> Dataset:
        """Each clip has a fold, from 1."""
        units, dataset = self.units, self.dataset
        if count < 2 or len(units) < count:
            what = counted(len(units), "recording or group", "recordings and groups")
            raise Error(f"{visible(dataset.name)}: {count} folds cannot be drawn from {what}.")
        clips = dataset.clips.with_folds(dealt(units, count)[units.of_clip])
        found = self.done(clips, f"{count} folds drawn with seed {self.seed}")
        note = f"the data's own split ({dataset.split_from}) is not used: {count} folds are drawn"
        return found.noting(note) if (dataset.clips.splits > 0).any() else found

    def classes_below(self, units: int) -> int:
        """How many classes have clips, but in fewer units."""
        of_class = np.bincount(self.units.classes.values, minlength=len(self.dataset.labels))
        of_class = of_class[: len(self.dataset.labels)]
        return int(((of_class > 0) & (of_class < units)).sum())

    def done(self, clips: Clips, split_from: str) -> Dataset:
        """The data set with its clips divided, and what is to be said about that."""
        dataset, together, notes = self.dataset, [], []
        groups = self.dataset.clips.groups
        if (groups >= 0).any():
            together.append(counted(len(np.unique(groups[groups >= 0])), "group"))
        pairs, text = self._same
        if len(pairs):
            together.append(f"{self._sharing()} clips that hold the same sound as another")
        if together:
            notes.append(f"{' and '.join(together)}: what belongs together is in one part of the split")
        notes = [note for note in notes if note not in dataset.notes]
        return replace(
            dataset, clips=clips, drawn=True, split_from=split_from, alike=dataset.alike or text, joined=self.joined
        ).noting(*notes)


def percent(share: float) -> str:
    """ "a fifth", "10 %" """
    return "a fifth" if share == SHARE else f"{100 * share:g} %"


def in_order(split: str) -> int:
    """For sorting: train, valid, test; 0 for clips without a split."""
    return SPLITS.index(split) if split else 0
