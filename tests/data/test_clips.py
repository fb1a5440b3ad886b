"""Clips in arrays are the clips that were put in; their targets are those of the clips, at any number of them."""

import os
import tracemalloc
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from minast.datasets import Clip, Dataset, table
from minast.datasets.clips import CODES, Clips
from minast.datasets.ragged import Ragged, Texts, starts_of
from minast.datasets.rows import Row
from minast.datasets.targets import Targets

NAMES = ["a.wav", "/a//b.wav", "é/ü.ogg", "x/y\udcff.wav", "lone\ud800.wav", "d/", "/", "", "😀/" + "n" * 300]

SOUNDS = [partial(np.zeros, k) for k in range(3)]


def clips(n=40, seed=0, classes=7):
    """Clips of every kind: with and without a path, a name of their own, a split, a fold, a group, any labels."""
    rng = np.random.default_rng(seed)
    found = []
    for i in range(n):
        path = None if rng.random() < 0.2 else f"{i}/{NAMES[i % len(NAMES)]}"
        labels = tuple(np.flatnonzero(rng.random(classes) < 0.3).tolist())
        name = path if path and rng.random() < 0.7 else f"clip {i}"
        split, fold = ["", "train", "valid", "test"][rng.integers(4)], [None, 0, 3, 9999][rng.integers(4)]
        group, make = ["", "ann", "bén\udc80"][rng.integers(3)], None if path else SOUNDS[i % 3]
        found.append(Clip(name, labels, split, path, make, fold, group))
    return found


def test_the_same_clips_come_back():
    given = clips()
    found = Clips.of(iter(given))
    assert list(found) == given and [found[i] for i in range(-40, 40)] == 2 * given and found == given
    assert list(found.paths()) == [clip.path for clip in given] and found.path(3) == given[3].path
    assert all(type(k) is int for clip in found for k in (*clip.labels, clip.fold or 0))  # json takes them
    with pytest.raises(IndexError):
        found[40]
    assert Clips.of(found) is found and list(Clips.of([])) == [] and not Clips.of([])
    assert found != given[1:] and found != [*given[1:], given[0]]


def test_parts_are_clips_too():
    given, found = clips(), Clips.of(clips())
    mask, places = np.arange(40) % 3 == 0, [5, -1, 5, 0]
    assert list(found[3:30:4]) == given[3:30:4] and list(found[::-1]) == given[::-1]
    assert list(found[mask]) == [clip for clip, own in zip(given, mask, strict=True) if own]
    assert list(found[places]) == list(found[np.array(places)]) == [given[i] for i in places]
    assert list(found[mask][2:9][[0, 3]]) == [given[6], given[15]] and list(found[[]]) == []
    assert list(found[mask].groups) == list(found.groups[mask]) and found[mask].folds.tolist()[0] == found.folds[0]


def test_columns_say_what_the_clips_say():
    given, found = clips(), Clips.of(clips())
    assert found.splits.tolist() == [CODES[clip.split] for clip in given]
    assert found.folds.tolist() == [-1 if clip.fold is None else clip.fold for clip in given]
    assert [row.tolist() for row in found.labels] == [list(clip.labels) for clip in given]
    same = {
        (a.group == b.group, found.groups[i] == found.groups[j])
        for i, a in enumerate(given)
        for j, b in enumerate(given)
    }
    assert same == {(True, True), (False, False)}
    assert {clip.group for clip, own in zip(given, found.groups, strict=True) if own == -1} == {""}
    plain = Clips.of([Clip("a", (0,)), Clip("b", (1,))])
    assert plain.folds.tolist() == plain.groups.tolist() == [-1, -1]


def test_other_splits_leave_the_rest_alone():
    given, found = clips(), Clips.of(clips())
    moved = found.with_splits(np.full(40, CODES["valid"]))
    assert list(moved) == [replace(clip, split="valid") for clip in given] and list(found) == given
    part = found[10:20].with_splits(np.arange(10) % 3 + 1)
    assert [clip.split for clip in part] == (["train", "valid", "test"] * 4)[:10] and list(found) == given


def test_a_data_set_takes_any_sequence():
    given = clips()
    data = Dataset("d", list("abcdefg"), given, multilabel=True)
    assert isinstance(data.clips, Clips) and data.clips == given
    assert list(data.of("valid", "test")) == [clip for clip in given if clip.split in ("valid", "test")]
    assert data.folds == [0, 3, 9999] and data.validation_split == "valid"
    assert list(replace(data, clips=given[:3]).clips) == given[:3]
    assert list(replace(data, clips=(clip for clip in given[:3])).clips) == given[:3]
    y = data.targets(given)
    assert y.dtype == np.float32 and np.array_equal(y, data.targets(data.clips))
    assert [np.flatnonzero(row).tolist() for row in y] == [list(clip.labels) for clip in given]
    counts = {s: y[[clip.split == s for clip in given]].sum(axis=0) for s in ("train", "valid", "test")}
    assert {s: n.tolist() for s, n in data.counts().items()} == {s: n.tolist() for s, n in counts.items()}
    assert list(Dataset("d", ["a"], [Clip("x", (0,), "test")]).counts()) == ["test"]


def test_targets_are_rows_on_demand():
    targets = Targets.of(clips(), 7)
    dense = np.zeros((40, 7), np.float32)
    for row, clip in zip(dense, clips(), strict=True):
        row[list(clip.labels)] = 1
    assert (dense.sum(axis=1) == 0).any()  # clips of none of the classes
    for i in (0, 39, -2, slice(None), slice(5, 30, 3), [3, 3, 0], np.array([7, -1]), np.arange(40) % 2 == 0, []):
        assert np.array_equal(targets[i], dense[i]) and targets[i].dtype == np.float32, i
    assert len(targets) == 40 and targets.shape == (40, 7)
    assert targets.counts().tolist() == dense.sum(axis=0).tolist()
    weights = np.random.default_rng(1).random(7)
    assert np.allclose(targets.sums(weights), dense @ weights, rtol=1e-12)
    with pytest.raises(IndexError):
        targets[40]
    assert Targets.of([], 3)[:].shape == (0, 3) and Targets.of([], 3).sums(np.ones(3)).shape == (0,)


def test_rows_and_texts():
    rows = Ragged(starts_of(np.array([2, 0, 1])), np.array([5, 6, 7]))
    assert [row.tolist() for row in rows] == [[5, 6], [], [7]] and rows.rows.tolist() == [0, 0, 2]
    assert [row.tolist() for row in rows.take(np.array([2, 1, 0, 0]))] == [[7], [], [5, 6], [5, 6]]
    assert list(Texts(NAMES)) == NAMES and Texts(NAMES)[-1] == NAMES[-1] and Texts(NAMES)[2:5] == NAMES[2:5]


def test_many_clips_are_not_many_objects():
    """100 bytes a clip at most, where a Clip with its texts takes 600. (test_audioset.py opens two million.)"""
    n = 20_000

    def made():
        for i in range(n):
            path = os.path.join("audio", f"part{i % 40}", f"Y{i:011d}.wav")
            yield Clip(path, (i % 527, (i + 7) % 527), "train" if i % 100 else "test", path)

    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    data = Dataset("d", [str(k) for k in range(527)], made(), multilabel=True)
    train, targets = data.of("train"), Targets.of(data.of("train"), 527)
    kept = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert kept < 100 * n
    assert len(train) == n - n // 100 and data.counts()["test"].sum() == 2 * (n // 100)
    assert (targets[np.random.default_rng(0).permutation(len(targets))[:256]].sum(axis=1) == 2).all()


def test_rows_of_a_table_are_not_many_objects_either(tmp_path):
    n = 20_000
    with open(tmp_path / "m.csv", "w") as f:
        f.write("file,labels,split,speaker\n")
        f.writelines(f"p{i % 9}/clip{i:08d}.wav,c{i % 50};d{i % 7},train,s{i % 99}\n" for i in range(n))
    tracemalloc.start()
    rows = table.read(str(tmp_path / "m.csv")).rows
    kept = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(rows) == n and kept < 70 * n
    assert rows[-1] == Row(n + 1, f"p1/clip{n - 1:08d}.wav", ("c49", "d0"), "train", "", "s1")
    assert len(list(rows.kinds())) == 350 and rows[:1][0].line == 2
