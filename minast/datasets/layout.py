"""What the sub-folders of a folder mean: classes, splits, folds. What could mean two things is refused.

| the folder holds | it is read as |
| --- | --- |
| dog/*.wav, cat/*.wav | class folders; test and validation clips are drawn |
| train/dog/*.wav, test/dog/*.wav, any third folder | splits; the third folder is named and not used |
| dog/train/*.wav, dog/test/*.wav | the same |
| fold1/dog/*.wav, fold2/dog/*.wav ... | folds: --fold is the test set |
| train/dog/*.wav, test/*.wav | train alone, whose split is drawn: what is in test has no labels |
| one folder that holds one of these | the same, one level down |
| *.wav and a table of files and labels, in it or beside it | the table |
| train/*.wav, test/*.wav or fold1/*.wav, with a table | the table |
| ann/yes/*.wav, ben/yes/*.wav ... (the same names inside each) | refused: classes may be either |
| dog/*.wav, cat/*.wav, test/*.wav | refused: test is no class, and there is no train |
| dog/*.m4a, cat/*.wav | refused: the class dog would be empty |
"""

import os
import shlex
from collections import Counter
from dataclasses import dataclass

from .. import audio
from ..errors import Error
from ..text import counted, visible
from .common import Skipped, named
from .splits import fold_of, hinted_split, split_of
from .tree import Folder

TABLE = "or name the files and their labels in a CSV manifest (file,labels)"


class NoClasses(Error):
    """The sub-folders name no classes: a table may."""


@dataclass
class Part:
    """Sounds that belong to one class and one split."""

    label: str  # as the folder spells it
    folder: Folder
    split: str = ""
    fold: int | None = None

    def sounds(self) -> list[str]:
        """Their paths."""
        return self.folder.all("sounds")


@dataclass
class Layout:
    """What a folder means."""

    parts: list[Part]
    split_from: str
    notes: list[str]
    skipped: list[Skipped]


def understand(top: Folder) -> Layout:
    """Decide what the folder means. Raises NoClasses if its sub-folders name no classes, minast.Error if they could
    mean several things, or if a class has no file that can be read."""
    notes, unused = [], []
    inner = _innermost(top, notes, unused)
    children = [f for f in inner.folders if f.holds("sounds", "convertible", "unknown")]
    unused += [f for f in inner.folders if f not in children]
    splits = {f.path: split_of(f.name) for f in children if split_of(f.name)}
    folds = {f.path: fold_of(f.name) for f in children if fold_of(f.name) is not None}
    nested = {f.path for f in children if any(sub.holds("sounds") for sub in f.folders)}
    if "train" in splits.values() and len(set(splits.values())) > 1:
        parts, origin = _outer_splits(inner, children, splits, nested, unused, notes), "given by the folders"
    elif len(folds) > 1:
        parts, origin = _outer_folds(inner, children, folds, nested, unused), "folds given by the folders"
    elif found := _inner_splits(inner, children):
        parts, origin = found
    else:
        parts, origin = _classes(inner, children, splits, notes), "given by the folders"
    if not parts:
        raise NoClasses(_nothing(top, inner))
    skipped = _skipped(top, unused, {path for part in parts for path in part.sounds()})
    return Layout(parts, origin, notes, skipped)


def _innermost(top, notes, unused):
    """The folder itself, or, as archives unpack, the only one with sound in it if that holds folders."""
    inner = top
    while not inner.sounds:
        children = [f for f in inner.folders if f.holds("sounds", "convertible", "unknown")]
        if len(children) != 1 or not any(sub.holds("sounds") for sub in children[0].folders):
            break
        unused += [f for f in inner.folders if f is not children[0]]
        inner = children[0]
    if inner is not top:
        notes.append(f"all audio is in {visible(inner.path)}: the classes are looked for there")
    return inner


def _outer_splits(inner, children, splits, nested, unused, notes):
    """train/dog, test/dog"""
    unused += [f for f in children if f.path not in splits]
    if not nested & set(splits):
        raise NoClasses(
            f"{visible(inner.path)}: {_names(children, splits)} hold audio but no class folders: put the files of each "
            f"class into a folder of its own, as in train/dog/1.wav, {TABLE}."
        )
    used = [f for f in children if f.path in splits and f.path in nested]
    for f in children:
        if f.path in splits and f not in used:
            unused.append(f)
            notes.append(f"{visible(f.name)} has no class folders, so no labels: its audio is not used")
    if not any(splits[f.path] == "train" for f in used):
        raise Error(
            f"{visible(inner.path)}: the train folder has no class folders and {_names(used)} has: move the training "
            f"files into class folders, {TABLE}."
        )
    for split in ("train", "valid", "test"):
        if len(same := [f for f in used if splits[f.path] == split]) > 1:
            notes.append(f"{_names(same)} are one split: {split}")
    given = len({splits[f.path] for f in used}) > 1
    if not given:
        notes.append(f"only {_names(used)} has labels: the split is drawn from its clips")
    return [Part(c.name, c, splits[f.path] if given else "") for f in used for c in _whole(f.folders, unused)]


def _outer_folds(inner, children, folds, nested, unused):
    """fold1/dog, fold2/dog"""
    unused += [f for f in children if f.path not in folds]
    used = [f for f in children if f.path in folds]
    if not nested & set(folds):
        raise NoClasses(
            f"{visible(inner.path)}: {_names(used)} hold audio but no class folders: put the files of each class into "
            f"a folder of its own, as in fold1/dog/1.wav, {TABLE} with the column fold."
        )
    if without := [f for f in used if f.path not in nested]:
        raise Error(
            f"{visible(inner.path)}: {_names(without)} has no class folders, other folds have: move it away, {TABLE}."
        )
    return [Part(c.name, c, fold=folds[f.path]) for f in used for c in _whole(f.folders, unused)]


def _inner_splits(inner, children):
    """dog/train, dog/test; dog/fold1, dog/fold2.   -> (parts, origin), or None if it is neither"""
    for meaning, origin in ((split_of, "given by the folders"), (fold_of, "folds given by the folders")):
        inside = {f.path: [s for s in f.folders if meaning(s.name) is not None and s.holds("sounds")] for f in children}
        met = {meaning(s.name) for subs in inside.values() for s in subs}
        if len(met) < 2 or (meaning is split_of and "train" not in met):
            continue
        if without := [f for f in children if not inside[f.path]]:
            some = next(f for f in children if inside[f.path])
            raise Error(
                f"{visible(inner.path)}: {visible(some.name)} is divided into {_names(inside[some.path])}, "
                f"{_names(without)} is not: divide all class folders, or none."
            )
        key = "split" if meaning is split_of else "fold"
        return [Part(f.name, s, **{key: meaning(s.name)}) for f in children for s in inside[f.path]], origin
    return None


def _classes(inner, children, splits, notes):
    """dog, cat"""
    if len({hinted_split(f.name) for f in children} - {None}) > 1 and all(hinted_split(f.name) for f in children):
        raise NoClasses(
            f"{visible(inner.path)}: {_names(children)} are named like splits: call them train and test and put class "
            f"folders into them, {TABLE}."
        )
    wrong = [f for f in children if f.path in splits and len(children) > 1]
    if wrong and not (len(wrong) == 1 and wrong[0].name.casefold() == "train" and not wrong[0].folders):
        others = _names([f for f in children if f not in wrong])
        raise Error(
            f"{visible(inner.path)}: {_names(wrong)} is named like a split, but {others} beside it "
            f"{'is' if len(children) - len(wrong) == 1 else 'are'} not: use train and test folders that hold class "
            "folders, move it away, or rename it if it is a class."
        )
    if wrong:
        notes.append("train is taken for a class, since no test or valid is beside it")
    deep = [f for f in children if any(s.holds("sounds") for s in f.folders)]
    if deep:
        notes.append(f"sub-folders belong to the class whose folder they are in: {_names(deep)}")
    return [Part(f.name, f) for f in _whole(children)]


def _whole(folders, unused=None):
    """The class folders among these. minast.Error for one whose files all have suffixes that cannot be read, and where
    the level below could be the classes as well."""
    inside = [{s.name for s in f.folders if s.holds("sounds")} for f in folders if f.holds("sounds")]
    shared = set.intersection(*inside) if len(inside) > 1 else set()
    if len(shared) > 1 and not any(f.sounds for f in folders):
        raise Error(
            f"{visible(os.path.dirname(folders[0].path))}: {_names(folders)} each contain {named(sorted(shared), 3)}: "
            f"either could be the classes. Put the files of each class into one folder without sub-folders, {TABLE}."
        )
    for f in folders:
        if not f.holds("sounds") and f.holds("convertible", "unknown"):
            lost = Counter(os.path.splitext(path)[1].lower() for path in f.all("convertible") + f.all("unknown"))
            kinds = ", ".join(f"{n} {visible(suffix, 20) or 'without a suffix'}" for suffix, n in lost.most_common(5))
            how = convert_line(f, f.all("convertible")) or "Move the folder away if it is no class."
            raise Error(f"{visible(f.path)}: this class would be empty, none of its files can be read ({kinds}). {how}")
    if unused is not None:
        unused += [f for f in folders if not f.holds("sounds")]
    return [f for f in folders if f.holds("sounds")]


def convert_line(folder: Folder, files: list[str]) -> str:
    """How to make wav files of files that need conversion; "" if there are none."""
    if not files:
        return ""
    suffixes = sorted({os.path.splitext(path)[1].lower() for path in files})
    which = " -o ".join(f"-iname '*{s}'" for s in suffixes)
    which = which if len(suffixes) == 1 else rf"\( {which} \)"
    return (
        "Convert them, for example by "
        rf"`find {visible(shlex.quote(folder.path))} {which} -exec ffmpeg -nostdin -i {{}} {{}}.wav \;`."
    )


def _skipped(top, unused, used):
    """Everything in the folder that is no part of the data set, by reason."""
    elsewhere = [path for f in unused for path in f.all("sounds")]
    loose = sorted(set(top.all("sounds")) - used - set(elsewhere))
    where = [os.path.join(f.path, "") for f in unused]
    convertible = top.all("convertible")
    kinds = (
        ("folders that are no class", where, ""),
        ("audio files in those folders", elsewhere, ""),
        ("audio files outside the class folders", loose, ""),
        ("files that need conversion", convertible, convert_line(top, convertible)),
        ("files of a kind that is not read", top.all("unknown"), ""),
        ("hidden files", top.all("hidden"), ""),
        ("folders of the operating system", top.all("system"), ""),
        ("broken links or special files", top.all("broken"), ""),
        ("links to folders that are read already", top.all("again"), ""),
    )
    return [Skipped(what, within(top.path, paths), advice) for what, paths, advice in kinds if paths]


def within(top: str, paths: list[str]) -> tuple[str, ...]:
    """Paths as seen from a folder that they all are in."""
    start = os.path.join(top, "")
    return tuple(path.removeprefix(start) for path in paths)


def _names(folders, among=None):
    return named([f.name for f in folders if among is None or f.path in among], 3)


def _nothing(top, inner):
    """The sentence for a folder without classes."""
    loose, subs = len(inner.sounds), len(inner.folders)
    convertible = convert_line(top, top.all("convertible"))
    if loose:
        what = f"{counted(loose, 'audio file')} but no class folders"
    else:
        what = f"sub-folders ({subs}) but no audio in them" if subs else "no sub-folders"
    kinds = ", ".join(e[1:] for e in audio.EXTENSIONS[:3])
    return (
        f"{visible(top.path)}: this folder has {what}; training needs one sub-folder per class, with {kinds} or "
        f"{audio.EXTENSIONS[3][1:]} files in it, or a CSV manifest with the columns file and labels."
        f"{' ' + convertible if convertible else ''}"
    )
