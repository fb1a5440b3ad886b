"""Where training starts from for each kind of data, and how command-line flags change it."""

from dataclasses import fields, replace

from ..config import TrainConfig
from ..errors import Error

# preset, frames (None: as long as the clips), and the TrainConfig fields that differ from its defaults
RECIPES = {
    "builtin": {"preset": "nano", "frames": 98, "rate": 16000, "epochs": 3, "lr": 1e-3},
    "fsdd": {"preset": "nano", "frames": 64, "rate": 8000, "epochs": 14}
    | {"augment_from": 3, "freq_mask": 24, "time_mask": 12, "roll": 8, "gain": 0.8},
    "esc": {"preset": "tiny", "frames": 500, "rate": 16000, "epochs": 25}
    | {"freq_mask": 24, "time_mask": 96, "roll": 250},
    "own": {"preset": "nano", "frames": None, "rate": 16000, "epochs": 25},
}
ADAM = {"betas": (0.95, 0.999), "weight_decay": 5e-7}  # AST's
# Weights that know something are moved with care, the lowest least. Measured on ESC-10, fold 1, from a DINOv2 ViT-S/16:
# 90.0 % after the last epoch so, 86.2 % with one rate of 3e-5 for all blocks; 36 % after the first with one of 1e-4.
PRETRAINED = {"epochs": 8, "lr": 2e-4, "layer_decay": 0.7, "weight_decay": 0.0, "warmup": 20}
PRETRAINED |= {"mixup": 0.5, "freq_mask": 0, "time_mask": 0}


def recipe(kind, multilabel, given):
    """-> (TrainConfig, dict of the rest: preset, frames, rate). `given` holds what the user asked for; it wins."""
    start = {**RECIPES[kind], **(PRETRAINED if given.get("pretrained") else {})}
    start["loss"] = "bce" if multilabel else "ce"
    if given.get("optimizer") == "adam":
        start.update(ADAM)
    start.update({name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None})
    if multilabel and start["loss"] == "ce":
        raise Error("these data have several labels a clip: --loss ce cannot learn them, leave it out or use bce.")
    own = {f.name for f in fields(TrainConfig)}
    config = replace(TrainConfig(), **{name: value for name, value in start.items() if name in own})
    return config, {name: value for name, value in start.items() if name not in own}
