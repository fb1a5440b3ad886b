"""Checkpoints: one .npz with everything needed to use a model: weights, settings, labels, history.

It holds an array per weight, `w/<official name>`, and `minast`, a JSON text with everything else. A training run's
last.npz also holds `state/...`: optimizer moments and counters. Nothing is pickled: loading a file runs no code.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from . import threads
from .accepted import LOSSES
from .config import CLASSES, COUNT, FEATURES, LABEL, MODEL, FeatureConfig, ModelConfig
from .decisions import SAVED, Decisions
from .errors import Error
from .model import AST
from .params import shapes
from .positions import adapt_positions
from .storage.files import absent, atomic
from .storage.npz import Archive, write_arrays
from .storage.schema import Flag, ListOf, Maybe, OneOf, Plain, Record, Text, Whole, as_json, checked, checked_floats
from .storage.stored import decoding, first_bytes, unlike
from .text import visible
from .version import __version__

FORMAT = 1
LONGEST = 2**26  # characters of a description: labels, history, and a digest of each of a million training clips

# What the description must be. Every field was there in version 0.1.0; later ones may come, and are let pass.
LABELS = ListOf(LABEL, CLASSES.most, distinct=True)
LOSS = OneOf(LOSSES)
HISTORY = ListOf(Record({"epoch": COUNT}, optional=("epoch",), others=Plain()), 10**6)
NOTES = Record({"random_head": Flag(), "seed": COUNT, "fold": Maybe(Whole(0, 10**6))}, None, others=Plain())
DESCRIPTION = Record(
    {
        "version": Text(100),
        "model": Record(MODEL),
        "features": Record(FEATURES),
        "labels": LABELS,
        "loss": LOSS,
        "history": HISTORY,
        "notes": NOTES,
        "state": Record({}, others=Plain()),
        "decisions": Maybe(Record(SAVED)),
    },
    optional=("decisions",),  # since 0.3
    others=Plain(),
)


@dataclass(frozen=True)
class Info:
    """Metadata stored in a checkpoint; `info["labels"]` is the same as `info.labels`."""

    labels: list[str]
    features: FeatureConfig
    loss: str = "ce"  # the head was trained with "ce" (softmax) or "bce" (sigmoid)
    history: list = field(default_factory=list)  # a dictionary per epoch
    notes: dict = field(default_factory=dict)  # where the weights come from; `random_head: true` until it is trained
    version: str = ""  # of minast, when it was saved
    decisions: Decisions | None = None  # calibration and thresholds, where they were found

    def __post_init__(self):
        for name, kind in (("labels", LABELS), ("loss", LOSS), ("history", HISTORY), ("notes", NOTES)):
            object.__setattr__(self, name, checked(kind, getattr(self, name), name))
        found = self.decisions
        if found is not None and (found.loss, len(found.thresholds)) != (self.loss, len(self.labels)):
            raise Error(
                f"decisions are for {len(found.thresholds)} classes and loss {found.loss}, the model has "
                f"{len(self.labels)} and {self.loss}."
            )

    def __getitem__(self, name):
        return getattr(self, name)

    @property
    def head(self) -> str:
        """ "softmax" (one class per clip) or "sigmoid" (any number of classes)."""
        return "softmax" if self.loss == "ce" else "sigmoid"


def save(
    path: str | os.PathLike,
    model: AST,
    labels: Sequence[str] | None = None,
    features: FeatureConfig | dict | None = None,
    loss: str = "ce",
    history: Sequence[dict] = (),
    notes: dict | None = None,
    state: dict | None = None,
    decisions: Decisions | None = None,
) -> None:
    """Write `model` and everything needed to use it to one .npz file, atomically.

        minast.save("model.npz", model, labels=["dog", "rain"], features={"frames": 512, "mean": -5.1, "std": 4.2})

    labels: K names (default: numbers). features: a FeatureConfig or a dict of its fields (rate in Hz, frames of 10 ms,
    mel bins, mean, std); default: AudioSet's at the model's size. loss: "ce" or "bce", what the head was trained with.
    history: a dictionary per epoch. notes: anything JSON can hold. state: arrays and plain values by name, to continue
    a training run. decisions: calibration and thresholds (`decisions.decide`), found with these very weights.

    Raises minast.Error if labels or features do not fit the model, or if the file cannot be written.
    """
    config = model.config
    labels = [str(k) for k in range(config.classes)] if labels is None else [str(name) for name in labels]
    if len(labels) != config.classes:
        raise Error(f"there are {len(labels)} labels for the model's {config.classes} classes.")
    info = Info(labels, _feature_config(features, config), loss, list(history), notes or {}, __version__, decisions)
    state = state or {}
    arrays = {name: value for name, value in state.items() if hasattr(value, "ndim")}
    about = {
        "format": FORMAT,
        "version": info.version,
        "model": asdict(config),
        "features": asdict(info.features),
        "labels": info.labels,
        "loss": info.loss,
        "history": info.history,
        "notes": info.notes,
        "state": {name: value for name, value in state.items() if name not in arrays},
        **({} if decisions is None else {"decisions": decisions.to_save()}),
    }
    weights = {f"w/{name}": model.numpy(view) for name, view in model.w.items()}
    moments = {f"state/{name}": model.numpy(value) for name, value in arrays.items()}
    _write(path, about, {**weights, **moments})


def keep_decisions(path: str | os.PathLike, decisions: Decisions | None, found: os.stat_result | None = None) -> None:
    """Put decisions into a checkpoint in the place of those it has; None takes them out. All else stays, bit for bit.

    found: os.stat of the file when it was loaded to make the decisions. Raises minast.Error as `load` and `save` do,
    for decisions that do not fit the model, and for a file that was replaced since.
    """
    with open_checkpoint(path) as archive:
        about = description(archive)
        about.pop("decisions", None)
        replace(info_from(archive.path, about), decisions=decisions)  # refuses those of other models
        if decisions is not None:
            about["decisions"] = decisions.to_save()
        arrays = {name: archive.read(name) for name in archive.names if name != "minast"}
    if found is not None and not same_file(os.stat(path), found):  # last, since it may happen while it is read as well
        raise Error(
            f"{path} was replaced while its clips were scored, as by a training that goes on: nothing is written."
        )
    _write(path, about, arrays)


def same_file(a: os.stat_result, b: os.stat_result) -> bool:
    """Whether two looks at a path found one file, unchanged."""
    return os.path.samestat(a, b) and (a.st_size, a.st_mtime_ns) == (b.st_size, b.st_mtime_ns)


def _write(path, about, arrays):
    text = json.dumps(about)
    if len(text) > LONGEST:
        raise Error(f"{path}: labels, history and notes have {len(text)} characters: at most {LONGEST} can be kept.")
    with atomic(path) as f:
        write_arrays(f, {"minast": np.array(text), **arrays})


def _feature_config(features, config):
    """FeatureConfig as given, as its fields or as nothing; it must fit the model."""
    if features is None:
        return FeatureConfig(frames=config.frames, mel_bins=config.mel_bins)
    if isinstance(features, dict):
        known = [f.name for f in fields(FeatureConfig)]
        unknown = sorted(set(features) - set(known))
        if unknown:
            raise Error(f"the features have no field {unknown[0]!r}: they have {', '.join(known)}.")
        features = FeatureConfig(**features)
    if (features.frames, features.mel_bins) != (config.frames, config.mel_bins):
        raise Error(
            f"the features have {features.frames} frames of {features.mel_bins} mel bins, "
            f"the model takes {config.frames} of {config.mel_bins}."
        )
    return features


def load(
    path: str | os.PathLike, backend: str | None = None, dtype: str = "float32", frames: int | None = None
) -> tuple[AST, Info]:
    """The model in a checkpoint, and what is known about it.

        model, info = minast.load("model.npz")
        logits = model.forward(x)                  # x (B, info.features.frames, info.features.mel_bins), normalised

    backend, dtype: as for AST. frames: for clips of another length, in frames of 10 ms; the positions are then cut from
    the middle or stretched (`adapt_positions`), all other weights stay.

    Raises minast.Error for a missing, truncated, damaged, foreign or inconsistent file.
    """
    with open_checkpoint(path) as archive:
        about = description(archive)
        saved, info = config_from(archive.path, about), info_from(archive.path, about)
        config = saved if frames is None else replace(saved, frames=frames)
        check_arrays(archive, saved)
        model = AST(config, backend=backend, seed=None, dtype=dtype)
        read_weights(archive, model, saved)
    decided = info.decisions if config.frames == saved.frames else None  # of clips of another length nothing is known
    return model, replace(info, features=replace(info.features, frames=config.frames), decisions=decided)


def load_state(path: str | os.PathLike) -> dict:
    """The `state` that `save` was given: {name: array or plain value}; {} if there was none. Raises as `load`."""
    with open_checkpoint(path) as archive:
        about = description(archive)
        arrays = {name[6:]: archive.read(name) for name in archive.names if name.startswith("state/")}
    return {**about["state"], **arrays}


# -- steps ---------------------------------------------------------------------------------------------------------


def open_checkpoint(path):
    """-> Archive. Raises minast.Error that says what is at `path` instead."""
    path = os.fspath(path)
    if not os.path.exists(path):
        raise Error(absent(path, "checkpoint"))
    if os.path.isdir(path):
        inside = [name for name in ("best.npz", "last.npz") if os.path.exists(os.path.join(path, name))]
        hint = f"; this one contains {inside[0]}: use {os.path.join(path, inside[0])}" if inside else ""
        raise Error(f"{path}: this is a folder, a checkpoint is a .npz file{hint}.")
    start = first_bytes(path, 64)
    if start[:2] == b"\x93N":
        raise Error(f"{path}: this is a single array (.npy), a checkpoint is a .npz with many.")
    if start[:2] != b"PK":
        raise Error(f"{path}: {unlike(start) or 'this is not a .npz file: it has another format'}.")
    return Archive(path)


def is_checkpoint(path: str | os.PathLike) -> bool:
    """Whether there is a minast checkpoint at `path`."""
    try:
        with open_checkpoint(path) as archive:
            return "minast" in archive
    except Error:
        return False


def description(archive):
    """The JSON text of a minast checkpoint as a dictionary, every field checked. Raises minast.Error."""
    path = archive.path
    if "minast" not in archive:
        some = ", ".join(visible(name, 80) for name in archive.names[:3]) or "nothing"
        raise Error(
            f"{path}: this .npz is not a minast checkpoint (it holds {some}, ...): other models' weights are converted "
            "by python -m minast.convert."
        )
    shape, dtype = archive.kind("minast")
    if shape != () or dtype.kind != "U" or dtype.itemsize > 4 * LONGEST:
        raise Error(f"{path}: the checkpoint's description is no text: the file is damaged.")
    with decoding(f"{path}: the checkpoint's description cannot be read"):
        about = json.loads(archive.read("minast").item())
    if not isinstance(about, dict) or about.get("format") != FORMAT or isinstance(about["format"], bool):
        number = about.get("format") if isinstance(about, dict) else None
        raise Error(
            f"{path}: this checkpoint has format {as_json(number)}, this version of minast reads {FORMAT}: update "
            "minast, or, if it is of this version, the file is damaged."
        )
    try:
        return checked(DESCRIPTION, about, "", as_json)
    except Error as error:
        raise Error(f"{path}: the checkpoint's settings are damaged: {error}") from None


def config_from(path, about):
    """ModelConfig from the checked description of a checkpoint."""
    try:
        return ModelConfig(**about["model"])
    except Error as error:
        raise Error(f"{path}: the checkpoint's settings are damaged: {error}") from None


def info_from(path, about):
    """Info from the checked description of a checkpoint; labels and features must fit the model."""
    model, features, labels = about["model"], FeatureConfig(**about["features"]), about["labels"]
    if len(labels) != model["classes"]:
        raise Error(f"{path}: the checkpoint's {len(labels)} labels do not match its {model['classes']} classes.")
    if (features.frames, features.mel_bins) != (model["frames"], model["mel_bins"]):
        raise Error(
            f"{path}: the checkpoint's features have {features.frames} frames of {features.mel_bins} mel bins, its "
            f"model takes {model['frames']} of {model['mel_bins']}: the file is damaged."
        )
    try:
        decided = about.get("decisions")
        decided = None if decided is None else Decisions.from_saved(decided)
        return Info(labels, features, about["loss"], about["history"], about["notes"], about["version"], decided)
    except Error as error:
        raise Error(f"{path}: the checkpoint's settings are damaged: {error}") from None


def check_arrays(archive, saved):
    """Compare the headers of all weights with what the ModelConfig needs, before the model asks for memory.

    Raises minast.Error that names the first array that is missing, misshapen or of other numbers than floats.
    """
    path = archive.path
    wanted = shapes(saved)
    missing = [name for name in wanted if f"w/{name}" not in archive]
    if missing:
        raise Error(f"{path}: {len(missing)} of {len(wanted)} weights are missing, the first is {missing[0]!r}.")
    if more := [name for name in archive.names if name.startswith("w/") and name[2:] not in wanted]:
        raise Error(f"{path}: it has {more[0]!r}, which the model in its description does not: the file is damaged.")
    for name, needed in wanted.items():
        shape, dtype = archive.kind(f"w/{name}")
        if shape != needed:
            raise Error(f"{path}: the weight {name!r} has shape {shape}, the model needs {needed}.")
        if dtype.kind != "f":
            raise Error(f"{path}: the weight {name!r} is {dtype}: it must be of floating-point numbers.")


def read_weights(archive, model, saved):
    """Fill `model.w` from the archive, in threads; a damaged or infinite one is an error by name.

    saved: the ModelConfig in the file; its clips may have another length than the model's. The headers were checked.
    """

    def read(name):
        view = model.w[name]
        array = archive.read(f"w/{name}", out=view if isinstance(view, np.ndarray) else None)
        checked_floats(array, f"{archive.path}: the weight {name!r}", model.dtype)
        if name == "pos_embed":
            array = adapt_positions(array, saved.prefix_tokens, saved.grid, model.config.grid)
        if array is not view:
            view[...] = model.xp.asarray(array, model.dtype)

    threads.run(read, model.w)
