"""Many runs from one command: folds, seeds, stopping at any time, and what they say together."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

import minast
from minast import threads, train
from minast.pages.compare import entries
from minast.training import loop, many
from minast.training.learner import Learner
from minast.training.result import Result
from minast.training.summary import deviation, pooled, summarise

SHORT = ["--depth", "1", "--epochs", "2", "--batch", "6", "--lr", "1e-3"]


@pytest.fixture(scope="module")
def folds(tones, tmp_path_factory):
    """The tones in three folds: fold1/low/0.wav ... The folds are of different difficulty, none is perfect."""
    folder = tmp_path_factory.mktemp("folds")
    for path in sorted(tones.rglob("*.wav")):
        place = folder / f"fold{int(path.stem) % 3 + 1}" / path.parent.name
        place.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, place / path.name)
    return folder


@pytest.fixture(scope="module")
def done(folds, tmp_path_factory):
    """The folder of three folds with two seeds."""
    out = tmp_path_factory.mktemp("many") / "x"
    assert train.main([str(folds), "--folds", "all", "--seeds", "2", "--out", str(out), *SHORT]) == 0
    return out


NAMES = [f"fold{fold}-seed{seed}" for seed in (0, 1) for fold in (1, 2, 3)]


def summary(out):
    return json.loads((out / "summary.json").read_text())


def weights(out):
    return {name: minast.load(out / name / "last.npz", "numpy")[0].w.flat.copy() for name in NAMES}


def test_every_fold_is_the_test_set_once_for_each_seed(done, folds):
    assert sorted(os.listdir(done)) == sorted([*NAMES, "comparison.html", "plan.json", "summary.json"])
    found = summary(done)
    assert [(r["fold"], r["seed"]) for r in found["runs"]] == [(f, s) for s in (0, 1) for f in (1, 2, 3)]
    assert [r["clips"] for r in found["runs"]] == [12, 9, 9, 12, 9, 9] and found["finished"] == found["planned"] == 6
    for fold in (1, 2, 3):
        clips = Result.load(done / f"fold{fold}-seed0").clips
        assert clips and all(f"fold{fold}{os.sep}" in name for name in clips)
    assert found["pooled"]["clips"] == 30
    low, high = found["pooled"]["intervals"]["accuracy"]
    assert low <= found["pooled"]["measures"]["accuracy"] <= high


def test_means_and_deviations(done):
    found = summary(done)
    values = np.array([r["accuracy"] for r in found["runs"]]).reshape(2, 3)  # seeds, folds
    assert found["mean"]["accuracy"] == pytest.approx(values.mean())
    assert found["std"]["accuracy"] == pytest.approx(values.std(ddof=1))
    assert found["over_folds"]["accuracy"] == pytest.approx(values.mean(0).std(ddof=1))
    assert found["over_seeds"]["accuracy"] == pytest.approx(values.mean(1).std(ddof=1))


def test_a_run_is_the_command_with_fold_and_seed(done, folds, tmp_path):
    flags = [str(folds), "--fold", "2", "--seed", "1", *SHORT]
    assert train.main([*flags, "--out", str(tmp_path / "one")]) == 0
    alone = minast.load(tmp_path / "one" / "last.npz", "numpy")[0]
    assert np.array_equal(alone.w.flat, weights(done)["fold2-seed1"])


def test_ctrl_c_and_resume(done, folds, tmp_path, monkeypatch, command):
    """Stopped in the second run: the first is not repeated, and all end in the weights of runs never stopped."""
    out, step, steps = tmp_path / "x", Learner.step, []

    def stopping(self, *batch):
        steps.append(self.config.seed)
        if len(steps) == 8:  # 18 to 21 clips in batches of 6 for 2 epochs: 6 steps a run
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    monkeypatch.setattr(Learner, "step", stopping)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status, said, _ = command("train", folds, "--folds", "all", "--seeds", "2", "--out", out, *SHORT)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130 and "run 2 of 6: fold 2, seed 0" in said
    assert said.splitlines()[-2:] == [
        "Stopped in run 2 of 6; 1 is finished. Resume with:",
        f"  python -m minast.train --resume {out}",
    ]
    assert summary(out)["finished"] == 1
    status, said, _ = command("train", "--resume", out)
    assert status == 0 and "run 1 of 6" not in said and "run 2 of 6" in said and "run 6 of 6" in said
    assert len(steps) == 6 * 6
    mine, theirs = weights(out), weights(done)
    assert all(np.array_equal(mine[name], theirs[name]) for name in NAMES)
    status, said, _ = command("train", "--resume", out)  # nothing left to do: the results again
    assert status == 0 and len(steps) == 36 and "mean accuracy" in said and "pooled accuracy" in said


def test_killed_and_resumed(done, folds, tmp_path, command):
    """SIGKILL in the second run: what was finished stays, and all ends in the same weights."""
    out = tmp_path / "x"
    arguments = [sys.executable, "-m", "minast.train", folds, "--folds", "all", "--seeds", "2", "--out", out, *SHORT]
    root, deadline = Path(__file__).resolve().parents[2], time.time() + 120
    with subprocess.Popen(
        [*map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, cwd=root
    ) as process:
        while not (out / NAMES[1] / "last.npz").exists() and process.poll() is None and time.time() < deadline:
            time.sleep(0.01)
        process.kill()
        said = process.communicate()[0].decode()
    assert (out / NAMES[0] / "scores.npz").exists() and not (out / NAMES[5]).exists(), said
    before = (out / NAMES[0] / "last.npz").stat().st_mtime_ns
    assert command("train", "--resume", out)[0] == 0
    assert (out / NAMES[0] / "last.npz").stat().st_mtime_ns == before
    mine, theirs = weights(out), weights(done)
    assert all(np.array_equal(mine[name], theirs[name]) for name in NAMES) and summary(out)["finished"] == 6


def test_all_become_longer(folds, tmp_path, command):
    out = tmp_path / "x"
    assert command("train", folds, "--folds", "all", "--fold", "1", "--seeds", "2", "--out", out, *SHORT)[0] == 0
    assert [r["epoch"] for r in summary(out)["runs"]] == [2, 2]
    assert command("train", "--resume", out, "--epochs", "3")[0] == 0
    assert [r["epoch"] for r in summary(out)["runs"]] == [3, 3]


def test_longer_runs_elsewhere_are_stopped_and_resumed_as_advised(folds, tmp_path, command, monkeypatch):
    """What was given beside the first --resume holds for the runs that it did not come to."""
    out, old, new = tmp_path / "x", tmp_path / "old", tmp_path / "new"
    shutil.copytree(folds, old)
    assert command("train", old, "--folds", "all", "--out", out, *SHORT)[0] == 0
    old.rename(new)
    step, steps = Learner.step, []

    def stopping(self, *batch):
        steps.append(0)
        if len(steps) == 5:  # in the second run: three more steps each
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    monkeypatch.setattr(Learner, "step", stopping)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        status, said, _ = command("train", "--resume", out, "--epochs", "3", new)
    finally:
        signal.signal(signal.SIGINT, before)
    assert status == 130 and "Stopped in run 2 of 3; 1 is finished." in said
    status, said, err = command("train", "--resume", out)
    assert status == 0, err
    assert [r["epoch"] for r in summary(out)["runs"]] == [3, 3, 3] and summary(out)["finished"] == 3


def test_what_stands_beside_resume_is_what_counts(folds, tmp_path, command, monkeypatch):
    """Threads of the first command, patience 0, and no fewer epochs than there were."""
    out, seen = tmp_path / "x", []
    flags = ["--folds", "all", "--seeds", "1", "--threads", "1", "--out", out, *SHORT]
    monkeypatch.setenv("MINAST_THREADS", "2")
    assert command("train", folds, *flags)[0] == 0
    monkeypatch.setenv("MINAST_THREADS", "2")
    for fold in (2, 3):
        shutil.rmtree(out / f"fold{fold}-seed0")
    plan = json.loads((out / "plan.json").read_text())
    plan["options"]["patience"] = 5
    (out / "plan.json").write_text(json.dumps(plan))
    real = many.run_one

    def noting(flags, *arguments, **options):
        seen.append((threads.count(), flags.patience))
        return real(flags, *arguments, **options)

    monkeypatch.setattr(many, "run_one", noting)
    status, _, err = command("train", "--resume", out, "--epochs", "1")
    assert status == 2 and "which can only become more" in err
    assert json.loads((out / "plan.json").read_text())["options"]["epochs"] == 2
    assert command("train", "--resume", out, "--patience", "0")[0] == 0
    assert seen == [(1, 0)] * 2


def test_a_fold_that_is_not_tested_may_have_a_class_alone(folds, tmp_path, command):
    found = [(path, path.parent.name, int(path.parts[-3][-1])) for path in sorted(folds.rglob("*.wav"))]
    rows = [f"{path},{label},{fold}\n" for path, label, fold in found if label != "low" or fold == 1]
    (tmp_path / "m.csv").write_text("file,labels,fold\n" + "".join(rows))
    flags = ["--folds", "all", "--fold", "2", "--seeds", "2", "--out", tmp_path / "x", *SHORT]
    assert command("train", tmp_path / "m.csv", *flags)[0] == 0


def test_a_class_that_one_fold_has_alone_is_refused_before_the_first_run(folds, tmp_path, command):
    files = sorted(folds.rglob("*.wav"))
    rows = [f"{path},{path.parent.name},{'' if path.parent.name != 'low' else 'one'}\n" for path in files]
    (tmp_path / "m.csv").write_text("file,labels,group\n" + "".join(rows))
    status, _, err = command("train", tmp_path / "m.csv", "--folds", "3", "--out", tmp_path / "x", *SHORT)
    assert status == 2 and "all clips of class 'low' are in fold" in err and "two recordings or groups" in err
    assert not (tmp_path / "x").exists()
    found = [(path, path.parent.name, int(path.parts[-3][-1])) for path in files]
    rows = [f"{path},{label},{fold}\n" for path, label, fold in found if label != "low" or fold == 1]
    (tmp_path / "m.csv").write_text("file,labels,fold\n" + "".join(rows))
    status, _, err = command("train", tmp_path / "m.csv", "--folds", "all", "--out", tmp_path / "x", *SHORT)
    assert status == 2 and "all clips of class 'low' are in fold 1" in err


def test_a_run_that_blows_up_does_not_stop_the_others(folds, tmp_path, monkeypatch, command):
    real = loop.train

    def one_fails(run):
        if run.settings.fold == 2:
            raise loop.not_finite(run, 1, "the loss is nan")
        real(run)

    monkeypatch.setattr(loop, "train", one_fails)
    status, said, err = command("train", folds, "--folds", "all", "--out", tmp_path / "x", *SHORT)
    assert status == 2 and "1 of 3 runs did not end well: fold2-seed0." in err and "fold 2, seed 0: step 1" in err
    assert summary(tmp_path / "x")["finished"] == 2 and "2 of 3 runs are finished" in said


def test_all_folds_have_what_was_fitted_to_the_first(tmp_path, command):
    """Clips of the folds differ in length and number: the runs are still repetitions, one entry when compared."""
    rng = np.random.default_rng(0)
    for fold, count, seconds in ((1, 9, 0.9), (2, 6, 0.5), (3, 5, 0.4)):
        for label in ("hiss", "hum"):
            (folder := tmp_path / "data" / f"fold{fold}" / label).mkdir(parents=True)
            for i in range(count):
                wave = rng.standard_normal(int(8000 * seconds)) * 0.1
                soundfile.write(folder / f"{label}{i}.wav", wave if label == "hiss" else np.cumsum(wave) / 50, 8000)
    out = tmp_path / "x"
    flags = ["--folds", "all", "--depth", "1", "--epochs", "1", "--batch", "6"]
    assert command("train", tmp_path / "data", "--out", out, *flags)[0] == 0
    records = [json.loads((out / f"fold{fold}-seed0" / "report.json").read_text()) for fold in (1, 2, 3)]
    assert len({(r["features"]["frames"], r["settings"]["time_mask"]["value"]) for r in records}) == 1
    assert len({r["features"]["mean"] for r in records}) == 3  # which is measured on each fold's training clips
    assert len(entries(records)) == 1
    plan = json.loads((out / "plan.json").read_text())
    assert plan["fitted"]["frames"] == records[0]["features"]["frames"] and plan["fitted"]["preset"] == "nano"
    shutil.rmtree(out / "fold3-seed0")
    assert command("train", "--resume", out, "--epochs", "2")[0] == 0
    again = json.loads((out / "fold3-seed0" / "report.json").read_text())
    assert again["features"]["frames"] == records[0]["features"]["frames"]
    assert again["settings"]["epochs"]["value"] == 2


def test_seeds_share_the_split(tones, tmp_path, command):
    out = tmp_path / "x"
    assert command("train", tones, "--seeds", "2", "--seed", "3", "--out", out, *SHORT)[0] == 0
    one, other = (Result.load(out / f"seed{seed}") for seed in (3, 4))
    assert one.clips == other.clips and not np.array_equal(one.scores, other.scores)
    info = minast.load(out / "seed4" / "best.npz")[1]
    assert info.notes["seed"] == 3  # what draws the split: evaluate finds the same test clips


def test_drawn_folds_are_a_partition_that_evaluate_finds_again(tones, tmp_path, command):
    out = tmp_path / "x"
    assert command("train", tones, "--folds", "3", "--validation", "0.2", "--out", out, *SHORT)[0] == 0
    found = [Result.load(out / f"fold{fold}-seed0").clips for fold in (1, 2, 3)]
    assert len({name for names in found for name in names}) == sum(map(len, found)) == 30
    info = minast.load(out / "fold2-seed0" / "best.npz")[1]
    assert info.notes["folds"] == 3 and info.notes["validation"] == 0.2 and info.notes["fold"] == 2
    status, said, _ = command("evaluate", out / "fold2-seed0" / "best.npz", tones, "--raw", "--json")
    assert status == 0 and json.loads(said)["clips"] == len(found[1]) and json.loads(said)["trained_on"] == 0
    row = summary(out)["runs"][1]
    assert json.loads(said)["accuracy"] == pytest.approx(row["accuracy"])
    assert json.loads(said)["AUC"] == pytest.approx(row["AUC"])


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--folds", "2"], "comes in 3 folds: give --folds all."),
        (["--folds", "1"], "--folds is 1: it must be a whole number from 2"),
        (["--folds", "some"], "--folds is 'some'"),
        (["--seeds", "0"], "--seeds is 0"),
    ],
)
def test_refusals(folds, tmp_path, command, flags, words):
    status, _, err = command("train", folds, "--out", tmp_path / "x", *flags)
    assert status == 2 and words in err and err.count("\n") == 1 and not (tmp_path / "x").exists()


def test_a_classifier_is_one_model(folds):
    for options in ({"folds": "all"}, {"seeds": 2}):
        with pytest.raises(minast.Error, match="folds and seeds train many models, a classifier is one"):
            minast.Classifier.fit(folds, **options)


def test_refusals_of_a_folder_of_runs(done, tones, command, tmp_path):
    for arguments, words in [
        ([tones, "--folds", "all", "--out", tmp_path / "y"], "has no folds of its own: give the number to draw"),
        ([tones, "--out", done], "already holds a training run: continue it with --resume"),
        (["--resume", done, "--lr", "1"], "leave out --lr."),
    ]:
        status, _, err = command("train", *arguments)
        assert status == 2 and words in err, (arguments, err)
    (tmp_path / "z").mkdir()
    (tmp_path / "z" / "plan.json").write_text("{")
    status, _, err = command("train", "--resume", tmp_path / "z")
    assert status == 2 and "this plan of runs cannot be read" in err and err.count("\n") == 1


# -- the arithmetic ------------------------------------------------------------------------------------------------


def result(right, clips, groups=None):
    """A result over two classes in which the clips `right` are right."""
    targets = np.eye(2)[[i % 2 for i in range(len(clips))]]
    scores = np.array([t if ok else 1 - t for t, ok in zip(targets, right, strict=True)]) * 0.8 + 0.1
    return Result(scores, targets, clips, groups or [""] * len(clips), ["a", "b"], "test", "ce", 1, 1, 2.0)


def test_the_pooled_interval_draws_clips_with_all_their_seeds():
    """A second seed that says the same makes the interval no narrower."""
    rng = np.random.default_rng(0)
    right, clips = rng.random(200) < 0.8, [str(i) for i in range(200)]
    one, twice = pooled([result(right, clips)]), pooled([result(right, clips), result(right, clips)])
    assert one["clips"] == twice["clips"] == 200 and one["measures"] == twice["measures"]
    widths = [np.diff(each["intervals"]["accuracy"])[0] for each in (one, twice)]
    assert widths[1] == pytest.approx(widths[0], rel=0.25) and 0.08 < widths[0] < 0.14  # 2 * 1.96 * 0.028
    halves = pooled([result(right[:100], clips[:100]), result(right[100:], clips[100:])])
    assert halves["measures"] == one["measures"]


def test_groups_are_drawn_whole():
    """Ten speakers whose clips are all right or all wrong: ten coins, not two hundred."""
    right = np.repeat([1, 1, 1, 1, 1, 1, 1, 1, 0, 0], 20)
    clips, groups = [str(i) for i in range(200)], [f"s{i // 20}" for i in range(200)]
    found = pooled([result(right, clips, groups)])
    assert found["groups"] == 10 and np.diff(found["intervals"]["accuracy"])[0] > 0.35


def test_results_that_do_not_belong_together():
    one, other = result([1, 0], ["0", "1"]), result([1, 0], ["0", "1"])
    other.labels = ["a", "c"]
    with pytest.raises(minast.Error, match="different labels"):
        summarise("x", [(None, 0, "seed0", one), (None, 1, "seed1", other)], 2)
    runs = [(None, seed, f"seed{seed}", one) for seed in (10, 2, 9)]
    assert summarise("x", runs, 3)["seeds"] == [2, 9, 10]  # as numbers
    assert deviation([1.0]) is None and deviation([1.0, 3.0]) == pytest.approx(2**0.5)
