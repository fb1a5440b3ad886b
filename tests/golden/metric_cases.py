"""Scores and targets on which metrics are compared with scikit-learn, made again from their names. NumPy only."""

import zlib

import numpy as np

TINY, HUGE = 5e-324, 1.7e308  # the smallest and about the largest float64


def uniform(name, shape):
    """float64 in [0, 1), from the name alone, as in cases.py."""
    bits = np.random.PCG64(zlib.crc32(name.encode())).random_raw(int(np.prod(shape)))
    return (bits >> np.uint64(11)).astype(np.float64).reshape(shape) * 2.0**-53


def several(name, clips, classes, share=0.3):
    """Scores that know something about the targets, and targets of any number of classes."""
    targets = uniform(f"{name} targets", (clips, classes)) < share
    return (uniform(f"{name} scores", (clips, classes)) + 0.3 * targets) / 1.3, targets


def single(name, clips, classes, rare=1.0):
    """The same with one class a clip; rare above 1: later classes are rarer."""
    chosen = np.minimum((uniform(f"{name} class", clips) ** rare * classes).astype(int), classes - 1)
    targets = np.eye(classes, dtype=bool)[chosen]
    scores = uniform(f"{name} scores", (clips, classes)) ** 3 + 0.5 * targets
    return scores / scores.sum(axis=1, keepdims=True), targets


def extreme():
    """Numbers at the ends of float64: neighbours, both zeros, subnormal and huge ones, next to each other."""
    values = np.array(
        [HUGE, -HUGE, TINY, -TINY, 0.0, -0.0, 1.0, np.nextafter(1.0, 2), np.nextafter(1.0, 0), 1e-300, 0.5]
    )
    chosen = (uniform("extreme scores", (400, 3)) * len(values)).astype(int)
    return values[chosen], uniform("extreme targets", (400, 3)) < 0.4


def cases():
    """{name: (scores (N, K), targets (N, K) bool)}; names that begin with "one" have one class a clip"""
    found = {f"several {n}x{k}": several(f"several {n}x{k}", n, k) for n, k in ((1, 3), (2, 2), (17, 5), (300, 20))}
    found |= {f"one {n}x{k}": single(f"one {n}x{k}", n, k, 2.0) for n, k in ((1, 3), (13, 5), (400, 10))}
    scores, targets = several("ties", 500, 6)
    found["ties"] = np.round(scores * 4) / 4, targets
    found["one ties"] = np.round(single("one ties", 200, 4)[0] * 3) / 3, single("one ties", 200, 4)[1]
    found["all equal"] = np.full((50, 3), 0.5), several("all equal", 50, 3)[1]
    found["zeros and ones"] = (scores > 0.6).astype(float), targets
    found["perfect"] = targets * 0.5 + 0.25, targets
    found["upside down"] = 1 - targets * 0.9, targets
    kept = several("some classes are empty or full", 60, 5)
    kept[1][:, 1], kept[1][:, 3] = False, True
    found["some classes are empty or full"] = kept
    found["a class alone"] = several("a class alone", 40, 1)
    found["no positives"] = kept[0], np.zeros((60, 5), bool)
    found["no negatives"] = kept[0], np.ones((60, 5), bool)
    found["extreme"] = extreme()
    scores, targets = several("float32", 3000, 4)
    found["float32"] = scores.astype(np.float32), targets
    scores, targets = several("many clips", 40000, 3, 0.01)
    found["many clips"] = np.round(scores, 3), targets
    found["logits"] = np.log(scores[:5000]) * 1e3, targets[:5000]
    return found
