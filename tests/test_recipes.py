"""Where training starts from, what the user may change, which epoch is the best."""

import pytest

import minast
from minast.recipes import RECIPES, recipe
from minast.train import best_epoch


def test_the_user_wins():
    config, rest = recipe("fsdd", False, {"epochs": 3, "lr": None, "frames": 80, "preset": None})
    assert config.epochs == 3 and config.lr == minast.TrainConfig.lr and config.roll == RECIPES["fsdd"]["roll"]
    assert rest["frames"] == 80 and rest["preset"] == "nano" and rest["rate"] == 8000


def test_adam_is_that_of_ast():
    config, _ = recipe("own", False, {"optimizer": "adam"})
    assert config.betas == (0.95, 0.999) and config.weight_decay == 5e-7
    config, _ = recipe("own", False, {"optimizer": "adam", "weight_decay": 1e-4, "betas": [0.9, 0.99]})
    assert config.betas == (0.9, 0.99) and config.weight_decay == 1e-4
    assert recipe("own", False, {})[0].betas == (0.9, 0.999)


def test_pretrained_weights_are_moved_with_care():
    assert recipe("own", False, {"pretrained": "x.npz"})[0].lr < recipe("own", False, {})[0].lr
    assert recipe("own", False, {"pretrained": "x.npz", "lr": 1e-3})[0].lr == 1e-3


def test_loss_by_the_labels():
    assert recipe("own", True, {})[0].loss == "bce" and recipe("own", False, {})[0].loss == "ce"
    assert recipe("own", False, {"loss": "bce"})[0].loss == "bce"
    with pytest.raises(minast.Error, match="several labels"):
        recipe("own", True, {"loss": "ce"})


def test_best_epoch():
    def rows(*pairs):
        return [{"mAP": a, "valid_loss": b} for a, b in pairs]

    assert best_epoch(rows((0.5, 1.0), (0.9, 0.5), (0.7, 0.1)), "mAP") == 2
    assert best_epoch(rows((0.9, 1.0), (0.9, 0.5), (0.9, 0.7)), "mAP") == 2
    assert best_epoch(rows((0.9, 0.5), (0.9, 0.5)), "mAP") == 1
