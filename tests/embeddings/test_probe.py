"""probe: labels onto segments, who is held out, and a checkpoint that every command takes."""

import csv
import os
import shutil

import numpy as np
import pytest

import minast
from minast import search
from minast.datasets import content, open_dataset
from minast.datasets.table import EVENTS
from minast.embeddings import labels, logistic, probe
from minast.embeddings.index import Index
from tests.embeddings.made import clusters, make

RATE = 16000


def table(path, header, rows):
    with open(path, "w", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows([header, *rows])
    return path


@pytest.fixture(scope="module")
def indexed(trained, tones, tmp_path_factory):
    """An index of the tones, taken from the middle of a model."""
    from minast import embed

    folder = tmp_path_factory.mktemp("indexed")
    shutil.copy(trained / "best.npz", folder / "model.npz")
    flags = ["--out", str(folder / "index"), "--block", "1", "--pool", "both"]
    assert embed.main([str(folder / "model.npz"), str(tones), *flags]) == 0
    return folder


@pytest.fixture(scope="module")
def sounds(tones, tmp_path_factory):
    """An index of the tones by a model that was never trained on them."""
    from minast import embed

    folder = tmp_path_factory.mktemp("sounds")
    model = minast.AST(minast.ModelConfig.preset("nano", classes=3, depth=1, frames=16), seed=0)
    minast.save(folder / "model.npz", model, ["high", "low", "middle"], minast.FeatureConfig(frames=16))
    assert embed.main([str(folder / "model.npz"), str(tones), "--out", str(folder / "index"), "--hop", "0.05"]) == 0
    return folder


@pytest.fixture
def whole(tones, tmp_path):
    """A table of all tones."""
    rows = [(path, path.parent.name) for path in sorted(tones.rglob("*.wav"))]
    return table(tmp_path / "labels.csv", ("file", "labels"), rows)


def test_a_checkpoint_for_every_command(indexed, tones, whole, tmp_path, command):
    out = tmp_path / "probe.npz"
    status, said, err = command("probe", indexed / "index", whole, "--out", out)
    assert (status, err) == (0, "")
    assert "30 labelled segments in 30 files, of 30 in the index; softmax, one label each" in said
    assert "chosen by cross-validation over files, 5 folds" in said
    assert "6 held-out files (about a fifth of each class, drawn with seed 0): accuracy 100.0%" in said
    model, info = minast.load(out)
    assert (model.config.depth, info.labels, info.loss) == (3, ["high", "low", "middle"], "ce")
    status, said, err = command("predict", out, tones / "low" / "3.wav", tones / "high" / "2.wav")
    assert (status, err) == (0, "") and [line.split()[-1] for line in said.splitlines() if "%" in line][::3] == [
        "low",
        "high",
    ]
    status, said, _ = command("scan", out, tones / "middle", "--out", tmp_path / "e.csv")
    assert status == 0 and "10 events of 1 label in 10 of 10 recordings" in said
    status, said, err = command("evaluate", out, tones)
    assert (status, err) == (0, "") and "24 train, 6 test clips" in said  # those that the probe held out
    assert command("calibrate", out, tones, "--split", "all")[0] == 0
    assert command("embed", out, tones / "low", "--out", tmp_path / "again")[0] == 0
    assert command("train", tones, "--pretrained", out, "--out", tmp_path / "run", "--epochs", 1)[0] == 0


def test_the_checkpoint_of_the_index_is_not_replaced(indexed, whole, command):
    before = (indexed / "model.npz").read_bytes()
    status, _, err = command("probe", indexed / "index", whole, "--out", indexed / "model.npz")
    assert status == 2 and "the checkpoint that the index was made with: name another file" in err
    assert (indexed / "model.npz").read_bytes() == before


def test_the_checkpoint_is_the_regression(indexed, whole, tmp_path, command):
    command("probe", indexed / "index", whole, "--out", tmp_path / "p.npz", "--seed", 3, "--all")
    index = Index(indexed / "index")
    labelled = labels.onto(index, whole)
    x = probe.head_input(index.take(labelled.rows), probe.head_eps(indexed / "model.npz"))
    strength = float(minast.load(tmp_path / "p.npz")[1].notes["from"].split()[-1])
    found = logistic.fit(x, labelled.y, "ce", strength)
    classifier = minast.Classifier.load(tmp_path / "p.npz")
    for row in (0, 11, 29):
        heard = classifier.hear(index.path_of(index.files[labelled.files[row]]))
        np.testing.assert_allclose(heard.scores, found.probabilities(x[row : row + 1])[0], atol=5e-3)  # 16 bits


def test_fold_split_and_groups_of_the_table(indexed, tones, tmp_path, command):
    names = sorted(tones.rglob("*.wav"))
    rows = [(path, path.parent.name, 1 + i % 3, f"g{i % 5}") for i, path in enumerate(names)]
    folds = table(tmp_path / "folds.csv", ("file", "labels", "fold", "group"), rows)
    arguments = ("probe", indexed / "index")
    out = ("--out", tmp_path / "p.npz")
    assert "10 held-out files (fold 1 of the table)" in command(*arguments, folds, *out)[1]
    assert "10 held-out files (fold 3 of the table)" in command(*arguments, folds, *out, "--fold", 3)[1]
    assert minast.load(tmp_path / "p.npz")[1].notes["fold"] == 3
    status, _, err = command(*arguments, folds, *out, "--fold", 4)
    assert status == 2 and "--fold is 4: the table has the folds 1, 2, 3" in err
    rows = [(path, path.parent.name, "test" if i % 10 < 4 else "train") for i, path in enumerate(names)]
    split = table(tmp_path / "split.csv", ("file", "labels", "split"), rows)
    assert "12 held-out files (the table's own split)" in command(*arguments, split, *out)[1]
    status, _, err = command(*arguments, split, *out, "--fold", 1)
    assert status == 2 and "--fold is for tables with a column fold" in err
    everything = table(tmp_path / "all.csv", ("file", "labels", "split"), [(*row[:2], "test") for row in rows])
    status, _, err = command(*arguments, everything, *out)
    assert status == 2 and "all 30 labelled files are for testing" in err


def test_what_the_index_lacks_is_named_and_counted(indexed, tones, tmp_path, command):
    rows = [(path, path.parent.name) for path in sorted(tones.rglob("*.wav"))]
    rows += [(f"gone{i}.wav", "low") for i in range(4)]
    path = table(tmp_path / "l.csv", ("file", "labels"), rows)
    status, _, err = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 0
    assert "note: 4 files are not in the index, and left out: gone0.wav, gone1.wav, gone2.wav, ...\n" in err
    path = table(tmp_path / "l.csv", ("file", "labels"), rows[-4:])
    status, _, err = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 2 and "labels no recording of" in err and "it names gone0.wav" in err
    path = table(tmp_path / "l.csv", ("file", "labels"), rows[:10])
    status, _, err = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 2 and "there is nothing to tell apart: the labelled segments all have the label 'high'" in err
    for text, words in (("a,b\n1,2\n", "no column 'file'"), ("", "no column 'file'"), ("\xff\xfe", "cannot be read")):
        (tmp_path / "l.csv").write_text(text, encoding="latin-1")
        status, _, err = command("probe", indexed / "index", tmp_path / "l.csv", "--out", tmp_path / "p.npz")
        assert status == 2 and words in err and err.count("\n") == 1, err


# -- a table on segments ---------------------------------------------------------------------------------------------


@pytest.fixture
def two(tmp_path):
    """Two recordings of four segments of 1 s, end to end."""
    rng = np.random.default_rng(0)
    (tmp_path / "a").mkdir()
    return make(
        tmp_path / "a" / "index", {"a/x.wav": rng.standard_normal((4, 6)), "a/y.wav": rng.standard_normal((4, 6))}
    )


def onto(index, path, header, rows):
    found = labels.onto(index, table(path, header, rows))
    return found, [(int(row), *np.array(found.labels)[own]) for row, own in zip(found.rows, found.y, strict=True)]


def test_events_on_segments(two, tmp_path):
    rows = [
        ("a/x.wav", 0.4, 1.4, "owl"),  # the centre of segment 0 alone
        ("a/x.wav", 1.4, 4.0, "fox"),  # of 1, 2, 3
        ("a/y.wav", 2.1, 2.3, "owl"),  # of none: most of it in 2
        ("a/y.wav", 9.0, 9.5, "owl"),  # beyond the end
        ("a/y.wav", 3.0, 4.0, ""),  # not labelled yet
        ("a/z.wav", 0.0, 1.0, "owl"),
    ]
    found, got = onto(two, tmp_path / "l.csv", ("file", "start", "end", "label"), rows)
    assert got == [(0, "owl"), (1, "fox"), (2, "fox"), (3, "fox"), (6, "owl")]
    assert (found.outside, found.empty, found.unknown, found.several, found.whole) == (1, 1, ["a/z.wav"], False, False)
    assert probe.loss_of(found, None, "l.csv") == "ce"
    found, got = onto(two, tmp_path / "l.csv", ("label", "file", "score", "start", "end"), [
        ("owl", "a/x.wav", 0.9, 0, 2), ("fox", "a/x.wav", 0.8, 1, 2), ("'=owl", "a/y.wav", 0.7, 0, 1),
    ])  # fmt: skip
    assert got == [(0, "owl"), (1, "fox", "owl"), (4, "=owl")] and found.several
    assert probe.loss_of(found, None, "l.csv") == "bce"
    with pytest.raises(minast.Error, match="softmax needs exactly one, leave out --loss"):
        probe.loss_of(found, "ce", "l.csv")


def test_rows_that_were_judged_wrong_teach_nothing(two, tmp_path):
    header = ("file", "start", "end", "label", "verdict", "heard", "score")
    rows = [
        ("a/x.wav", 0, 1, "owl", "right", "owl", 0.9),
        ("a/x.wav", 1, 2, "owl", "wrong", "owl", 0.8),
        ("a/x.wav", 2, 3, "fox", "relabelled", "owl", 0.7),
        ("a/y.wav", 0, 1, "bell", "wrong", "bell", 0.6),
        ("a/y.wav", 1, 2, "fox"),
    ]
    found, got = onto(two, tmp_path / "l.csv", header, rows)
    assert got == [(0, "owl"), (2, "fox"), (5, "fox")] and found.labels == ["fox", "owl"]
    assert found.notes == ["2 rows with the verdict 'wrong' are left out"]
    with pytest.raises(minast.Error, match="the verdict on all 2 rows is wrong: there is nothing to learn from"):
        onto(two, tmp_path / "l.csv", header, [rows[1], rows[3]])
    with pytest.raises(minast.Error, match="line 2: the verdict is 'maybe': it must be right, relabelled or wrong"):
        onto(two, tmp_path / "l.csv", header, [("a/x.wav", 0, 1, "owl", "maybe")])


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_events_as_spreadsheets_save_them(two, tmp_path, delimiter):
    """In columns of other names, too: as `train` reads them."""
    rows = [("Filename", "Start", "End", "Class"), ("a/x.wav", "0", "1", "owl"), ("a/y.wav", "2", "4", "fox")]
    (tmp_path / "l.csv").write_text("".join(delimiter.join(row) + "\n" for row in rows))
    found = labels.onto(two, tmp_path / "l.csv")
    assert found.rows.tolist() == [0, 6, 7] and not found.whole and found.parts == {0: [(0, 1)], 1: [(2, 4)]}


def test_whole_files_and_events_in_one_table(two, tmp_path):
    rows = [("a/x.wav", "", "", "fox"), ("a/y.wav", 0, 1, "owl"), ("a/y.wav", 1, 2, "")]
    found, got = onto(two, tmp_path / "l.csv", ("file", "start", "end", "label"), rows)
    assert got == [(i, "fox") for i in range(4)] + [(4, "owl")] and not found.whole and found.empty == 1


def test_rows_of_one_recording_share_its_group_and_must_agree_on_its_split(two, tmp_path):
    header = ("file", "start", "end", "label", "group", "split")
    rows = [("a/x.wav", 0, 1, "owl", "north"), ("a/x.wav", 1, 2, "fox"), ("a/y.wav", 1, 2, "fox", "south")]
    found, _ = onto(two, tmp_path / "l.csv", header[:5], rows)
    assert found.group == {0: "north", 1: "south"}
    found, _ = onto(two, tmp_path / "l.csv", header[:5], [*rows, ("a/x.wav", 2, 3, "fox", "south")])
    assert len({*found.group.values()}) == 1 and len(found.group) == 2
    rows = [("a/x.wav", 0, 1, "owl", "", "train"), ("a/x.wav", 1, 2, "fox", "", "test")]
    with pytest.raises(minast.Error, match=r"line 3: a/x\.wav is in split test here and in train above"):
        onto(two, tmp_path / "l.csv", header, rows)
    rows = [("a/x.wav", 0, 1, "owl", 1), ("a/y.wav", 0, 1, "owl", 2), ("a/x.wav", 1, 2, "fox", 2)]
    with pytest.raises(minast.Error, match=r"line 4: a/x\.wav is in fold 2 here and in 1 above"):
        onto(two, tmp_path / "l.csv", (*header[:4], "fold"), rows)


def test_groups_and_files_are_not_mixed_up_in_intervals(tmp_path, monkeypatch):
    """A group that is called like the number of another file."""
    made = make(tmp_path / "index", {name: np.ones((1, 4)) for name in "vwxy"})
    rows = [("v", "a", ""), ("w", "b", ""), ("x", "a", "0"), ("y", "b", "0")]
    found, drawn = labels.onto(made, table(tmp_path / "l.csv", ("file", "labels", "group"), rows)), []
    real = probe.metrics.intervals
    monkeypatch.setattr(probe.metrics, "intervals", lambda *a: drawn.append(a[3]) or real(*a))
    probe.measure(found, np.ones(4, bool), np.full((4, 2), 0.5), "ce")
    assert drawn[0][2] == drawn[0][3] and len({*drawn[0]}) == 3


def test_rows_that_search_and_suggest_write_can_be_added(two, tmp_path):
    page = ("file", "start", "end", "label", "verdict", "heard", "score")
    for columns in (search.COLUMNS, EVENTS):
        assert columns[:5] == page[:5] and len(columns) == len(page)
    rows = [("a/x.wav", 0, 1, "owl", "right", "owl", 0.9), ("a/x.wav", 1, 2, "", "", "owl.wav", 0.8)]
    found, got = onto(two, tmp_path / "l.csv", page, rows)
    assert got == [(0, "owl")] and found.empty == 1


def test_files_with_several_labels(two, tmp_path):
    found, got = onto(two, tmp_path / "l.csv", ("file", "labels"), [("a/x.wav", "owl;fox"), ("a/y.wav", "")])
    assert got == [(i, "fox", "owl") for i in range(4)] + [(i,) for i in range(4, 8)] and found.several


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (("a/x.wav", "x", 2, "owl"), "line 2: start is 'x' and end is '2': they must be seconds, from 0 on"),
        (("a/x.wav", 3, 2, "owl"), "line 2: start is '3' and end is '2'"),
        (("a/x.wav", -1, 2, "owl"), "line 2: start is '-1'"),
        (("a/x.wav", 1, "nan", "owl"), "and end is 'nan'"),
        (("", 1, 2, "owl"), "line 2: the column 'file' is empty"),
        (("a/x.wav", 1, 2, "o\x07l"), "contains a control character"),
        (("a/x.wav", 1, 2, ""), "labels no recording of"),
    ],
)
def test_rows_that_are_refused(two, tmp_path, row, words):
    with pytest.raises(minast.Error) as raised:
        onto(two, tmp_path / "l.csv", ("file", "start", "end", "label"), [row])
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_files_that_moved_are_found_by_their_names(two, tmp_path):
    rows = [("/elsewhere/x.wav", "owl"), (str(tmp_path / "a" / "a" / "y.wav"), "fox")]
    found, got = onto(two, tmp_path / "l.csv", ("file", "labels"), rows)
    assert len(got) == 8 and any("found by their names alone, such as /elsewhere/x.wav" in note for note in found.notes)


# -- honest splits ---------------------------------------------------------------------------------------------------


def test_no_file_is_on_both_sides(tmp_path):
    """Forty files of five segments: none is torn, in the test set and in the folds of the cross-validation."""
    rng = np.random.default_rng(0)
    x, y = clusters(rng, [70, 70, 60], apart=1.0)
    order = np.argsort(y, kind="stable")
    made = make(tmp_path / "index", {f"{i}.wav": x[order][5 * i : 5 * i + 5] for i in range(40)})
    rows = [(f"{i}.wav", "abc"[y[order][5 * i]], f"site {i // 2}") for i in range(40)]
    found = labels.onto(made, table(tmp_path / "l.csv", ("file", "labels", "group"), rows))
    parts = probe.divided(found, [None] * 40, None, 0)
    for values in (parts.test, parts.fold):
        sides = [{*values[found.files // 2 == site].tolist()} for site in range(20)]
        assert all(len(side) == 1 for side in sides)  # not even the two files of a site are torn
    assert 0.1 < parts.test.mean() < 0.3 and set(parts.fold[~parts.test]) == {1, 2, 3, 4, 5}


def test_measured_by_file_and_by_segment(tmp_path):
    made = make(tmp_path / "index", {"x": np.ones((3, 4)), "y": np.ones((1, 4))})
    found = labels.onto(made, table(tmp_path / "l.csv", ("file", "labels"), [("x", "a"), ("y", "b")]))
    scores = np.array([[0.9, 0.1], [0.3, 0.7], [0.4, 0.6], [0.2, 0.8]])
    measured = probe.measure(found, np.ones(4, bool), scores, "ce")
    assert (measured.count, measured.what, measured.values["accuracy"]) == (2, "file", 1.0)
    rows = [("x", 0, 3, "a"), ("y", 0, 1, "b")]
    found = labels.onto(made, table(tmp_path / "l.csv", ("file", "start", "end", "label"), rows))
    measured = probe.measure(found, np.ones(4, bool), scores, "ce")
    assert (measured.count, measured.what, measured.values["accuracy"]) == (4, "segment", 0.5)
    assert probe.measure(found, np.zeros(4, bool), scores[:0], "ce") is None


def test_two_classes_and_several_labels(indexed, tones, tmp_path, command):
    names = [path for path in sorted(tones.rglob("*.wav")) if path.parent.name != "middle"]
    path = table(tmp_path / "l.csv", ("file", "labels"), [(path, path.parent.name) for path in names])
    status, said, _ = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 0 and "softmax" in said and "accuracy 100.0%" in said
    rows = [
        (path, "noise;deep" if path.parent.name == "low" else "noise" if i % 2 else "") for i, path in enumerate(names)
    ]
    path = table(tmp_path / "l.csv", ("file", "labels"), rows)
    status, said, _ = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 0 and "sigmoid" in said and "accuracy" not in said and "mAP" in said
    assert minast.load(tmp_path / "p.npz")[1].loss == "bce"


def test_too_few_files_to_hold_any_out(indexed, tones, tmp_path, command):
    rows = [(tones / name / "0.wav", name) for name in ("low", "high")]
    path = table(tmp_path / "l.csv", ("file", "labels"), rows)
    status, _, err = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 0 and "no file could be held out for testing" in err and os.path.exists(tmp_path / "p.npz")
    rows = [(path, path.parent.name) for path in sorted(tones.rglob("*.wav"))]
    rows = [(path, name, "test" if path.name == "0.wav" and name == "low" else "train") for path, name in rows]
    path = table(tmp_path / "l.csv", ("file", "labels", "split"), rows)
    status, said, _ = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz")
    assert status == 0 and "nan to nan" not in said
    assert ", without intervals, since all are of one file or group\n" in said


def test_evaluate_holds_out_the_files_that_probe_held_out(indexed, tones, tmp_path, command):
    """With events, too, which are parts of files: none of a file that was learnt from is a test clip."""
    files = sorted(tones.rglob("*.wav"))
    rows = [(path, 0.25 * k, 0.25 * k + 0.2, path.parent.name) for path in files for k in range(2)]
    path = table(tmp_path / "l.csv", ("file", "start", "end", "label"), rows)
    status, said, _ = command("probe", indexed / "index", path, "--out", tmp_path / "p.npz", "--seed", 3)
    assert status == 0 and "6 held-out segments" in said
    notes = minast.load(tmp_path / "p.npz")[1].notes
    seen = content.among(content.digests([str(path) for path in files]), content.unpack(notes["trained_on"]))
    assert seen.sum() == 24
    flags = {name: notes[name] for name in ("drawn_by", "validation")}  # with what evaluate draws
    data = open_dataset(path, 3, training=False, trained_on=content.unpack(notes["trained_on"]), **flags)
    tested = {clip.path for clip in data.of("test")}
    assert tested == {str(path) for path, own in zip(files, seen, strict=True) if not own}
    status, said, err = command("evaluate", tmp_path / "p.npz", path)
    assert status == 0 and "12 test clips" in said and "both sides" not in err


@pytest.fixture
def events(tones, tmp_path):
    """A table of 40 events in ten recordings, of some more than of others."""
    files = [tones / name / f"{i}.wav" for name, n in (("low", 4), ("middle", 3), ("high", 3)) for i in range(n)]
    counts = (1, 9, 2, 4, 8, 1, 3, 2, 7, 3)
    rows = [(f, 0.05 * k, 0.05 * k + 0.05, f.parent.name) for f, n in zip(files, counts, strict=True) for k in range(n)]
    return table(tmp_path / "events.csv", ("file", "start", "end", "label"), rows)


@pytest.mark.parametrize("seed", range(5))
def test_calibrate_and_evaluate_take_the_events_that_probe_held_out(sounds, events, tmp_path, command, seed):
    out = tmp_path / "p.npz"
    assert command("probe", sounds / "index", events, "--out", out, "--seed", seed)[0] == 0
    learnt = content.unpack(minast.load(out)[1].notes["trained_on"])
    clips = open_dataset(events, training=False).clips
    held = int((~content.among(content.digests(list(clips.paths())), learnt)).sum())
    status, _, err = command("calibrate", out, events, "--precision", 0.9)
    assert (status, err.count("\n")) == (0, 1) and "thresholds are chosen on the test clips" in err
    status, said, err = command("evaluate", out, events, "--raw")
    assert (status, err) == (0, "") and f"{40 - held} train, {held} test clips" in said


def test_calibrate_of_a_probe_that_learnt_from_everything(sounds, events, tmp_path, command):
    out = tmp_path / "p.npz"
    command("probe", sounds / "index", events, "--out", out, "--all")
    status, said, err = command("calibrate", out, events)
    assert (status, said) == (2, "") and err.count("\n") == 1, err  # no note on thresholds that are not chosen
    assert "has no clips in the test split: what the model did not learn from is for testing; --split all" in err
    assert command("calibrate", out, events, "--split", "all")[0] == 0


def test_new_recordings_are_for_testing_and_new_events_of_known_ones_are_not(sounds, events, tones, tmp_path, command):
    out = tmp_path / "p.npz"
    command("probe", sounds / "index", events, "--out", out)
    before = command("evaluate", out, events)[1]
    rows = [(path, 0.1, 0.2, path.parent.name) for path in (tones / "low" / "8.wav", tones / "high" / "9.wav")]
    known = minast.load(out)[1].notes["trained_on"]
    clips = open_dataset(events, training=False).clips
    seen = content.among(content.digests(list(clips.paths())), content.unpack(known))
    rows.append((clips.path(int(seen.argmax())), 0.33, 0.44, "low"))
    with open(events, "a", newline="", encoding="utf-8") as f:
        csv.writer(f).writerows(rows)
    train, test = seen.sum(), (~seen).sum()
    assert f"{train} train, {test} test clips" in before
    assert f"{train + 1} train, {test + 2} test clips" in command("evaluate", out, events)[1]


def test_calibrate_passes_over_validation_clips_that_a_probe_learnt_from(sounds, tones, tmp_path, command):
    names = sorted(tones.rglob("*.wav"))
    splits = ("train", "train", "valid", "test", "train")
    rows = [(path, path.parent.name, splits[i % 5]) for i, path in enumerate(names)]
    path = table(tmp_path / "l.csv", ("file", "labels", "split"), rows)
    assert command("probe", sounds / "index", path, "--out", tmp_path / "p.npz")[0] == 0
    status, _, err = command("calibrate", tmp_path / "p.npz", path)
    assert status == 0 and "thresholds are chosen on the test clips" in err


def test_folds_of_events(sounds, events, tmp_path, command):
    with open(events, newline="", encoding="utf-8") as f:
        header, *rows = csv.reader(f)
    folds = {file: 1 + i % 3 for i, file in enumerate(dict.fromkeys(row[0] for row in rows))}
    path = table(tmp_path / "f.csv", (*header, "fold"), [(*row, folds[row[0]]) for row in rows])
    status, said, _ = command("probe", sounds / "index", path, "--out", tmp_path / "p.npz", "--fold", 2)
    assert status == 0 and "(fold 2 of the table)" in said
    status, said, err = command("evaluate", tmp_path / "p.npz", path)
    assert (status, err) == (0, "") and f"{sum(folds[row[0]] == 2 for row in rows)} test clips" in said


def test_held_out_files_that_the_encoder_knows(indexed, whole, tmp_path, command):
    """The model of the index was trained with seed 0: of the files that another seed holds out it knows most."""
    status, _, err = command("probe", indexed / "index", whole, "--out", tmp_path / "p.npz", "--seed", 3)
    known = int(err.partition("was trained on ")[2].split()[0])
    assert status == 0 and f"trained on {known} of 6 held-out files: the figures below are too good" in err
    status, said, err = command("evaluate", tmp_path / "p.npz", whole)
    assert status == 0 and "24 train, 6 test clips" in said
    assert f"{known} of 6 clips of the test split are left out: the model was trained on them" in err


def test_labelled_files_that_are_gone(trained, tones, tmp_path, command):
    shutil.copytree(tones, tmp_path / "sounds")
    command("embed", trained / "best.npz", tmp_path / "sounds", "--out", tmp_path / "index")
    rows = [(path, path.parent.name) for path in sorted((tmp_path / "sounds").rglob("*.wav"))]
    path = table(tmp_path / "l.csv", ("file", "labels"), rows)
    shutil.rmtree(tmp_path / "sounds")
    status, _, err = command("probe", tmp_path / "index", path, "--out", tmp_path / "p.npz")
    assert status == 0 and "30 labelled files are not there any more: evaluate will not know" in err


# -- ESC-10 ----------------------------------------------------------------------------------------------------------


def test_esc10(shared_data, tmp_path, command):
    """90 % of fold 1, from the frozen middle of a ViT that has only seen images; 11 minutes on a busy machine."""
    start = tmp_path / "start.npz"
    size = ("--classes", 10, "--frames", 500, "--fstride", 16, "--tstride", 16)
    assert command("convert", shared_data / "vit_s16_dinov2_fp16.npz", start, *size)[0] == 0
    flags = ("--block", 6, "--pool", "both", "--out", tmp_path / "index")
    assert command("embed", start, shared_data / "esc10", *flags)[0] == 0
    files = sorted((shared_data / "esc10").rglob("*.ogg"))
    rows = [(path, path.parent.name.partition(" - ")[2], path.name[0]) for path in files]
    path = table(tmp_path / "l.csv", ("file", "labels", "fold"), rows)
    status, said, _ = command("probe", tmp_path / "index", path, "--out", tmp_path / "p.npz", "--fold", 1)
    assert status == 0 and "80 held-out files (fold 1 of the table)" in said
    assert float(said.partition("accuracy ")[2].partition("%")[0]) >= 90.0
    status, said, _ = command("evaluate", tmp_path / "p.npz", f"esc10:{shared_data / 'esc10'}", "--fold", 1)
    assert status == 0 and float(said.partition("accuracy ")[2].split("%")[0].split()[-1]) >= 88.0
