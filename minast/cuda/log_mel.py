"""Log-mel spectrograms by kernels: `features.log_mels`, many waveforms in one launch.

`version` selects a version of log_mel.cu; the default is the last.
"""

from collections.abc import Sequence
from functools import lru_cache
from types import ModuleType

import numpy as np

from ..features import LOG_FLOOR, checked_wave, frame_count, mel_filterbank, sizes, window_function
from ..gpu.memory import empty
from ..launch import launch
from ..layers import Array, array_module
from .common import checked_version

FFT_SIZES = (128, 256, 512, 1024, 2048, 4096)  # rates from 2600 Hz to 163 kHz
VERSIONS = ("log_mel_dft", "log_mel_radix2", "log_mel_radix4")
TOGETHER = 32  # clips that a caller with many should give to one call (not measured)
SAMPLES = 2**26  # of one launch: 256 MiB, 70 minutes at 16 kHz; more are computed one launch after another


def fits(rate: int) -> bool:
    """Whether there is a kernel for the FFT length of this sample rate (Hz)."""
    return sizes(rate)[2] in FFT_SIZES


def log_mels(
    waves: Sequence[np.ndarray],
    rate: int = 16000,
    mel_bins: int = 128,
    window: str = "hamming",
    xp: ModuleType | None = None,
    version: int = 2,
) -> list[np.ndarray]:
    """`features.log_mel` of each waveform, by kernels.   waves: n arrays (S_i,) -> n arrays (T_i, mel_bins), NumPy

    xp: cupy, the default, for a GPU; numpy for the emulator. It agrees with `features.log_mel` to 1e-4 in filters that
    are less than 60 dB below the loudest of their frame; below, both hold rounding errors in part.
    The same waveform gives the same bits, whatever else is in the launch. Raises minast.Error as `features.log_mel`
    does; call `fits` first: a rate without a kernel is refused by `launch`.
    """
    if xp is None:
        import cupy as xp
    waves = [checked_wave(wave, rate) for wave in waves]
    mels = []
    for group in groups([len(wave) for wave in waves], SAMPLES):
        mels += _launched([waves[i] for i in group], rate, mel_bins, window, xp, checked_version(version, 2))
    return mels


def groups(lengths: Sequence[int], limit: int) -> list[range]:
    """0 ... n - 1 in consecutive ranges whose lengths sum to at most `limit`; one that is longer is on its own."""
    found, begin, total = [], 0, 0
    for i, length in enumerate(lengths):
        if i > begin and total + length > limit:
            found.append(range(begin, i))
            begin, total = i, 0
        total += length
    return [*found, range(begin, len(lengths))] if lengths else []


def _launched(waves, rate, mel_bins, window, xp, version):
    _, shift, _ = sizes(rate)
    counts = [frame_count(len(wave), rate) for wave in waves]
    firsts = np.cumsum([0, *(len(wave) for wave in waves[:-1])])  # sample of each clip
    starts = np.concatenate([first + shift * np.arange(n) for first, n in zip(firsts, counts, strict=True)])
    placed = xp.asarray(np.concatenate(waves)), xp.asarray(starts.astype(np.int64))
    out = on_device(*placed, rate, mel_bins, window, version)
    mels = out if isinstance(out, np.ndarray) else out.get()
    return np.split(mels, np.cumsum(counts)[:-1])


def on_device(samples: Array, starts: Array, rate: int, mel_bins: int, window: str, version: int = 2) -> Array:
    """The launch itself.   samples (S,) float32, starts (T,) int64: the frames' first samples -> (T, mel_bins)"""
    frame, _, size = sizes(rate)
    out = empty(samples, (len(starts), mel_bins))
    tables = (array_module(samples).asarray(table) for table in _tables(rate, mel_bins, window))
    kernel, threads = f"{VERSIONS[version]}<{size}>", max(32, size // 8)
    args = (samples, starts, *tables, out, frame, mel_bins, LOG_FLOOR)
    launch("log_mel.cu", kernel, len(starts), threads, args)
    return out


@lru_cache(maxsize=16)
def _tables(rate, mel_bins, window):
    """window (frame,), turns (N, 2), firsts (F,), offsets (F + 1,), weights: as log_mel.cu describes them"""
    frame, _, size = sizes(rate)
    angle = 2 * np.pi * np.arange(size) / size
    turns = np.stack([np.cos(angle), -np.sin(angle)], axis=1)
    bank = mel_filterbank(rate, mel_bins, size)[:-1]  # (N / 2, F)
    under = [np.flatnonzero(column) for column in bank.T]  # consecutive bins; none for an empty filter
    firsts = [bins[0] if len(bins) else 0 for bins in under]
    offsets = np.cumsum([0, *map(len, under)])
    weights = np.concatenate([column[bins] for column, bins in zip(bank.T, under, strict=True)])
    return (
        window_function(window, frame).astype(np.float32),
        turns.astype(np.float32),
        np.array(firsts, np.int32),
        offsets.astype(np.int32),
        weights.astype(np.float32),
    )
