"""What goes with the weights into a checkpoint: features, labels, loss. The report says where each comes from."""

from dataclasses import replace

from ..checkpoint import Info
from ..config import FeatureConfig
from .settings import KNOWN


def describe(config, layout, settings, keep, labels, loss, report):
    """-> Info for a checkpoint.   keep: the source's head stays; labels, loss: as asked for, or None"""
    known = known_as(layout)
    random = not keep or settings.random_head
    c = config
    report.notes.append(f"gelu {c.gelu}, encoder eps {c.encoder_eps:g}, head eps {c.head_eps:g}, {c.heads} heads")
    info = Info(
        features=source_features(config, layout, settings, report),
        labels=class_names(config, settings if keep else None, labels, report),
        loss=loss or (source_loss(layout, settings, known, report) if keep else "ce"),
        notes={"pretrained": {}, "random_head": random},
    )
    if random:
        report.notes.append("the head is random: train it before its scores mean anything")
    info.notes["pretrained"] = report.asdict()
    return info


def known_as(layout):
    """The published AST with that many classes, if there is one: its name, loss and features."""
    return KNOWN.get(layout.classes) if layout.audio and layout.head else None


def heard(layout, settings):
    """What an audio model was trained on; None for an image model.   -> FeatureConfig"""
    if not layout.audio:
        return None
    known = known_as(layout)  # every published AST heard through Hann windows, whatever the paper says
    return replace(FeatureConfig(), **{"window": "hann", **(known[2] if known else {}), **settings.features})


def source_features(config, layout, settings, report):
    """Features that the weights expect: for an AST those it was trained on, for an image model nothing is known."""
    f = replace(heard(layout, settings) or FeatureConfig(), mel_bins=config.mel_bins, frames=config.frames)
    shape = f"{f.mel_bins} mel bins, {f.window} window, {f.frames} frames"
    report.notes.append(f"features: {f.rate} Hz, {shape}, mean {f.mean}, std {f.std}")
    return f


def class_names(config, settings, labels, report):
    """Labels as given, else the source's, else numbers."""
    if labels:
        return list(labels)
    if settings and settings.labels and len(settings.labels) == config.classes:
        return list(settings.labels)
    report.notes.append(
        f"the classes have no names: they are numbered 0 to {config.classes - 1} (labels=, --labels gives them names)"
    )
    return [str(k) for k in range(config.classes)]


def source_loss(layout, settings, known, report):
    """What a head that stays was trained with: as the source says, else as the published model of that size was."""
    if settings.loss:
        loss, why = settings.loss, "as the source says"
    elif known:
        loss, why = known[1], f"{layout.classes} classes are taken for {known[0]}, which was trained so"
    else:
        loss, why = "ce", "the source does not say"
    meaning = "sigmoid: any number of classes at once" if loss == "bce" else "softmax: one class a clip"
    report.notes.append(f"loss {loss} ({meaning}): {why} (loss=, --loss)")
    return loss
