"""Splits and folds that are drawn: by class, never through a group, the same for the same content."""

import numpy as np
import pytest

import minast
from minast.datasets import content, duplicates, open_dataset, splits
from minast.datasets.clips import CODES, Clip
from minast.datasets.common import Dataset
from minast.datasets.draw import Units, dealt, held_out
from minast.datasets.summary import remarks
from tests.data.sounds import make


def data(clips, classes, **about):
    """A data set without files: the names of its clips are their content."""
    return Dataset("d", [f"class {k}" for k in range(classes)], clips, **about)


def plain(sizes, **about):
    return data([Clip(f"{k}-{i}", (k,)) for k, n in enumerate(sizes) for i in range(n)], len(sizes), **about)


def parts(dataset):
    return {split: counts.tolist() for split, counts in dataset.counts().items()}


def sides(dataset):
    return {clip.name: clip.split for clip in dataset.clips}


def straddling(dataset):
    return duplicates.leaked(dataset)


def test_tiny_classes_and_what_is_said_about_them():
    found = splits.assigned(plain([1, 2, 3, 4, 5, 20]), 0)
    assert parts(found) == {"train": [1, 1, 2, 2, 3, 13], "valid": [0, 0, 0, 1, 1, 3], "test": [0, 1, 1, 1, 1, 4]}
    assert any("3 classes have fewer than four different recordings" in note for note in found.notes)
    only_tiny = splits.assigned(plain([2, 3]), 0)
    assert parts(only_tiny) == {"train": [1, 2], "test": [1, 1]} and only_tiny.validation_split == "test"
    assert "validation" not in only_tiny.split_from
    assert not splits.assigned(plain([8, 8]), 0).notes


@pytest.mark.parametrize("seed", range(4))
def test_a_group_is_never_torn_apart(seed):
    rng = np.random.default_rng(seed)
    clips = [Clip(f"{i}", (int(rng.integers(4)),), group=f"speaker {rng.integers(25)}") for i in range(1000)]
    found = splits.assigned(data(clips, 4), seed)
    assert not straddling(found) and "25 groups: what belongs together" in found.notes[-1]
    shares = {split: sum(counts) / 1000 for split, counts in parts(found).items()}
    assert 0.1 < shares["test"] <= 0.2 and 0.06 < shares["valid"] <= 0.17
    assert all(min(counts) > 0 for counts in parts(found).values())


def test_a_group_with_every_class_goes_as_a_whole():
    """As speakers who say all words: one of six is for testing, one for validation."""
    clips = [Clip(f"{who}-{k}-{i}", (k,), group=who) for who in "abcdef" for k in range(10) for i in range(8)]
    found = splits.assigned(data(clips, 10), 3)
    assert parts(found) == {"train": [32] * 10, "valid": [8] * 10, "test": [8] * 10} and not straddling(found)


def test_a_class_of_one_group_is_trained_on():
    clips = [Clip(f"{k}-{i}", (k,), group=f"{k if k == 2 else i % 5}") for k in range(3) for i in range(10)]
    counts = parts(splits.assigned(data(clips, 3), 0))
    assert counts["train"][2] == 10 and all(counts[split][k] for split in counts for k in (0, 1))


def test_several_labels():
    rng = np.random.default_rng(0)
    clips = [Clip(f"{i}", tuple(np.flatnonzero(rng.random(6) < [0.6, 0.5, 0.3, 0.2, 0.1, 0.03]))) for i in range(500)]
    found = splits.assigned(data(clips, 6, multilabel=True), 0)
    counts = {split: np.array(n) for split, n in parts(found).items()}
    total = sum(counts.values())
    assert np.abs(counts["test"] / total - 0.2).max() < 0.06 and np.abs(counts["valid"] / total - 0.16).max() < 0.06
    bare = [clip.split for clip in found.clips if not clip.labels]  # clips of no class are divided as well
    assert bare and 0.1 < bare.count("test") / len(bare) < 0.3


@pytest.mark.parametrize("grouped", [False, True])
def test_few_move_when_clips_come_and_go(grouped):
    def clips(numbers):
        return [Clip(f"{i}", (i % 3,), group=f"g{i // 4}" if grouped else "") for i in numbers]

    moved = []
    for seed in range(10):
        before = sides(splits.assigned(data(clips(range(300)), 3), seed))
        after = sides(splits.assigned(data(clips([*range(20), *range(21, 302)]), 3), seed))
        moved.append(sum(before[name] != after[name] for name in before.keys() & after.keys()))
    assert np.mean(moved) < (30 if grouped else 5), moved
    assert before == sides(splits.assigned(data(clips(range(299, -1, -1)), 3), seed))  # nor does the order matter


def test_fast_and_slow_ways_choose_the_same():
    """Of units of one class the first ones are taken at once; one by one gives the same."""
    rng = np.random.default_rng(1)
    clips = data([Clip(f"{i}", (int(rng.integers(3)),), group=f"g{rng.integers(60)}") for i in range(200)], 3).clips
    single = data([Clip(f"{i}", (i % 3,), group=f"{i % 3}-{rng.integers(20)}") for i in range(200)], 3).clips
    for some in (clips, single):
        units = Units.of(some, 3, 0, [None] * 200, np.zeros((0, 2)))
        everything, nothing = np.ones(len(units), bool), np.zeros(len(units), bool)
        fast = held_out(units, 0.3, everything, nothing, 1)
        slow = by_the_rule(units, 0.3)
        assert np.array_equal(fast, slow)


def by_the_rule(units, share):
    """What `held_out` says, word for word."""
    total = units.total
    wanted, held, taken = np.maximum(1, np.round(share * total)), np.zeros(len(total)), np.zeros(len(units), bool)
    left = np.array([sum(k in units.content(u)[0] for u in range(len(units))) for k in range(len(total))])
    for k in np.argsort(total, kind="stable"):
        for u in np.argsort(units.order):
            classes, counts = units.content(u)
            fits = (held[classes] + counts <= wanted[classes]).all() and (left[classes] > 1).all()
            if k in classes and not taken[u] and fits and held[k] < wanted[k]:
                taken[u] = True
                held[classes] += counts
                left[classes] -= 1
    return taken


# -- folds ---------------------------------------------------------------------------------------------------------


def test_folds_by_class_and_group():
    rng = np.random.default_rng(0)
    clips = [Clip(f"{i}", (int(rng.integers(4)),), group=f"g{rng.integers(60)}") for i in range(1000)]
    found = splits.assigned(data(clips, 4), 0, folds=5)
    assert found.folds == [1, 2, 3, 4, 5] and found.fold == 1
    assert "5 folds drawn with seed 0: fold 1 is the test set" in found.split_from
    per_fold = np.array(
        [np.bincount(found.clips.labels.values[found.clips.folds == k], minlength=4) for k in range(1, 6)]
    )
    assert (np.abs(per_fold - per_fold.mean(axis=0)) <= 0.3 * per_fold.mean(axis=0)).all()
    for fold in range(1, 6):
        one = splits.assigned(data(clips, 4), 0, fold, folds=5)
        assert not straddling(one) and np.array_equal(one.clips.folds, found.clips.folds)
        assert (one.clips.splits == CODES["test"]).tolist() == (one.clips.folds == fold).tolist()


def test_single_clips_are_dealt_evenly_and_stay():
    found = splits.assigned(plain([11, 25, 40]), 7, folds=5)
    for k, n in enumerate((11, 25, 40)):
        sizes = np.bincount(found.clips.folds[found.clips.labels.values == k], minlength=6)[1:]
        assert sizes.max() - sizes.min() <= 1 and sizes.sum() == n
    more = splits.assigned(plain([12, 25, 40]), 7, folds=5)
    folds = {clip.name: clip.fold for clip in more.clips}
    assert sum(folds[clip.name] != clip.fold for clip in found.clips) <= 5


def test_as_many_folds_as_speakers_leave_one_out():
    clips = [Clip(f"{who}-{i}", (i % 3,), "test" if i < 2 else "train", group=who) for who in "abcd" for i in range(12)]
    found = splits.assigned(data(clips, 3, split_from="official"), 0, 2, folds=4)
    assert {len({c.group for c in found.clips if c.fold == k}) for k in range(1, 5)} == {1}
    assert found.fold == 2 and "the data's own split (official) is not used" in " ".join(found.notes)


def test_what_cannot_be_drawn():
    for folds in (1, 4):
        with pytest.raises(minast.Error, match=f"{folds} folds cannot be drawn from 3 recordings and groups"):
            splits.assigned(data([Clip(f"{i}", (i % 2,), group=f"{i % 3}") for i in range(9)], 2), 0, folds=folds)
    own = data([Clip(f"{i}", (0,), fold=1 + i % 3) for i in range(9)], 1)
    assert splits.assigned(own, 0, folds=3).folds == [1, 2, 3]
    with pytest.raises(minast.Error, match="these data come in 3 folds of their own, not in 5"):
        splits.assigned(own, 0, folds=5)
    with pytest.raises(minast.Error, match="fold 5 is to be the test set; there are the folds 1, 2, 3"):
        splits.assigned(own, 0, 5)
    with pytest.raises(minast.Error, match="the share of validation clips is 1"):
        open_dataset("builtin", validation=1)


def test_dealing_is_by_content():
    units = Units.of(plain([30, 30]).clips, 2, 0, [bytes([i]) * 32 for i in range(60)], np.zeros((0, 2)))
    again = Units.of(plain([30, 30]).clips, 2, 0, [bytes([i]) * 32 for i in range(60)], np.zeros((0, 2)))
    other = Units.of(plain([30, 30]).clips, 2, 1, [bytes([i]) * 32 for i in range(60)], np.zeros((0, 2)))
    assert np.array_equal(dealt(units, 5), dealt(again, 5)) and not np.array_equal(dealt(units, 5), dealt(other, 5))


# -- a validation split for data that have none ----------------------------------------------------------------------


def test_validation_from_the_training_clips():
    clips = [Clip(f"{i}", (i % 2,), "test" if i < 20 else "train", group=f"g{i // 5}") for i in range(120)]
    given = data(clips, 2, split_from="official")
    assert splits.assigned(given, 0).of("valid") == [] and not splits.assigned(given, 0).drawn
    found = splits.assigned(given, 0, validation=0.25)
    assert [c.name for c in found.of("test")] == [str(i) for i in range(20)]
    assert 20 <= len(found.of("valid")) <= 25 and not straddling(found) and not found.drawn
    assert found.split_from == "official; 25 % of the training clips for validation, drawn with seed 0"
    folds = data([Clip(f"{i}", (i % 2,), fold=1 + i % 4) for i in range(80)], 2)
    assert parts(splits.assigned(folds, 0, 2, validation=0.2)) == {
        "train": [40, 20],
        "valid": [0, 0],
        "test": [0, 20],
    } or (sum(parts(splits.assigned(folds, 0, 2, validation=0.2))["valid"]) == 12)
    assert splits.assigned(plain([10, 10]), 0, validation=0).of("valid") == []
    tiny = [Clip(f"{k}-{i}", (k,), "train") for k, n in enumerate((2, 3, 9)) for i in range(n)]
    few = splits.assigned(data([*tiny, Clip("t", (0,), "test")], 3), 0, validation=0.2)
    assert parts(few)["valid"] == [0, 1, 2]  # and so one class is said to have none, and nothing about test clips
    assert few.notes[-1].startswith("1 class has fewer than three different recordings to train on: such a class has")
    assert "class 0" in few.labels and any("no validation clips" in line for line in remarks(few))
    assert parts(splits.assigned(plain([20, 20]), 0, validation=0.5))["valid"] == [8, 8]


def test_what_pretrained_weights_know_is_not_held_out(tmp_path):
    make(tmp_path, [f"{k}/{i}.wav" for k in "ab" for i in range(10)])
    before = open_dataset(str(tmp_path))
    out = [*before.of("test"), *before.of("valid")]
    known = content.shortened(content.digests([clip.path for clip in out]))
    after = open_dataset(str(tmp_path), trained_on=known)
    assert parts(after) == parts(before)
    assert not {c.path for c in out} & {c.path for c in after.of("test", "valid")}


# -- groups that a given split tears apart -----------------------------------------------------------------------------


def test_a_leaked_speaker_is_found_and_said(tones, tmp_path, command):
    rows = ["file,labels,split,speaker"]
    for k, name in enumerate(("low", "middle", "high")):
        rows += [f"{tones}/{name}/{i}.wav,{name},{'test' if i < 3 else 'train'},s{k}{i}" for i in range(10)]
    (tmp_path / "clean.csv").write_text("\n".join(rows))
    rows[1] = rows[1].replace("s00", "s05")  # who is also trained on
    (tmp_path / "leaked.csv").write_text("\n".join(rows))
    out = command("data", "check", tmp_path / "leaked.csv")[1]
    assert "1 of 29 groups has clips on both sides of the split, such as 's05' (1 train and 1 test clips)" in out
    assert "both sides" not in command("data", "check", tmp_path / "clean.csv")[1]
    flags = ("--depth", 1, "--epochs", 1, "--out", tmp_path / "run")
    assert "on both sides of the split, such as 's05'" in command("train", tmp_path / "leaked.csv", *flags)[2]
    err = command("evaluate", tmp_path / "run" / "best.npz", tmp_path / "leaked.csv")[2]
    assert "on both sides of the split, such as 's05'" in err
