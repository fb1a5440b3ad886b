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
from .config import FeatureConfig, ModelConfig
from .errors import Error
from .files import atomic
from .model import AST, LOSSES
from .npz import Archive, write_arrays
from .params import shapes
from .positions import adapt_positions
from .version import __version__

FORMAT = 1


@dataclass(frozen=True)
class Info:
    """Metadata stored in a checkpoint; `info["labels"]` is the same as `info.labels`."""

    labels: list[str]
    features: FeatureConfig
    loss: str = "ce"  # the head was trained with "ce" (softmax) or "bce" (sigmoid)
    history: list = field(default_factory=list)  # a dictionary per epoch
    notes: dict = field(default_factory=dict)  # where the weights come from; `random_head: true` until it is trained
    version: str = ""  # of minast, when it was saved

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
) -> None:
    """Write `model` and everything needed to use it to one .npz file, atomically.

        minast.save("model.npz", model, labels=["dog", "rain"], features={"frames": 512, "mean": -5.1, "std": 4.2})

    labels: K names (default: numbers). features: a FeatureConfig or a dict of its fields (rate in Hz, frames of 10 ms,
    mel bins, mean, std); default: AudioSet's at the model's size. loss: "ce" or "bce", what the head was trained with.
    history: a dictionary per epoch. notes: anything JSON can hold. state: arrays and plain values by name, to continue
    a training run.

    Raises minast.Error if labels or features do not fit the model, or if the file cannot be written.
    """
    config = model.config
    labels = [str(k) for k in range(config.classes)] if labels is None else [str(name) for name in labels]
    if len(labels) != config.classes or len(set(labels)) != len(labels):
        raise Error(f"there are {len(set(labels))} distinct labels for the model's {config.classes} classes.")
    if loss not in LOSSES:
        raise Error(f'loss is {loss!r}: it must be "bce" or "ce".')
    features = _feature_config(features, config)
    state = state or {}
    arrays = {name: value for name, value in state.items() if hasattr(value, "ndim")}
    about = {
        "format": FORMAT,
        "version": __version__,
        "model": asdict(config),
        "features": asdict(features),
        "labels": labels,
        "loss": loss,
        "history": list(history),
        "notes": notes or {},
        "state": {name: value for name, value in state.items() if name not in arrays},
    }
    weights = {f"w/{name}": model.numpy(view) for name, view in model.w.items()}
    moments = {f"state/{name}": model.numpy(value) for name, value in arrays.items()}
    with atomic(path) as f:
        write_arrays(f, {"minast": np.array(json.dumps(about)), **weights, **moments})


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
        saved = _dataclass(archive.path, ModelConfig, about.get("model"))
        info = info_from(archive.path, about, saved.classes)
        config = saved if frames is None else replace(saved, frames=frames)
        model = AST(config, backend=backend, seed=None, dtype=dtype)
        read_weights(archive, model, saved)
    return model, replace(info, features=replace(info.features, frames=config.frames))


def load_state(path: str | os.PathLike) -> dict:
    """The `state` that `save` was given: {name: array or plain value}; {} if there was none. Raises as `load`."""
    with open_checkpoint(path) as archive:
        about = description(archive)
        arrays = {name[6:]: archive.read(name) for name in archive.names if name.startswith("state/")}
    return {**about.get("state", {}), **arrays}


# -- steps ---------------------------------------------------------------------------------------------------------


def open_checkpoint(path):
    """-> Archive. Raises minast.Error that says what is at `path` instead."""
    path = os.fspath(path)
    if not os.path.exists(path):
        raise Error(f"{path}: there is no such checkpoint.")
    if os.path.isdir(path):
        inside = [name for name in ("best.npz", "last.npz") if os.path.exists(os.path.join(path, name))]
        hint = f"; this one contains {inside[0]}: use {os.path.join(path, inside[0])}" if inside else ""
        raise Error(f"{path}: this is a folder, a checkpoint is a .npz file{hint}.")
    try:
        with open(path, "rb") as f:
            start = f.read(2)
    except OSError as error:
        raise Error(f"{path}: this cannot be opened: {error.strerror or error}.") from None
    if start == b"\x93N":
        raise Error(f"{path}: this is a single array (.npy), a checkpoint is a .npz with many.")
    if start != b"PK":
        raise Error(f"{path}: this is not a .npz file: it is empty or has another format.")
    return Archive(path)


def description(archive):
    """The JSON text of a minast checkpoint, as a dict."""
    path = archive.path
    if "minast" not in archive:
        some = ", ".join(archive.names[:3]) or "nothing"
        raise Error(
            f"{path}: this .npz is not a minast checkpoint (it holds {some}, ...): other models' weights are converted "
            "by python -m minast.convert."
        )
    text = archive.read("minast")
    try:
        about = json.loads(text.item())
        number = about["format"]
    except (ValueError, TypeError, KeyError, RecursionError):
        raise Error(f"{path}: the checkpoint's description cannot be read: the file is damaged.") from None
    if number != FORMAT:
        raise Error(
            f"{path}: this checkpoint has format {number}, this version of minast reads {FORMAT}: update minast."
        )
    return about


def info_from(path, about, classes):
    """Info from the description of a checkpoint."""
    labels = about.get("labels")
    if not isinstance(labels, list) or len(labels) != classes:
        raise Error(f"{path}: the checkpoint's labels do not match its {classes} classes.")
    if about.get("loss", "ce") not in LOSSES:
        raise Error(f"{path}: the checkpoint's loss is {about['loss']!r}: it must be 'bce' or 'ce'.")
    return Info(
        labels=labels,
        features=_dataclass(path, FeatureConfig, about.get("features")),
        loss=about.get("loss", "ce"),
        history=about.get("history", []),
        notes=about.get("notes", {}),
        version=about.get("version", ""),
    )


def read_weights(archive, model, saved):
    """Fill `model.w` from the archive, in threads; a missing, misshapen or non-finite array is an error by name.

    saved: the ModelConfig in the file; its clips may have another length than the model's.
    """
    path, wanted = archive.path, shapes(saved)
    missing = [name for name in wanted if f"w/{name}" not in archive]
    if missing:
        raise Error(f"{path}: {len(missing)} of {len(wanted)} weights are missing, the first is {missing[0]!r}.")

    def read(name):
        view = model.w[name]
        array = archive.read(f"w/{name}", out=view if isinstance(view, np.ndarray) else None)
        if array.shape != wanted[name]:
            raise Error(f"{path}: the weight {name!r} has shape {array.shape}, the model needs {wanted[name]}.")
        if not all_finite(array):
            raise Error(f"{path}: the weight {name!r} holds NaN or infinite numbers.")
        if name == "pos_embed":
            array = adapt_positions(array, saved.prefix_tokens, saved.grid, model.config.grid)
        if array is not view:
            view[...] = model.xp.asarray(array, model.dtype)

    threads.run(read, model.w)


def all_finite(array):
    """True if no number is NaN or infinite; in parts, whose masks stay in cache."""
    flat = array.reshape(-1)
    return all(np.isfinite(flat[i : i + 2**18]).all() for i in range(0, flat.size, 2**18))


def _dataclass(path, kind, values):
    """A configuration from its fields; an unknown or invalid one is an error."""
    known = {f.name for f in fields(kind)}
    if not isinstance(values, dict) or not known >= set(values):
        strange = sorted(set(values) - known) if isinstance(values, dict) else "nothing"
        raise Error(f"{path}: the checkpoint's {kind.__name__} cannot be read (it has {strange}).")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (Error, TypeError) as error:
        raise Error(f"{path}: the checkpoint's settings are damaged: {error}") from None
