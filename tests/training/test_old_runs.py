"""A run stopped by version 0.1.0, whose settings have the old names: it resumes and ends where that version ended."""

import json
import shutil

import numpy as np
import pytest

import minast
from minast import scoring, train
from minast.checkpoint import load_state
from minast.config import RENAMED, TrainConfig
from minast.features import model_inputs
from tests.golden.make_run import HERE, STEPS, STOP, write_sounds


@pytest.fixture
def resumed(tmp_path, monkeypatch):
    """The output folder of the old run after `--resume`."""
    monkeypatch.setenv("MINAST_THREADS", "1")  # as the run had it; put back by monkeypatch
    (tmp_path / "sounds").mkdir()
    (tmp_path / "run").mkdir()
    shutil.copy(HERE / "last.npz", tmp_path / "run")
    before = load_state(tmp_path / "run" / "last.npz")
    assert before["counters"]["step"] == STOP and set(RENAMED) <= set(before["settings"]["train"])
    sounds = write_sounds(tmp_path / "sounds")
    assert train.main(["--resume", str(tmp_path / "run"), str(sounds)]) == 0
    return tmp_path / "run"


@pytest.fixture
def without_tails(monkeypatch):
    """Validation as it was: a rest of less than half a segment was left out (here: 2 frames of 38)."""
    monkeypatch.setattr(scoring, "model_inputs", lambda mel, features: model_inputs(mel[: features.frames], features))


def test_it_ends_with_the_weights_of_the_old_code(without_tails, resumed):
    model, info = minast.load(resumed / "last.npz", "numpy")
    finished = np.load(HERE / "finished.npz")
    for name, view in model.w.items():
        np.testing.assert_allclose(view, finished[name], rtol=0, atol=1e-6, err_msg=name)
    history = json.loads(finished["history"].item())
    assert len(info.history) == len(history) == 4
    for mine, theirs in zip(info.history, history, strict=True):
        for name in ("lr", "train_loss", "train_top1", "valid_loss", "mAP"):
            assert mine[name] == pytest.approx(theirs[name], abs=1e-6), name


def test_its_settings_get_the_new_names(resumed):
    state = load_state(resumed / "last.npz")
    assert state["counters"]["step"] == STEPS
    saved = state["settings"]["train"]
    assert not set(RENAMED) & set(saved)
    config = TrainConfig.from_saved(saved)
    assert (config.max_grad_norm, config.grad_accum, config.activation_checkpointing) == (0.05, 2, True)
    assert config.betas == (0.9, 0.999)  # a tuple again
