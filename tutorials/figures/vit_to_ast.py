"""Figures of notebook 6: drawings, patch filters, position grids, fine-tuning from the ViT and from random weights."""

import matplotlib.pyplot as plt
import numpy as np

import show
from look import KINDS


def bare(ax):
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.spines[:].set_visible(False)


def drawings(pictures, names):
    """Ten colour pictures.   pictures (10, side, side, 3), about 0 with deviation a half"""
    _, axes = show.figure(2, 5, height=4)
    for ax, picture, name in zip(axes.flat, pictures, names, strict=True):
        coarse = picture.reshape(len(picture) // 2, 2, -1, 2, 3).mean(axis=(1, 3))  # keeps the notebook small
        ax.imshow(np.round(16 * np.clip(coarse / 3 + 0.5, 0, 1)) / 16, aspect="equal")
        ax.set_title(name, fontsize=9)
        bare(ax)
    plt.show()


def pretraining(losses, ln_k):
    """The loss of each step beside that of a model that knows nothing."""
    _, axes = show.figure(height=2.4)
    axes.axhline(ln_k, color="0.4", linestyle=":", label="ln 10: knows nothing")
    labels = {"xlabel": "step", "ylabel": "loss (nats)", "title": "Pretraining on drawings"}
    show.lines(range(len(losses)), {"loss": losses}, axes, **labels, names=False)
    show.beside(axes)
    plt.show()


def kernels(theirs, ours, heads):
    """The query kernel of the file, and queries, keys and values as minast keeps them."""
    _, (left, right) = show.figure(1, 2, height=3.6, width_ratios=(1, 1.3))
    limit = 3 * ours.std()
    title = f"the file: query kernel, {heads} heads"
    labels = {"xlabel": "output: head, place in it", "ylabel": "input channel"}
    show.heatmap(theirs, "signed", "weight", left, title, **labels, limit=limit, bar=False)
    title = "minast: queries, keys, values"
    show.heatmap(ours, "signed", "weight", right, title, "input channel", "output", limit=limit)
    plt.show()


def filters(colour, merged):
    """Strongest patch filters before and after merging.   colour (n, 3, 16, 16), merged (n, 16, 16)"""
    fig, axes = show.figure(2, len(colour), height=2.4)
    limit = np.abs(merged).max()
    for column, rgb, grey in zip(axes.T, colour.transpose(0, 2, 3, 1), merged, strict=True):
        column[0].imshow(np.clip(0.5 + rgb / (4 * rgb.std()), 0, 1), aspect="equal")
        image = column[1].imshow(grey, cmap=KINDS["signed"], vmin=-limit, vmax=limit, aspect="equal")
        bare(column[0]), bare(column[1])
    axes[0, 0].set_ylabel("before:\ncolour", fontsize=8)
    axes[1, 0].set_ylabel("after:\nsum", fontsize=8)
    fig.colorbar(image, ax=axes[1], label="weight")
    fig.suptitle("The ten strongest patch filters, 16 x 16 pixels each", fontsize=10)
    plt.show()


def similarity(grid, row, column):
    """Cosine of the vector at one place with every other.   grid (f, t, D) -> (f, t)"""
    unit = grid - grid.mean(axis=(0, 1))  # what all places have in common says nothing about place
    unit /= np.linalg.norm(unit, axis=-1, keepdims=True)
    return unit @ unit[row, column]


def similarities(grid, title, places=5):
    """Maps of similarity for places along the diagonal of a grid of positions.   grid (f, t, D)"""
    f, t, _ = grid.shape
    fig, axes = show.figure(1, places, height=2.6, sharey=True)
    for i, ax in enumerate(axes):
        row, column = round(i * (f - 1) / (places - 1)), round(i * (t - 1) / (places - 1))
        image = show.heatmap(
            similarity(grid, row, column), "signed", "", ax, limit=1, bar=False, xlabel="column (patch)"
        )
        ax.plot(column, row, "k+", markersize=10)
        ax.set(xticks=range(0, t, max(2, t // 5)), yticks=range(0, f, max(2, f // 5)))
    axes[0].set_ylabel("row (patch)")
    fig.colorbar(image, ax=axes, label="cosine similarity")
    fig.suptitle(title, fontsize=10)
    plt.show()


def coordinates(before, after):
    """Where each place of the new grid came from.   before (f, t, 2), after (f', t', 2)"""
    fig, axes = show.figure(2, 2, height=4.2, width_ratios=(1, 3))
    for i, name in enumerate(("row", "column")):
        for ax, grid in zip(axes[i], (before, after), strict=True):
            image = show.heatmap(grid[..., i], "count", "", ax, "", limit=before.max(), vmin=0, bar=False)
            ax.set_ylabel("frequency (patch)")
        fig.colorbar(image, ax=axes[i], label=f"{name} it came from")
    for ax, grid, when in zip(axes[0], (before, after), ("before", "after"), strict=True):
        ax.set_title(f"{when}: {grid.shape[0]} x {grid.shape[1]}")
    for ax in axes[1]:
        ax.set_xlabel("time (patch)")
    plt.show()


def lengths(before, after, prefix):
    """Lengths of the position vectors, those of the prefix tokens marked.   (tokens, D) each"""
    _, axes = show.figure(2, 1, height=3.4)
    for ax, positions, title in zip(axes, (before, after), ("before", "after"), strict=True):
        length = np.linalg.norm(positions, axis=1)
        ax.bar(range(prefix, len(positions)), length[prefix:], color="0.75", width=0.9, label="patches")
        ax.bar(range(prefix), length[:prefix], color="C1", label="[CLS]")
        ax.set(
            ylabel="length of vector", xlim=(-1, len(positions)), title=f"{title}: positions of {len(positions)} tokens"
        )
        ax.grid(False, axis="x")
    axes[1].set_xlabel("token")
    axes[0].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.show()


def probabilities(panels, labels, truth):
    """What models say about one clip; the bars of its own classes are coloured.   panels: {title: (K,)}"""
    fig, axes = show.figure(1, len(panels), height=3, sharey=True)
    for ax, (title, values) in zip(axes, panels.items(), strict=True):
        ax.bar(range(len(values)), values, color=["C2" if t else "0.75" for t in truth])
        ax.set_xticks(range(len(labels)), labels, rotation=60, ha="right", fontsize=8)
        ax.set(ylim=(0, 1), title=title)
        ax.grid(False, axis="x")
    axes[0].set_ylabel("probability")
    fig.suptitle("What the model says about one held-out clip (green: what the clip is)", fontsize=10)
    plt.show()


def accuracies(panels, chance):
    """Held-out accuracy over epochs, a line a run.   panels: {title: [(name, epochs, accuracies)]}"""
    _, axes = show.figure(1, len(panels), height=3.4, sharey=True, squeeze=False)
    for ax, (title, runs) in zip(axes[0], panels.items(), strict=True):
        for name, epochs, values in runs:
            start = name.split(",")[0]
            color = "C0" if "ViT" in start else "C1"
            ax.plot(
                epochs,
                values,
                marker="o",
                color=color,
                label=None if start in ax.get_legend_handles_labels()[1] else start,
            )
        ax.axhline(chance, color="0.4", linestyle=":")
        ax.set(xlabel="epoch", ylim=(0, 1), title=title)
    axes[0, 0].set_ylabel("held-out accuracy")
    axes[0, 0].text(axes[0, 0].get_xlim()[0], chance + 0.02, " guessing", fontsize=8, color="0.3")
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.show()
