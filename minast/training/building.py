"""The model of a new run: from random or pretrained weights, of a size that does not take too long by default."""

import os
from argparse import Namespace

from .. import pretrained
from ..config import PRESETS, FeatureConfig, ModelConfig, TrainConfig
from ..model import AST
from ..text import duration
from .estimate import BACKENDS, TOO_LONG, coarser, estimate
from .run import TrainingData


def affordable_model(
    options: Namespace, rest: dict, features: FeatureConfig, config: TrainConfig, data: TrainingData
) -> tuple[AST, str]:
    """`new_model`, after saying how long it will take; where the user asked for no size, one that is not too slow."""
    asked = [name for name in ("recipe", "preset", "depth", "fstride", "tstride") if getattr(options, name) is not None]
    classes, strides = len(data.dataset.labels), (rest["fstride"] or 10, rest["tstride"] or 10)
    sizes = list(coarser(None if options.pretrained else rest["preset"], *strides))
    if asked or data.dataset.kind == "builtin":
        sizes = sizes[:1]
    each, last = (int(sum(-(-data.lengths(m) // features.frames))) if m else 0 for m in (data.valid, data.test))
    slow = None
    for preset, fstride, tstride in sizes:
        chosen = rest if slow is None else {**rest, "preset": preset, "fstride": fstride, "tstride": tstride}
        model, origin = new_model(options, chosen, classes, features, config, quiet=slow is not None)
        if model.backend.name not in BACKENDS:
            return model, origin
        found = estimate(model.config, config, model.backend.name, len(data.train), each, last)
        if found.run < TOO_LONG:
            break
        slow = slow or found
    if slow is not None and len(sizes) > 1:
        size = f"preset {preset}, " if preset not in (None, rest["preset"]) else ""
        flags = (f"--preset {rest['preset']} " if size else "") + f"--fstride {strides[0]} --tstride {strides[1]}"
        print(f"the default would take about {duration(slow.run)} on this machine: {size}strides of {fstride} mel bins")
        print(f"and {tstride} frames are used instead; {flags} trains it all the same")
    print(found, flush=True)
    return model, origin


def new_model(
    options: Namespace, rest: dict, classes: int, features: FeatureConfig, config: TrainConfig, quiet: bool = False
) -> tuple[AST, str]:
    """A model with random weights, or with pretrained ones and a new head.   -> AST, where its weights come from"""
    shape = {"classes": classes, "frames": features.frames, "mel_bins": features.mel_bins}
    own = ("fstride", "tstride") if options.pretrained else ("fstride", "tstride", "prefix_tokens", "depth")
    shape |= {name: rest[name] for name in own if rest[name] is not None}
    if options.pretrained:
        return fine_tuned(options, shape, config, quiet), os.path.basename(os.path.abspath(options.pretrained))
    model = AST(ModelConfig.preset(rest["preset"], **shape), options.backend, config.seed, config.dtype)
    return model, "random weights"


def fine_tuned(options: Namespace, shape: dict, config: TrainConfig, quiet: bool = False) -> AST:
    """A model with pretrained weights and a new head; prints what became of every array."""
    model, _, report = pretrained.load(
        options.pretrained, fresh_head=True, seed=config.seed, backend=options.backend, dtype=config.dtype, **shape
    )
    report.notes = report.notes[:1]  # labels and features are the data's, as the lines after it say
    if not quiet:
        print(report)
    return model


def preset_of(model: ModelConfig, usual: str) -> str:
    """The preset whose width a model has."""
    return next((name for name, sizes in PRESETS.items() if sizes["dim"] == model.dim), usual)
