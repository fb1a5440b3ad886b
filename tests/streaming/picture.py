"""The picture of a timeline in the README: sounds at known times, what a model hears of them, and the truth below.

    python -m minast.train && python -m tests.streaming.picture runs/builtin-nano/best.npz

It also prints how well the events fit the truth, and leaves scene.wav, its truth and its events in a folder that it
names, so that `minast scan` can be tried on them.
"""

import argparse
import csv
import tempfile
from pathlib import Path

import numpy as np
import soundfile

from minast import load_audio, log_mel, plots, scan
from minast.checkpoint import load
from minast.datasets.synthetic import generate
from minast.datasets.synthetic.synth import unit
from tests.streaming.test_scenes import matched

ROOT = Path(__file__).resolve().parents[2]
RATE = 16000
ORDER = ("siren", "bell", "engine", "bird", "telephone", "rain", "alarm", "clock")


def scene(rng, kinds):
    """Sounds of 2 to 4 s with 1 to 2 s of faint noise around each.   -> waveform, [(start, end, label)]"""
    parts, truth, now = [], [], 0
    for kind in kinds:
        gap, length = int(RATE * rng.uniform(1, 2)), int(RATE * rng.uniform(2, 4))
        sound = 0.12 * unit(generate.SOUNDS[kind](rng, length, RATE))
        parts += [0.002 * rng.standard_normal(gap), sound + 0.002 * rng.standard_normal(length)]
        truth.append(((now + gap) / RATE, (now + gap + length) / RATE, kind))
        now += gap + length
    return np.concatenate([*parts, 0.002 * rng.standard_normal(RATE)]), truth


def events_of(path):
    with open(path, newline="", encoding="utf-8") as f:
        return [(float(r["start"]), float(r["end"]), r["label"], float(r["score"])) for r in csv.DictReader(f)]


def draw(path, wave, truth, events, rate, mel_bins):
    """The spectrogram with the events on it, and the truth in a strip of its own."""
    from matplotlib.patches import Rectangle

    mel = log_mel(wave, rate, mel_bins)
    labels = sorted({label for *_, label in truth} | {event[2] for event in events})
    colour = {label: f"C{i}" for i, label in enumerate(labels)}
    fig = plots.figure(11, 4.6)
    top, below = fig.subplots(2, 1, sharex=True, height_ratios=(5, 1))
    plots.spectrogram(top, mel, rate, label=None, vmin=np.percentile(mel, 1), vmax=np.percentile(mel, 99.8))
    for k, (start, end, label, score) in enumerate(events):
        box = Rectangle((start, 1), end - start, mel_bins - 3, fill=False, edgecolor="white", linewidth=1.6)
        top.add_patch(box)
        words = {"va": "top", "color": "white", "fontsize": 9, "clip_on": True, "parse_math": False}
        back = {"facecolor": "black", "alpha": 0.6, "edgecolor": "none", "pad": 1.5}
        top.text(start + 0.1, mel_bins * (0.97 - 0.1 * (k % 2)), f"{label} {score:.2f}", bbox=back, **words)
    for start, end, label in truth:
        below.add_patch(Rectangle((start, 0.1), end - start, 0.8, color=colour[label], alpha=0.85))
        below.text((start + end) / 2, 0.5, label, ha="center", va="center", color="white", fontsize=9, parse_math=False)
    top.set(xlabel="", title="heard")
    below.set(ylim=(0, 1), yticks=[], xlabel="time (s)", xlim=(0, len(wave) / rate), title="truth")
    for axes in (top, below):
        axes.title.set(fontsize=10, horizontalalignment="left", position=(0, 1))
    plots.save_figure(fig, path)


def main(argv=None):
    p = argparse.ArgumentParser(prog="python -m tests.streaming.picture", description=__doc__)
    p.add_argument("checkpoint")
    p.add_argument("--out", default=str(ROOT / ".images" / "timeline.png"))
    p.add_argument("--hop", default="0.25")
    p.add_argument("--min-score", default="0.9")
    args = p.parse_args(argv)
    folder = Path(tempfile.mkdtemp(prefix="minast-scene-"))
    wave, truth = scene(np.random.default_rng(11), ORDER)
    soundfile.write(folder / "scene.wav", wave, RATE)
    flags = ["--hop", args.hop, "--min-score", args.min_score, "--merge", "0.5", "--min-duration", "0.6"]
    names = ["--labels", ";".join(ORDER)]
    scan.main([args.checkpoint, str(folder / "scene.wav"), "--out", str(folder / "events.csv"), *flags, *names])
    events = events_of(folder / "events.csv")
    pairs = matched([event[:3] for event in events], truth)
    late = [abs(event[0] - start) for event, (start, *_) in pairs]
    print(f"{len(events)} events, {len(truth)} sounds, {len(pairs)} of them found; {folder}")
    print(f"onset error: {np.mean(late):.2f} s, at most {max(late):.2f} s")
    f = load(args.checkpoint)[1].features
    draw(args.out, load_audio(folder / "scene.wav", f.rate), truth, events, f.rate, f.mel_bins)


if __name__ == "__main__":
    main()
