"""Weights averaged over epochs: the mean of what each epoch left, whatever came between."""

import os
import signal

import numpy as np
import pytest

import minast
from minast import optim, train
from minast.checkpoint import load_state
from minast.errors import Error
from minast.training import averaging, run_folder
from tests.conftest import TINY_RUN

FLAGS = [*TINY_RUN, "--average-from", "2"]


@pytest.fixture
def model():
    return minast.AST(minast.ModelConfig(dim=8, depth=1, heads=2, mel_bins=16, frames=26, classes=3), "numpy")


@pytest.fixture
def after(monkeypatch):
    """The weights that each epoch leaves."""
    kept, real = [], run_folder.keep

    def noting(run, row):
        kept.append(run.learner.model.w.flat.copy())
        real(run, row)

    monkeypatch.setattr(run_folder, "keep", noting)
    return kept


def weights(path):
    return minast.load(path, "numpy")[0].w.flat


def test_the_mean_in_float64(model):
    rng, average = np.random.default_rng(0), averaging.WeightAverage(model, 3)
    with pytest.raises(Error, match="no epoch"):
        average.mean()
    every = rng.standard_normal((200, model.w.flat.size)).astype(np.float32)
    for one in every:
        model.w.flat[...] = one
        average.add()
    exact = every.astype(np.longdouble).mean(axis=0)
    assert np.array_equal(average.mean(), exact.astype(np.float32)) and average.last == 202
    with average.applied():
        assert np.array_equal(model.w.flat, average.mean())
    assert np.array_equal(model.w.flat, every[-1])


def test_best_holds_the_average_and_last_the_last_epoch(tones, tmp_path, after, capsys):
    assert train.main([str(tones), "--out", str(tmp_path / "run"), *FLAGS]) == 0
    assert len(after) == 3 and "weights averaged over epochs 2 to 3" in capsys.readouterr().out
    mean = ((after[1].astype(float) + after[2]) / 2).astype(np.float32)
    assert np.array_equal(weights(tmp_path / "run" / "best.npz"), mean)
    assert np.array_equal(weights(tmp_path / "run" / "last.npz"), after[2])
    assert minast.load(tmp_path / "run" / "best.npz")[1].notes["averaged"] == [2, 3]
    assert "averaged" not in minast.load(tmp_path / "run" / "last.npz")[1].notes


@pytest.mark.parametrize("stop_at", [6, 8, 10])
def test_it_is_resumed_bit_for_bit(tones, tmp_path, monkeypatch, stop_at):
    assert train.main([str(tones), "--out", str(tmp_path / "a"), *FLAGS]) == 0
    step = optim.Adam.step

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == stop_at:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(optim.Adam, "step", stopping)
    assert train.main([str(tones), "--out", str(tmp_path / "b"), *FLAGS]) == 130
    monkeypatch.setattr(optim.Adam, "step", step)
    assert train.main(["--resume", str(tmp_path / "b")]) == 0
    for name in ("best.npz", "last.npz"):
        assert np.array_equal(weights(tmp_path / "a" / name), weights(tmp_path / "b" / name)), name
    states = [load_state(tmp_path / run / "last.npz") for run in "ab"]
    assert np.array_equal(states[0]["average"], states[1]["average"]) and states[0]["averaged"] == 2


def test_what_is_no_average(model):
    average = averaging.WeightAverage(model, 1)
    for state, message in (
        ({}, "one number for each of"),
        ({"average": average.sum[1:], "averaged": 1}, "one number for each of"),
        ({"average": average.sum + np.nan, "averaged": 1}, "NaN"),
        ({"average": average.sum, "averaged": -1}, "averaged is -1"),
    ):
        with pytest.raises(Error, match=message):
            average.load_state(state)
    assert averaging.new_average(model, 0) is None
    with pytest.raises(Error, match="average_from is 30: it must be at most the last epoch, 25"):
        minast.TrainConfig(average_from=30)
