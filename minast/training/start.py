"""How a new run is prepared: from flags and the data's recipe."""

import os
from argparse import Namespace
from contextlib import ExitStack
from functools import partial

import numpy as np

from .. import cli, threads
from ..backend import choose
from ..checkpoint import Info
from ..config import FeatureConfig, TrainConfig
from ..datasets import Dataset, open_dataset, understood
from ..datasets.check import dangers
from ..datasets.content import known_to, pack, shortened, with_files
from ..datasets.splits import NOW
from ..errors import Error
from ..model import AST
from ..parallel import world
from ..pretrained.known_clips import trained_before
from ..text import visible
from . import run_folder, tensorboard
from .alike import check_run
from .building import affordable_model, preset_of
from .choice import described, recipe
from .feature_cache import LARGE, Chosen
from .inputs import expected_features, prepare_features, say_lengths
from .learner import new_learner
from .linear_probe import fit_linear_probe
from .progress import Progress
from .run import Run, Settings, TrainingData, no_patience
from .waveforms import background_recordings, fingerprint, waveforms

BACKGROUND = 0.5  # probability of a background recording, with --background-dir alone


def new_run(options: Namespace, leaving: ExitStack, split_seed: int | None = None) -> Run:
    """Data, features, model and optimizer, as the flags and the recipe say.   leaving: as in run_folder.new_folder

    split_seed: draws the split and the built-in sounds (default: the seed of training).
    Raises minast.Error for everything that makes training impossible; an output folder made here is then removed.
    """
    if options.pretrained and any(getattr(options, name) is not None for name in ("preset", "prefix_tokens")):
        raise Error(
            "--pretrained brings its own size: leave out --preset and --prefix-tokens; --depth keeps its lowest blocks."
        )
    tensorboard.check(options.tensorboard)
    if options.background_dir and options.background is None:
        options.background = BACKGROUND
    before = trained_before(options.pretrained)
    source = "builtin" if options.data is None else options.data
    drawn = {"validation": options.validation, "folds": options.folds if isinstance(options.folds, int) else None}
    drawn = {name: value for name, value in drawn.items() if value is not None}
    seed = (options.seed or 0) if split_seed is None else split_seed
    dataset = open_dataset(source, seed, options.fold, trained_on=before, skip_bad=True, alike=True, **drawn)
    print("\n".join(understood(dataset)), flush=True)
    expected = expected_features(options.pretrained) if options.pretrained else {}
    fitting = partial(recipe, dataset.kind, dataset.multilabel, vars(options), audio=bool(expected))
    config, rest = fitting()
    say_dangers(dataset, config, before, options.pretrained)
    options.backend = same_backend(options.backend)
    choose(options.backend).checked_dtype(config.dtype)
    if config.patience and dataset.validation_split == "test":
        raise Error(no_patience(dataset.name))
    recordings = background_recordings(options.background_dir, config)
    name = dataset.kind if dataset.kind != "own" else stem(options.data)
    size = stem(options.pretrained) if options.pretrained else rest["preset"]
    out = run_folder.new_folder(options.out, f"{name}-{size}", leaving)

    features, clips, bad = prepare_features(options, rest, expected, dataset)
    data = TrainingData.read(dataset, features, not options.no_cache, clips, bad, options.skip_bad, clips.spectrograms)
    say_lengths(data, features)
    config, rest = fitting(clips=len(data.train), frames=features.frames)
    if options.recipe:
        print("\n".join(described(options.recipe, config, rest | vars(features), vars(options), bool(expected))))
    model, origin = affordable_model(options, rest, features, config, data)
    data.waves = waveforms(config, features, data.train, not options.no_cache, recordings)
    learner = new_learner(model, config, data.train_targets, world(), min(config.batch, len(data.train)))
    preset = size if options.pretrained else preset_of(model.config, rest["preset"])
    describe(model, features, preset, out)
    if options.pretrained and not rest["random_head"]:
        print("fitting the new head to frozen features (linear probe)", flush=True)
        chosen = clips.late.sampled if clips.late else np.arange(len(clips))
        mels, targets = Chosen(clips, chosen), data.train_targets[chosen]
        loss = fit_linear_probe(model, mels, targets, features, config.loss)
        print(f"the new head is fitted: training loss {loss:.3f}")

    notes = {"data": dataset.name, "from": origin, "seed": seed, "fold": dataset.fold, "drawn_by": NOW, **drawn}
    if not clips.late:  # else they are known by and by
        notes["trained_on"] = pack(shortened(with_files(clips.clips)))
    if before is not None:
        notes["trained_before"] = pack(before)
    if dataset.alike:
        notes["alike"] = dataset.alike
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
        drawn_by=NOW,
        split_seed=split_seed,
        background_dir=options.background_dir,
        background_fingerprint=fingerprint(options.background_dir, recordings) if recordings else "",
        tensorboard=bool(options.tensorboard),
        draws="clip",
        processes=world().size,
        **drawn,
    )
    info = Info(list(dataset.labels), features, config.loss, notes=notes)
    run = Run(out, settings, info, data, learner, Progress(), world())
    check_run(run)
    begin_alike(run)
    return run


def same_backend(name: str | None) -> str | None:
    """The backend that was asked for; else, with several processes, the best one. minast.Error if that differs."""
    if world().size == 1:
        return name
    found = [each.decode() for each in world().talk(choose(name).name.encode())]
    if len(set(found)) > 1:
        other = next(i for i, each in enumerate(found) if each != found[0])
        raise Error(
            f"process 1 would compute on {found[0]} and process {other + 1} on {found[other]}: give --backend, or "
            "start one process for each GPU."
        )
    return found[0]


def begin_alike(run: Run) -> None:
    """Give all processes the weights of the first one: what was measured or fitted may differ in its last bits."""
    if run.group.size > 1:
        run.learner.gradients.group.broadcast(run.learner.model.w.flat)
        run.learner.model.weights_changed()


def say_dangers(dataset: Dataset, config: TrainConfig, before: np.ndarray | None, pretrained: str | None) -> None:
    """Print what endangers the result, and which held-out clips the pretrained weights know."""
    if len(dataset.clips) > LARGE:
        text = f"{len(dataset.clips)} files are not compared with each other: python -m minast.data check DATA does it"
        print(cli.as_started(text))
    else:
        for sentence in dangers(dataset, balanced=config.sampler == "balanced" or config.class_weights):
            cli.note(f"{sentence}.")
    held_out = dataset.of("valid", "test")
    if before is not None and (n := known_to(held_out, before).sum()):
        cli.note(f"{pretrained} was trained on {n} of {len(held_out)} held-out clips: results on them are too good.")


def describe(model: AST, features: FeatureConfig, preset: str, out: str) -> None:
    """Print what is trained, and where it is written."""
    print(
        f"{preset}: {model.parameters / 1e6:.2f} M weights, {model.config.tokens} tokens from {features.frames} frames "
        f"at {features.rate} Hz, mean {features.mean:.3f}, std {features.std:.3f}; backend {model.backend.name}"
        f"{'' if model.compute_dtype == 'float32' else f' in {model.compute_dtype}'}"
        f"{'' if world().size == 1 else f', {world().size} processes'}; to {visible(out)}"
    )
    if model.backend.name == "emulator":
        print("The emulator runs the GPU kernels on the CPU, slowly. To train on a CPU use --backend fast.")


def stem(path: str) -> str:
    """The last part of a path, without its ending."""
    return os.path.splitext(os.path.basename(os.path.abspath(path)))[0]
