"""What ranks that are processes have in common, however they were started and whatever carries their words."""

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .collectives import Progress, Ranks


class ProcessGroup(Ranks):
    """Ranks that are processes, with arrays of NumPy; a subclass sets `progress`, and `watch`."""

    progress: Progress
    watch: Any

    def _begin(self, steps):
        return self.progress.begin(steps)

    def wait(self, begun: Sequence[Any]) -> None:
        """See `Group`."""
        self.progress.wait(begun)

    def on(self, xp: Any) -> Any:
        """See `Group`. Raises minast.Error if GPUs are to be used, and NCCL is not there."""
        if xp is np:
            return self
        from .nccl import NcclGroup

        return NcclGroup(self, xp)

    def farewell(self, words: Callable[[], str]) -> None:
        """See `Group`."""
        self.watch.farewell = words

    def say(self, text: str) -> None:
        """Print on standard error, also where this rank's is silent, and from any thread."""
        os.write(2, f"{text}\n".encode(errors="backslashreplace"))
