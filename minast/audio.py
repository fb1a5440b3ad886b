"""An audio file -> a mono float32 waveform at the rate a model wants."""

import os
from dataclasses import dataclass

import numpy as np

from .errors import Error

MAX_RATE = 768000  # Hz: more than any recorder has
EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aif", ".aiff", ".au", ".w64", ".caf")


@dataclass(frozen=True)
class Decoded:
    """A recording as it was read, and what the user should know about it."""

    wave: np.ndarray  # (S,) float32
    rate: int  # Hz
    notes: tuple[str, ...] = ()  # such as "cut short: 3.20 s could be decoded of 12.00 s"; no file name in them


def decode(path: str | os.PathLike, rate: int | None = 16000) -> Decoded:
    """`load_audio`, with the rate and what the user should know about the file."""
    return Decoded(*read_audio(path, rate))


def load_audio(path: str | os.PathLike, rate: int | None = 16000) -> np.ndarray:
    """Decode an audio file, average its channels, resample.   -> wave (S,) float32 in [-1, 1], S = seconds * rate

    path: wav, flac, ogg, mp3 or any other format that libsndfile reads. Integer samples are scaled to [-1, 1].
    rate: Hz; None keeps the file's own (`read_audio` also returns it).

        >>> wave = minast.load_audio("street.wav")               # 10 s at 44.1 kHz, stereo
        >>> wave.shape, wave.dtype
        ((160000,), dtype('float32'))

    Raises minast.Error for a file that is missing, empty, not audio, shorter than its header says (where libsndfile can
    tell), or that holds NaN. Source: decoding by libsndfile, resampling by soxr at quality HQ.
    """
    return read_audio(path, rate)[0]


def read_audio(path: str | os.PathLike, rate: int | None = 16000) -> tuple[np.ndarray, int]:
    """`load_audio`, with the rate.   -> (wave (S,) float32, rate in Hz)"""
    import soundfile

    path = os.fspath(path)
    if not os.path.exists(path):
        raise Error(f"{path}: there is no such file.")
    if os.path.isdir(path):
        raise Error(f"{path}: this is a folder, an audio file is needed.")
    if os.path.getsize(path) == 0:
        raise Error(f"{path}: the file is empty (0 bytes).")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError) as error:
        raise Error(
            f"{path}: this cannot be decoded as audio ({_reason(error)}): give a wav, flac, ogg or mp3 file."
        ) from None
    with file:
        expected, own = file.frames, file.samplerate
        try:
            x = file.read(dtype="float32", always_2d=True)  # (S, channels)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise Error(f"{path}: decoding fails partway ({_reason(error)}): it is damaged or cut short.") from None
    # libsndfile estimates the length of an mp3; elsewhere the header's count is exact
    if len(x) < expected and not path.lower().endswith(".mp3"):
        raise Error(
            f"{path}: the file is cut short: its header promises {expected / own:.2f} s, {len(x) / own:.2f} s could be "
            "decoded. Copy it again, or convert what is left with another program."
        )
    if len(x) == 0:
        raise Error(f"{path}: the file holds no sound (0 samples).")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise Error(f"{path}: {bad.sum()} samples are NaN or infinite, the first at {bad.argmax() / own:.3f} s.")
    wave = x.mean(axis=1) if x.shape[1] > 1 else x[:, 0]
    if rate and rate != own:
        wave = resample(wave, own, rate)
        if len(wave) == 0:
            raise Error(f"{path}: nothing is left of {len(x)} samples at {own} Hz after resampling to {rate} Hz.")
    return wave.astype(np.float32, copy=False), rate or own


def resample(wave: np.ndarray, rate: float, new_rate: float) -> np.ndarray:
    """A waveform at another rate, both in Hz.   wave (S,) -> (S * new_rate / rate,), same dtype

    Raises minast.Error for a rate below 100 or above 768000 Hz. Source: soxr, quality HQ.
    """
    import soxr

    for value in (rate, new_rate):
        if not isinstance(value, (int, float, np.number)) or not 100 <= value <= MAX_RATE:
            raise Error(f"a sample rate is {value!r}: it must be a number from 100 to {MAX_RATE} Hz.")
    return soxr.resample(wave, rate, new_rate, quality="HQ")


def _reason(error):
    text = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return text.removeprefix("Error : ")
