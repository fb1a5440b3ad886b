"""The built-in data set: ten everyday sounds, synthesised on demand."""

from functools import partial

from .common import Clip, Dataset
from .registry import Source, register

COUNTS = {"train": 2400, "test": 400}


def read(path: str, seed: int) -> Dataset:
    """2400 training and 400 test clips of 1 s, all different. The same seed gives the same sounds. path: not used."""
    from .synthetic import generate  # late: it needs SciPy

    clips = [
        Clip(
            f"{generate.LABELS[i % len(generate.LABELS)]} {i}",
            (i % len(generate.LABELS),),
            split,
            make=partial(_make, i, seed, split),
        )
        for split, count in COUNTS.items()
        for i in range(count)
    ]
    return Dataset(
        "builtin",
        list(generate.LABELS),
        clips,
        split_from="train and test drawn from separate random numbers",
        kind="builtin",
    )


def _make(index, seed, split, rate):
    from .synthetic import generate

    wave, _ = generate.clip(index, seed, rate, 1.0, split)
    return wave


register(Source("builtin", "ten everyday sounds, synthesised on demand", read, path=False))
