"""Features of many clips: computed once, on all cores, kept in a folder by the content of their file."""

import hashlib
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Lock

import numpy as np

from .. import threads
from ..errors import Error
from ..features import log_mel
from ..files import atomic, cache_folder

VERSION = 2  # of the features: raise it when `log_mel` or `load_audio` gives other numbers
IN_MEMORY = 2**31  # bytes of features that are held in memory; more stay on disk and are read when needed


class FeatureCache:
    """`store[i]` is the log-mel (T, F) of clip i, whole and not normalised.

    clips: Clips. features: FeatureConfig (its rate, mel_bins and window count). Files are found again by their content,
    so that a moved or renamed one costs nothing and a changed one is computed anew. A clip that cannot be read raises
    minast.Error with its name.
    """

    def __init__(self, clips, features, cache=True, workers=None, label="features", quiet=False):
        from tqdm import tqdm

        self.clips, self.features = clips, features
        self.settings = json.dumps([VERSION, features.rate, features.mel_bins, features.window])
        self.folder = os.path.join(cache_folder(), "features") if cache else None
        self._rows, self._bytes, self._lock = [], 0, Lock()
        initializer = threads.stay_single_threaded
        pool = ThreadPoolExecutor(workers or threads.count(), initializer=initializer)  # all release the GIL
        try:
            jobs = pool.map(self._get, clips)
            for path, mel in tqdm(jobs, total=len(clips), desc=label, unit="clip", disable=quiet or None, leave=False):
                self._bytes += mel.nbytes
                self._rows.append(mel if path is None or self._bytes <= IN_MEMORY else path)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)

    def __len__(self):
        return len(self._rows)

    def __getitem__(self, i):
        row = self._rows[i]
        return np.load(row, allow_pickle=False) if isinstance(row, str) else row

    def lengths(self):
        """Frames of each clip."""
        return np.array([len(self[i]) for i in range(len(self))])

    def mean_std(self):
        """Mean and standard deviation over every frame and mel bin of all clips, padding left out; float64 sums."""
        count = total = squares = 0.0
        for i in range(len(self)):
            mel = self[i].astype(np.float64)
            count, total, squares = count + mel.size, total + mel.sum(), squares + (mel * mel).sum()
        mean = total / count
        std = float(np.sqrt(max(squares / count - mean * mean, 0.0)))
        if std == 0:
            raise Error(f"all {len(self)} clips are the same constant {mean:.4g}: are they silent?")
        return float(mean), std

    def _get(self, clip):
        """-> (path of the cached file or None, log-mel)"""
        path = self._path(clip)
        if path and os.path.exists(path):
            try:
                mel = np.load(path, allow_pickle=False)
                if mel.ndim == 2 and mel.shape[1] == self.features.mel_bins and np.isfinite(mel).all():
                    return path, mel
            except (ValueError, EOFError, OSError):
                pass  # a damaged entry is made again
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
                    print(f"note: features are not kept for next time: {error}", file=sys.stderr)
                self.folder = None
            return None, mel
        return path, mel

    def _path(self, clip):
        folder = self.folder  # another thread may take it away
        if folder is None or clip.path is None:
            return None
        try:
            with open(clip.path, "rb") as f:
                digest = (
                    hashlib.file_digest(f, "sha256") if hasattr(hashlib, "file_digest") else hashlib.sha256(f.read())
                )
        except OSError:
            return None  # load_audio says it better
        digest.update(self.settings.encode())
        key = digest.hexdigest()
        return os.path.join(folder, key[:2], key + ".npy")
