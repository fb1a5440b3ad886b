"""Waveforms as the bytes of a file: wav by the standard library, mp3 where libsndfile can."""

import io
import wave

import numpy as np

from .resample import resample

MP3_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # Hz: MPEG 1, 2 and 2.5


def wav(samples: np.ndarray, rate: int) -> bytes:
    """The bytes of a wav file, one channel of 16 bits.   samples (n,) in [-1, 1], beyond that clipped; rate: in Hz

    By the standard library: training on the built-in sounds needs no libsndfile.
    """
    stored, file = np.clip(np.floor(np.float64(samples) * 2**15), -(2**15), 2**15 - 1).astype("<i2"), io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, rate, len(stored), "NONE", "not compressed"))
        out.writeframes(stored.tobytes())
    return file.getvalue()


def compressed(samples: np.ndarray, rate: int) -> tuple[str, bytes]:
    """A sound for a web page, as small as this machine can make it.   -> its media type, its bytes

    samples (n,) in [-1, 1], at `rate` Hz. mp3, which all browsers play, a tenth of a wav; Ogg Vorbis or wav where
    libsndfile is older than 1.1 or missing. Rates that mp3 lacks are resampled to the next higher one.
    """
    try:
        import soundfile
    except (ImportError, OSError):
        return "audio/wav", wav(samples, rate)
    samples = np.clip(samples, -1, 1).astype(np.float32)
    known = soundfile.available_formats()
    for kind, form, subtype in (("audio/mpeg", "MP3", "MPEG_LAYER_III"), ("audio/ogg", "OGG", "VORBIS")):
        if form not in known:
            continue
        target = rate if form == "OGG" else next((r for r in MP3_RATES if r >= rate), MP3_RATES[-1])
        file = io.BytesIO()
        try:
            heard = samples if target == rate else resample(samples, rate, target)
            soundfile.write(file, heard, target, format=form, subtype=subtype)
        except (soundfile.SoundFileError, RuntimeError):
            continue
        return kind, file.getvalue()
    return "audio/wav", wav(samples, rate)
