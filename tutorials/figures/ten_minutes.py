"""Figures of 00_ten_minutes."""

import matplotlib.pyplot as plt

import look
from minast import plots


def where(mel, maps):
    """One recording, and where each answer comes from.   mel (T, F), maps: {title: (T, F)}"""
    _, axes = look.figure(len(maps) + 1, 1, 2.1 * (len(maps) + 1), sharex=True)
    look.spectrogram(mel, "what the model sees", axes[0])
    for ax, (title, values) in zip(axes[1:], maps.items(), strict=True):
        look.relevance(mel, values, title, ax)
    for ax in axes[:-1]:
        ax.set_xlabel("")
    plt.show()


def when(mel, starts, scores, labels):
    """A recording and the scores of its segments of 1 s.   mel (T, F), starts (W,) in s, scores (W, K)"""
    _, (top, bottom) = look.figure(2, 1, 5, sharex=True)
    look.spectrogram(mel, "a street that does not exist", top)
    top.set_xlabel("")
    plots.scores(bottom, starts, scores, labels, seconds=1.0, cmap=look.KINDS["share"])
    bottom.set_title("what is heard, and when")
    bottom.grid(False)
    plt.show()
