"""Suggestions: what is asked for, and that labels which were suggested teach more than random ones."""

import csv
import json

import numpy as np
import pytest

from minast.bench import suggested as experiment
from minast.embeddings import index as indexes
from minast.embeddings import labels, logistic
from minast.embeddings.probe import head_input
from minast.embeddings.suggest import doubt, suggested
from tests.embeddings.made import clusters, make
from tests.embeddings.test_probe import table

EPS = 1e-5


def test_doubt():
    p = np.array([[0.5, 0.5, 0.0], [1.0, 0.0, 0.0], [0.6, 0.1, 0.3]])
    np.testing.assert_allclose(doubt(p, "ce"), [1, 0, 0.7])
    np.testing.assert_allclose(doubt(np.array([[0.5, 1.0], [0.9, 0.0]]), "bce"), [1, 0.2])


def test_the_doubtful_and_different_come_first(tmp_path, monkeypatch):
    """Two clouds are sure; between them lie two, at different places of an axis that does not matter to the labels."""
    monkeypatch.setattr(indexes, "BLOCK", 7)
    rng = np.random.default_rng(0)
    x = 0.2 * rng.standard_normal((60, 8))
    x[:20, 0] += 3
    x[20:40, 1] += 3
    x[:40, 7] += 2 * rng.standard_normal(40)
    x[40:, :2] += 1.5
    x[40:50, 7], x[50:, 7] = 3, -3
    made = make(tmp_path / "index", {"x": x})
    known = np.r_[0:10, 20:30]
    found = logistic.fit(head_input(made.take(known), EPS), np.eye(2)[known // 20], "ce", 0.01)
    first = suggested(made, found, EPS, known, 2)
    assert {each.row // 10 for each in first} == {4, 5}
    assert all(0.5 <= each.probability <= 1 for each in first)
    rows = [each.row for each in suggested(made, found, EPS, known, 100)]
    assert sorted(rows) == sorted(set(range(60)) - set(known.tolist()))
    assert suggested(made, found, EPS, np.arange(60), 5) == []


@pytest.fixture
def skewed(tmp_path):
    """An index of clouds of which some are rare, and all labels."""
    x, y = clusters(np.random.default_rng(7), [400, 200, 100, 50, 25, 12, 12, 12], apart=1.6)
    made = make(tmp_path / "index", {f"{i}.wav": x[i : i + 1] for i in range(len(x))})
    return made, table(tmp_path / "l.csv", ("file", "labels"), [(f"{i}.wav", f"c{k}") for i, k in enumerate(y)])


def test_suggested_labels_beat_random_ones(skewed):
    made, path = skewed
    labelled = labels.onto(made, path)
    runs = [experiment.curves(made, labelled, "ce", EPS, seed, 16, 16, 4) for seed in range(5)]
    better = np.array([np.array(run["suggested"]) - run["random"] for run in runs])  # (seeds, rounds)
    assert (better[:, 0] == 0).all()  # both begin with the same
    assert (better[:, 1:].mean(axis=0) > 0.02).all() and (better[:, -1] > 0).all(), better


def test_the_experiment_writes_its_curve(indexed_path, tmp_path, tones, command):
    rows = [(path, path.parent.name) for path in sorted(tones.rglob("*.wav"))]
    path = table(tmp_path / "l.csv", ("file", "labels"), rows)
    flags = ("--seeds", 2, "--begin", 4, "--step", 4, "--rounds", 2)
    files = ("--json", tmp_path / "c.json", "--picture", tmp_path / "c.png")
    status, said, _ = command("bench.suggested", indexed_path, path, *flags, *files)
    assert status == 0 and said.count("labels: mAP suggested") == 3
    found = json.loads((tmp_path / "c.json").read_text())
    assert found["labels"] == [4, 8, 12] and np.shape(found["mAP"]["random"]) == (2, 3)
    assert (tmp_path / "c.png").read_bytes()[1:4] == b"PNG"


@pytest.fixture(scope="module")
def indexed_path(trained, tones, tmp_path_factory):
    from minast import embed

    out = tmp_path_factory.mktemp("suggest") / "index"
    assert embed.main([str(trained / "best.npz"), str(tones), "--out", str(out)]) == 0
    return out


def test_suggestions_become_labels(indexed_path, tones, tmp_path, command):
    names = sorted(tones.rglob("*.wav"))
    rows = [(path, 0.0, 0.5, path.parent.name) for path in names[::5]]
    path = table(tmp_path / "l.csv", ("file", "start", "end", "label"), rows)
    arguments = ("probe", indexed_path, path, "--out", tmp_path / "p.npz", "--suggest", 4)
    status, said, err = command(*arguments)
    assert status == 0 and "held-out files: the figures below are too good" in err  # the encoder is of these tones
    assert err.count("\n") == 1
    assert f"{tmp_path}/p.suggested.csv: 4 segments to label next" in said
    with open(tmp_path / "p.suggested.csv", newline="") as f:
        more = list(csv.DictReader(f))
    assert list(more[0]) == ["file", "start", "end", "label", "verdict", "heard", "score"]
    assert all(row["label"] == "" for row in more) and not {row["file"] for row in more} & set(map(str, names[::5]))
    status, _, err = command("probe", indexed_path, tmp_path / "p.suggested.csv", "--out", tmp_path / "q.npz")
    assert status == 2 and "no row has a label" in err
    for row in more[:2]:
        row["label"] = row["file"].split("/")[-2]
    rows += [tuple(row.values()) for row in more]  # as they are: what a table lacks is not read
    table(path, ("file", "start", "end", "label"), rows)
    status, said, err = command(*arguments)
    assert status == 0 and "8 labelled segments" in said and "2 rows have no label yet, and are left out" in err
