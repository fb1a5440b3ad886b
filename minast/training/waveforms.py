"""The waveforms that augmentation mixes: those of the training clips, and background recordings from a folder."""

import hashlib
import os
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from ..config import FeatureConfig, TrainConfig
from ..datasets import Clip
from ..datasets.tree import scan
from ..errors import Error
from ..text import visible
from .bad_files import say_notes
from .feature_cache import FeatureCache, Waves
from .late import Late


class Waveforms(NamedTuple):
    """clips: the waveform (S,) of each training clip; background: of each recording. None: not needed."""

    clips: Sequence[np.ndarray] | None = None
    background: Sequence[np.ndarray] | None = None


NO_WAVES = Waveforms()


def waveforms(
    config: TrainConfig, features: FeatureConfig, train: FeatureCache, cache: bool, recordings: Sequence[str] = ()
) -> Waveforms:
    """What `config` needs, read once and kept in the cache.   recordings: paths of background recordings

    train: the features of the training clips, whose order counts. Raises minast.Error for a recording that cannot be
    read.
    """
    if not mixes_waveforms(config):
        return NO_WAVES
    late = Late(train.late.seed, train.late.skip_bad, quiet=True) if train.late else None
    clips, background = Waves(train.clips, features, cache, late=late), None
    if config.background:
        found = [Clip(os.path.basename(path), (), path=path) for path in recordings]
        background = Waves(found, features, cache, label="background recordings")
        say_notes(background)
    return Waveforms(clips, background)


def mixes_waveforms(config: TrainConfig) -> bool:
    """Whether training batches are made of waveforms, and not of log-mels alone."""
    return bool((config.mixup and config.mixup_of == "waveform") or config.background)


def background_recordings(folder: str | None, config: TrainConfig) -> list[str]:
    """The sound files in a folder and below it, sorted, if `config` wants any.

    Raises minast.Error without a folder, for one that does not exist or holds no sounds, and for one that is not used.
    """
    if not config.background:
        if folder:
            raise Error(f"--background-dir {visible(folder)} is not used with --background 0: leave one of them out.")
        return []
    if not folder:
        raise Error(f"--background {config.background:g} needs recordings to mix in: add --background-dir DIR.")
    if not os.path.isdir(folder):
        raise Error(f"--background-dir {visible(folder)}: there is no such folder.")
    if not (found := sorted(scan(folder).all("sounds"))):
        raise Error(f"--background-dir {visible(folder)}: there is no audio file in it.")
    return found


def fingerprint(folder: str, recordings: Sequence[str]) -> str:
    """A short text that changes when the recordings do, but not when their folder moves: names and sizes count."""
    about = [(os.path.relpath(path, folder), os.path.getsize(path)) for path in recordings]
    return hashlib.sha256(repr(about).encode()).hexdigest()[:16]
