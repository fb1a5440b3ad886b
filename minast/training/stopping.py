"""Ctrl-C, SIGTERM and SIGHUP during training: the step in progress is finished and saved first."""

import contextlib
import os

from ..console import signals


class Stopper:
    """Within `with Stopper() as stop`, the first of these signals sets `stop.asked`; the second raises `Stopped`.

    Of several processes perhaps one alone gets it: `tell` says which signal any of them has got, so that all stop after
    the same step. `stop.error` is the exception to raise when the run has been saved. quiet: say nothing.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def __enter__(self) -> "Stopper":
        self.asked, self.told, self.number, self.error = False, False, 0, signals.Stopped()
        self._handling = signals.handled(self._handle)
        self._handling.__enter__()
        return self

    def _handle(self, number, frame):
        if self.asked:
            raise signals.Stopped(number)
        self.asked, self.number = True, number
        if self.quiet:
            return
        with contextlib.suppress(OSError):  # print is not safe in a handler; a terminal that hung up takes nothing
            os.write(2, b"\nfinishing this step; press Ctrl-C again to stop at once\n")

    def tell(self, number: int) -> None:
        """A signal has come, here or to another process; 0: none."""
        if number:
            self.told, self.error = True, signals.Stopped(number)

    def __exit__(self, *failure):
        self._handling.__exit__(*failure)
