"""The worker that keeps embeddings: see `streaming.work`."""

from dataclasses import dataclass

import numpy as np

from ..errors import Error
from ..scoring import segment_embeddings
from ..streaming.core import Scored
from ..streaming.sound import OpenSound
from ..streaming.work import Common, Worker
from .taken import taken_from


@dataclass(frozen=True)
class Settings(Common):
    """What an `Embedder` needs to know."""

    block: int | None = None  # see `taken_from`
    pool: str = "prefix"

    def worker(self) -> "Embedder":
        """An Embedder."""
        return Embedder(self)


class Embedder(Worker):
    """Embeds segments. A result is

    {"seconds" (not rounded: they say where the segments are), "notes": [sentence, ...], "rows": number of segments,
    "bytes": their embeddings (rows, D), float16, little-endian}.
    """

    def __init__(self, settings: Settings):
        super().__init__(settings)
        self.model = taken_from(self.model, settings.block, settings.pool)
        self.model.cuda_graphs = True
        self._embed = segment_embeddings(self.model)

    def compute(self, x: np.ndarray) -> np.ndarray:
        """Embeddings of segments.   (B, frames, F) -> (B, D) float16

        Raises minast.Error if they are not finite, or too large for 16 bits.
        """
        with np.errstate(over="ignore"):
            rows = self._embed(x).astype("<f2")
        if not np.isfinite(rows).all():
            raise Error(f"{self.settings.checkpoint}: the model's embeddings are too large for 16 bits, above 65504.")
        return rows

    def gathered(self) -> "Rows":
        """See `Worker`."""
        return Rows()


class Rows:
    """The embeddings of a recording, as an `Embedder` gathers them: 2 D bytes a segment."""

    def __init__(self):
        self.count, self.bytes = 0, bytearray()

    def add(self, segment: Scored) -> None:
        """The next segment."""
        self.count += 1
        self.bytes += segment.row.tobytes()

    def result(self, sound: OpenSound) -> dict:
        """The recording has ended."""
        notes = [note.text for note in sound.notes]
        return {"seconds": sound.seconds, "notes": notes, "rows": self.count, "bytes": self.bytes}
