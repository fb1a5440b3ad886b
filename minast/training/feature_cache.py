"""Features of many clips, computed once, on all cores or a GPU, and cached on disk under a hash of the audio file."""

import hashlib
import json
import os
from collections.abc import Sequence
from itertools import chain
from threading import Lock
from typing import NamedTuple

import numpy as np

from .. import threads
from ..config import FeatureConfig
from ..console.say import note
from ..datasets import Clip
from ..datasets.content import digest
from ..errors import Error
from ..features import ON_CPU, Spectrograms, checked_wave
from ..storage.cache import private_folder
from ..text import visible
from . import cache_entry

VERSION = 3  # of the features and of their files: raise it when `log_mel` or `decode` return other numbers or notes
IN_MEMORY = 2**31  # bytes of features kept in memory; the rest is read from disk when needed
TOGETHER = 2**24  # samples of clips that wait to be computed together, 64 MiB in each thread

Found = tuple[bool, np.ndarray, tuple[str, ...]]  # whether it is on disk, log-mel, notes


class Sound(NamedTuple):
    """A clip whose features are to be computed, and the entry that they will have.   key, path: None if none"""

    clip: Clip
    wave: np.ndarray
    notes: tuple[str, ...]
    key: str | None
    path: str | None


class FeatureCache(Sequence):
    """A sequence: `mels[i]` is the log-mel (T, F) of `clips[i]`, whole and not normalised, float32 in nats.

    clips: the recordings. features: its rate, mel_bins and window matter here. cache: whether to read from and write
    to disk; an entry is found by the file's content, so a moved or renamed file costs nothing and a changed one is
    computed again. label: of the progress bar; quiet: no bar. bad: a list to which (clip, minast.Error) is added for
    each clip that cannot be read: it is left out, and all others are looked at. Without it, the first one is raised.
    spectrograms: where features are computed. Those of a GPU differ in their last bits, so they have entries of their
    own: what a run computes depends on its backend, never on what another run has left in the cache.

    notes: [(clip, sentence)] about recordings, such as those that are cut short.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        features: FeatureConfig,
        cache: bool = True,
        label: str = "features",
        quiet: bool = False,
        bad: list[tuple[Clip, Error]] | None = None,
        spectrograms: Spectrograms = ON_CPU,
    ):
        from tqdm import tqdm

        self.clips, self.features, self.notes = [], features, []
        self.spectrograms = spectrograms
        maker = [] if spectrograms == ON_CPU else [spectrograms.made_by]
        self.settings = json.dumps([VERSION, features.rate, features.mel_bins, features.window, *maker])
        self.folder = self._folder() if cache else None
        self._rows, self._bytes, self._lock = [], 0, Lock()
        together = spectrograms.together
        groups = [clips[i : i + together] for i in range(0, len(clips), together)]
        with threads.ordered(self._get, groups) as found_groups:  # decoding, FFT and products all release the GIL
            results = chain.from_iterable(found_groups)
            bar = tqdm(results, total=len(clips), desc=label, unit="clip", disable=quiet or None, leave=False)
            for clip, found in zip(clips, bar, strict=True):
                if not isinstance(found, Error):
                    self._add(clip, *found)
                elif bad is None:
                    raise found
                else:
                    bad.append((clip, found))

    def _add(self, clip, on_disk, mel, notes):
        self._bytes += mel.nbytes
        self._rows.append(None if on_disk and self._bytes > IN_MEMORY else mel)
        self.clips.append(clip)
        self.notes += [(clip, note) for note in notes]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> np.ndarray:
        row = self._rows[i]
        if row is not None:
            return row
        found = self._get([self.clips[i]])[0]
        if isinstance(found, Error):
            raise found
        return found[1]

    def lengths(self) -> np.ndarray:
        """Frames of each clip.   -> (n,)"""
        return np.array([len(self[i]) for i in range(len(self))])

    def mean_std(self) -> tuple[float, float]:
        """Mean and standard deviation over every frame and mel bin of all clips, without padding; sums in float64.

        Raises minast.Error if all values are the same, as for silence.
        """
        count = total = squares = 0.0
        for i in range(len(self)):
            mel = self[i].astype(np.float64)
            count, total, squares = count + mel.size, total + mel.sum(), squares + (mel * mel).sum()
        mean = total / count
        std = float(np.sqrt(max(squares / count - mean * mean, 0.0)))
        if std == 0:
            raise Error(f"all {len(self)} clips are the same constant {mean:.4g}: are they silent?")
        return float(mean), std

    def _folder(self) -> str | None:
        try:
            return os.fspath(private_folder("features"))
        except Error as error:  # costs time, not the run
            note(f"features are not kept on disk: {error}")
            return None

    def _get(self, clips: Sequence[Clip]) -> list[Found | Error]:
        """Of each clip its features, or why there are none; those that are not on disk are computed together."""
        found, waiting = [], []

        def compute():
            f, waves = self.features, [found[i].wave for i in waiting]
            for i, mel in zip(waiting, self.spectrograms.log_mels(waves, f.rate, f.mel_bins, f.window), strict=True):
                found[i] = self._finish(found[i], mel)
            waiting.clear()

        for i, clip in enumerate(clips):
            found.append(self._start(clip))
            if isinstance(found[i], Sound):
                waiting.append(i)
            if sum(len(found[j].wave) for j in waiting) >= TOGETHER:
                compute()
        compute()
        return found

    def _start(self, clip: Clip) -> Found | Sound | Error:
        """The clip's entry, or what to make it of. An entry that cannot be used is made anew."""
        folder = self.folder  # another thread may set it to None
        key = self._key(clip) if folder else None
        path = os.path.join(folder, key[:2], key + ".mel") if key else None
        if path:
            try:
                return True, *cache_entry.read(path, key)
            except (OSError, cache_entry.Damaged):
                pass
        try:
            recording = clip.read(self.features.rate)
        except Error as error:
            return error
        try:
            return Sound(clip, checked_wave(recording.wave, self.features.rate), recording.notes, key, path)
        except Error as error:
            return Error(f"{visible(clip.name)}: {error}")

    def _finish(self, sound: Sound, mel: np.ndarray) -> Found | Error:
        clip, key, path = sound.clip, sound.key, sound.path
        if not np.isfinite(mel).all():
            return Error(f"{visible(clip.name)}: its spectrogram is not finite: are its samples within -1 to 1?")
        unchanged = path is not None and self._key(clip) == key  # the file is still the one whose hash the key is
        return unchanged and self._keep(path, key, mel, sound.notes), mel, sound.notes

    def _keep(self, path: str, key: str, mel: np.ndarray, notes: tuple[str, ...]) -> bool:
        """Write an entry.   -> whether it is on disk. A full disk costs time, not the run."""
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            cache_entry.write(path, key, mel, notes)
            return True
        except (OSError, Error) as error:
            with self._lock:
                if self.folder is not None:
                    note(f"features are not kept on disk: {error}")
                self.folder = None
            return False

    def _key(self, clip: Clip) -> str | None:
        """What an entry is found by: the file's content and the settings. None without a file that can be read."""
        if clip.path is None:
            return None
        try:
            return hashlib.sha256(digest(clip.path) + self.settings.encode()).hexdigest()
        except OSError:
            return None  # reading the clip will raise a clearer error
