"""Ctrl-C, SIGTERM and SIGHUP during training: the step in progress is finished and saved first."""

import contextlib
import os

from ..console import signals


class Stopper:
    """Within `with Stopper() as stop`, the first of these signals sets `stop.asked`; the second raises `Stopped`.

    `stop.error` is the exception to raise when the run has been saved. quiet: say nothing.
    """

    def __init__(self, quiet: bool = False):
        self.quiet = quiet

    def __enter__(self) -> "Stopper":
        self.asked, self.error = False, signals.Stopped()
        self._handling = signals.handled(self._handle)
        self._handling.__enter__()
        return self

    def _handle(self, number, frame):
        if self.asked:
            raise signals.Stopped(number)
        self.asked, self.error = True, signals.Stopped(number)
        if self.quiet:
            return
        with contextlib.suppress(OSError):  # print is not safe in a handler; a terminal that hung up takes nothing
            os.write(2, b"\nfinishing this step; press Ctrl-C again to stop at once\n")

    def __exit__(self, *failure):
        self._handling.__exit__(*failure)
