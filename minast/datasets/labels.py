"""Names of classes as they come from folders and tables."""

import unicodedata
from collections.abc import Iterable

from ..config import LABEL
from ..errors import Error
from ..text import control, visible
from .common import quoted


def cleaned(name: str, where: str) -> str:
    """A label in Unicode's composed form (NFC), so that é and e + accent, which look the same, are one class.

    where: the file or folder that it comes from. Raises minast.Error for a label with control characters, undecodable
    bytes or a semicolon, which separates labels.
    """
    if fault := control(name):
        raise Error(f"{visible(where)}: the label {quoted(name)} contains {fault}: give it a plain name.")
    if len(name) > LABEL.most:
        raise Error(f"{visible(where)}: the label {quoted(name)} has {len(name)} characters: {LABEL.most} are allowed.")
    if ";" in name:
        raise Error(
            f"{visible(where)}: the label {quoted(name)} contains a semicolon, which separates labels: rename it."
        )
    return unicodedata.normalize("NFC", name)


def merged(spellings: Iterable[str]) -> list[str]:
    """A sentence for each label that was met in several Unicode spellings, which are one class.   -> notes"""
    found = {}
    for name in spellings:
        found.setdefault(unicodedata.normalize("NFC", name), set()).add(name)
    return [
        f"the label {label!r} comes in {len(names)} Unicode spellings that look the same: they are one class"
        for label, names in sorted(found.items())
        if len(names) > 1
    ]


def alike(labels: Iterable[str]) -> list[list[str]]:
    """Groups of labels that differ only by case, spaces, underscores, hyphens or compatible characters."""
    found = {}
    for name in labels:
        folded = unicodedata.normalize("NFKC", name).casefold()
        key = "".join(c for c in folded if not c.isspace() and c not in "_-" and unicodedata.category(c) != "Cf")
        found.setdefault(key, []).append(name)
    return [sorted(names) for _, names in sorted(found.items()) if len(names) > 1]
