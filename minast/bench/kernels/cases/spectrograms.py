"""Log-mel spectrograms of waveforms that are on the device, in every version; float32 alone."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np

from ....cuda import log_mel
from ....features import LOG_FLOOR, PREEMPHASIS, mel_filterbank, sizes, window_function
from ...gpu.device import Device
from ...pytorch import kernels as in_torch
from .case import Case, Sizes

RATE = 16000


def spectrograms(device: Device, s: Sizes, dtype: str) -> Iterator[Case]:
    """Waveforms (B, S) -> log-mel (B T, F). Beside it the same by array functions, whose rfft is cuFFT on a GPU."""
    if dtype != "float32":
        return
    xp, (frame, shift, _) = device.xp, sizes(RATE)
    waves = device.normal(s.B, frame + shift * (s.T - 1)) / 10
    starts = xp.asarray((np.arange(s.B)[:, None] * waves.shape[1] + shift * np.arange(s.T)).ravel())  # int64
    tables = [xp.asarray(x, np.float32) for x in (window_function("hamming", frame), mel_filterbank(RATE, s.F))]

    def wanted():
        return (by_arrays(xp, xp.fft.rfft, xp.maximum, xp.arange(frame))(waves, starts, *tables),)

    def in_pytorch(t):
        where = "cuda" if device.gpu else "cpu"
        function = by_arrays(t, t.fft.rfft, lambda x, least: x.clamp(min=least), t.arange(frame, device=where))
        return in_torch.forward(t, function, waves, starts, *tables)

    size = 4 * (waves.size + len(starts) * s.F)
    for version in range(len(log_mel.VERSIONS)):
        call = partial(ours, waves, starts, s.F, version)
        yield Case(f"log-mel, version {version}", call, wanted, size, torch=in_pytorch)


def ours(waves, starts, mel_bins: int, version: int) -> tuple:
    """The kernel's results, on the device."""
    return (log_mel.on_device(waves.reshape(-1), starts, RATE, mel_bins, "hamming", version),)


def by_arrays(xp, rfft: Callable, maximum: Callable, within) -> Callable:
    """features.log_mel in array functions.   xp: NumPy, CuPy or torch -> a function of waves, starts, window, filters

    within: 0 ... frame - 1, an array of xp.
    """
    frame, _, size = sizes(RATE)

    def function(waves, starts, window, bank):
        x = waves.reshape(-1)[starts[:, None] + within]  # (B T, frame)
        x = x - x.mean(1)[:, None]
        y = x - PREEMPHASIS * x[:, [0, *range(frame - 1)]]
        spectrum = rfft(y * window, size)
        return xp.log(maximum((spectrum.real**2 + spectrum.imag**2) @ bank, LOG_FLOOR))

    return function
