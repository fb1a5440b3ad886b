"""--resume from a last.npz that lies: each part of the state is checked, and that the parts belong together."""

import json
import shutil

import numpy as np
import pytest

import minast
from minast import train
from tests.golden.make_run import HERE, write_sounds


@pytest.fixture(scope="module")
def sounds(tmp_path_factory):
    return write_sounds(tmp_path_factory.mktemp("sounds"))


def resumed(folder, sounds, change):
    """What --resume says to the run of version 0.1.0, changed by change(about, arrays)."""
    shutil.copy(HERE / "last.npz", folder)
    with np.load(folder / "last.npz") as archive:
        arrays = dict(archive)
    about = json.loads(arrays["minast"].item())
    change(about, arrays)
    np.savez(folder / "last.npz", **arrays | {"minast": np.array(json.dumps(about))})
    with pytest.raises(minast.Error) as caught:
        train.main(["--resume", str(folder), str(sounds)])
    said = str(caught.value)
    assert "\n" not in said and said.endswith("start a new run.")
    return said


def setting(**values):
    return lambda about, _: about["state"]["settings"].update(values)


def training(**values):
    return lambda about, _: about["state"]["settings"]["train"].update(values)


def counter(**values):
    return lambda about, _: about["state"]["counters"].update(values)


def state(**values):
    return lambda about, _: about["state"].update(values)


def row(i, **values):
    return lambda about, _: about["history"][i].update(values)


def moment(name, value):
    return lambda _, arrays: arrays.update({f"state/{name}": value(arrays[f"state/{name}"])})


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (setting(threads="many"), 'settings.threads is "many": it must be a whole number from 1'),
        (setting(threads=10**9), "settings.threads is 1000000000"),
        (setting(backend="torch"), 'settings.backend is "torch": it must be one of'),
        (setting(data=None), "settings.data is null"),
        (setting(folder="a\0b"), "settings.folder is"),
        (setting(fold="first"), 'settings.fold is "first": it must be a whole number .*or null'),
        (setting(cache=1), "settings.cache is 1: it must be true or false"),
        (setting(colour=3), "settings has a field 'colour' that this version of minast does not know"),
        (setting(train=[1]), r"settings.train is \[1\]: it must be an object"),
        (lambda about, _: about["state"]["settings"].pop("preset"), "settings.preset is missing"),
        (lambda about, _: about["state"]["settings"]["train"].pop("lr"), "train.lr is missing"),
        (lambda about, _: about["state"].update(settings=7), "settings is 7: it must be an object"),
        (training(lr="fast"), 'train.lr is "fast": it must be a number above 0'),
        (training(epochs=10**30), "train.epochs is 1000000000000000000000000000000"),
        (training(milestones=[2, 0, 0.5]), r"train.milestones\[1\] is 0: it must be a number of at least 1"),
        (training(betas=[0.9]), r"train.betas is \[0.9\]: it must be 2 values"),
        (training(noise="yes"), 'train.noise is "yes": it must be true or false'),
        (training(roll=10**22), "train.roll is 10000000000000000000000: it must be a whole number"),
        (training(accumulate=99), "grad_accum is 99: it must be at most the batch"),
        (training(loss="bce"), "loss is 'ce', but 'bce' in the settings"),
        (training(epochs=1), "step 5 is not in epoch 3 of 1"),
        (counter(step=-1), "counters.step is -1"),
        (counter(step=1), "step 1 is not in epoch 3 of 4"),
        (counter(step=None), "counters.step is null"),
        (counter(sums=[0.5]), r"counters.sums is \[0.5\]: it must be 2 values"),
        (counter(sums=[float("nan"), 5]), r"counters.sums\[0\] is NaN"),
        (counter(sums=[0.5, 10**6]), r"counters.sums\[1\] is 1000000: an epoch has"),
        (counter(scale={"value": 2.0, "good": 5}), "counters.scale.value is 2.0: no run in this dtype"),
        (counter(scale={"value": 1.0}), "counters.scale.good is missing"),
        (counter(scale=[]), r"counters.scale is \[\]"),
        (lambda about, _: about["state"].pop("counters"), "counters is null"),
        (state(t=4), "the optimizer has done 4 steps, the run 5"),
        (state(t="5"), "t is '5': it must be a whole number"),
        (row(0, epoch=2), r"history\[0\].epoch is 2: it must be 1"),
        (row(1, seconds="long"), r'history\[1\].seconds is "long"'),
        (row(1, extra=1.0), r"history\[1\] has other fields than history\[0\]"),
        (row(1, valid_loss=None), r"history\[1\].valid_loss is null"),
        (lambda about, _: about["history"].pop(), "step 5 is not in epoch 2 of 4"),
        (lambda about, _: about["labels"].reverse(), "the labels are not those of the data"),
        (moment("m", lambda x: x[:-1]), "the moments 'm' are not one number for each of 6016 weights"),
        (moment("m", lambda x: x.astype("i4")), "moments 'm' is int32"),
        (moment("v", lambda x: -x - 1), "'v' holds negative numbers"),
        (moment("v", lambda x: x * np.nan), "moments 'v' holds NaN"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, sounds, change, match):
    import re

    assert re.search(match, said := resumed(tmp_path, sounds, change)), said
