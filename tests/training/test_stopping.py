"""Training that is stopped, at any time: what it says, what it leaves, how it goes on."""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

import minast
from minast import optim, train
from minast.checkpoint import load_state
from minast.training.learner import Learner
from tests.conftest import TINY_RUN
from tests.emulated import needs_emulator
from tests.training.test_train import history


def test_ctrl_c_in_a_real_process(tones, tmp_path):
    command = [
        sys.executable,
        "-m",
        "minast.train",
        str(tones),
        "--out",
        str(tmp_path / "run"),
        "--epochs",
        "500",
        "--depth",
        "1",
    ]
    root = Path(__file__).resolve().parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=root) as process:
        deadline = time.time() + 60
        while not (tmp_path / "run" / "last.npz").exists() and time.time() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "nothing is lost" in out and "--resume" in out and "Traceback" not in err
    assert load_state(tmp_path / "run" / "last.npz")["counters"]["step"] > 0


def test_a_start_that_fails_leaves_no_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        with pytest.raises(minast.Error):
            train.main(["--pretrained", "nothere.npz"])
    assert os.listdir(tmp_path) == []


PLACES = ["start.open_dataset", "building.AST", "run.FeatureCache", "loop.Prefetcher"]  # as a run comes to them


@pytest.fixture
def stopping_at(monkeypatch):
    """stopping_at("building.AST", SIGINT): the signal comes when `training.start` calls `AST`."""

    def patch(place, number):
        module, _, name = place.rpartition(".")
        module = getattr(minast.training, module)
        real = getattr(module, name)

        def stopping(*args, **options):
            os.kill(os.getpid(), number)
            if name == "Prefetcher":  # inside the Stopper, where the first one only asks
                os.kill(os.getpid(), number)
            return real(*args, **options)

        monkeypatch.setattr(module, name, stopping)

    return patch


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("place", PLACES)
def test_stopped_before_the_first_step(tones, tmp_path, stopping_at, command, place, number):
    """One sentence, and no folder but the user's own."""
    before = signal.getsignal(signal.SIGTERM)
    stopping_at(place, number)
    for out in (tmp_path / "new", tmp_path):
        status, said, err = command("train", tones, "--out", out, *TINY_RUN)
        assert (status, said.splitlines()[-1]) == (
            128 + number,
            "Stopped before the first step: nothing was trained yet. Run the same command again.",
        )
        assert "stopped" not in err and os.listdir(tmp_path) == []
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("place", ["resume.open_dataset", *PLACES[2:]])
def test_stopped_before_the_first_step_of_a_resumed_run(trained, stopping_at, command, place, number):
    files = {path: path.read_bytes() for path in trained.iterdir()}
    stopping_at(place, number)
    longer = ["--epochs", "4"] if place == "loop.Prefetcher" else []  # the run is finished, so no step would begin
    status, said, err = command("train", "--resume", trained, *longer)
    last = f"Stopped: nothing in {trained} has changed. Run the same command again to continue."
    assert (status, said.splitlines()[-1]) == (128 + number, last) and "stopped" not in err
    assert files == {path: path.read_bytes() for path in trained.iterdir()}


@pytest.mark.parametrize(
    ("step", "words"),
    [
        (2, "Stopped after step 2: nothing was saved yet. Run the same command again."),
        (6, "Stopped after step 6 of 12; the steps after step 4 are lost. Resume with:"),
    ],
)
def test_stopped_at_once(tones, trained, tmp_path, monkeypatch, command, step, words):
    """The second Ctrl-C, in the middle of a step: what is said is what --resume then does."""
    take = Learner.step

    def stopping(self, *batch):
        if self.optimizer.t == step:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGINT)
        return take(self, *batch)

    monkeypatch.setattr(Learner, "step", stopping)
    status, said, _ = command("train", tones, "--out", tmp_path / "run", *TINY_RUN)
    assert status == 130 and words in said.splitlines()
    assert (tmp_path / "run").exists() == ("--resume" in said)
    if step == 6:
        monkeypatch.undo()
        assert train.main(["--resume", str(tmp_path / "run")]) == 0
        assert history(tmp_path / "run") == history(trained)


def test_held_out_clips_that_cannot_be_read_leave_no_folder(tones, tmp_path, monkeypatch, command):
    def unreadable(*args, **options):
        raise minast.Error("a.wav: this is no sound.")

    monkeypatch.setattr("minast.training.run.FeatureCache", unreadable)
    status, _, err = command("train", tones, "--out", tmp_path / "run", *TINY_RUN)
    assert (status, err) == (2, "minast: a.wav: this is no sound.\n") and os.listdir(tmp_path) == []


def test_data_that_moved_are_found_by_the_printed_command(tones, tmp_path, monkeypatch, command):
    begun, moved, step = tmp_path / "begun", tmp_path / "moved", optim.Adam.step
    shutil.copytree(tones, begun)

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t in (2, 3):
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert command("train", begun, "--out", tmp_path / "run", *TINY_RUN)[0] == 130
    begun.rename(moved)
    status, said, _ = command("train", "--resume", tmp_path / "run", moved)
    assert status == 130 and said.endswith(f"python -m minast.train --resume {tmp_path / 'run'}\n")
    assert command("train", "--resume", tmp_path / "run")[0] == 0


@needs_emulator
def test_ctrl_c_in_an_emulated_kernel_lets_the_step_end(tones, tmp_path, monkeypatch, command):
    taken, take = [], Learner.step

    def stopping(*args):
        taken.append(args)
        if len(taken) == 2:
            threading.Timer(0.005, os.kill, (os.getpid(), signal.SIGINT)).start()
        return take(*args)

    for name in ("low", "high"):
        shutil.copytree(tones / name, tmp_path / "few" / name, ignore=shutil.ignore_patterns("[6-9].wav"))
    monkeypatch.setattr(Learner, "step", stopping)
    flags = ["--depth", "1", "--epochs", "2", "--batch", "3", "--frames", "32", "--backend", "emulator"]
    status, said, _ = command("train", tmp_path / "few", "--out", tmp_path / "run", *flags)
    assert status == 130 and "; nothing is lost. Resume with:" in said
