"""Figures of notebook 5: what residuals do, the flat array, runs that fail."""

import math
import re

import matplotlib.pyplot as plt
import numpy as np

import show

KINDS = {  # part of the model -> what the names of its weights contain
    "attention": "attn",
    "MLP": r"mlp\.fc",
    "norms": "norm",
    "patches": "patch",
    "tokens, positions": "token|pos",
    "head": "mlp_head",
}


def with_deviation(axes, x, series, **labels):
    """Means over seeds as lines, the deviation among seeds as bands.   series: {name: (seeds, n)}"""
    show.lines(x, {name: y.mean(axis=0) for name, y in series.items()}, axes, marker=".", **labels)
    for i, y in enumerate(series.values()):
        axes.fill_between(x, y.mean(axis=0) - y.std(axis=0), y.mean(axis=0) + y.std(axis=0), color=f"C{i}", alpha=0.2)


def residuals(cosines, gradients):
    """Left: how alike tokens are after each block. Right: the gradient going back.   {name: (seeds, blocks + 1)}"""
    _, (left, right) = show.figure(1, 2, height=3.2)
    blocks = np.arange(next(iter(cosines.values())).shape[1])
    more = {"xlabel": "blocks passed, from the input on", "names": False}
    with_deviation(left, blocks, cosines, title="How alike are the tokens?", ylabel="mean cosine of two tokens", **more)
    more |= {"title": "Gradient at the tokens", "ylabel": "length, relative to the output", "names": True}
    with_deviation(right, blocks, gradients, **more)
    for axes in (left, right):
        axes.set_xticks(blocks[::2])
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    plt.show()


def flat_array(w, title):
    """Where each weight lies.   w: Views"""
    fig, axes = show.figure(height=1.7)
    for i, (kind, pattern) in enumerate(KINDS.items()):
        inside = [(name, view) for name, view in w.items() if re.search(pattern, name)]
        spans = [((view.ctypes.data - w.flat.ctypes.data) // view.itemsize, view.size) for _, view in inside]
        axes.broken_barh(spans, (0, 1), color=f"C{i}", label=kind)
    axes.set(xlabel="place in the flat array (numbers)", yticks=[], xlim=(0, w.flat.size), title=title)
    axes.grid(False)
    fig.legend(ncols=len(KINDS), loc="outside lower center", handlelength=1)
    plt.show()


def against(runs, good, ln_k):
    """A panel for each run, beside the one as it should be of the same depth.

    runs: {name: losses (seeds, steps)}; good: {name: losses} for the same names
    """
    fig, axes = show.figure(2, 4, height=4.4, sharex=True, sharey=True)
    for ax, (name, losses) in zip(axes.flat, runs.items(), strict=True):
        ax.plot(good[name].T, color="0.75", linewidth=2)
        ax.plot(np.minimum(losses.T, 12), color="C1", linewidth=1)  # above the picture's top anyway, and finite
        ax.axhline(math.log(10), color="0.4", linestyle=":")
        ax.set_title(name.replace(", ", ",\n").replace(" backward", "\nbackward"), fontsize=9)
    axes[0, 0].set_ylim(0, 6)
    dead = next((ax for ax, name in zip(axes.flat, runs, strict=True) if name == "dead head"), axes[0, 0])
    dead.text(20, ln_k + 0.15, "ln 10", fontsize=8, color="0.3")  # where no curve lies above the line
    axes[0, 0].text(14, 0.35, "as it should be", fontsize=8, color="0.4")
    fig.supxlabel("step", fontsize=9)
    fig.supylabel("loss on one batch (nats)", fontsize=9)
    plt.show()


def confusion(matrix, labels):
    """Rows: what the clips are; columns: what the model says."""
    from minast import plots

    fig, axes = show.figure(height=4.6, width=6.2)
    axes.grid(False)
    fig.colorbar(plots.draw_confusion(axes, matrix, labels), label="share of the true class")
    plt.show()
