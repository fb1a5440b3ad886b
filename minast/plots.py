"""Pictures: learning curves, confusion matrix, scores by class. matplotlib is imported when one is drawn."""

import numpy as np

from . import metrics
from .files import atomic


def figure(width=7.0, height=4.0):
    """An empty matplotlib figure that needs no screen."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def save_figure(fig, path):
    """Write a PNG, whole or not at all."""
    with atomic(path) as f:
        fig.savefig(f, format="png", dpi=110)


def plain(text):
    """A user's text as it can be drawn: bytes that are no UTF-8 become question marks; $ is no formula (parse_math)."""
    return text.encode("utf-8", "replace").decode()


def learning_curves(history, path, measure="accuracy", title=""):
    """Loss on the left, accuracy or mAP on the right, over epochs. history: dictionaries as train.py keeps them."""
    fig = figure(9, 3.6)
    draw_learning_curves(fig.subplots(1, 2), history, measure)
    fig.suptitle(plain(title), parse_math=False)
    save_figure(fig, path)


def draw_learning_curves(axes, history, measure="accuracy"):
    """The same on two axes of the caller's."""
    left, right = axes
    epochs = [row["epoch"] for row in history]
    left.plot(epochs, [row["train_loss"] for row in history], marker=".", label="training")
    left.plot(epochs, [row["valid_loss"] for row in history], marker=".", label="held out")
    left.set(xlabel="epoch", ylabel="loss (nats)")
    top1 = "training" if measure == "accuracy" else "training: top guess is a label"
    right.plot(epochs, [row["train_top1"] for row in history], marker=".", label=top1)
    right.plot(epochs, [row[measure] for row in history], marker=".", label="held out")
    right.set(xlabel="epoch", ylabel=measure, ylim=(0, 1.02))
    for axes in (left, right):
        axes.grid(alpha=0.3)
        axes.legend()
        axes.xaxis.get_major_locator().set_params(integer=True)


def confusion(matrix, labels, path):
    """Counts by true class (row) and predicted class (column); the colour is the share of the row."""
    k = len(labels)
    size = min(24.0, 3.0 + 0.42 * k)
    fig = figure(size + 0.8, size)
    axes = fig.subplots()
    image = draw_confusion(axes, matrix, labels)
    fig.colorbar(image, ax=axes, label="share of the true class", shrink=0.8)
    save_figure(fig, path)


def draw_confusion(axes, matrix, labels):
    """The same on axes of the caller's.   -> the image, for a colour bar"""
    k = len(labels)
    share = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    image = axes.imshow(share, vmin=0, vmax=1, cmap="Blues")
    axes.set(xlabel="predicted", ylabel="true")
    names = [plain(name) for name in labels]
    axes.set_xticks(range(k), names, rotation=90, parse_math=False)
    axes.set_yticks(range(k), names, parse_math=False)
    if k <= 30:
        for i, j in zip(*np.nonzero(matrix), strict=True):
            axes.text(
                j, i, str(matrix[i, j]), ha="center", va="center", fontsize=8, color="w" if share[i, j] > 0.5 else "k"
            )
    return image


def per_class(scores, targets, labels, loss, path):
    """The confusion matrix (one class a clip) or the average precision of each class (several)."""
    if loss == "ce":
        confusion(metrics.confusion_matrix(scores, targets.argmax(axis=1)), labels, path)
    else:
        class_bars(metrics.average_precision(scores, targets), labels, path)


def class_bars(values, labels, path, name="average precision"):
    """One bar a class, best first: for several labels a clip, where a confusion matrix has no meaning."""
    order = np.argsort(-np.nan_to_num(values, nan=-1))[:100]
    fig = figure(7, min(20.0, 1.5 + 0.25 * len(order)))
    axes = fig.subplots()
    axes.barh(range(len(order)), np.nan_to_num(values)[order])
    axes.set_yticks(range(len(order)), [plain(labels[k]) for k in order], parse_math=False)
    axes.invert_yaxis()
    axes.set(xlabel=name, xlim=(0, 1))
    axes.grid(alpha=0.3, axis="x")
    save_figure(fig, path)
