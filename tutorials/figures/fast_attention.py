"""Figures of 08_fast_attention."""

import matplotlib.pyplot as plt
import numpy as np

import look

# where a rung's name stands so that no line runs through it: on a slope, to its left; on the upper flat roof, above it;
# on the lower one, below it, since the slope of the upper one goes on above
LEFT = {"xytext": (-7, 1), "ha": "right", "va": "center"}
ABOVE = {"xytext": (0, 6), "ha": "center", "va": "bottom"}
BELOW = {"xytext": (2, -6), "ha": "center", "va": "top"}


def rooflines(rungs, card):
    """Both roofs of a card, and where rungs would stand if nothing else held them back.

    rungs: {name: (FLOP per byte of memory, FLOP per byte on chip, arithmetic peak)}; card: minast.gpu.cards.Card
    """
    _, axes = look.figure(1, 2, 3.6, sharey=True)
    intensity = np.logspace(-1.3, 3.2, 200)
    peaks = ((card.float32_peak, look.CYCLE[0], "float32"), (card.tensor_peak, look.CYCLE[1], "tensor cores, 16 bit"))
    for k, (ax, width) in enumerate(zip(axes, (card.memory, card.shared_peak), strict=True)):
        for peak, color, label in peaks:
            ax.loglog(intensity, np.minimum(peak, intensity * width) / 1e12, color=color, label=label)
        places = {}  # rungs at one place share a label
        for name, row in rungs.items():
            color = look.CYCLE[row[2] == card.tensor_peak]
            flat = row[2] <= row[k] * width
            places.setdefault((row[k], min(row[2], row[k] * width) / 1e12, color, flat), []).append(name)
        for (x, y, color, flat), names in places.items():
            ax.plot(x, y, "o", mfc="w", color=color)
            place = LEFT if not flat else ABOVE if color == look.CYCLE[1] else BELOW
            between = "\n" if len(names) > 1 and max(map(len, names)) > 3 else "; "
            ax.annotate(between.join(names), (x, y), textcoords="offset points", fontsize=9, **place)
    axes[0].set(xlabel="FLOP per byte of the GPU's memory", title=f"{card.name}: memory, peak figures")
    axes[0].set(ylabel="ceiling (TFLOP/s)", xlim=(0.03, 3000), ylim=(0.1, 2000))
    axes[1].set(xlabel="FLOP per byte on the chip", title="shared memory, peak figures")
    look.beside(axes[1])
    plt.show()


def scores_of_threads(owner, one):
    """Which thread owns each score of a block.   owner (queries, keys); one: the thread shown alone"""
    _, axes = look.figure(1, 2, 2.8, sharey=True)
    look.heatmap(owner.T, "count", "thread that owns the score", axes[0], "A block's scores", "query", "key")
    own = np.where(owner == one, 1.0, 0.0).T
    look.heatmap(own, "share", "", axes[1], f"The {int(own.sum())} scores of thread {one}", "query", bar=False)
    plt.show()


def fragments(held):
    """Which lane holds each element.   held: {name: (lanes, registers)}, of matrices A, B and D"""
    figure, axes = look.figure(1, 3, 5, width_ratios=(16, 8, 11))
    for ax, (name, (lanes, registers)) in zip(axes, held.items(), strict=True):
        ax.imshow(lanes // 4, cmap="tab20", vmin=0, vmax=15, alpha=0.55)
        for (r, c), value in np.ndenumerate(lanes):
            text, bold = f"{value}.{registers[r, c]}" if name[0] == "D" else value, registers[r, c] % 2
            ax.text(c, r, text, ha="center", va="center", fontsize=7.5, weight="bold" if bold else None)
        ax.set(title=name, xlabel="k" if name[0] == "A" else "column", ylabel="k" if name[0] == "B" else "row")
        ax.grid(False)
    figure.suptitle("Lane that holds each element (colour: lane // 4; bold: odd registers; D: lane.register)")
    plt.show()


def copying_ahead(copy=1.0, use=1.6, tiles=4):
    """When tiles are copied and used, with one buffer and with two; made-up lengths."""
    _, axes = look.figure(2, 1, 3.2, sharex=True)
    for ax, buffers in zip(axes, (1, 2), strict=True):
        copied, used = 0.0, 0.0  # when the copies and the products are done so far
        done = []
        for k in range(tiles):
            start = used if buffers == 1 else max(copied, done[k - 2] if k > 1 else 0.0)  # when its buffer is free
            copied = start + copy
            begin = max(copied, used)
            used = begin + use
            done.append(used)
            for y, at, length, color in ((1, start, copy, look.CYCLE[1]), (0, begin, use, look.CYCLE[0])):
                ax.barh(y, length, left=at, color=color, alpha=0.6 + 0.4 * (k % 2), edgecolor="k")
                ax.text(at + length / 2, y, f"tile {k}", ha="center", va="center", color="w", fontsize=9)
        ax.set(yticks=[0, 1], yticklabels=["compute", "copy"], title=f"{buffers} buffer{'s' * (buffers > 1)}")
        ax.grid(False)
    axes[1].set_xlabel("time (arbitrary units: the lengths of the boxes are made up, not measured)")
    plt.show()


def kept(tokens, layers, heads):
    """What the backward pass keeps of attention, in MB a clip, by the number of tokens."""
    series = {
        "P": layers * heads * tokens**2 * 4 / 1e6,
        "lse": layers * heads * tokens * 4 / 1e6,
    }
    limits = {"xscale": "log", "yscale": "log", "xlim": (tokens[0] / 1.05, tokens[-1] * 1.05)}
    title = f"What the backward pass keeps, {layers} layers of {heads} heads"
    axes = look.lines(tokens, series, look.figure(height=2.8)[1], title, "tokens N", "MB a clip, float32", marker="o",
                      names=False, limits=limits)  # fmt: skip
    axes.set_xticks(tokens, tokens)
    axes.minorticks_off()
    look.beside(axes)
    plt.show()
