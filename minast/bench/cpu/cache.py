"""The feature cache of a folder, filled for the first time, beside a disk that only copies."""

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from ...audio import load_audio
from ...audio.write import wav
from ...config import FeatureConfig
from ...datasets import Clip
from ...errors import Error
from ...features import log_mel
from ...training.feature_cache import FeatureCache
from ..checks import check
from ..row import Row
from ..sides import Side, compared

FILES, SECONDS, RATE = 2000, 10, 16000


def fill(rounds: int) -> Iterator[Row]:
    """FILES recordings become features on disk; a copy reads the same files, and writes as many bytes. Both sync.

    The features of one file are compared with `log_mel` of its samples. Raises minast.Error if the cache has not kept
    them all. Takes some GB of the folder for temporary files.
    """
    before = os.environ.get("MINAST_CACHE")
    with tempfile.TemporaryDirectory() as folder:
        os.environ["MINAST_CACHE"] = os.path.join(folder, "cache")
        try:
            yield from _rows(folder, rounds)
        finally:
            os.environ.pop("MINAST_CACHE") if before is None else os.environ.update(MINAST_CACHE=before)


def _rows(folder, rounds):
    clips = recordings(os.path.join(folder, "sounds"))
    cache, other = (os.path.join(folder, name) for name in ("cache", "copy"))
    entries = []  # sizes of what the first filling wrote

    def ours():
        shutil.rmtree(cache, ignore_errors=True)
        for clip in clips:
            os.utime(clip.path)  # files whose content is not known yet
        filled = FeatureCache(clips, FeatureConfig(rate=RATE), quiet=True, in_memory=0)
        os.sync()  # or the copy's would wait for these bytes as well
        return filled

    def copying():
        def copy():
            shutil.rmtree(other, ignore_errors=True)
            os.makedirs(other)
            for i, clip in enumerate(clips):
                Path(clip.path).read_bytes()
                Path(other, str(i)).write_bytes(bytes(entries[i]))
            os.sync()

        return copy, np.array(len(clips))

    found = ours()
    entries += [path.stat().st_size for path in Path(cache).rglob("*.mel")]
    if len(entries) != FILES:
        raise Error(f"the cache has kept {len(entries)} of {FILES} files: is the disk of {folder} full?")
    check(found[0], log_mel(load_audio(clips[0].path, RATE), RATE), 1e-6, "features of a file")
    note = f"reads {_size(clip.path for clip in clips)} MB, writes {sum(entries) / 1e6:.0f} MB"
    name = f"features of {FILES} files of {SECONDS} s, kept"
    yield from compared(name, ours, np.array(len(found)), [Side("a copy", copying, "1x")], rounds, note)


def recordings(folder: str) -> list[Clip]:
    """FILES wav files of noise, all different."""
    os.makedirs(folder)
    noise = 0.1 * np.random.default_rng(0).standard_normal(SECONDS * RATE + FILES)
    waves = (noise[i : i + SECONDS * RATE] for i in range(FILES))
    paths = [os.path.join(folder, f"{i:04d}.wav") for i in range(FILES)]
    for path, wave in zip(paths, waves, strict=True):
        Path(path).write_bytes(wav(wave, RATE))
    return [Clip(os.path.basename(path), (0,), path=path) for path in paths]


def _size(paths):
    return f"{sum(map(os.path.getsize, paths)) / 1e6:.0f}"
