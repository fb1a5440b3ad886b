"""Where training starts from, what flags change, and which epoch is the best."""

import pytest

from minast.config import TrainConfig
from minast.errors import Error
from minast.training.choice import default, recipe
from minast.training.recipes import PRETRAINED, RECIPES
from minast.training.run import best_epoch


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_is_the_defaults_with_its_own_changes(kind):
    config, rest = recipe(kind, False, {})
    own = {name: value for name, value in RECIPES[kind].items() if name not in rest}
    assert config == TrainConfig(**own) and config.loss == "ce"
    assert rest == {name: RECIPES[kind][name] for name in ("preset", "frames", "rate")}


def test_what_the_user_gives_wins_and_none_is_not_given():
    given = {"epochs": 7, "lr": 0.25, "freq_mask": 0, "frames": 80, "preset": "base", "batch": None, "roll": None}
    config, rest = recipe("fsdd", False, given)
    assert (config.epochs, config.lr, config.freq_mask) == (7, 0.25, 0)  # 0 is something given
    assert (config.batch, config.roll, config.time_mask) == (TrainConfig().batch, 8, 12)
    assert (rest["frames"], rest["preset"], rest["rate"]) == (80, "base", 8000)
    config, _ = recipe("esc", False, {"pretrained": "vit.npz", "epochs": 9})
    assert (config.epochs, config.lr, config.layer_decay, config.roll) == (9, 2e-4, 0.7, 250)


@pytest.mark.parametrize("kind", RECIPES)
def test_pretrained_weights_are_moved_with_care(kind):
    config, rest = recipe(kind, False, {"pretrained": "vit.npz"})
    assert {name: getattr(config, name) for name in PRETRAINED} == PRETRAINED and config.layer_decay < 1
    assert (config.freq_mask, config.time_mask) == (0, 0)  # a mask's fill is loud next to what the model knows
    assert config.roll == recipe(kind, False, {})[0].roll and rest["rate"] == RECIPES[kind]["rate"]
    for nothing in ({}, {"pretrained": None}):
        assert recipe(kind, False, nothing)[0].epochs == RECIPES[kind]["epochs"]


def test_several_labels_a_clip_need_bce():
    assert recipe("own", True, {})[0].loss == "bce" and recipe("own", True, {"loss": "bce"})[0].loss == "bce"
    assert recipe("own", False, {"loss": "bce"})[0].loss == "bce"
    with pytest.raises(Error, match="several labels"):
        recipe("own", True, {"loss": "ce"})


def test_adam_comes_with_its_own_betas_and_decay():
    config = recipe("own", False, {"optimizer": "adam"})[0]
    assert config.betas == (0.95, 0.999) and config.weight_decay == 5e-7
    config = recipe("own", False, {"optimizer": "adam", "weight_decay": 0.125})[0]
    assert config.betas == (0.95, 0.999) and config.weight_decay == 0.125
    for given in ({}, {"optimizer": "adamw"}):
        config = recipe("own", False, given)[0]
        assert config.betas == (0.9, 0.999) and config.weight_decay == 0.05


def test_defaults_in_words():
    assert default("max_grad_norm") == "1" and default("optimizer") == "adamw"
    assert default("epochs") == "25; builtin 3, fsdd 14; with --pretrained 8"
    assert default("betas") == "0.9 0.999; with --optimizer adam 0.95 0.999"
    assert default("freq_mask") == "0; fsdd 24, esc10 and esc50 24; with --pretrained 0"
    assert default("frames").startswith("the 95th percentile") and default("rate") == "16000; fsdd 8000"


@pytest.mark.parametrize("measure", ("accuracy", "mAP"))
def test_the_best_epoch(measure):
    def best(*rows):
        return best_epoch([{measure: value, "valid_loss": loss} for value, loss in rows], measure)

    assert best((0.5, 1.0)) == 1
    assert best((0.5, 0.1), (0.9, 2.0), (0.7, 0.2)) == 2  # the measure comes before the loss
    assert best((0.9, 1.0), (0.9, 0.5), (0.9, 0.7)) == 2  # equal: the lower loss
    assert best((0.1, 0.1), (0.9, 0.5), (0.9, 0.5)) == 2  # equal in both: the first


@pytest.mark.parametrize("values", [(1, 0, 0.5), (-1, 5, 0.5), (10, 5, 0), (10, 5, float("nan")), (10, 5)])
def test_milestones_that_lead_nowhere_are_refused(values):
    with pytest.raises(Error, match="milestones"):
        TrainConfig(schedule="milestones", milestones=values)
