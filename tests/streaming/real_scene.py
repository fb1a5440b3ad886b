"""Real clips at known times: how much of them `scan` finds, and when.

    python -m tests.streaming.real_scene CHECKPOINT esc10:PATH FOLD HOP

The clips of the fold, which CHECKPOINT must not have been trained on, are joined in a random order, each once, with 1.5
to 4 s of faint noise before each and after the last. A sound is found if an event of its label overlaps it.
"""

import csv
import sys
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from minast import load_audio, scan
from minast.datasets import open_dataset
from tests.streaming.test_scenes import matched

RATE = 44100


def scene(clips, labels, rng):
    """-> waveform, [(start, end, label)]"""
    parts, truth, now = [], [], 0
    for i in rng.permutation(len(clips)):
        gap, wave = int(RATE * rng.uniform(1.5, 4)), load_audio(clips[i].path, rate=RATE)
        sounding = np.flatnonzero(np.abs(wave) > 1e-3)  # clips are padded with silence
        wave = wave[sounding[0] : sounding[-1] + 1]
        parts += [1e-4 * rng.standard_normal(gap), wave]
        truth.append(((now + gap) / RATE, (now + gap + len(wave)) / RATE, labels[clips[i].labels[0]]))
        now += gap + len(wave)
    return np.concatenate([*parts, 1e-4 * rng.standard_normal(2 * RATE)]), truth


def main(checkpoint, data, fold, hop):
    """Print precision, recall and the errors of the times."""
    dataset = open_dataset(data, fold=int(fold))
    wave, truth = scene(dataset.of("test"), dataset.labels, np.random.default_rng(0))
    with tempfile.TemporaryDirectory() as folder:
        sound, table = Path(folder) / "scene.wav", Path(folder) / "events.csv"
        soundfile.write(sound, wave, RATE)
        flags = ["--hop", hop, "--merge", hop, "--min-score", "0.5"]
        scan.main([checkpoint, str(sound), "--out", str(table), *flags])
        with open(table, newline="", encoding="utf-8") as f:
            found = [(float(row["start"]), float(row["end"]), row["label"]) for row in csv.DictReader(f)]
    pairs = matched(found, truth)
    errors = np.abs([event[0] - start for event, (start, _, _) in pairs])
    print(f"{len(truth)} sounds in {len(wave) / RATE:.0f} s, {len(found)} events; hop {hop} s")
    print(f"precision {len(pairs) / len(found):.3f}, recall {len(pairs) / len(truth):.3f}")
    middle, most = np.median(errors), np.quantile(errors, 0.9)
    print(f"onset error {middle:.2f} s in the middle, {most:.2f} s for nine of ten, {errors.max():.2f} s at most")


if __name__ == "__main__":
    if len(sys.argv) != 5 or "--help" in sys.argv:
        sys.exit(__doc__)
    main(*sys.argv[1:])
