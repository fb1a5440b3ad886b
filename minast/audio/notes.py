"""What a user should know about a file although it could be read."""

from typing import NamedTuple

CUT = "cut"  # sound is missing: the file ends early, or is damaged
LENGTH = "length"  # the header's length is missing or wrong; the file was read to its end
LEVEL = "level"  # float samples at the scale of integers were scaled
PHASE = "phase"  # channels that cancel were not averaged


class Note(NamedTuple):
    """One of the kinds above, and a sentence for people, without the file's name."""

    kind: str
    text: str


def cut_short(seconds: float, promised: float | None, why: str = "") -> Note:
    """A file with less sound than its header promises; why: the decoder's reason, if it gave one."""
    what, reason = ("damaged or cut short", f" ({why})") if why else ("cut short", "")
    digits = 2 if promised is None or f"{seconds:.2f}" != f"{promised:.2f}" else 4
    of = f" of the {promised:.{digits}f} s that its header promises" if promised and promised != float("inf") else ""
    return Note(CUT, f"{what}: {seconds:.{digits}f} s could be decoded{of}{reason}.")


def unknown_length(seconds: float, unset: bool) -> Note:
    """A file whose header was never completed."""
    says = "says that it holds no sound, as after a crash" if unset else "does not say how long it is"
    return Note(LENGTH, f"its header {says}: it was read to its end, {seconds:.2f} s.")


def left_over(size: int) -> Note:
    """Bytes behind the sound that are nothing known."""
    return Note(LENGTH, f"{size} bytes of an unknown kind follow its sound, and were left out.")
