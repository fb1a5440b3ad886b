"""How the sound of a new run becomes features: from flags, a recipe, pretrained weights, or the clips themselves."""

from argparse import Namespace
from dataclasses import replace

import numpy as np

from .. import pretrained
from ..backend import choose
from ..config import FeatureConfig
from ..datasets import Dataset
from ..parallel import world
from .bad_files import usable
from .feature_cache import FeatureCache, large
from .fitted import fitting_frames, fitting_rate, length_words, rate_words, rates
from .late import Late
from .run import TrainingData


def prepare_features(
    options: Namespace, rest: dict, expected: dict, dataset: Dataset
) -> tuple[FeatureConfig, FeatureCache, list]:
    """How sound becomes features, the features of the training clips, and [(clip, error)] of those without.

    What the flags say comes first, then a named recipe, then what pretrained audio weights expect, then the data set's
    recipe, then what the training clips suggest.
    """
    names = ("rate", "mel_bins", "window", "mean", "std")
    found = {name: rest[name] for name in names if rest[name] is not None}
    asked = {name: value for name, value in found.items() if options.recipe or getattr(options, name) is not None}
    known = {**found, **expected, **asked}
    train = dataset.of("train")
    if dataset.kind != "builtin":
        own = rates(train)
        features = FeatureConfig(**{"rate": fitting_rate(own), **known})
        for line in rate_words(own, features.rate, "rate" not in known, options.rate is not None):
            print(line)
    else:
        features = FeatureConfig(**known)
    bad = []
    where = choose(options.backend).spectrograms(features.rate)
    late = Late(options.seed or 0, options.skip_bad) if large(train, features) else None
    clips = FeatureCache(train, features, not options.no_cache, bad=bad, spectrograms=where, late=late)
    if not len(clips):
        usable(dataset, bad, options.skip_bad, training=True, data=dataset.name)
    frames = fitting_frames(clips.lengths()) if rest["frames"] is None else rest["frames"]
    if not {"mean", "std"} <= set(known):
        mean, std = world().total([value if not world().rank else 0.0 for value in clips.mean_std()])
        features = replace(features, **{"mean": mean, "std": std, **known})
    if late:
        print(clips.described(), flush=True)
    return replace(features, frames=frames), clips, bad


def say_lengths(data: TrainingData, features: FeatureConfig) -> None:
    """Print how many clips are longer than the input."""
    lengths = np.concatenate([data.lengths(mels) for mels in (data.train, data.valid, data.test) if mels])
    for sentence in length_words(lengths, features.frames, features.rate):
        print(f"note: {sentence}")


def expected_features(path: str) -> dict:
    """What pretrained weights were trained on: rate, window, mel_bins, mean, std; {} for an image model."""
    found = pretrained.audio_features(path)
    return {k: getattr(found, k) for k in ("rate", "window", "mel_bins", "mean", "std")} if found else {}
