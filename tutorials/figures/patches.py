"""Figures of 02_patches."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

import look

UNIT = "normalised log power"


def nine_patches(x, strides):
    """Nine patches on a spectrogram, for each stride.   x (T, F)"""
    _, axes = look.figure(1, len(strides), 3.6, sharey=True)
    for ax, stride in zip(axes, strides, strict=True):
        picture(x, f"Nine patches at stride {stride}", ax, bar=stride == strides[-1])
        for f in range(3):
            for t in range(3):
                corner = (t * stride - 0.5, f * stride + 29.5)  # away from the edge, to see them better
                ax.add_patch(
                    Rectangle(corner, 16, 16, fill=False, edgecolor=("#ff7f0e", "#6ee0ff")[(f + t) % 2], lw=1.8)
                )
    axes[1].set_ylabel("")
    plt.show()


def picture(x, title, axes, bar=True):
    """A spectrogram in grey over frames and mel bins, for something to be drawn over it.   x (T, F)"""
    look.heatmap(x.T, "under", UNIT, axes, title, "frame (10 ms each)", "mel bin", bar=bar, origin="lower")


def tokens(patches, numbers, rows):
    """Patches as the model gets them, with their numbers.   patches (n, 256)"""
    fig, axes = look.figure(rows, len(numbers) // rows, 2.6)
    for ax, number in zip(axes.flat, numbers, strict=True):
        scale = {"vmin": -1, "vmax": 0.7, "origin": "lower", "aspect": "equal"}
        image = look.heatmap(patches[number].reshape(16, 16), "under", UNIT, ax, bar=False, **scale)
        ax.set_title(number, fontsize=9, loc="center")
        ax.set(xticks=[], yticks=[])
    fig.colorbar(image, ax=axes, label=UNIT, extend="both")
    plt.show()


def filter_answers(pictures, answers, filters):
    """Spectrograms, and what each filter says at each place.   pictures: {label: (T, F)}, answers: {label: [grids]}"""
    fig, axes = look.figure(len(pictures), 1 + len(filters), 5.8, sharey=True)
    for row, (label, x) in zip(axes, pictures.items(), strict=True):
        picture(x, label, row[0], bar=False)
        for ax, name, grid in zip(row[1:], filters, answers[label], strict=True):
            extent = (7.5, 7.5 + 2 * grid.shape[1], 7.5, 7.5 + 2 * grid.shape[0])  # patch centres
            style = {"limit": 5, "extent": extent, "origin": "lower", "bar": False}
            image = look.heatmap(grid, "signed", "", ax, name, "frame", **style)
            ax.set(xlim=(0, 97), ylim=(0, 127))
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    fig.colorbar(image, ax=axes, label="answer of the filter", shrink=0.6, extend="both")
    plt.show()


def adjoint(U):
    """A matrix of zeros and ones, transposed.   U (entries of the patches, pixels)"""
    _, axes = look.figure(height=3.2)
    title = "U, transposed: which entry of the patches is a copy of which pixel"
    names = {"xlabel": "entry of the patches: four for each of the 10 patches", "ylabel": "pixel: six for each frame"}
    image = look.heatmap(U.T, "share", "", axes, title, bar=False, **names)
    axes.figure.colorbar(image, ax=axes, label="entry of U", ticks=[0, 1])
    plt.show()


def coverage(seen):
    """How many patches see each pixel.   seen (T, F)"""
    _, axes = look.figure(height=3, width=6.5)
    title = "Coverage at stride 10"
    image = look.heatmap(seen.T, "count", "", axes, title, "frame", "mel bin", bar=False, origin="lower")
    axes.figure.colorbar(image, ax=axes, label="patches that see the pixel", ticks=np.unique(seen))
    plt.show()
