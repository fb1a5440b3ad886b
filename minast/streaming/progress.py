"""How far the work is: how much audio, how many times faster than it was recorded, and the time that is left."""

import sys
import time
from collections.abc import Callable

from ..console.say import note
from ..text import counted, duration
from .work import Unit

EVERY = 60.0  # seconds between two lines where there is no terminal
NOTES = 20  # that are printed, of all recordings together


class Progress:
    """A bar where there is a terminal, else a line a minute on standard error.

    sizes: bytes of each recording, by which the time that is left is estimated. done: bytes that an earlier session
    did. name: of what is done.
    """

    def __init__(
        self,
        sizes: list[int],
        done: int = 0,
        every: float = EVERY,
        clock: Callable = time.monotonic,
        name: str = "scan",
    ):
        from tqdm import tqdm

        self.sizes, self.done, self.total = sizes, done, max(1, sum(sizes))
        self.seconds, self.files, self.skipped, self.notes = 0.0, 0, 0, 0
        self.parts, self.here = {}, 0  # bytes and seconds of units in progress; bytes of this session's units
        self.clock, self.began, self.every = clock, clock(), every
        self.told = self.began
        shape = name + ": {percentage:3.0f}%|{bar}| {postfix} [{elapsed}<{remaining}]"
        self.bar = tqdm(total=self.total, initial=done, bar_format=shape, disable=None, leave=False)

    def part(self, unit: Unit, i: int, share: float, seconds: float) -> None:
        """A unit is in its file number i, of which this share and so many seconds are done."""
        sizes = self.sizes[unit.first : unit.first + i + 1]
        self.parts[unit.first] = int(sum(sizes[:-1]) + share * sizes[-1]), seconds
        self._show()

    def unit(self, unit: Unit, results: list[dict]) -> None:
        """A unit is done."""
        from tqdm import tqdm

        self.parts.pop(unit.first, None)
        self.here += sum(self.sizes[unit.first : unit.first + len(unit.files)])
        for name, result in zip(unit.files, results, strict=True):
            self.files += 1
            self.skipped += "error" in result
            self.seconds += result.get("seconds", 0.0)
            for text in result.get("notes", ()):
                self.notes += 1
                if self.notes <= NOTES:
                    with tqdm.external_write_mode(sys.stderr):
                        note(f"{name}: {text}")
        self._show()

    def close(self) -> None:
        """Take the bar away, and say how many notes were not printed."""
        self.bar.close()
        if self.notes > NOTES:
            note(f"{counted(self.notes - NOTES, 'more note')} of this kind.")

    @property
    def speed(self) -> float:
        """Seconds of audio for each second that passed in this session."""
        return self._heard() / max(self.clock() - self.began, 1e-9)

    def _heard(self):
        return self.seconds + sum(seconds for _, seconds in self.parts.values())

    def _show(self):
        here = self.here + sum(size for size, _ in self.parts.values())
        words = f"{duration(self._heard())} of audio, {self.speed:.0f} x real time"
        words += f", {self.skipped} skipped" if self.skipped else ""
        if not self.bar.disable:
            self.bar.set_postfix_str(words, refresh=False)
            self.bar.update(self.done + here - self.bar.n)
        elif self.clock() >= self.told + self.every:
            self.told = self.clock()
            left = (self.total - self.done - here) * (self.told - self.began) / max(here, 1)
            share = (self.done + here) / self.total
            note(f"{share:.0%} done, {words}, {as_time(left)} left.")


def as_time(seconds: float) -> str:
    """Hours, minutes and seconds: 1:02:03"""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}"
