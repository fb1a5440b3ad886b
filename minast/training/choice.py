"""Which settings a run has: its data's recipe, or the one asked for, fitted to the data and changed by flags."""

from collections.abc import Mapping
from dataclasses import fields, replace

from ..config import TrainConfig
from ..errors import Error
from . import fitted
from .recipes import ADAM, FROM_AUDIO, NAMED, PRETRAINED, RECIPES, REST, TITLES

TRAIN = [f.name for f in fields(TrainConfig)]
USUAL = {"fstride": 10, "tstride": 10, "prefix_tokens": 1, "depth": 12, "mel_bins": 128, "window": "hamming"}


def recipe(
    kind: str, multilabel: bool, given: Mapping, clips: int = 0, frames: int = 0, audio: bool = False
) -> tuple[TrainConfig, dict]:
    """The settings of a run: a recipe, changed by what the user asks for.

    kind: of the data set, a key of RECIPES; others are like "own". multilabel: whether a clip may have several labels.
    given: {name: value or None}, such as the parsed flags; with "recipe", that replaces the recipe of the data, else,
    with "pretrained", fine-tuning starts from PRETRAINED's values. clips, frames: training clips and input length, to
    which the user's own data are fitted, once they are known. audio: whether the pretrained weights come from sound.
    -> TrainConfig, {name of REST: value, or None}. Raises minast.Error for a value out of range or a loss that does not
    fit the labels.
    """
    given = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items() if v is not None}
    start = starting(kind, multilabel, given, clips, frames, audio) | given
    if multilabel and start["loss"] == "ce":
        raise Error("some clips have several labels, which --loss ce cannot learn: leave it out or use --loss bce.")
    config = replace(TrainConfig(), **{name: start[name] for name in TRAIN if name in start})
    return config, {name: start.get(name) for name in REST}


def starting(kind: str, multilabel: bool, given: Mapping, clips: int, frames: int, audio: bool) -> dict:
    """What a run starts from, before flags. Arguments as in `recipe`."""
    loss = {"loss": "bce" if multilabel else "ce"}
    if name := given.get("recipe"):
        if name == "small-data" and not given.get("pretrained"):
            raise Error("--recipe small-data is for pretrained weights: add --pretrained FILE.")
        start = {**loss, **NAMED[name], **(FROM_AUDIO.get(name, {}) if audio else {})}
        if start.get("average_from", 0) > given.get("epochs", start["epochs"]):
            start["average_from"] = 0
        return start
    pretrained = bool(given.get("pretrained"))
    start = {**RECIPES.get(kind, RECIPES["own"]), **(PRETRAINED if pretrained else {}), **loss}
    if clips and "epochs" not in RECIPES.get(kind, RECIPES["own"]):
        start |= fitted.to_count(clips, frames, given.get("batch", TrainConfig().batch), pretrained)
        if any(name in given for name in GROUPS["augmentation"]):
            start["augment_from"] = 0  # what is asked for begins at once
    return start | (ADAM if given.get("optimizer") == "adam" else {})


# -- in words ------------------------------------------------------------------------------------------------------

GROUPS = {
    "model": ("preset", "depth", "prefix_tokens", "fstride", "tstride", "random_head"),
    "features": ("rate", "frames", "mel_bins", "window", "mean", "std"),
    "augmentation": (
        *("mixup", "mixup_of", "background", "freq_mask", "time_mask", "noise", "roll", "gain", "augment_from"),
    ),
}
NAMES = {"esc": "esc10 and esc50"}  # as DATA says it, where that differs
FITTED = {
    "rate": "the rate of most files, at most 16000",
    "frames": "the 95th percentile of the clips' lengths, 32 to 1024",
    "epochs": "by the number of clips, 10 to 100, with --pretrained 8 to 40",
    **dict.fromkeys(("freq_mask", "time_mask", "roll", "gain", "augment_from"), "by the number of clips"),
}


def described(name: str, config: TrainConfig, rest: Mapping, given: Mapping, audio: bool) -> list[str]:
    """A named recipe in full, as it runs: lines by subject, with what was overridden."""
    own = {**NAMED[name], **(FROM_AUDIO.get(name, {}) if audio else {})}
    values = {**{key: value for key, value in rest.items() if value is not None}, **vars(config)}
    if given.get("pretrained"):  # which bring their own
        values = {key: v for key, v in values.items() if key not in ("preset", "prefix_tokens")}
    lines, left = [f"recipe {name}: {TITLES[name]}"], list(values)
    if not given.get("pretrained"):
        lines.append("  begins at random weights; the paper's began at an image model's: --pretrained FILE")
    groups = {**GROUPS, "training": [key for key in TRAIN if not any(key in names for names in GROUPS.values())]}
    for title in ("model", "features", "training", "augmentation"):
        words = []
        for key in groups[title]:
            if key in left:
                was = f" (recipe: {text(own[key])})" if key in own and values[key] != own[key] else ""
                words.append(f"{key.replace('_', '-')} {text(values[key])}{was}")
        lines += wrapped(f"  {title:13}", words)
    return lines


def wrapped(head: str, words: list[str], width: int = 120) -> list[str]:
    """Words in lines, separated by commas, the first line after `head` and the others below it."""
    lines = [head]
    for i, word in enumerate(words):
        word += "," if i + 1 < len(words) else ""
        if len(lines[-1]) + len(word) + 1 > width:
            lines.append(" " * len(head))
        lines[-1] += f" {word}"
    return lines


def default(name: str) -> str:
    """A setting's default in words, with its exceptions: "16; builtin 3, fsdd 14; with --pretrained 8"."""
    usual = RECIPES["own"].get(name, getattr(TrainConfig(), name, USUAL.get(name)))
    words = [FITTED.get(name) or text(usual)]
    kinds = [(kind, r[name]) for kind, r in RECIPES.items() if kind != "own" and name in r]
    own = [f"{NAMES.get(kind, kind)} {text(v)}" for kind, v in kinds if name in FITTED or v != usual]
    words += [", ".join(own)] if own else []
    for condition, values in (("--optimizer adam", ADAM), ("--pretrained", PRETRAINED)):
        if name in values and (own or values[name] != usual):
            said = f"with {condition} {text(values[name])}"
            if condition in words[0]:  # which is for data without values of their own
                words[-1] += f", {said}"
            else:
                words.append(said)
    return "; ".join(words)


def text(value) -> str:
    """A number, a word or a tuple of them, as on a command line."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return " ".join(map(text, value))
    return f"{value:.9g}" if isinstance(value, float) else str(value)
