"""One .npz that describes itself: weights, model and feature settings, labels, head, history.

Inside: an array a weight, `w/<official name>`, and `minast`, a JSON text with everything else. A training run's
last.npz also holds `state/...`: optimizer moments and counters. Read with allow_pickle=False: loading runs no code.
"""

import json
import os
import zipfile
import zlib
from dataclasses import asdict, dataclass, field, fields, replace

import numpy as np

from . import threads
from .config import FeatureConfig, ModelConfig
from .errors import Error
from .files import atomic
from .model import AST
from .params import shapes
from .version import __version__

FORMAT = 1


@dataclass(frozen=True)
class Info:
    """What a checkpoint says beside the weights; `info["labels"]` works like `info.labels`."""

    labels: list
    features: FeatureConfig
    loss: str = "ce"  # what the head was trained with: "ce" -> softmax, "bce" -> sigmoid
    history: list = field(default_factory=list)  # one dictionary an epoch
    notes: dict = field(default_factory=dict)  # where the weights come from; `random_head: true` if not trained yet
    version: str = ""  # of minast, when it was saved

    def __getitem__(self, name):
        return getattr(self, name)

    @property
    def head(self):
        """ "softmax" (one class a clip) or "sigmoid" (any number of classes)."""
        return "softmax" if self.loss == "ce" else "sigmoid"


def save(path, model, labels=None, features=None, loss="ce", history=(), notes=None, state=None):
    """Write `model` and all that is needed to use it, whole or not at all.

    labels: K names (default: numbers). features: FeatureConfig or a dict of its fields. state: dict of arrays and plain
    values, for a run that will go on. Raises minast.Error where the parts do not fit or the file cannot be written.
    """
    config = model.config
    labels = [str(k) for k in range(config.classes)] if labels is None else [str(name) for name in labels]
    if len(labels) != config.classes or len(set(labels)) != len(labels):
        raise Error(f"there are {len(set(labels))} distinct labels for the model's {config.classes} classes.")
    if isinstance(features, dict):
        features = FeatureConfig(**features)
    features = features or FeatureConfig(frames=config.frames, mel_bins=config.mel_bins)
    if (features.frames, features.mel_bins) != (config.frames, config.mel_bins):
        raise Error(
            f"the features have {features.frames} frames of {features.mel_bins} mel bins, "
            f"the model takes {config.frames} of {config.mel_bins}."
        )
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
        np.savez(f, minast=np.array(json.dumps(about)), **weights, **moments)


def load(path, backend=None, dtype="float32", frames=None):
    """-> (model, Info). Raises minast.Error for a missing, truncated, foreign or inconsistent file.

    frames: for clips of another length. Positions are then cut from the middle or stretched (`adapt_positions`); all
    other weights stay.
    """
    with open_checkpoint(path) as archive:
        about = description(path, archive)
        saved, info = model_config(path, about), info_from(path, about)
        config = saved if frames is None else replace(saved, frames=frames)
        model = AST(config, backend=backend, seed=None, dtype=dtype)
        read_weights(path, archive, model, saved)
    return model, replace(info, features=replace(info.features, frames=config.frames))


def load_state(path, archive=None):
    """The `state` of a training run's file: {name: array or value}; {} if it has none."""
    with open_checkpoint(path) as archive:
        about = description(path, archive)
        arrays = {name[6:]: member(path, archive, name) for name in archive.files if name.startswith("state/")}
    return {**about.get("state", {}), **arrays}


# -- steps ---------------------------------------------------------------------------------------------------------


def open_checkpoint(path):
    """np.load without pickle, its failures as sentences."""
    path = os.fspath(path)
    if not os.path.exists(path):
        raise Error(f"{path}: there is no such checkpoint.")
    if os.path.isdir(path):
        inside = [name for name in ("best.npz", "last.npz") if os.path.exists(os.path.join(path, name))]
        hint = f"; it holds {inside[0]}: give {os.path.join(path, inside[0])}" if inside else ""
        raise Error(f"{path}: this is a folder, a checkpoint is a .npz file{hint}.")
    try:
        with open(path, "rb") as f:
            start = f.read(2)
    except OSError as error:
        raise Error(f"{path}: this cannot be opened: {error.strerror or error}.") from None
    if start not in (b"PK", b"\x93N"):  # of a zip archive, of a single array
        raise Error(f"{path}: this is no .npz file: it is empty or has another format.")
    try:
        archive = np.load(path, allow_pickle=False)
    except (zipfile.BadZipFile, EOFError, OSError, ValueError) as error:
        raise Error(
            f"{path}: this is no whole .npz file ({str(error).rstrip('.')}): truncated, or another format."
        ) from None
    if not isinstance(archive, np.lib.npyio.NpzFile):
        raise Error(f"{path}: this is a single array, a checkpoint is a .npz with many.")
    return archive


def member(path, archive, name, place=None):
    """One array of an archive, its failures as sentences; read straight into `place` if type and shape are its own."""
    try:
        if place is not None and place.flags.c_contiguous:
            with archive.zip.open(f"{name}.npy") as file:
                version = np.lib.format.read_magic(file)
                header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
                if version in header and header[version](file) == (place.shape, False, place.dtype):
                    return read_into(file, place)
        return archive[name]
    except (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, KeyError, RuntimeError) as error:
        raise Error(
            f"{path}: the array {name!r} cannot be read ({str(error).rstrip('.')}): the file is damaged."
        ) from None


def read_into(file, array):
    """The rest of a zip member as the array's numbers; its end is where zipfile compares the checksum."""
    left = memoryview(array).cast("B")
    while len(left):
        piece = file.read(min(len(left), 2**20))
        if not piece:
            raise EOFError("it ends too early")
        left[: len(piece)] = piece
        left = left[len(piece) :]
    if file.read(1):
        raise ValueError("it goes on after its end")
    return array


def description(path, archive):
    """The JSON text of a minast checkpoint, as a dict."""
    if "minast" not in archive.files:
        some = ", ".join(archive.files[:3]) or "nothing"
        raise Error(
            f"{path}: this .npz is not a minast checkpoint (it holds {some}, ...); foreign weights come in through "
            "python -m minast.convert."
        )
    try:
        about = json.loads(member(path, archive, "minast").item())
        number = about["format"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Error(f"{path}: the checkpoint's description cannot be read: the file is damaged.") from None
    if number != FORMAT:
        raise Error(
            f"{path}: this checkpoint has format {number}, this version of minast reads {FORMAT}: update minast."
        )
    return about


def model_config(path, about):
    return _dataclass(path, ModelConfig, about.get("model"))


def info_from(path, about):
    labels = about.get("labels")
    if not isinstance(labels, list) or len(labels) != about["model"]["classes"]:
        raise Error(f"{path}: the checkpoint's labels do not match its {about['model']['classes']} classes.")
    return Info(
        labels=labels,
        features=_dataclass(path, FeatureConfig, about.get("features")),
        loss=about.get("loss", "ce"),
        history=about.get("history", []),
        notes=about.get("notes", {}),
        version=about.get("version", ""),
    )


def read_weights(path, archive, model, saved=None):
    """Fill `model.w` from the archive, array by array; a missing, misshapen or non-finite one is an error by name.

    saved: the ModelConfig of the file, where its clips have another length than the model's.
    """
    from .pretrained.adapt import adapt_positions

    saved = saved or model.config
    wanted = shapes(saved)
    missing = [name for name in wanted if f"w/{name}" not in archive.files]
    if missing:
        raise Error(f"{path}: {len(missing)} of {len(wanted)} weights are missing, the first is {missing[0]!r}.")

    def read(name):
        view = model.w[name]
        array = member(path, archive, f"w/{name}", view if isinstance(view, np.ndarray) else None)
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
    known = {f.name for f in fields(kind)}
    if not isinstance(values, dict) or not known >= set(values):
        strange = sorted(set(values) - known) if isinstance(values, dict) else "nothing"
        raise Error(f"{path}: the checkpoint's {kind.__name__} cannot be read (it has {strange}).")
    try:
        return kind(**{k: tuple(v) if isinstance(v, list) else v for k, v in values.items()})
    except (Error, TypeError) as error:
        raise Error(f"{path}: the checkpoint's settings are damaged: {error}") from None
