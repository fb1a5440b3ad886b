"""An audio file -> a mono float32 waveform at the wanted rate."""

import os

import numpy as np

from .errors import Error

EXTENSIONS = (".wav", ".flac", ".ogg", ".mp3", ".opus", ".oga", ".aif", ".aiff", ".au", ".w64", ".caf")


def load_audio(path, rate=16000):
    """Decode, average the channels, resample.   -> (S,) float32 in [-1, 1], S = seconds * rate

    wav, flac, ogg, mp3 and whatever else libsndfile reads; whole-number files are scaled to [-1, 1] like float ones.
    rate in Hz; None keeps the file's own. Resampling: soxr, high quality. Raises minast.Error for a file that is
    missing, empty, not audio, shorter than its header says (where libsndfile knows), or holds NaN.
    """
    return read_audio(path, rate)[0]


def read_audio(path, rate=16000):
    """`load_audio` that also says the rate: (wave (S,), rate in Hz)."""
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
            f"{path}: this cannot be decoded as audio ({_reason(error)}); wav, flac, ogg and mp3 can."
        ) from None
    with file:
        expected, own = file.frames, file.samplerate
        try:
            x = file.read(dtype="float32", always_2d=True)  # (S, channels)
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise Error(
                f"{path}: decoding fails part of the way ({_reason(error)}): it is damaged or cut short."
            ) from None
    # libsndfile estimates the length of an mp3; elsewhere the header's count is exact
    if len(x) < expected and not path.lower().endswith(".mp3"):
        raise Error(
            f"{path}: the file is cut short: its header promises {expected / own:.2f} s, {len(x) / own:.2f} s could be "
            "decoded. Copy it again or convert what is left with another program."
        )
    if len(x) == 0:
        raise Error(f"{path}: the file holds no sound (0 samples).")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        raise Error(f"{path}: {bad.sum()} samples are NaN or infinite, the first at {bad.argmax() / own:.3f} s.")
    wave = x.mean(axis=1) if x.shape[1] > 1 else x[:, 0]
    if rate and rate != own:
        import soxr

        wave = soxr.resample(wave, own, rate, quality="HQ")
        if len(wave) == 0:
            raise Error(f"{path}: nothing is left of {len(x)} samples at {own} Hz after resampling to {rate} Hz.")
    return wave.astype(np.float32, copy=False), rate or own


def _reason(error):
    text = str(getattr(error, "error_string", error)).strip().rstrip(".")
    return text.removeprefix("Error : ")
