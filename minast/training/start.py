"""How a new run is prepared: from flags and the data's recipe."""

import os
from argparse import Namespace
from contextlib import ExitStack
from dataclasses import replace

import numpy as np

from .. import cli, pretrained, threads
from ..backend import choose
from ..checkpoint import Info
from ..config import FeatureConfig, ModelConfig, TrainConfig
from ..datasets import Dataset, duplicates, open_dataset, understood
from ..datasets.content import among, digests, pack, shortened
from ..errors import Error
from ..model import AST
from ..pretrained.known_clips import trained_before
from ..text import visible
from . import run_folder
from .bad_files import usable
from .feature_cache import LARGE, Chosen, FeatureCache, large
from .late import Late
from .learner import new_learner
from .linear_probe import fit_linear_probe
from .progress import Progress
from .recipes import recipe
from .run import Run, Settings, TrainingData


def new_run(options: Namespace, leaving: ExitStack) -> Run:
    """Data, features, model and optimizer, as the flags and the recipe say.   leaving: as in run_folder.new_folder

    Raises minast.Error for everything that makes training impossible; an output folder made here is then removed.
    """
    if options.pretrained and any(getattr(options, name) is not None for name in ("preset", "depth", "prefix_tokens")):
        raise Error("--pretrained brings its own size: leave out --preset, --depth and --prefix-tokens.")
    before = trained_before(options.pretrained)
    source = "builtin" if options.data is None else options.data
    dataset = open_dataset(source, options.seed or 0, options.fold, trained_on=before, skip_bad=True)
    print("\n".join(understood(dataset)), flush=True)
    say_overlaps(dataset, before, options.pretrained)
    config, rest = recipe(dataset.kind, dataset.multilabel, vars(options))
    choose(options.backend).checked_dtype(config.dtype)
    preset = stem(options.pretrained) if options.pretrained else rest["preset"]
    name = dataset.kind if dataset.kind != "own" else stem(options.data)
    out = run_folder.new_folder(options.out, f"{name}-{preset}", leaving)

    features, clips, bad = prepare_features(options, rest, dataset)
    data = TrainingData.read(dataset, features, not options.no_cache, clips, bad, options.skip_bad, clips.spectrograms)
    model, origin = new_model(options, rest["preset"], len(dataset.labels), features, config)
    learner = new_learner(model, config)
    describe(model, features, preset, out)
    if options.pretrained and not options.random_head:
        print("fitting the new head to frozen features (linear probe)", flush=True)
        chosen = clips.late.sampled if clips.late else np.arange(len(clips))
        mels, targets = Chosen(clips, chosen), data.train_targets[chosen]
        loss = fit_linear_probe(model, mels, targets, features, config.loss)
        print(f"the new head is fitted: training loss {loss:.3f}")

    notes = {"data": dataset.name, "from": origin, "seed": config.seed, "fold": dataset.fold, "drawn_by": "content"}
    if not clips.late:  # else they are known by and by
        notes["trained_on"] = pack(shortened(digests([clip.path for clip in clips.clips])))
    if before is not None:
        notes["trained_before"] = pack(before)
    settings = Settings(
        data=source,
        folder=os.getcwd(),
        fold=dataset.fold,
        fingerprint=run_folder.fingerprint(dataset),
        preset=preset,
        train=config,
        cache=not options.no_cache,
        backend=model.backend.name,
        threads=threads.count(),
        skip_bad=options.skip_bad,
        drawn_by="content",
    )
    info = Info(list(dataset.labels), features, config.loss, notes=notes)
    return Run(out, settings, info, data, learner, Progress())


def say_overlaps(dataset: Dataset, before: np.ndarray | None, pretrained: str | None) -> None:
    """Print which files are copies of others, and which held-out clips the pretrained weights know."""
    if len(dataset.clips) > LARGE:
        print(f"{len(dataset.clips)} files are not compared with each other: python -m minast.data check does it")
    else:
        for sentence in duplicates.sentences(dataset, duplicates.groups(dataset)):
            cli.note(f"{sentence}.")
    held_out = dataset.of("valid", "test")
    if before is not None and (n := among(digests([clip.path for clip in held_out]), before).sum()):
        cli.note(f"{pretrained} was trained on {n} of {len(held_out)} held-out clips: results on them are too good.")


def prepare_features(options: Namespace, rest: dict, dataset: Dataset) -> tuple[FeatureConfig, FeatureCache, list]:
    """How sound becomes features, the features of the training clips, and [(clip, error)] of those without.

    What the flags say comes first, then what pretrained audio weights expect, then what the training clips suggest.
    """
    flags = {name: getattr(options, name) for name in ("rate", "mel_bins", "window", "mean", "std")}
    flags = {name: value for name, value in flags.items() if value is not None}
    expected = expected_features(options.pretrained) if options.pretrained else {}
    features = FeatureConfig(**{"rate": rest["rate"], **expected, **flags})
    bad = []
    where = choose(options.backend).spectrograms(features.rate)
    train = dataset.of("train")
    late = Late(options.seed or 0, options.skip_bad) if large(train, features) else None
    clips = FeatureCache(train, features, not options.no_cache, bad=bad, spectrograms=where, late=late)
    if not len(clips):
        usable(dataset, bad, options.skip_bad, training=True, data=dataset.name)
    frames = fitting_frames(clips.lengths()) if rest["frames"] is None else rest["frames"]
    if not expected and not {"mean", "std"} <= set(flags):
        mean, std = clips.mean_std()
        features = replace(features, **{"mean": mean, "std": std, **flags})
    if late:
        print(clips.described(), flush=True)
    return replace(features, frames=frames), clips, bad


def fitting_frames(lengths) -> int:
    """The 95th percentile of clip lengths in frames, within 32 to 1024."""
    return int(np.clip(np.percentile(lengths, 95), 32, 1024))


def expected_features(path: str) -> dict:
    """What pretrained weights were trained on: rate, window, mel_bins, mean, std; {} for an image model."""
    found = pretrained.audio_features(path)
    return {k: getattr(found, k) for k in ("rate", "window", "mel_bins", "mean", "std")} if found else {}


def new_model(options: Namespace, preset: str, classes: int, features: FeatureConfig, config: TrainConfig):
    """A model with random weights, or with pretrained ones and a new head.   -> AST, where its weights come from"""
    shape = {"classes": classes, "frames": features.frames, "mel_bins": features.mel_bins}
    own = ("fstride", "tstride", "prefix_tokens", "depth")
    shape |= {name: getattr(options, name) for name in own if getattr(options, name) is not None}
    if options.pretrained:
        return fine_tuned(options, shape, config), os.path.basename(os.path.abspath(options.pretrained))
    model = AST(ModelConfig.preset(preset, **shape), options.backend, config.seed, config.dtype)
    return model, "random weights"


def fine_tuned(options: Namespace, shape: dict, config: TrainConfig) -> AST:
    """A model with pretrained weights and a new head; prints what became of every array."""
    model, _, report = pretrained.load(
        options.pretrained, fresh_head=True, seed=config.seed, backend=options.backend, dtype=config.dtype, **shape
    )
    report.notes = report.notes[:1]  # labels and features are the data's, as the lines after it say
    print(report)
    return model


def describe(model: AST, features: FeatureConfig, preset: str, out: str) -> None:
    """Print what is trained, and where it is written."""
    print(
        f"{preset}: {model.parameters / 1e6:.2f} M weights, {model.config.tokens} tokens from {features.frames} frames "
        f"at {features.rate} Hz, mean {features.mean:.3f}, std {features.std:.3f}; backend {model.backend.name}"
        f"{'' if model.compute_dtype == 'float32' else f' in {model.compute_dtype}'}; to {visible(out)}"
    )
    if model.backend.name == "emulator":
        print("The emulator runs the GPU kernels on the CPU, slowly. To train on a CPU use --backend fast.")


def stem(path: str) -> str:
    """The last part of a path, without its ending."""
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
