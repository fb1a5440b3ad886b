"""The metadata of a converted checkpoint: features, labels, loss. The report says where each comes from."""

import csv
import os
from dataclasses import replace

from ..checkpoint import LABELS, Info
from ..config import FeatureConfig
from ..errors import Error
from ..storage.schema import checked
from ..storage.stored import decoding

LARGEST = 2**24  # bytes of a file of labels
AUDIOSET = {"mean": FeatureConfig.mean, "std": FeatureConfig.std}  # the defaults
ESC = {"mean": -6.6268077, "std": 5.358466}
SPEECH = {"mean": -6.845978, "std": 5.5654526}
# The official checkpoints by their number of classes. Speech Commands has one label per clip and was trained with BCE
# all the same. Source: egs/*/run*.sh of the official code.
KNOWN = {527: ("AudioSet", "bce", AUDIOSET), 50: ("ESC-50", "ce", ESC), 35: ("Speech Commands V2", "bce", SPEECH)}


def describe(config, layout, settings, keep, labels, loss, report):
    """-> Info for a checkpoint.   keep: the source's head is kept; labels, loss: as asked for, or None"""
    random = not keep or settings.random_head
    c = config
    report.notes.append(f"gelu {c.gelu}, encoder eps {c.encoder_eps:g}, head eps {c.head_eps:g}, {c.heads} heads")
    info = Info(
        features=source_features(config, layout, settings, report),
        labels=class_names(config, settings if keep else None, labels, report),
        loss=loss or (source_loss(layout, settings, report) if keep else "ce"),
        notes={"pretrained": {}, "random_head": random},
    )
    if random:
        report.notes.append("the head is random: its scores mean nothing until it is trained")
    info.notes["pretrained"] = report.asdict()
    return info


def expected_features(layout, settings):
    """The features that an audio model was trained on; None for an image model.   -> FeatureConfig"""
    if not (layout.audio and settings.heard):
        return None
    known = _published(layout)  # every published AST used a Hann window, whatever the paper says
    return replace(FeatureConfig(), **{"window": "hann", **(known[2] if known else {}), **settings.features})


def assumed_function(config, layout, settings, gelu):
    """What of the encoder's function the source does not say.   -> sentences; gelu: as asked for, or None"""
    out = []
    if gelu is None and settings.gelu is None:
        also = ", although Google's ViTs were trained with tanh" if not layout.audio else ""
        out.append(f"gelu {config.gelu}{also}: the source does not say (see gelu=, --gelu)")
    if settings.eps is None and layout.config is None:
        out.append(f"encoder eps {config.encoder_eps:g}, as in the models that use these names")
    return out


def source_features(config, layout, settings, report):
    """The features that the new model takes: an AST's own at its new size; an image model has none, so the default."""
    expected = expected_features(layout, settings) or replace(FeatureConfig(), **settings.features)
    unsaid = [name for name in ("rate", "window", "mean", "std") if name not in settings.features]
    if layout.audio and unsaid:
        known = _published(layout)
        values = ", ".join(f"{name} {getattr(expected, name)}" for name in unsaid)
        whose = f"those of the AST for {known[0] if known else 'AudioSet'}"
        report.assumed.append(f"features: {values}, {whose}, since the source does not say (preprocessor_config.json)")
    f = replace(expected, mel_bins=config.mel_bins, frames=config.frames)
    shape = f"{f.mel_bins} mel bins, {f.window} window, {f.frames} frames"
    report.notes.append(f"features: {f.rate} Hz, {shape}, mean {f.mean}, std {f.std}")
    return f


def class_names(config, settings, labels, report):
    """Labels as given, else the source's, else numbers."""
    if labels:
        return list(labels)
    if settings and settings.labels and len(settings.labels) == config.classes:
        return checked(LABELS, settings.labels, "id2label in config.json")
    if settings and settings.labels:
        why = f"the source names {len(settings.labels)} classes, not {config.classes}"
    else:
        why = "the classes have no names"
    said = f"{why}, so they are numbered 0 to {config.classes - 1} (see labels=, --labels)"
    (report.notes if settings is None else report.assumed).append(said)
    return [str(k) for k in range(config.classes)]


def source_loss(layout, settings, report):
    """The loss that a kept head was trained with: as the source says, else as the published model of that size was."""
    known = _published(layout)
    if settings.loss:
        loss, why, said = settings.loss, "as the source says", report.notes
    elif known:
        why = f"{layout.classes} classes are taken for {known[0]}'s, whose model was trained with it"
        loss, said = known[1], report.assumed
    else:
        loss, why, said = "ce", "the source does not say", report.assumed
    meaning = "sigmoid: any number of classes at once" if loss == "bce" else "softmax: one class per clip"
    said.append(f"loss {loss} ({meaning}): {why} (see loss=, --loss)")
    return loss


def _published(layout):
    """The published AST with as many classes, if there is one: its name, loss and features."""
    return KNOWN.get(layout.classes) if layout.audio and layout.head else None


def read_labels(path: str | os.PathLike) -> list[str]:
    """Class names from a file, in order: AudioSet's class_labels_indices.csv, or one name per line.

    A first line with `display_name` makes it a CSV; a column `index` in it gives the order.
    Raises minast.Error if the file cannot be read, has no labels or some twice, or its indices leave a gap.
    """
    try:
        with open(path, "rb") as f:
            raw = f.read(LARGEST + 1)
    except OSError as error:
        raise Error(f"{path}: the labels cannot be read: {error.strerror or error}.") from None
    if len(raw) > LARGEST:
        raise Error(f"{path}: this has more than {LARGEST} bytes: it is no file of labels.")
    try:
        lines = raw.decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise Error(f"{path}: the labels cannot be read: this is not UTF-8 text.") from None
    if lines and "display_name" in lines[0]:
        with decoding(f"{path}: the labels cannot be read", "this is not a CSV file"):
            rows = list(csv.DictReader(lines, strict=True))
        names = [row.get("display_name") for row in _in_order(path, rows)]
    else:
        names = [line.strip() for line in lines if line.strip()]
    if not names or None in names:
        raise Error(
            f"{path}: there are no labels in it: it needs a name per line, or a CSV with a column display_name."
        )
    try:
        return checked(LABELS, names, "the list of labels")
    except Error as error:
        raise Error(f"{path}: {error}") from None


def _in_order(path, rows):
    """The rows of a CSV by their column `index`, if there is one."""
    if not rows or "index" not in rows[0]:
        return rows
    try:
        rows = sorted(rows, key=lambda row: int(row["index"]))
        whole = [int(row["index"]) for row in rows] == list(range(len(rows)))
    except (TypeError, ValueError):
        whole = False
    if not whole:
        raise Error(f"{path}: the column `index` does not count 0, 1, 2, ... without a gap.")
    return rows
