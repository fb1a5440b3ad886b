"""Ranks that were started with other flags or see other files: nothing would stop them, and all would be wrong."""

import hashlib
import os
from collections.abc import Iterable, Mapping
from itertools import chain
from typing import Any

from ..datasets import Clip
from ..errors import Error
from ..parallel.group import Group
from ..text import visible
from .run import Run

PATHS = "all processes need the same files, by the same paths"
APART = ("folder", "threads")  # settings that may differ: each machine has its own


def check_run(run: Run) -> None:
    """Raises minast.Error, on all ranks, if they have prepared different runs. All must come here."""
    group, data = run.group, run.data
    if group.size == 1:
        return
    settings = run.settings.to_save()
    flags = settings.pop("train") | {name: settings[name] for name in settings.keys() - {*APART, "fingerprint"}}
    check_settings(group, flags)
    held = [mels for mels in (data.train, data.valid, data.test) if mels is not None and not mels.late]
    clips = chain.from_iterable(mels.clips for mels in held)  # the others are as many as the fingerprint says
    check_clips(group, data.dataset.name, clips, run.settings.fingerprint)


def differing(group: Group, seen: bytes) -> int | None:
    """The first rank that sees something else than rank 0, None if all see the same. The same answer on all ranks."""
    said = group.talk(seen)
    return next((rank for rank, each in enumerate(said) if each != said[0]), None)


def check_folder(group: Group, folder: str) -> None:
    """Raises minast.Error, on all ranks, if one of them does not see the folder that rank 0 has made."""
    if rank := differing(group, b"there" if os.path.isdir(folder) else b"missing"):
        raise Error(f"process {rank + 1} does not see {visible(folder)}, which process 1 writes to: {PATHS}.")


def check_clips(group: Group, data: str, clips: Iterable[Clip], more: str = "") -> None:
    """Raises minast.Error, on all ranks, if names and labels of these clips, or `more`, are not the same on all."""
    if group.size == 1:
        return
    digest = hashlib.sha256(more.encode())
    for clip in clips:
        digest.update(repr((os.path.basename(clip.name), clip.labels)).encode())
    if (rank := differing(group, digest.digest())) is not None:
        raise Error(
            f"process {rank + 1} sees other clips in {visible(data)} than process 1, or cannot read the same: {PATHS}."
        )


def check_settings(group: Group, settings: Mapping[str, Any]) -> None:
    """Raises minast.Error, on all ranks, if one was started with another value of any of these."""
    for name, value in sorted(settings.items()):
        if (rank := differing(group, repr(value).encode())) is not None:
            raise Error(
                f"process {rank + 1} was started with another value of {name} than process 1: give all the same flags."
            )
