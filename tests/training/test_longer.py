"""Runs with a validation split: which epoch is used, patience, and runs that are made longer."""

import csv
import json
import shutil

import numpy as np
import pytest

import minast
from minast.checkpoint import load_state
from minast.training import loop
from minast.training.result import Result

SHORT = ["--depth", "1", "--batch", "6", "--lr", "1e-3"]


@pytest.fixture(scope="module")
def splits(tones, tmp_path_factory):
    """The tones with the three splits given by folders: train/low/0.wav ..."""
    folder = tmp_path_factory.mktemp("splits")
    for path in sorted(tones.rglob("*.wav")):
        split = {8: "valid", 9: "test"}.get(int(path.stem), "train")
        (folder / split / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copy(path, folder / split / path.parent.name / path.name)
    return folder


@pytest.fixture
def accuracies(monkeypatch):
    """accuracies(0.1, 0.9, ...): what each epoch is said to have on the clips that are scored after it."""
    real = loop.validate

    def give(*values):
        def validate(run, epoch, lr, clock):
            return real(run, epoch, lr, clock) | {"accuracy": values[epoch]}

        monkeypatch.setattr(loop, "validate", validate)

    return give


def weights(path):
    return minast.load(path, "numpy")[0].w.flat


def test_the_best_epoch_is_chosen_on_validation_clips(splits, tmp_path, command, accuracies):
    accuracies(0.5, 0.9, 0.7)
    status, said, _ = command("train", splits, "--out", tmp_path / "run", "--epochs", "3", *SHORT)
    assert status == 0 and "epoch 2 of 3  loss" in said and "validation: loss" in said
    line = next(line for line in said.splitlines() if line.startswith("test: "))
    assert "on 3 test clips, scored once; epoch 2 of 3 was chosen on 3 validation clips (accuracy 90.00% there)" in line
    info = minast.load(tmp_path / "run" / "best.npz")[1]
    assert len(info.history) == 2
    with open(tmp_path / "run" / "history.csv", newline="") as f:
        assert [row["scored"] for row in csv.DictReader(f)] == ["validation"] * 3
    found = Result.load(tmp_path / "run")
    assert (found.split, found.epoch, len(found.clips)) == ("test", 2, 3)
    assert all("test" in name for name in found.clips)
    report = json.loads((tmp_path / "run" / "report.json").read_text())
    assert report["result"]["epoch"] == 2 and report["result"]["chosen"] is True


def test_without_a_validation_split_nothing_is_chosen(tones, tmp_path, command, accuracies):
    accuracies(0.5, 0.9, 0.7)
    manifest = ["file,labels,split"]
    for path in sorted(tones.rglob("*.wav")):
        manifest.append(f"{path},{path.parent.name},{'test' if int(path.stem) > 7 else 'train'}")
    (tmp_path / "m.csv").write_text("\n".join(manifest))
    status, said, _ = command("train", tmp_path / "m.csv", "--out", tmp_path / "run", "--epochs", "3", *SHORT)
    assert status == 0 and "after the last epoch, 3: nothing was chosen on these clips" in said
    assert np.array_equal(weights(tmp_path / "run" / "best.npz"), weights(tmp_path / "run" / "last.npz"))
    with open(tmp_path / "run" / "history.csv", newline="") as f:
        assert [row["scored"] for row in csv.DictReader(f)] == ["test"] * 3


# -- patience ------------------------------------------------------------------------------------------------------


def test_patience(splits, tmp_path, command, accuracies):
    accuracies(0.5, 0.9, 0.7, 0.9, 0.8, 1.0)  # epoch 4 has a higher loss or a lower one: either way it ends by epoch 6
    flags = ["--epochs", "6", "--patience", "2", *SHORT]
    status, said, _ = command("train", splits, "--out", tmp_path / "run", *flags)
    history = minast.load(tmp_path / "run" / "last.npz")[1].history
    best = 4 if history[3:] and history[3]["valid_loss"] < history[1]["valid_loss"] else 2
    ended = 4 if best == 2 else 6
    assert status == 0 and len(history) == ended
    if ended == 4:
        words = "stopped after epoch 4 of 6: none of the last 2 epochs was better on the validation clips than epoch 2"
        assert words in said
    status, said, _ = command("train", "--resume", tmp_path / "run")
    assert status == 0 and len(minast.load(tmp_path / "run" / "last.npz")[1].history) == ended


def test_out_of_patience_and_more_of_it(splits, tmp_path, command, accuracies):
    accuracies(0.9, 0.5, 0.6, 0.7)
    flags = ["--epochs", "4", "--patience", "1", *SHORT]
    status, said, err = command("train", splits, "--out", tmp_path / "run", *flags)
    assert status == 0 and "stopped after epoch 2 of 4: it was not better on the validation clips than epoch 1" in said
    status, said, err = command("train", "--resume", tmp_path / "run", "--epochs", "4")
    assert "the run had stopped out of patience after epoch 2: a larger --patience" in err
    status, said, _ = command("train", "--resume", tmp_path / "run", "--patience", "0")
    assert status == 0 and len(minast.load(tmp_path / "run" / "last.npz")[1].history) == 4


def test_more_patience_for_many_runs(splits, tmp_path, command, accuracies):
    """Those that had stopped out of the old one go on; those that have done all epochs stay."""
    accuracies(0.9, 0.5, 0.4, 0.95)
    flags = ["--epochs", "4", "--patience", "1", "--seeds", "2", *SHORT]
    assert command("train", splits, "--out", tmp_path / "x", *flags)[0] == 0
    done = [minast.load(tmp_path / "x" / f"seed{k}" / "last.npz")[1].history for k in (0, 1)]
    assert [len(each) for each in done] == [2, 2]
    assert command("train", "--resume", tmp_path / "x", "--patience", "0")[0] == 0
    done = [minast.load(tmp_path / "x" / f"seed{k}" / "last.npz")[1].history for k in (0, 1)]
    assert [len(each) for each in done] == [4, 4]
    before = [(tmp_path / "x" / f"seed{k}" / "last.npz").stat().st_mtime_ns for k in (0, 1)]
    assert command("train", "--resume", tmp_path / "x")[0] == 0
    assert before == [(tmp_path / "x" / f"seed{k}" / "last.npz").stat().st_mtime_ns for k in (0, 1)]


def test_patience_needs_a_validation_split(tones, tmp_path, command):
    manifest = ["file,labels,split"]
    for path in sorted(tones.rglob("*.wav")):
        manifest.append(f"{path},{path.parent.name},{'test' if int(path.stem) > 7 else 'train'}")
    (tmp_path / "m.csv").write_text("\n".join(manifest))
    status, _, err = command("train", tmp_path / "m.csv", "--out", tmp_path / "run", "--patience", "2")
    assert status == 2 and "add --validation 0.2, which draws one" in err and not (tmp_path / "run").exists()


# -- longer --------------------------------------------------------------------------------------------------------


def test_milestones_simply_go_on(splits, tmp_path, command):
    """Two epochs and then two more are four epochs, bit for bit: the schedule does not depend on the end."""
    flags = [*SHORT, "--schedule", "milestones", "--milestones", "1", "1", "0.5", "--warmup", "0"]
    assert command("train", splits, "--out", tmp_path / "a", "--epochs", "4", *flags)[0] == 0
    assert command("train", splits, "--out", tmp_path / "b", "--epochs", "2", *flags)[0] == 0
    assert command("train", "--resume", tmp_path / "b", "--epochs", "4")[0] == 0
    assert np.array_equal(weights(tmp_path / "a" / "last.npz"), weights(tmp_path / "b" / "last.npz"))
    assert load_state(tmp_path / "b" / "last.npz")["settings"]["train"]["epochs"] == 4


def test_a_cosine_goes_on_where_the_longer_one_is(splits, tmp_path, command):
    for name, epochs in (("long", 4), ("run", 2)):
        assert command("train", splits, "--out", tmp_path / name, "--epochs", epochs, *SHORT)[0] == 0
    status, said, _ = command("train", "--resume", tmp_path / "run", "--epochs", "4")
    assert status == 0 and "4 epochs instead of 2: the learning rate goes on at" in said
    assert "scored again, since the run is longer now" in said and "scored once" not in said
    rates = {n: [row["lr"] for row in minast.load(tmp_path / n / "last.npz")[1].history] for n in ("long", "run")}
    assert rates["run"][2:] == rates["long"][2:] and rates["run"][1] < rates["run"][2]


def test_a_run_does_not_become_shorter(splits, tmp_path, command):
    assert command("train", splits, "--out", tmp_path / "run", "--epochs", "2", *SHORT)[0] == 0
    status, _, err = command("train", "--resume", tmp_path / "run", "--epochs", "1")
    assert status == 2 and "is a run of 2 epochs, which can only become more" in err


def test_tensorboard(splits, tmp_path, command):
    pytest.importorskip("tensorboardX")
    out = tmp_path / "run"
    assert command("train", splits, "--out", out, "--epochs", "2", "--tensorboard", *SHORT)[0] == 0
    events = list((out / "tensorboard").iterdir())
    assert len(events) == 1 and b"epoch/validation_accuracy" in events[0].read_bytes()
    assert command("train", "--resume", out, "--epochs", "3")[0] == 0  # it goes on without being asked again
    assert len(list((out / "tensorboard").iterdir())) == 2


def test_tensorboard_that_is_not_installed(splits, tmp_path, command, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, err = command("train", splits, "--out", tmp_path / "run", "--tensorboard")
    assert status == 2 and "--tensorboard needs tensorboardX, which is not installed: pip install tensorboardX." in err


def test_a_log_says_how_far_a_long_epoch_is(splits, tmp_path, command, monkeypatch):
    monkeypatch.setattr(loop, "SILENCE", 0)
    status, said, _ = command("train", splits, "--out", tmp_path / "run", "--epochs", "2", *SHORT)
    assert status == 0 and "epoch 1 of 2, step 2 of 4  loss" in said and "left" in said
