"""Indexes without sound or model, for what only reads them."""

import numpy as np

from minast import FeatureConfig
from minast.embeddings import index


class Journal:
    """What `index.write` reads of a journal.   files: {name: embeddings (n, D)}"""

    def __init__(self, files, features, hop):
        self.files, self.features, self.hop = files, features, hop

    def __iter__(self):
        for name, rows in self.files.items():
            frames = self.features.frames + self.hop * (len(rows) - 1)
            seconds = (frames - 1) * 0.01 + 0.025
            yield name, {"seconds": seconds, "rows": len(rows), "bytes": rows.astype("<f2").tobytes(), "notes": []}

    def bytes_of(self, result):
        data = result["bytes"]
        yield from (data[:7], data[7:])  # pieces end anywhere


def make(path, files, frames=100, hop=100):
    """-> Index of made-up embeddings, a segment of `frames` every `hop`"""
    features = FeatureConfig(frames=frames)
    about = {
        **{"checkpoint": "none.npz", "encoder": "0", "block": 12, "pool": "prefix", "features": features, "hop": hop},
        **{"width": next(iter(files.values())).shape[1], "folder": str(path.parent)},
    }
    index.write(str(path), Journal(files, features, hop), about, [])
    return index.Index(path)


def clusters(rng, counts, width=24, apart=2.5):
    """Rows of classes of so many each, as clouds.   -> (n, width), classes (n,), shuffled"""
    centres = rng.standard_normal((len(counts), width)) * apart / np.sqrt(width) * 2
    y = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    return centres[y] + rng.standard_normal((len(y), width)), y
