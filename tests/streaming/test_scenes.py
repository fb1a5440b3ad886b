"""The built-in sounds at known times in noise, and hours of sound: when what is heard, and in how much memory."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from minast.datasets.synthetic import generate
from minast.datasets.synthetic.synth import unit

ROOT = Path(__file__).resolve().parents[2]
RATE, KINDS = 16000, ("siren", "rain", "engine")
HOURS = float(os.environ.get("MINAST_TEST_HOURS", "0.5"))  # of the long recording; 3 take some minutes


def sound(rng, kind, samples):
    return 10 ** rng.uniform(-1.6, -0.9) * unit(generate.SOUNDS[kind](rng, samples, RATE))


def noise(rng, samples):
    return 10 ** rng.uniform(-3.5, -2.3) * rng.standard_normal(samples)


def training_data(folder, count):
    """Clips of 1 s: a sound that fills all of it, or a part at one end; with less than half of it, it is background."""
    for name in (*KINDS, "background"):
        (folder / name).mkdir(parents=True)
    for k, kind in enumerate(KINDS):
        for i in range(count):
            rng = np.random.default_rng([1, k, i])
            x, share = sound(rng, kind, RATE), 1.0 if i % 2 else rng.uniform()
            cut = round(share * RATE)
            place = slice(0, cut) if rng.random() < 0.5 else slice(RATE - cut, RATE)
            wave = noise(rng, RATE)
            wave[place] += x[place]
            soundfile.write(folder / (kind if share >= 0.5 else "background") / f"{kind}{i}.wav", wave, RATE)
    for i in range(count // 2):
        soundfile.write(folder / "background" / f"{i}.wav", noise(np.random.default_rng([2, i]), RATE), RATE)


def scene(rng, count):
    """Sounds of 2 to 4 s with 1.5 to 3 s of noise around each.   -> waveform, [(start, end, label)]"""
    parts, truth, now = [], [], 0
    for _ in range(count):
        gap, length, kind = int(RATE * rng.uniform(1.5, 3)), int(RATE * rng.uniform(2, 4)), rng.choice(KINDS)
        parts += [noise(rng, gap), sound(rng, kind, length) + 0.002 * rng.standard_normal(length)]
        truth.append(((now + gap) / RATE, (now + gap + length) / RATE, str(kind)))
        now += gap + length
    return np.concatenate([*parts, noise(rng, 2 * RATE)]), truth


def matched(found, truth):
    """Pair each sound with the event of its label that overlaps it most, each event once.   -> [(event, sound)]"""
    pairs, left = [], list(found)
    for start, end, label in truth:
        overlaps = [(min(end, b) - max(start, a), (a, b, name)) for a, b, name in left if name == label]
        if overlaps and max(overlaps)[0] > 0:
            pairs.append((max(overlaps)[1], (start, end, label)))
            left.remove(max(overlaps)[1])
    return pairs


@pytest.fixture(scope="module")
def detector(tmp_path_factory):
    from minast import train

    folder = tmp_path_factory.mktemp("scenes")
    training_data(folder / "sounds", 150)
    flags = ["--depth", "3", "--epochs", "6", "--batch", "12", "--lr", "1e-3", "--out", str(folder / "run")]
    assert train.main([str(folder / "sounds"), *flags]) == 0
    return folder / "run" / "best.npz"


def test_built_in_sounds(detector, tmp_path, command):
    wave, truth = scene(np.random.default_rng(5), 40)
    soundfile.write(tmp_path / "scene.wav", wave, RATE)
    hop, base = (
        0.49,
        ("scan", detector, tmp_path / "scene.wav", "--out", tmp_path / "e.csv", "--labels", ";".join(KINDS)),
    )
    assert command(*base, "--hop", hop, "--merge", hop)[0] == 0
    with open(tmp_path / "e.csv", newline="") as f:
        found = [(float(r["start"]), float(r["end"]), r["label"]) for r in csv.DictReader(f)]
    pairs = matched(found, truth)
    errors = [abs(event[0] - start) for event, (start, _, _) in pairs]
    precision, recall = len(pairs) / len(found), len(pairs) / len(truth)
    late = f"onset error {np.mean(errors):.3f} s, at most {max(errors):.3f} s"
    print(f"precision {precision:.3f}, recall {recall:.3f}, {late}")
    assert precision >= 0.9 and recall >= 0.95 and max(errors) <= hop


def test_memory_is_that_of_minutes_after_hours(trained, tmp_path):
    """Peak memory of a process that scans 5 minutes, and of one that scans HOURS, compressed and at another rate."""
    block, peaks = np.random.default_rng(0).uniform(-0.3, 0.3, (22050 * 60, 2)), []
    for minutes in (5, round(60 * HOURS)):
        path = tmp_path / f"{minutes}.flac"
        with soundfile.SoundFile(path, "w", 22050, 2) as f:
            for _ in range(minutes):
                f.write(block)
        peaks.append(peak_of(["scan", trained / "best.npz", path, "--out", tmp_path / "e.csv", "--threads", "1"]))
        path.unlink()
    print(f"peak memory: {peaks[0]:.1f} MiB for 5 minutes, {peaks[1]:.1f} MiB for {HOURS:g} hours")
    assert peaks[1] <= 1.05 * peaks[0]


CHILD = """
import sys
from minast import scan
from minast.bench.cpu.process import peak_memory
status = scan.main(sys.argv[1:])
print(peak_memory())
sys.exit(status)
"""


def peak_of(arguments):
    """MiB, of a fresh process."""
    command = [sys.executable, "-c", CHILD, *map(str, arguments[1:])]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return int(done.stdout.splitlines()[-1]) / 2**20
