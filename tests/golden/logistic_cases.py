"""Data on which the logistic regression is compared with scikit-learn, made again from their names. NumPy only."""

import numpy as np

try:
    from .metric_cases import uniform
except ImportError:  # run as a script
    from metric_cases import uniform

C = (0.03, 3.0)  # scikit-learn's inverse strength


def cases():
    """{name: (x (n, D), targets (n, K) bool)}; names that begin with "one" have one class a row"""
    found = {}
    for name, n, d, k in (("one", 60, 8, 3), ("one of two", 45, 5, 2), ("one, wide", 30, 40, 4), ("several", 70, 6, 4)):
        x = uniform(f"{name} x", (n, d)) ** 2 * (1 + np.arange(d)) - 0.3 * np.arange(d)  # of different scales
        scores = (x - x.mean(axis=0)) / x.std(axis=0) @ (uniform(f"{name} w", (d, k)) - 0.5)
        scores = scores + uniform(f"{name} noise", (n, k))
        chosen = np.eye(k, dtype=bool)[scores.argmax(axis=1)]
        found[name] = x, (scores > 0.4 if name == "several" else chosen)
    return found
