"""An audio file -> a mono float32 waveform at the rate a model wants.

The content of a file decides what it is, not its name. It is read as far as it goes; whatever had to be assumed, and
whatever is missing, becomes a note that the commands print.

| situation | what minast does |
| --- | --- |
| wav, AIFF, CAF, W64, RF64, AU, FLAC, ... cut short | read as far as it goes; a note, `cut` |
| FLAC, Ogg or mp3 damaged inside | read up to the damage (mp3 and Ogg: and beyond it); a note, `cut` |
| mp3 without a Xing header, frames of any size | read to its end |
| chained Ogg, joined mp3, wav or FLAC files | all of them, one after another |
| the header's size was never filled in: 0, or "unknown" | read to the file's end; a note, `length` |
| a header that promises more than there is | nothing is allocated by it; a note, `cut` |
| float samples at the scale of 16, 24 or 32-bit integers (beyond 32) | divided by it; a note, `level` |
| larger than 32-bit integers, NaN, infinite | refused, with the value or the time |
| channels that cancel (opposite polarity) | the channel with the most power alone; a note, `phase` |
| PAF, PVF, IRCAM, XI; mp3 without a Xing header, cut between frames | read: nothing says how long they were |
| SDS, HTK and 8-bit VOC cut short | refused, as libsndfile refuses them or makes noise of what is missing |
| .raw, .vox, .gsm, ...: samples without a header | refused: rate and coding are unknown |
| m4a, aac, wma, mp4, webm, amr, ... | read through PyAV where it is installed; else refused, with ffmpeg's line |
| a sample rate below 100 or above 768000 Hz | refused |
"""

import os
from dataclasses import dataclass

import numpy as np

from ..console.say import warn
from ..errors import Error
from . import parts, pyav
from .kinds import CONVERTIBLE as CONVERTIBLE
from .kinds import EXTENSIONS as EXTENSIONS
from .notes import CUT
from .notes import Note as Note
from .recording import Recording as Recording
from .recording import longest
from .resample import MAX_RATE as MAX_RATE
from .resample import resample as resample
from .source import streams


def readable() -> tuple[str, ...]:
    """The suffixes of files that can be read: EXTENSIONS, and CONVERTIBLE where PyAV is installed."""
    return EXTENSIONS + (CONVERTIBLE if pyav.installed() else ())


@dataclass(frozen=True)
class Decoded:
    """A recording as it was read, and what the user should know about it.

    kinds: what each note is about, for programs: "cut" (sound is missing), "length" (the header's is missing or wrong),
    "level" (samples were scaled), "phase" (one channel was taken, since all cancel).
    """

    wave: np.ndarray  # (S,) float32
    rate: int  # Hz
    notes: tuple[str, ...] = ()  # sentences for people; no file name in them
    kinds: tuple[str, ...] = ()  # one for each note
    channels: int = 1  # of the file, before they were averaged

    @property
    def cut(self) -> bool:
        """Whether sound is missing: the file is cut short or damaged."""
        return CUT in self.kinds


def decode(path: str | os.PathLike, rate: int | None = 16000, part: tuple[float, float] | None = None) -> Decoded:
    """Read an audio file as `load_audio` does, and say what is known about it instead of warning.

    part: start and end, in s, of what is wanted of it; nothing before the start need be decoded twice (`parts`).

        >>> found = decode("street.wav")
        >>> len(found.wave) / found.rate, found.notes
        (3.2, ('cut short: 3.20 s could be decoded of the 12.00 s that its header promises.',))

    Raises minast.Error for a file that is missing, empty or no audio, that holds no sound, NaN, or samples larger than
    32-bit integers, that would take more than 4 GiB, or that ends before the part begins.
    """
    if part is not None:
        recording, wave, notes = parts.read(os.fspath(path), part, rate)
        texts, kinds = (tuple(note.text for note in notes), tuple(note.kind for note in notes))
        return Decoded(wave, rate or recording.rate, texts, kinds, recording.channels)
    recording = Recording(path)
    rate = rate or recording.rate
    longest(recording, rate)
    blocks = list(recording.blocks(rate))
    if not blocks:
        samples = f"{recording.seconds:.3g} s at {recording.rate} Hz"
        raise Error(f"{recording.path}: nothing is left of {samples} after resampling to {rate} Hz.")
    texts, kinds = (tuple(note.text for note in recording.notes), tuple(note.kind for note in recording.notes))
    return Decoded(np.concatenate(blocks), rate, texts, kinds, recording.channels)


def rate_of(path: str | os.PathLike) -> int:
    """The sample rate of a file's first stream, in Hz; none of it is decoded. Raises minast.Error as `decode` does."""
    found = streams(path, [])
    try:
        return next(found).rate
    except StopIteration:
        raise Error(f"{os.fspath(path)}: the file holds no sound (0 samples).") from None
    finally:
        found.close()


def load_audio(path: str | os.PathLike, rate: int | None = 16000) -> np.ndarray:
    """Decode an audio file, average its channels, resample.   -> wave (S,) float32 in [-1, 1], S = seconds * rate

    path: wav, flac, ogg, mp3 or any other format that libsndfile or, where it is installed, PyAV reads. Integer samples
    are scaled to [-1, 1]. rate: Hz; None keeps the file's own (`read_audio` also returns it).

        >>> wave = minast.load_audio("street.wav")               # 10 s at 44.1 kHz, stereo
        >>> wave.shape, wave.dtype
        ((160000,), dtype('float32'))

    A file that is cut short, or was understood with an assumption, causes a UserWarning; `minast.audio.decode` returns
    it as notes instead. Raises minast.Error as `decode` does. Source: decoding by libsndfile, resampling by soxr at
    quality HQ.
    """
    return read_audio(path, rate)[0]


def read_audio(path: str | os.PathLike, rate: int | None = 16000) -> tuple[np.ndarray, int]:
    """`load_audio`, with the rate.   -> (wave (S,) float32, rate in Hz)"""
    found = decode(path, rate)
    for note in found.notes:
        warn(f"{os.fspath(path)}: {note}")
    return found.wave, found.rate
