"""Features of many clips, computed once on all cores and cached on disk under a hash of the audio file."""

import hashlib
import json
import os
from collections.abc import Sequence
from threading import Lock

import numpy as np

from .. import threads
from ..config import FeatureConfig
from ..console.say import note
from ..datasets import Clip
from ..datasets.content import digest
from ..errors import Error
from ..features import log_mel
from ..storage.cache import private_folder
from ..text import visible
from . import cache_entry

VERSION = 3  # of the features and of their files: raise it when `log_mel` or `decode` return other numbers or notes
IN_MEMORY = 2**31  # bytes of features kept in memory; the rest is read from disk when needed


class FeatureCache(Sequence):
    """A sequence: `mels[i]` is the log-mel (T, F) of `clips[i]`, whole and not normalised, float32 in nats.

    clips: the recordings. features: its rate, mel_bins and window matter here. cache: whether to read from and write
    to disk; an entry is found by the file's content, so a moved or renamed file costs nothing and a changed one is
    computed again. label: of the progress bar; quiet: no bar. bad: a list to which (clip, minast.Error) is added for
    each clip that cannot be read: it is left out, and all others are looked at. Without it, the first one is raised.

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
    ):
        from tqdm import tqdm

        self.clips, self.features, self.notes = [], features, []
        self.settings = json.dumps([VERSION, features.rate, features.mel_bins, features.window])
        self.folder = self._folder() if cache else None
        self._rows, self._bytes, self._lock = [], 0, Lock()
        get = self._get if bad is None else self._get_or_error
        with threads.ordered(get, clips) as results:  # decoding, FFT and products all release the GIL
            bar = tqdm(results, total=len(clips), desc=label, unit="clip", disable=quiet or None, leave=False)
            for clip, found in zip(clips, bar, strict=True):
                if isinstance(found, Error):
                    bad.append((clip, found))
                else:
                    self._add(clip, *found)

    def _add(self, clip, on_disk, mel, notes):
        self._bytes += mel.nbytes
        self._rows.append(None if on_disk and self._bytes > IN_MEMORY else mel)
        self.clips.append(clip)
        self.notes += [(clip, note) for note in notes]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> np.ndarray:
        row = self._rows[i]
        return self._get(self.clips[i])[1] if row is None else row

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

    def _get_or_error(self, clip: Clip):
        try:
            return self._get(clip)
        except Error as error:
            return error

    def _get(self, clip: Clip) -> tuple[bool, np.ndarray, tuple[str, ...]]:
        """-> (whether it is on disk, log-mel, notes). An entry that cannot be used is made anew."""
        folder = self.folder  # another thread may set it to None
        key = self._key(clip) if folder else None
        path = os.path.join(folder, key[:2], key + ".mel") if key else None
        if path:
            try:
                return True, *cache_entry.read(path, key)
            except (OSError, cache_entry.Damaged):
                pass
        recording = clip.read(self.features.rate)
        mel = self._log_mel(clip, recording.wave)
        unchanged = path is not None and self._key(clip) == key  # the file is still the one whose hash the key is
        return unchanged and self._keep(path, key, mel, recording.notes), mel, recording.notes

    def _log_mel(self, clip: Clip, wave: np.ndarray) -> np.ndarray:
        try:
            mel = log_mel(wave, self.features.rate, self.features.mel_bins, self.features.window)
        except Error as error:
            raise Error(f"{visible(clip.name)}: {error}") from None
        if not np.isfinite(mel).all():
            raise Error(f"{visible(clip.name)}: its spectrogram is not finite: are its samples within -1 to 1?")
        return mel

    def _keep(self, path: str, key: str, mel: np.ndarray, notes: tuple[str, ...]) -> bool:
        """Write an entry.   -> whether it is on disk. A full disk costs time, not the run."""
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
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
