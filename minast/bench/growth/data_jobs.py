"""Jobs on data sets of any number of clips: what minast does with the list of them, whatever they sound like.

FILES short files of noise stand for all of them, so that any disk holds a million: clip i is in file i modulo FILES.
What the operating system does with a million files is therefore not in these figures.
"""

import csv
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...audio.write import wav
from ...config import FeatureConfig, TrainConfig
from ...datasets import Dataset, open_dataset
from ...datasets.clips import CODES, Clips, Columns
from ...datasets.ragged import Ragged, Texts, starts_of
from ...datasets.targets import Targets
from ...training.batches import training_batch
from ...training.feature_cache import FeatureCache
from ...training.late import Late
from ...training.sampling import Sampler

FILES, CLASSES, RATE = 256, 527, 16000
SAMPLES = 1600  # of a file: a tenth of a second
BATCH, BATCHES = 32, 10
FEATURES, TRAINING = FeatureConfig(frames=8), TrainConfig(sampler="balanced")
HELD_OUT = 10  # every so many clips are for testing


def manifest(clips: int, folder: str) -> Callable[[], object]:
    """Reading a table of so many rows, each a part of a file with a class and a split of its own."""
    names = [os.path.basename(path) for path in sounds(folder)]
    path = os.path.join(folder, f"{clips}.csv")
    with open(path, "w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(("file", "start", "end", "labels", "split"))
        for i in range(clips):
            start, split = i // FILES, "test" if i % HELD_OUT == 0 else "train"
            rows.writerow((names[i % FILES], start, start + 1, f"class {i % min(CLASSES, clips // HELD_OUT)}", split))
    return lambda: open_dataset(path, training=False)


def prepare(clips: int, folder: str) -> Callable[[], object]:
    """What a run does with its list of clips before the first step: labels, the order of an epoch, a cache to fill."""
    found = simulated(clips, folder)
    return lambda: prepared(found)


def batches(clips: int, folder: str) -> Callable[[], object]:
    """BATCHES batches from a cache that has the features of all files."""
    mels, targets, order = prepared(simulated(clips, folder))
    for i in range(min(FILES, len(mels))):
        mels[i]
    steps = iter(range(len(order)))

    def run():
        for _ in range(BATCHES):
            step = next(steps)
            chosen = np.take(order, range(step * BATCH, (step + 1) * BATCH), mode="wrap")
            training_batch(mels, targets, chosen, FEATURES, TRAINING, 0, step)

    return run


def prepared(dataset: Dataset) -> tuple[FeatureCache, Targets, np.ndarray]:
    """-> features that are computed when needed, targets, and the clips of the first epoch in order"""
    train = dataset.of("train")
    targets = Targets.of(train, len(dataset.labels))
    return FeatureCache(train, FEATURES, quiet=True, late=Late()), targets, Sampler(TRAINING, targets)(0)


def simulated(clips: int, folder: str) -> Dataset:
    """A data set of so many clips with two classes each, in arrays."""
    first, further = np.random.default_rng(0).integers(0, CLASSES - 1, (2, clips))
    labels = np.stack([first, (first + 1 + further) % CLASSES], axis=1)
    test = np.arange(clips) % HELD_OUT == 0
    names = [os.path.basename(path) for path in sounds(folder)]
    columns = Columns(
        Ragged(starts_of(np.full(clips, 2)), labels.ravel().astype(np.int32)),
        np.where(test, CODES["test"], CODES["train"]).astype(np.int8),
        [os.path.join(folder, "")],
        np.zeros(clips, np.int32),
        Texts(names[i % FILES] for i in range(clips)),
    )
    return Dataset("simulated", [f"class {k}" for k in range(CLASSES)], Clips(columns), multilabel=True)


def sounds(folder: str) -> list[str]:
    """The paths of FILES short files of noise, which are written if they are not there."""
    paths = [os.path.join(folder, f"{i:03d}.wav") for i in range(FILES)]
    if not os.path.exists(paths[-1]):
        noise = 0.1 * np.random.default_rng(0).standard_normal(SAMPLES + FILES)
        for i, path in enumerate(paths):
            Path(path).write_bytes(wav(noise[i : i + SAMPLES], RATE))
    return paths
