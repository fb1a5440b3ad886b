"""Features of many clips, computed once on all cores and cached on disk under a hash of the audio file."""

import hashlib
import json
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np

from .. import threads
from ..cache import private_folder
from ..config import FeatureConfig
from ..datasets import Clip
from ..errors import Error
from ..features import log_mel
from ..files import atomic
from ..npz import BROKEN, load_npy
from ..say import note

VERSION = 2  # of the features: raise it when `log_mel` or `load_audio` return other numbers
IN_MEMORY = 2**31  # bytes of features kept in memory; the rest is read from disk when needed


class FeatureCache(Sequence):
    """A sequence: `mels[i]` is the log-mel (T, F) of clip i, whole and not normalised, float32 in nats.

    clips: the recordings. features: its rate, mel_bins and window matter here. cache: whether to read from and write
    to disk; an entry is found by the file's content, so a moved or renamed file costs nothing and a changed one is
    computed again. label: of the progress bar; quiet: no bar.
    Raises minast.Error, naming the clip, for one that cannot be read.
    """

    def __init__(
        self,
        clips: Sequence[Clip],
        features: FeatureConfig,
        cache: bool = True,
        label: str = "features",
        quiet: bool = False,
    ):
        from tqdm import tqdm

        self.clips, self.features = clips, features
        self.settings = json.dumps([VERSION, features.rate, features.mel_bins, features.window])
        self.folder = self._folder() if cache else None
        self._rows, self._bytes, self._lock = [], 0, Lock()
        pool = ThreadPoolExecutor(threads.count(), initializer=threads.stay_single_threaded)  # all release the GIL
        try:
            results = pool.map(self._get, clips)
            for path, mel in tqdm(
                results, total=len(clips), desc=label, unit="clip", disable=quiet or None, leave=False
            ):
                self._bytes += mel.nbytes
                self._rows.append(mel if path is None or self._bytes <= IN_MEMORY else path)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, i: int) -> np.ndarray:
        row = self._rows[i]
        return load_npy(row) if isinstance(row, str) else row

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

    def _get(self, clip: Clip) -> tuple[str | None, np.ndarray]:
        """-> (path of the cached file or None, log-mel)"""
        path = self._path(clip)
        if path and os.path.exists(path):
            try:
                mel = load_npy(path)
                if mel.ndim == 2 and mel.shape[1] == self.features.mel_bins and np.isfinite(mel).all():
                    return path, mel
            except BROKEN:
                pass  # a damaged entry is computed again
        wave = clip.wave(self.features.rate)
        try:
            mel = log_mel(wave, self.features.rate, self.features.mel_bins, self.features.window)
        except Error as error:
            raise Error(f"{clip.name}: {error}") from None
        if path is None:
            return None, mel
        try:
            os.makedirs(os.path.dirname(path), exist_ok=True)
            with atomic(path) as f:
                np.save(f, mel)
        except (OSError, Error) as error:  # a full disk costs time, not the run
            with self._lock:
                if self.folder is not None:
                    note(f"features are not kept on disk: {error}")
                self.folder = None
            return None, mel
        return path, mel

    def _path(self, clip: Clip) -> str | None:
        folder = self.folder  # another thread may set it to None
        if folder is None or clip.path is None:
            return None
        try:
            with open(clip.path, "rb") as f:
                digest = (
                    hashlib.file_digest(f, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read())
                )
        except OSError:
            return None  # load_audio will raise a clearer error
        digest.update(self.settings.encode())
        key = digest.hexdigest()
        return os.path.join(folder, key[:2], key + ".npy")
