"""What the tests of pages share: a record from the real functions, and a reader of pages."""

from html.parser import HTMLParser

import numpy as np

import minast
from minast import pages
from minast.checkpoint import Info
from minast.config import FeatureConfig
from minast.datasets.common import Clip, Dataset

VOID = {"meta", "img", "input", "br", "link", "hr", "source"}
HOSTILE = "</script><script>alert(1)</script>&\"'<img src=x onerror=alert(2)>\u202e\x1b[31m"


class Reader(HTMLParser):
    """Reads a page strictly: elements must be closed in order. `found`: (name, attributes), `text`: what is shown."""

    def __init__(self, page):
        super().__init__()
        self.open, self.found, self.text = [], [], []
        self.feed(page)
        self.close()
        assert not self.open, f"never closed: {self.open}"

    def handle_starttag(self, tag, attrs):
        assert len(dict(attrs)) == len(attrs), f"<{tag}> has an attribute twice"
        self.found.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.found.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open and self.open[-1] == tag, f"</{tag}> within {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)

    def all(self, name):
        return [attrs for tag, attrs in self.found if tag == name]


def sound(i):
    return lambda rate: (0.2 * np.sin(2 * np.pi * (200 + 40 * (i % 50)) * np.arange(rate // 2) / rate)).astype("f4")


def made(classes=4, clips=40, loss="ce", labels=None, swapped=None, seed=0, history=6, name="a run"):
    """A record and its players, of a tiny model with random weights and scores that are right nine times of ten.

    swapped: the number of a clip whose label is another than its scores say with all certainty.
    """
    rng = np.random.default_rng(seed)
    labels = labels or [f"class {k}" for k in range(classes)]
    features = FeatureConfig(frames=48, mean=-7, std=4)
    config = minast.ModelConfig(
        dim=16, depth=1, heads=2, frames=48, fstride=16, tstride=16, classes=len(labels), mel_bins=128
    )
    model = minast.AST(config, "numpy", seed=0)
    own = [(i % classes,) if loss == "ce" else tuple({i % classes, (i * i) % classes}) for i in range(clips)]
    tested = [
        Clip(f"{labels[0]}\x1b {i}.wav" if "<" in labels[0] else f"{labels[0]} {i}.wav", k, "test", make=sound(i))
        for i, k in enumerate(own)
    ]
    train = [Clip(f"train {i}.wav", (i % classes,), "train", make=sound(i)) for i in range(20)]
    data = Dataset(labels[0], labels, [*train, *tested], loss == "bce")
    targets = data.targets(tested).astype(float)
    guess = np.where(rng.random(clips) < 0.9, np.arange(clips) % classes, rng.integers(classes, size=clips))
    scores = 0.02 + rng.random((clips, len(labels))) * 0.2 + 0.6 * np.eye(len(labels))[guess]
    if swapped is not None:
        scores[swapped] = 1e-6
        scores[swapped, (own[swapped][0] + 1) % classes] = 1.0
    if loss == "ce":
        scores /= scores.sum(axis=1, keepdims=True)
    assert targets.shape == scores.shape
    rows = [
        {"epoch": e + 1, "lr": 1e-3 / (e + 1), "train_loss": 2 / (e + 1), "valid_loss": 2.2 / (e + 1)}
        | {"train_top1": 1 - 0.5**e, "accuracy": 1 - 0.6**e, "mAP": 1 - 0.7**e, "seconds": 3.0 * e}
        for e in range(history)
    ]
    waves = [minast.log_mel(clip.wave(16000)) for clip in tested[:50]]
    mels = [waves[i % 50] for i in range(clips)]
    info = Info(labels, features, loss)
    record = pages.run_record(
        *(model, info, data, mels, tested, scores),
        name=name,
        split="test",
        epoch=history,
        chosen=False,
        train=mels[:20],
        train_clips=train,
        history=rows,
        settings={"lr": 1e-3, "epochs": history, "seed": seed},
        defaults={"lr": 5e-4, "epochs": history},
        command="python -m minast.train data",
    )
    return record, pages.players(model, info, record, mels, tested)
