"""What is computed from each of many clips, kept on disk under a hash of the audio file, and read back when needed.

One file per clip (`cache_entry`), in 256 folders, also for two million clips. Shards with an index would need fewer
files; but a file system is such an index already: it finds one file among millions in microseconds, several processes
add to it at the same time, renaming makes each entry appear whole or not at all, a killed writer leaves nothing that
must be repaired, and one entry can be replaced or deleted. Two million files of half a megabyte are an ordinary load
for ext4, XFS, NTFS and APFS; the folders then hold 8000 files each.

Two ways to fill it. Up to LARGE clips everything is computed before the first step, on all cores, and every file that
cannot be read is named at once. For more (`late`), each is computed when a batch first needs it; memory then does not
grow with the data, and training starts at once.
"""

import hashlib
import json
import os
import shutil
from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from itertools import chain
from threading import Lock, local
from typing import NamedTuple

import numpy as np

from .. import threads
from ..console.say import note
from ..datasets import Clip
from ..datasets.clips import Clips
from ..datasets.content import of_clip
from ..errors import Error
from ..features import checked_wave
from ..parallel import world
from ..storage.cache import private_folder
from ..storage.files import remove_stale
from ..storage.remembered import Remembered
from ..text import visible
from . import cache_entry
from .late import Late

VERSION = 3  # of what is computed and of its files: raise it when `log_mel` or `decode` return other numbers or notes
IN_MEMORY = 2**31  # bytes that are kept in memory where they are on disk as well; the rest is read when needed
TOGETHER = 2**24  # samples of clips that wait to be computed together, 64 MiB in each thread
RESERVE = 2**30  # bytes that are left free on the disk: the run's own files need room as well

Found = tuple[bool, np.ndarray, tuple[str, ...]]  # whether it is on disk, what was computed, notes


class Sound(NamedTuple):
    """A clip that is to be computed, and the entry that it will have.   key, path: None if none"""

    clip: Clip
    wave: np.ndarray
    notes: tuple[str, ...]
    key: str | None
    path: str | None


class ClipCache(Sequence):
    """A sequence: item i is what `_compute` makes of `clips[i]`. See `FeatureCache` and `Waves`.

    clips: the recordings. settings: what the results depend on beside the recording. rate: in Hz. cache: whether to
    read from and write to disk; an entry is found by the file's content, so a moved or renamed file costs nothing and a
    changed one is computed again. label: of the progress bar; quiet: no bar. bad: a list to which (clip, minast.Error)
    is added for each clip that cannot be read: it is left out, and all others are looked at. Without it, the first one
    is raised. together: how many clips are computed at a time. in_memory: bytes (default: IN_MEMORY).
    late: compute each clip when it is first asked for, as `Late` describes.

    notes: [(clip, sentence)] about recordings, such as those that are cut short.
    """

    ending, axes = ".mel", 2  # of an entry

    def __init__(
        self,
        clips: Sequence[Clip],
        settings: list,
        rate: int,
        cache: bool = True,
        label: str = "features",
        quiet: bool = False,
        bad: list[tuple[Clip, Error]] | None = None,
        together: int = 1,
        in_memory: int | None = None,
        late: Late | None = None,
    ):
        self.settings, self.rate, self.quiet, self.late = json.dumps([VERSION, *settings]), rate, quiet, late
        self.notes, self._lock, self._swept = [], Lock(), set()
        self._last = local()  # the place and the row that this thread asked for last
        self.folder = self._folder() if cache else None
        self.full = False  # whether nothing more is written
        self._remembered = Remembered() if self.folder and late else {}
        if late:
            self.clips, self._rows = Clips.of(clips), None
            late.begin(self)
        else:
            self.clips, self._rows = [], []
            self._fill(clips, label, bad, together, in_memory)

    def _fill(self, clips, label, bad, together, in_memory):
        from tqdm import tqdm

        group = world()
        kept = (IN_MEMORY if in_memory is None else in_memory) // group.local_size
        used, most = (
            0,
            {True: kept, False: max(kept, physical_memory() // 2 // group.local_size)},
        )  # by whether it is on disk
        groups = [clips[i : i + together] for i in range(0, len(clips), together)]
        if group.local_size > 1:
            self._fill_disk(groups[group.local_rank :: group.local_size], group)
        with self._all(groups) as found_groups:
            results = chain.from_iterable(found_groups)
            bar = tqdm(results, total=len(clips), desc=label, unit="clip", disable=self.quiet or None, leave=False)
            for clip, found in zip(clips, bar, strict=True):
                if not isinstance(found, Error):
                    on_disk, row, notes = found
                    used += row.nbytes
                    self._rows.append(row if used <= most[on_disk] else None)
                    self.clips.append(clip)
                    self.notes += [(clip, sentence) for sentence in notes]
                elif bad is None:
                    raise found
                else:
                    bad.append((clip, found))

    def _fill_disk(self, groups, group):
        """Compute this process's share of what is not on disk, and wait for the others on this machine."""
        if self.folder:
            with self._all(groups) as found:
                for _ in found:
                    pass
        group.barrier(local=True)

    def _all(self, groups):
        """What is wanted of all clips, on all cores: decoding, FFT and products release the GIL.

        Few wait for whoever takes them: all of a large data set do not fit into memory.
        """
        return threads.ordered(self._get, groups, 2 * threads.count())

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, i: int) -> np.ndarray:
        if self._rows is not None and self._rows[i] is not None:
            return self._rows[i]
        if getattr(self._last, "place", None) != i:  # a batch may ask for a clip's length, then for a part of it
            self._last.row = self.late.row(i) if self.late else self.compute(i)[1]
            self._last.place = i
        return self._last.row

    def keep(self, chosen: np.ndarray) -> None:
        """Leave out all clips but these.   chosen (n,) bool"""
        self.clips, self._last = self.clips[chosen], local()

    def compute(self, i: int) -> Found:
        """What is on disk of clip i, or is computed now. Raises minast.Error if it cannot be."""
        found = self._get([self.clips[i]])[0]
        if isinstance(found, Error):
            raise found
        return found

    @abstractmethod
    def _compute(self, waves: list[np.ndarray]) -> list[np.ndarray]:
        """What is wanted of each waveform (S,)."""

    def _fault(self, row: np.ndarray) -> str | None:
        """What is wrong with what was computed, the end of a sentence."""
        return None

    def _packed(self, row: np.ndarray) -> np.ndarray:
        """A row as its entry holds it."""
        return row

    def _unpacked(self, stored: np.ndarray) -> np.ndarray:
        """The opposite."""
        return stored

    def _folder(self) -> str | None:
        try:
            return os.fspath(private_folder("features", sweep=False))
        except Error as error:  # costs time, not the run
            note(f"features are not kept on disk: {error}")
            return None

    def _get(self, clips: Sequence[Clip]) -> list[Found | Error]:
        """What is wanted of each clip, or why there is nothing; what is not on disk is computed together."""
        found, waiting = [], []

        def compute():
            for i, row in zip(waiting, self._compute([found[i].wave for i in waiting]), strict=True):
                found[i] = self._finish(found[i], row)
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
        key = self._key(clip) if self.folder else None
        path = os.path.join(self.folder, key[:2], key + self.ending) if key else None
        if path:
            self._sweep(os.path.dirname(path))
            try:
                stored, notes = cache_entry.read(path, key, self.axes)
                return True, self._unpacked(stored), notes
            except (OSError, cache_entry.Damaged):
                pass
        try:
            recording = clip.read(self.rate)
        except Error as error:
            return error
        try:
            return Sound(clip, checked_wave(recording.wave, self.rate), recording.notes, key, path)
        except Error as error:
            return Error(f"{visible(clip.name)}: {error}")

    def _finish(self, sound: Sound, row: np.ndarray) -> Found | Error:
        clip, key, path = sound.clip, sound.key, sound.path
        if fault := self._fault(row):
            return Error(f"{visible(clip.name)}: {fault}")
        unchanged = path is not None and self._key(clip) == key  # the file is still the one whose hash the key is
        return unchanged and self._keep(path, key, row, sound.notes), row, sound.notes

    def _keep(self, path: str, key: str, row: np.ndarray, notes: tuple[str, ...]) -> bool:
        """Write an entry.   -> whether it is on disk. A full disk costs time, not the run."""
        if self.full:
            return False
        folder = os.path.dirname(path)
        try:
            os.makedirs(folder, mode=0o700, exist_ok=True)
            if (free := shutil.disk_usage(folder).free) < RESERVE + row.nbytes:
                raise Error(
                    f"{free / 2**30:.1f} GiB are free on the disk of {visible(self.folder)}, and are left free."
                )
            cache_entry.write(path, key, self._packed(row), notes)
            return True
        except (OSError, Error) as error:
            with self._lock:
                if not self.full:
                    note(f"features are not kept on disk: {error}")
                self.full = True
            return False

    def _sweep(self, folder: str) -> None:
        """Remove what killed processes left half written, when a folder is first used: a start lists none."""
        if folder not in self._swept:
            self._swept.add(folder)
            remove_stale(folder)

    def _key(self, clip: Clip) -> str | None:
        """What an entry is found by: the file's content and the settings. None without a file that can be read."""
        content = self.digest(clip)
        return hashlib.sha256(content + self.settings.encode()).hexdigest() if content else None

    def digest(self, clip: Clip, whole: bool = False) -> bytes | None:
        """`content.of_clip`, or the digest of the whole file; None without one that can be read."""
        clip = replace(clip, part=None) if whole else clip
        try:
            known = (self._remembered,) if self.late else ()  # of a small data set, this process remembers all
            return None if clip.path is None else of_clip(clip, *known)
        except OSError:
            return None  # reading the clip will raise a clearer error


def physical_memory() -> int:
    """Bytes of this machine's memory; 0 if the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return 0
