"""Figures of notebook 4: a melody's attention, sharp and flat rows, gradients of a head, memory, the online softmax."""

import matplotlib.pyplot as plt
import numpy as np

import show


def melody(p, o, notes):
    """Left: the weights. Right: the output, a mean of times.   p (T, T), o (T,), notes: a letter a token"""
    _, (left, right) = show.figure(1, 2, height=3.6)
    at = range(len(notes))
    labels = {"xlabel": "key: token j", "ylabel": "query: token i"}
    show.heatmap(p, "share", "weight", left, "weights p: each note finds its like", **labels, aspect="equal")
    left.set_xticks(at, notes)
    left.set_yticks(at, notes)
    right.plot(at, o, "o", label="output: mean\ntime of the\nnotes found")
    right.plot(at, at, ":", color="0.5", label="own time")
    right.set(title="output o", xlabel="token", ylabel="time (tokens)")
    right.set_xticks(at, notes)
    show.beside(right)
    plt.show()


def sorted_weights(rows, title):
    """Mean weight of the first, second, ... largest of a row.   rows: {name: p (T, T)}"""
    series = {name: -np.sort(-p, axis=1).mean(axis=0)[:30] for name, p in rows.items()}
    labels = {"xlabel": "rank of the key", "ylabel": "mean weight"}
    show.lines(np.arange(1, 31), series, title=title, **labels, limits={"yscale": "log"}, marker=".")


def gradients(p, dp, ds):
    """What the backward pass makes of one head.   p, dp, ds (T, T)"""
    _, axes = show.figure(1, 3, height=2.7)
    for ax, (title, x, kind) in zip(
        axes, (("p", p, "share"), ("dp = do vᵀ", dp, "signed"), ("ds", ds, "signed")), strict=True
    ):
        unit = "weight" if kind == "share" else "gradient"
        ylabel = "query i" if ax is axes[0] else ""
        show.heatmap(x, kind, unit, ax, title, "key j", ylabel, aspect="equal")
    plt.show()


def memory(depth, heads, width):
    """Bytes kept for the backward pass by the number of tokens."""
    T = np.geomspace(30, 5000, 50)
    _, axes = show.figure(height=3.2)
    series = {
        "weights p:\ngrows with T²": depth * heads * T**2 * 4 / 1e6,
        "qkv, o, one number\na row: grows with T": depth * 4 * (4 * T * width + heads * T) / 1e6,
    }
    limits = {"xscale": "log", "yscale": "log", "ylim": (2, 2e4)}
    labels = {"xlabel": "tokens T", "ylabel": "memory (MB)"}
    show.lines(T, series, axes, "Kept for the backward pass, base model, one clip", **labels, limits=limits)
    for seconds, n in ((1, 110), (5, 602), (10, 1214)):  # two prefix tokens; 1 s is 98 frames, as in notebook 2
        axes.axvline(n, color="0.7", linewidth=1)
        axes.text(n * 1.03, 2.4, f"{seconds} s:\n{n} tokens", fontsize=8)
    plt.show()


def online(scores, m, l, c, partial, whole):
    """One row of an online softmax, key by key.   all (T,), partial (T, 2), whole (2,)"""
    keys = np.arange(1, len(scores) + 1)
    _, (a, b, d) = show.figure(3, 1, height=6.2, sharex=True)
    a.plot(keys, scores, "o", markersize=4, color="0.65", label="score s")
    a.step(keys, m, where="post", label="running maximum m")
    a.set(title="One row, key by key", ylabel="score (nats)")
    b.plot(keys, l, ".-", label="running sum l")
    b.vlines(keys[c < 1], 0, l.max(), color="C1", linewidth=1, linestyle=":")
    b.set(ylabel="sum of exp(s - m)", title="dotted: the maximum rises, l and a are scaled by c < 1", ylim=(0, None))
    for i in range(2):
        d.plot(keys, partial[:, i], ".-", color=f"C{i}", label=f"a / l, channel {i}")
        d.axhline(whole[i], color=f"C{i}", linestyle="--", linewidth=1)
    d.set(xlabel="keys seen", ylabel="output so far", title="dashed: softmax over the whole row, then the product")
    for axes in (a, b, d):
        axes.margins(x=0.01)
        show.beside(axes)
    plt.show()
