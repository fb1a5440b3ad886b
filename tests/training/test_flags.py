"""The flags of train: help that keeps its word, names of earlier versions, and the same as keyword arguments."""

import argparse
import os
import re
import signal
from pathlib import Path

import numpy as np
import pytest

import minast
from minast import threads, train
from minast.config import RENAMED, TrainConfig
from minast.training import flags
from minast.training.learner import Learner
from tests.conftest import TINY_RUN


def test_every_setting_has_a_flag_of_its_name():
    given = vars(flags.parser().parse_args([]))
    assert set(vars(TrainConfig())) <= set(given) and not set(RENAMED) & set(given)
    assert all(value in (None, False) for value in given.values())  # nothing is given: the recipe decides


def test_help_states_each_default():
    without = ("help", "resume", "pretrained")  # and flags without a value
    for action in flags.parser()._actions:
        if action.dest not in without and action.nargs != 0 and action.help != argparse.SUPPRESS:
            assert "(default: " in action.help, action.dest
    said = " ".join(flags.parser().format_help().split())
    assert "maximum gradient norm; 0 disables clipping (default: 1)" in said
    assert all(flags.flag(old) not in said.split() for old in RENAMED)


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_old_flags_are_refused_with_their_new_name(old, new):
    for arguments in ([flags.flag(old)], [flags.flag(old), "2"], ["sounds", f"{flags.flag(old)}=2"]):
        with pytest.raises(minast.Error, match=f"^{flags.flag(old)} is now {flags.flag(new)}\\.$"):
            train.main(arguments)


def test_keywords_are_flags():
    words = "sounds --epochs 3 --lr 0.1 --mean -4.25 --betas 0.8 0.9 --noise --out a --max-grad-norm 0"
    options = {"epochs": 3, "lr": 0.1, "mean": -4.25, "betas": (0.8, 0.9), "noise": True, "out": Path("a")}
    options |= {"max_grad_norm": np.float32(0), "no_cache": False, "time_mask": None}
    parsed = flags.from_keywords(Path("sounds"), **options)
    assert parsed == flags.parser().parse_args(words.split())
    assert flags.from_keywords(None, resume="x") == flags.parser().parse_args(["--resume", "x"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"epoch": 3}, "no option 'epoch': did you mean 'epochs'?"),
        ({"max_gradient_norm": 1}, "did you mean 'max_grad_norm'?"),
        ({"xyz": 1}, "no option 'xyz': choose from "),
        ({"clip": 1.0}, "the option 'clip' is now 'max_grad_norm'"),
        ({"epochs": "many"}, "--epochs is 'many': it must be a whole number from 1 to 1000000."),
        ({"preset": "huge"}, "--preset is 'huge': choose from"),
        ({"betas": (0.1, 0.2, 0.3)}, "nothing takes '0.3'"),
        ({"noise": 3}, "--noise"),
        ({"epochs": True}, "--epochs: expected one argument"),
        ({"lr": -1}, "--lr is -1: it must be a number, above 0"),
    ],
)
def test_options_that_fit_refuses(options, words, tmp_path):
    with pytest.raises(minast.Error, match=re.escape(words)):
        train.fit("builtin", out=tmp_path / "run", **options)
    assert not (tmp_path / "run").exists()


def test_fit_is_the_command(tones, trained, tmp_path, capsys):
    """The same weights and the same words; the flags of TINY_RUN as keywords."""
    keywords = {
        name.removeprefix("--"): float(value) for name, value in zip(TINY_RUN[::2], TINY_RUN[1::2], strict=True)
    }
    keywords = {name: value if name == "lr" else int(value) for name, value in keywords.items()}
    capsys.readouterr()
    best = train.fit(tones, out=tmp_path / "run", **keywords)
    said = capsys.readouterr().out
    assert best == str(tmp_path / "run" / "best.npz") and f"python -m minast.predict {best}" in said
    one, other = (minast.load(folder / "best.npz", "numpy") for folder in (tmp_path / "run", trained))
    assert np.array_equal(one[0].w.flat, other[0].w.flat) and one[1].labels == other[1].labels
    assert train.fit(None, resume=tmp_path / "run") == best  # finished already: only the results are shown again


def test_fit_raises_after_ctrl_c(tones, tmp_path, monkeypatch, capsys):
    before, step = signal.signal(signal.SIGINT, signal.default_int_handler), Learner.step

    def stopping(self, *batch):
        if self.optimizer.t == 2:
            os.kill(os.getpid(), signal.SIGINT)
        return step(self, *batch)

    monkeypatch.setattr(Learner, "step", stopping)
    try:
        with pytest.raises(KeyboardInterrupt):
            train.fit(tones, out=tmp_path / "run", depth=1, epochs=2, batch=4)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Stopped after step 3 of 8; nothing is lost. Resume with:" in capsys.readouterr().out


def test_threads_are_for_the_run_alone(tones, tmp_path, monkeypatch):
    monkeypatch.delenv(threads.VARIABLE, raising=False)
    before = threads.count()
    train.fit(tones, out=tmp_path / "run", depth=1, epochs=1, batch=4, threads=1)
    assert threads.VARIABLE not in os.environ and threads.count() == before
    with pytest.raises(minast.Error, match="epochs"):
        train.fit(tones, out=tmp_path / "other", threads=2, epochs=-1)
    assert threads.VARIABLE not in os.environ
