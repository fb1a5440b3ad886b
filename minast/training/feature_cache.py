"""Features of many clips, and their waveforms: computed once, on all cores or a GPU, and kept on disk.

`clip_cache` says how they are kept, `late` when they are computed.
"""

import os
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NamedTuple

import numpy as np

from .. import audio, threads
from ..config import FeatureConfig
from ..datasets import Clip
from ..errors import Error
from ..features import ON_CPU, Spectrograms, hop_seconds
from ..text import visible
from . import cache_entry
from .clip_cache import ClipCache

LARGE = 50_000  # clips: more are computed late
LARGE_FILES, LARGE_FEATURES = 2**32, 2**35  # so are fewer, if their files and their features have more bytes than this
PART_BYTES = 32_000  # a second of a part of a file: 16 bits at 16 kHz
LOOKED_AT = 8  # files whose lengths are measured to estimate the latter


class FeatureCache(ClipCache):
    """A sequence: `mels[i]` is the log-mel (T, F) of `clips[i]`, whole and not normalised, float32 in nats.

    clips: the recordings. features: its rate, mel_bins and window matter here. spectrograms: where features are
    computed. Those of a GPU differ in their last bits, so they have entries of their own: what a run computes depends
    on its backend, never on what another run has left in the cache. options: as for `ClipCache`.

    The log-mel of a long recording is mapped into memory: a crop of it reads that part alone from the disk.
    """

    def __init__(
        self, clips: Sequence[Clip], features: FeatureConfig, *args, spectrograms: Spectrograms = ON_CPU, **options
    ):
        self.features, self.spectrograms, self._measured = features, spectrograms, None
        maker = [] if spectrograms == ON_CPU else [spectrograms.made_by]
        settings = [features.rate, features.mel_bins, features.window, *maker]
        super().__init__(clips, settings, features.rate, *args, together=spectrograms.together, **options)

    def _compute(self, waves):
        f = self.features
        return self.spectrograms.log_mels(waves, f.rate, f.mel_bins, f.window)

    def _fault(self, row):
        return None if np.isfinite(row).all() else "its spectrogram is not finite: are its samples within -1 to 1?"

    @property
    def measured(self) -> "Measured":
        """Lengths, mean and deviation of all clips, or of the sample of those that are computed late."""
        if self._measured is None:
            chosen = self.late.sampled if self.late else range(len(self))
            with self._sums(chosen) as found:
                self._measured = Measured.of(found)
        return self._measured

    @contextmanager
    def _sums(self, chosen) -> Iterator[Iterable]:
        if not self.late:
            yield (sums(self[i]) for i in chosen)
            return
        from tqdm import tqdm

        with threads.ordered(lambda i: sums(self[i]), chosen) as found:
            yield tqdm(found, total=len(chosen), desc="measuring", unit="clip", disable=self.quiet or None, leave=False)

    def lengths(self) -> np.ndarray:
        """Frames of each clip.   -> (n,)

        If they are computed late: those of the sampled ones, repeated until there are n, for percentiles and sums.
        """
        return np.resize(self.measured.lengths, len(self))

    def described(self) -> str:
        """How clips that are computed late are: a sentence for people."""
        if self.folder is None:
            said = f"{len(self)} clips are computed whenever they are needed"
        else:
            size = 4 * self.features.mel_bins * self.lengths().sum(dtype=np.int64) / 1e9
            said = f"{len(self)} clips are computed when first needed, and kept: about {size:.1f} GB in {self.folder}"
        measured = f"measured on {len(self.late.sampled)} of {len(self)} clips"
        return visible(f"{said}; lengths, mean and deviation are {measured}" if self._measured else said)

    def mean_std(self) -> tuple[float, float]:
        """Mean and standard deviation over every frame and mel bin of all clips, without padding; sums in float64.

        Of the sampled clips if they are computed late. Raises minast.Error if all values are the same, as for silence.
        """
        if self.measured.std == 0:
            raise Error(f"all {len(self)} clips are the same constant {self.measured.mean:.4g}: are they silent?")
        return self.measured.mean, self.measured.std


class Waves(ClipCache):
    """A sequence: `waves[i]` is the waveform (S,) of `clips[i]` at the model's rate, one channel, float32.

    On disk samples have 16 bits where nothing is lost by it, which is so for 16-bit mono files at the model's rate: all
    are multiples of 2**-15 within [-1, 1). Else, and for recordings long enough to be mapped into memory, they have 32,
    so that a run with the cache is a run without it, bit for bit. options: as for `ClipCache`.
    """

    ending, axes = ".wave", 1

    def __init__(self, clips: Sequence[Clip], features: FeatureConfig, *args, label: str = "waveforms", **options):
        super().__init__(clips, ["wave", features.rate], features.rate, *args, label=label, **options)

    def _compute(self, waves):
        return waves

    def _packed(self, row):
        if row.nbytes > cache_entry.MAPPED or not len(row):
            return row
        scaled = row * np.float32(2**15)
        small = scaled.astype(np.int16) if scaled.min() >= -(2**15) and scaled.max() < 2**15 else None
        return row if small is None or not np.array_equal(small, scaled) else small

    def _unpacked(self, stored):
        return stored if stored.dtype == np.float32 else stored * np.float32(2**-15)


class Chosen(Sequence):
    """Some rows of a cache, in another order.   rows: anything that is indexed by a number; places (k,)"""

    def __init__(self, rows: Sequence[np.ndarray], places: np.ndarray):
        self.rows, self.places = rows, places

    def __len__(self) -> int:
        return len(self.places)

    def __getitem__(self, i: int) -> np.ndarray:
        return self.rows[int(self.places[i])]


def large(clips: Sequence[Clip], features: FeatureConfig) -> bool:
    """Whether clips are to be computed late: there are more than LARGE, or their features have many bytes.

    The bounds are fixed, and no share of this machine's memory: mean and deviation then come from a sample, and what a
    run computes must not depend on where it runs. Few and long recordings are judged by a few of them.
    """
    if len(clips) > LARGE:
        return True
    sizes, seconds = [], []
    for i in np.unique(np.linspace(0, len(clips) - 1, LOOKED_AT).astype(int)) if len(clips) else ():
        with suppress(OSError, TypeError):  # no file, or none that can be read
            sizes.append(PART_BYTES * _length(clips[i].part) if clips[i].part else os.path.getsize(clips[i].path))
    if not sizes or np.mean(sizes) * len(clips) < LARGE_FILES:
        return False
    for i in np.unique(np.linspace(0, len(clips) - 1, LOOKED_AT).astype(int)):
        with suppress(Error, TypeError):
            seconds.append(_length(clips[i].part) if clips[i].part else audio.Recording(clips[i].path).seconds)
    each = 4 * features.mel_bins / hop_seconds(features.rate)  # bytes a second
    return bool(seconds) and np.mean(seconds) * each * len(clips) > LARGE_FEATURES


def _length(part):
    """Seconds of a part of a file."""
    return part[1] - part[0]


def sums(mel: np.ndarray) -> tuple[int, int, float, float]:
    """Frames, numbers, their sum and that of their squares, in float64, of a log-mel (T, F)."""
    exact = mel.astype(np.float64)
    return len(mel), mel.size, float(exact.sum()), float((exact * exact).sum())


class Measured(NamedTuple):
    """What is known of many log-mels.   lengths: in frames, (n,)"""

    lengths: np.ndarray
    mean: float
    std: float

    @classmethod
    def of(cls, found: Iterable[tuple[int, int, float, float]]) -> "Measured":
        """From what `sums` returned, in this order."""
        lengths, count, total, squares = [], 0.0, 0.0, 0.0
        for frames, numbers, each, square in found:
            lengths.append(frames)
            count, total, squares = count + numbers, total + each, squares + square
        mean = total / count if count else 0.0
        return cls(
            np.array(lengths), float(mean), float(np.sqrt(max(squares / count - mean * mean, 0.0))) if count else 0.0
        )
