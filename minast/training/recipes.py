"""The settings that each kind of data starts from, and how command-line flags change them."""

from dataclasses import fields, replace

from ..config import TrainConfig
from ..errors import Error

# preset, frames (None: the clips' own length), rate in Hz, and the TrainConfig fields that differ from its defaults
RECIPES = {
    "builtin": {"preset": "nano", "frames": 98, "rate": 16000, "epochs": 3, "lr": 1e-3},
    "fsdd": {"preset": "nano", "frames": 64, "rate": 8000, "epochs": 14}
    | {"augment_from": 3, "freq_mask": 24, "time_mask": 12, "roll": 8, "gain": 0.8},
    "esc": {"preset": "tiny", "frames": 500, "rate": 16000, "epochs": 25}
    | {"freq_mask": 24, "time_mask": 96, "roll": 250},
    "own": {"preset": "nano", "frames": None, "rate": 16000, "epochs": 25},
}
ADAM = {"betas": (0.95, 0.999), "weight_decay": 5e-7}  # AST's
# Pretrained weights get small learning rates, smallest in the lowest blocks. Measured on ESC-10, fold 1, from a DINOv2
# ViT-S/16: 90.0 % after the last epoch with these values, 86.2 % with a learning rate of 3e-5 for all blocks; with
# 1e-4 for all blocks, 36 % after the first epoch.
PRETRAINED = {"epochs": 8, "lr": 2e-4, "layer_decay": 0.7, "weight_decay": 0.0, "warmup": 20}
PRETRAINED |= {"mixup": 0.5, "freq_mask": 0, "time_mask": 0}

NAMES = {"esc": "esc10 and esc50"}  # as DATA says it, where that differs
DESCRIBED = {"frames": "the 95th percentile of the clips' lengths, 32 to 1024"}


def recipe(kind: str, multilabel: bool, given: dict) -> tuple[TrainConfig, dict]:
    """The settings of a run: the data's recipe, changed by what the user asks for.

    kind: of the data set, a key of RECIPES. multilabel: whether a clip may have several labels. given: {name: value or
    None}, such as the parsed flags; with "pretrained", fine-tuning starts from PRETRAINED's values.
    -> TrainConfig, {"preset", "frames", "rate"}. Raises minast.Error for a value out of range or a loss that does not
    fit the labels.
    """
    start = {**RECIPES[kind], **(PRETRAINED if given.get("pretrained") else {})}
    start["loss"] = "bce" if multilabel else "ce"
    if given.get("optimizer") == "adam":
        start.update(ADAM)
    start.update({name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None})
    if multilabel and start["loss"] == "ce":
        raise Error("some clips have several labels, which --loss ce cannot learn: leave it out or use --loss bce.")
    config = replace(TrainConfig(), **{f.name: start[f.name] for f in fields(TrainConfig) if f.name in start})
    return config, {name: start[name] for name in ("preset", "frames", "rate")}


def default(name: str) -> str:
    """A setting's default in words, with its exceptions: "25; builtin 3, fsdd 14; with --pretrained 8"."""
    usual = RECIPES["own"].get(name, getattr(TrainConfig(), name, None))
    words = [DESCRIBED.get(name, text(usual))]
    own = [f"{NAMES.get(kind, kind)} {text(r[name])}" for kind, r in RECIPES.items() if r.get(name, usual) != usual]
    words += [", ".join(own)] if own else []
    for condition, values in (("--optimizer adam", ADAM), ("--pretrained", PRETRAINED)):
        if name in values and (own or values[name] != usual):
            words.append(f"with {condition} {text(values[name])}")
    return "; ".join(words)


def text(value) -> str:
    """A number, a word or a tuple of them, as on a command line."""
    if isinstance(value, tuple):
        return " ".join(map(text, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
