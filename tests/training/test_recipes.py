"""Where training starts from, what flags change, and which epoch is the best."""

import pytest

from minast.config import TrainConfig
from minast.errors import Error
from minast.training.choice import default, described, recipe
from minast.training.recipes import PRETRAINED, RECIPES, REST
from minast.training.run import best_epoch


@pytest.mark.parametrize("kind", RECIPES)
def test_a_recipe_is_the_defaults_with_its_own_changes(kind):
    config, rest = recipe(kind, False, {})
    own = {name: value for name, value in RECIPES[kind].items() if name not in rest}
    assert config == TrainConfig(**own) and config.loss == "ce"
    assert rest == {name: RECIPES[kind].get(name) for name in REST}
    assert recipe("something new", False, {}) == recipe("own", False, {})


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
    assert config.roll == recipe(kind, False, {})[0].roll and rest["rate"] == RECIPES[kind].get("rate")
    for nothing in ({}, {"pretrained": None}):
        assert recipe(kind, False, nothing)[0].epochs == RECIPES[kind].get("epochs", TrainConfig().epochs)


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
    assert default("max_grad_norm") == "1" and default("optimizer") == "adamw" and default("patience") == "0"
    epochs = "by the number of clips, 10 to 100, with --pretrained 8 to 40; builtin 3, fsdd 14, esc10 and esc50 25"
    assert default("epochs") == f"{epochs}, with --pretrained 8"
    assert default("betas") == "0.9 0.999; with --optimizer adam 0.95 0.999"
    assert default("freq_mask") == "by the number of clips; fsdd 24, esc10 and esc50 24; with --pretrained 0"
    assert default("frames").startswith("the 95th percentile")
    assert default("rate").startswith("the rate of most files, at most 16000; builtin 16000, fsdd 8000")


# -- the paper's recipes -------------------------------------------------------------------------------------------


def test_ast_recipes_are_the_official_scripts():
    """lr, epochs, batch, loss, frames, milestones, masks, mixup, noise and roll: egs/*/run*.sh, by hand."""
    official = {
        "audioset-balanced": (5e-5, 25, 12, "bce", 1024, (10, 5, 0.5), 48, 192, 0.5, False, 0),
        "audioset-full": (1e-5, 5, 12, "bce", 1024, (2, 1, 0.5), 48, 192, 0.5, False, 0),
        "esc50": (1e-4, 25, 48, "ce", 512, (5, 1, 0.85), 24, 96, 0.0, False, 0),
        "speechcommands": (2.5e-4, 30, 128, "bce", 128, (5, 1, 0.85), 48, 48, 0.6, True, 10),
    }
    for name, values in official.items():
        c, rest = recipe("own", False, {"recipe": name}, clips=5000, frames=77)
        found = (c.lr, c.epochs, c.batch, c.loss, rest["frames"], c.milestones, c.freq_mask, c.time_mask, c.mixup)
        assert (*found, c.noise, c.roll) == values, name
        assert (c.optimizer, c.betas, c.weight_decay, c.max_grad_norm) == ("adam", (0.95, 0.999), 5e-7, 0)
        assert (c.layer_decay, c.head_lr, c.mixup_of, c.schedule) == (1, 1, "waveform", "milestones")
        assert (rest["window"], rest["rate"], rest["fstride"], rest["tstride"], rest["preset"]) == (
            *("hann", 16000, 10, 10),
            "base",
        )
        assert (c.warmup, c.warmup_steps_of) == ((1000, 50) if "audioset" in name else (0, 50))
        assert c.sampler == ("balanced" if name == "audioset-full" else "shuffle") and rest["random_head"]
    averaged = {name: recipe("own", False, {"recipe": name})[0].average_from for name in official}
    assert averaged == {"audioset-balanced": 6, "audioset-full": 1, "esc50": 0, "speechcommands": 0}


def test_esc50_learns_slower_from_weights_that_know_sound():
    given = {"recipe": "esc50", "pretrained": "ast.pth"}
    assert recipe("esc", False, given, audio=True)[0].lr == 1e-5 and recipe("esc", False, given)[0].lr == 1e-4


def test_a_recipe_is_told_in_full_with_what_was_overridden():
    given = {"recipe": "esc50", "lr": 2e-5, "fstride": 16, "mixup": None, "noise": True}
    config, rest = recipe("own", False, given)
    said = described("esc50", config, rest, given, False)
    text = " ".join(" ".join(said).split())
    assert "recipe esc50" in said[0] and "lr 2e-05 (recipe: 0.0001)" in text and "fstride 16 (recipe: 10)" in text
    assert "noise yes (recipe: no)" in text and "mixup 0," in text and "batch 48," in text
    told = {word.split()[0] for word in text.replace(",", "\n").splitlines() for word in [word.strip()] if word}
    fields = {name.replace("_", "-") for name in vars(TrainConfig())} - {"mixup"}
    assert all(f" {name} " in f" {text} " for name in fields), fields - told
    assert max(map(len, said)) <= 120


def test_small_data_needs_pretrained_weights():
    with pytest.raises(Error, match="small-data is for pretrained weights"):
        recipe("own", False, {"recipe": "small-data"})
    config, rest = recipe("own", False, {"recipe": "small-data", "pretrained": "vit.npz"}, clips=300)
    assert config.layer_decay < 1 and (rest["fstride"], rest["frames"]) == (16, None)


def test_a_short_run_of_a_recipe_is_not_averaged_from_an_epoch_it_does_not_have():
    given = {"recipe": "audioset-balanced", "epochs": 2}
    config, rest = recipe("own", True, given)
    assert config.average_from == 0 and "average-from 0 (recipe: 6)" in " ".join(
        described("audioset-balanced", config, rest, given, False)
    )
    with pytest.raises(Error, match="average_from is 6"):
        recipe("own", True, given | {"average_from": 6})


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
