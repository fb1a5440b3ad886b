"""Rows of `scan` and `listen`: how many times faster than it was recorded, and how late what was heard is known."""

import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np

from ...audio.write import wav
from ...checkpoint import load, save
from ...config import FeatureConfig
from ...exports import hugging_face
from ...features import hop_seconds
from ...live.hearing import Hearing
from ...live.source import Pipe
from ...scoring import BATCH
from ...streaming.work import Scanner, Settings, digest_of
from ..checks import check
from ..libraries import errors_as_skips
from ..pytorch.pipeline import labelled
from ..row import Row, Skip
from ..timing import interleaved
from . import models

RATE, BLOCK = 16000, 320  # Hz; samples that a microphone gives at a time: 20 ms
SIZES = {
    "nano": (98, 1, 64),
    "small": (500, 5, 16),
    "base": (1024, 10, 6),
}  # frames, seconds of a recording, recordings
SEGMENTS = 10  # that `listen` hears for each round, of which each has a quarter of its length for itself
THEIRS = "a loop over transformers' pipeline"


@contextmanager
def scanner(preset: str, frames: int) -> Iterator[tuple[Scanner, str]]:
    """A model with random weights in a folder that is removed.   -> what `scan` works with, the folder"""
    model, _, _ = models.setting(preset, frames, 1)
    model.w["mlp_head.1.weight"][...] *= 10  # probabilities that differ, for the comparison
    with tempfile.TemporaryDirectory() as folder:
        path, labels = os.path.join(folder, "model.npz"), [f"label {k}" for k in range(model.config.classes)]
        save(path, model, labels, FeatureConfig(window="hann", frames=frames), "bce")
        levels = (0.5,) * len(labels)
        yield Scanner(Settings(path, digest_of(path), frames, BATCH, "fast", levels)), folder


def scan(rounds: int) -> Iterator[Row]:
    """A row for each size of model: seconds of audio a second, from wav files of a segment each to events."""
    for preset, (frames, seconds, count) in SIZES.items():
        with scanner(preset, frames) as (ours, folder):
            yield _scan_row(f"scan, {preset}, recordings of {seconds:g} s", ours, folder, seconds, count, rounds)


def _scan_row(name, ours, folder, seconds, count, rounds):
    rng, paths = np.random.default_rng(0), [os.path.join(folder, f"{i}.wav") for i in range(count)]
    for path in paths:
        with open(path, "wb") as f:
            f.write(wav(0.1 * rng.standard_normal(round(seconds * RATE)), RATE))
    row, sides = Row(name, 0.0, "x real time"), [lambda: ours.do(paths)]
    try:
        with errors_as_skips():
            theirs = _agreeing(ours, folder, paths[0], name)
        sides.append(lambda: [theirs(path) for path in paths])
    except Skip as reason:
        row.note = f"no comparison: {reason}"
    times = interleaved(sides, rounds)
    row.ours, *other = (seconds * count / np.median(times, axis=1)).tolist()
    if other:
        row.against, row.theirs, row.ratio = THEIRS, other[0], float(np.median(times[1] / times[0]))
    return row


def _agreeing(ours, folder, path, name):
    """transformers' side, once it has given the same probabilities."""
    hugging_face.write(folder, *load(ours.settings.checkpoint, "fast"))
    theirs = labelled(folder)
    labels, levels = [f"label {k}" for k in range(len(ours.settings.thresholds))], ours.settings.thresholds
    everything = Scanner(replace(ours.settings, thresholds=(0.0,) * len(levels))).do([path])[0]["events"]
    scores = {labels[label]: score for _, _, label, score in everything}
    wanted = theirs(path)
    check(np.array([scores[each] for each in labels]), np.array([wanted[each] for each in labels]), 1e-3, name)
    return theirs


def listen(rounds: int) -> Iterator[Row]:
    """A row for each size of model: the 99th percentile of the seconds from a segment's last sample to its scores."""
    for preset, (frames, *_) in SIZES.items():
        hop, count = frames // 4, SEGMENTS * rounds
        with scanner(preset, frames) as (ours, _):
            ours = Scanner(replace(ours.settings, hop=hop))
            ours.scores(np.zeros((1, frames, ours.features.mel_bins), np.float32))  # as `listen` does
            with Pipe(_as_it_comes((frames + hop * (count - 1)) * RATE // 100 + BLOCK), RATE) as source:
                hearing = Hearing(ours, source, lambda *_: None)
                hearing.run(lambda _: None)
        median, p99 = np.percentile(hearing.latencies, (50, 99))
        every = hop * hop_seconds(RATE)
        name = f"listen, {preset}, {frames * hop_seconds(RATE):.3g} s every {every:.2g} s: p99 latency"
        yield Row(name, float(p99), note=f"of {len(hearing.latencies)} segments; median {1000 * median:.0f} ms")


def _as_it_comes(samples):
    """Noise in blocks (n, 1), at the pace of a microphone."""
    rng, began = np.random.default_rng(0), time.monotonic()
    for end in range(BLOCK, samples + 1, BLOCK):
        time.sleep(max(0.0, began + end / RATE - time.monotonic()))
        yield 0.1 * rng.standard_normal((BLOCK, 1), np.float32)
