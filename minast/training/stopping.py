"""Ctrl-C and SIGTERM during training: the step in progress is finished and saved first."""

import contextlib
import os
import signal


class Stopper:
    """Within `with Stopper() as stop`, Ctrl-C or SIGTERM sets `stop.asked`; a second one raises KeyboardInterrupt."""

    def __enter__(self) -> "Stopper":
        self.asked, self._old = False, {}
        for number in (signal.SIGINT, signal.SIGTERM):
            with contextlib.suppress(ValueError):  # not in the main thread: Ctrl-C stays as it is
                self._old[number] = signal.signal(number, self._handle)
        return self

    def _handle(self, number, frame):
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        os.write(2, b"\nfinishing this step; press Ctrl-C again to stop at once\n")  # print is not safe in a handler

    def __exit__(self, *_):
        for number, handler in self._old.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def sigterm_as_ctrl_c():
    """Within it SIGTERM raises KeyboardInterrupt, as Ctrl-C does, unless a Stopper is active."""

    def stop(number, frame):
        raise KeyboardInterrupt

    with contextlib.ExitStack() as after:
        with contextlib.suppress(ValueError):  # not in the main thread: signals stay as they are
            after.callback(signal.signal, signal.SIGTERM, signal.signal(signal.SIGTERM, stop))
        yield
