"""Figures of notebook 9: scores and relevance over a recording, curves of deletion and of random weights."""

import matplotlib.pyplot as plt
import numpy as np

import show
from look import KINDS
from minast import plots
from minast.features import bin_of


def heights(plan):
    """0 or 1 for each sound, so that sounds that overlap their predecessor are marked at another height."""
    levels = []
    for i, (_, start, _) in enumerate(plan):
        levels.append(1 - levels[-1] if i and start < plan[i - 1][2] else 0)
    return levels


def planned(axes, plan, labels=None, only=None):
    """Mark in a panel what lies where.   plan: (label, from s, to s); labels: the rows of the panel, if it has rows"""
    shown = [row for row in plan if only is None or row[0] == only]
    for (label, start, stop), level in zip(shown, heights(shown), strict=True):
        if labels is not None:
            axes.plot([start, stop], [labels.index(label) + 0.5] * 2, "|-", color="C1", linewidth=1.5, markersize=12)
        else:
            across, y = axes.get_xaxis_transform(), 1.03 + 0.11 * level
            axes.plot([start, stop], [y, y], "|-", color="C1", transform=across, clip_on=False)
            axes.text((start + stop) / 2, y + 0.02, label, transform=across, ha="center", color="C1")


def in_hz(axes, mel_bins):
    """Mark frequencies that do not run into each other on an axis of mel bins."""
    shown = (200, 500, 1000, 2000, 4000, 7000)
    axes.set_yticks([bin_of(hz, 16000, mel_bins) for hz in shown], [str(hz) for hz in shown])


def loud(mel):
    """The louder half of a spectrogram; the rest, background noise, drawn as one dark level: half the bytes."""
    return np.maximum(mel, np.median(mel))


def over_spectrogram(axes, mel, values, title, pad=None, **options):
    """A map over the spectrogram that it explains, with frequencies marked that do not run into each other."""
    plots.relevance(axes, loud(mel), values, **options)
    in_hz(axes, mel.shape[1])
    axes.set_title(title, pad=pad)
    axes.grid(False)


def over_time(mel, starts, scores, labels, plan, seconds):
    """The recording, and below it each segment's scores; what was put in is marked."""
    _, (top, bottom) = show.figure(2, 1, height=5.4, sharex=True)
    show.spectrogram(loud(mel), axes=top)
    planned(top, plan)
    top.set_xlabel("")
    plots.scores(bottom, starts, scores, labels, seconds=seconds, cmap=KINDS["share"])
    planned(bottom, plan, labels)
    bottom.grid(False)
    top.set_xlim(0, len(mel) / 100)
    plt.show()


def recording(mel, maps, plan, start):
    """Relevance over a part of the recording from `start` (s) on, a panel for each class.   maps: {label: (T, F)}"""
    _, axes = show.figure(len(maps), 1, height=2.5 * len(maps), sharex=True)
    for ax, (label, values) in zip(axes, maps.items(), strict=True):
        over_spectrogram(ax, mel, values, f"relevance for {label}", pad=20, start=start)
        planned(ax, plan, only=label)
        ax.label_outer()
    plt.show()


def attention(maps, start, mel_bins=128):
    """Attention of a segment of 1 s, laid out as patches, four side by side.   maps: {title: (rows, columns)}"""
    _, axes = show.figure(-(-len(maps) // 4), 4, height=5.4, sharex=True, sharey=True)
    top = max(row.max() for row in maps.values())
    for ax, (title, row) in zip(axes.flat, maps.items(), strict=True):
        image = show.heatmap(row, "share", "", ax, title, "time (s)", "frequency (Hz)", bar=False, vmin=0, vmax=top,
                             origin="lower", extent=(start, start + 0.98, 0, mel_bins))  # fmt: skip
        ax.set_title(title, fontsize=8)  # four beside each other
        in_hz(ax, mel_bins)
        ax.label_outer()
    axes[0, 0].figure.colorbar(image, ax=axes, label="attention weight")
    plt.show()


def relevance(mel, maps, start, label="relevance", limit=None):
    """Maps of one segment side by side.   maps: {title: (T, F)}"""
    _, axes = show.figure(1, len(maps), height=3, sharey=True, squeeze=False)
    for ax, (title, values) in zip(axes[0], maps.items(), strict=True):
        over_spectrogram(ax, mel, values, title, start=start, label=label, limit=limit)
        ax.label_outer()
    plt.show()


def deletion(panels, areas, ylabel):
    """Mean logits and their standard errors as more is deleted.   panels: {title: {map: (areas, clips)}}"""
    _, axes = show.figure(1, len(panels), height=3.4, sharey=True, squeeze=False)
    for ax, (title, curves) in zip(axes[0], panels.items(), strict=True):
        for name, logits in curves.items():
            style = {"color": "0.45", "linestyle": "--"} if name == "chance" else {}
            error = logits.std(axis=1) / np.sqrt(logits.shape[1])
            ax.errorbar(100 * areas, logits.mean(axis=1), error, marker=".", capsize=2, label=name, **style)
        ax.set(title=title, xlabel="deleted area (%)")
    axes[0, 0].set_ylabel(ylabel)
    axes[0, -1].legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.show()


def randomised(kept, stages):
    """Rank correlation with the true map, with standard errors, as weights become random.   {map: (stages, clips)}"""
    _, ax = show.figure(height=3.2)
    for name, values in kept.items():
        error = values.std(axis=1) / np.sqrt(values.shape[1])
        ax.errorbar(range(len(stages)), values.mean(axis=1), error, marker="o", capsize=2, label=name)
    ax.axhline(0, color="0.5", linewidth=0.6)
    ax.set_xticks(range(len(stages)), stages, rotation=20)
    ax.set(xlabel="weights that are random, from the head down to here", ylabel="rank correlation\nwith the true map")
    ax.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    plt.show()
