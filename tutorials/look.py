"""How every figure of the tutorials looks: one style, one colour map for each kind of picture, bars with units.

A helper without `axes` makes a figure of its own and shows it; with `axes` it draws there, and the cell calls
`plt.show()`. Colours and axes of spectrograms are those of `minast.plots`.
"""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import MaxNLocator

from minast import plots
from minast.errors import Error
from minast.features import bin_of

__all__ = [
    *("style", "figure", "spectrogram", "spectrograms", "relevance", "heatmap", "maps", "lines", "beside", "bars"),
]
WIDTH = 9.0  # inches, of every figure
CYCLE = ["#0072b2", "#d55e00", "#009e73", "#aa4499", "#e69f00", "#56b4e9", "#666666"]  # told apart by everybody
KINDS = {  # kind of picture -> colour map, of 200 levels: with the greys of letters 256 colours (see palette.py)
    "spectrogram": plt.get_cmap("viridis", 200),
    "signed": plt.get_cmap("coolwarm", 201),  # gradients, relevance, filters: 0 is in the middle
    "share": plt.get_cmap("Blues", 200),  # attention, probabilities: 0 is white
    "count": plt.get_cmap("viridis", 200),  # bytes, steps, whole numbers: 0 or the smallest is dark
    "under": plt.get_cmap("gray"),  # a spectrogram with something drawn over it
}
STYLE = {
    "axes.grid": True,
    "axes.axisbelow": True,
    "axes.prop_cycle": plt.cycler(color=CYCLE),
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 11,
    "figure.constrained_layout.use": True,
    "figure.dpi": 96,  # a notebook stores twice as many, for screens that show them
    "figure.figsize": (WIDTH, 2.8),
    "font.size": 10,
    "grid.alpha": 0.3,
    "image.aspect": "auto",
    "image.cmap": "viridis",
    "image.interpolation": "nearest",
    "legend.fontsize": 9,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
}


def style():
    """Set the tutorials' look; each notebook calls it once, after its imports."""
    plt.rcParams.update(STYLE)
    try:
        from matplotlib_inline.backend_inline import set_matplotlib_formats
    except ImportError:
        return  # a plain script
    set_matplotlib_formats("retina")


def figure(rows=1, columns=1, height=2.8, width=WIDTH, **options):
    """An empty figure in the common width.   -> (figure, axes), as of plt.subplots, which takes the options"""
    return plt.subplots(rows, columns, figsize=(width, height), **options)


# -- pictures ---------------------------------------------------------------------------------------------------


def spectrogram(mel, title="", axes=None, unit="log power (nats)", height=2.8, **options):
    """A log-mel spectrogram with time in s, frequency in Hz and a colour bar.   mel (T, F) -> the image

    unit: of the colour bar, None for no bar. options: those of `minast.plots.spectrogram` (rate, start, hz; cmap, vmin,
    vmax, alpha).
    """
    own = axes is None
    if own:
        _, axes = figure(height=height)
    image = plots.spectrogram(axes, mel, label=unit, **{"cmap": KINDS["spectrogram"], **options})
    if options.get("hz", True):
        _thin(axes, options.get("rate", 16000), np.shape(mel)[1])
    _picture(axes, title)
    if own:
        plt.show()
    return image


def relevance(mel, values, title="", axes=None, unit="relevance", height=2.8, **options):
    """A relevance map over its spectrogram in grey.   mel (T, F), values (T, F); options of `minast.plots.relevance`"""
    own = axes is None
    if own:
        _, axes = figure(height=height)
    image = plots.relevance(axes, mel, values, label=unit, **options)
    if options.get("hz", True):
        _thin(axes, options.get("rate", 16000), np.shape(mel)[1])
    _picture(axes, title)
    if own:
        plt.show()
    return image


def _thin(axes, rate, F):
    """Mark those frequencies of `minast.plots` whose labels do not run into the next higher one."""
    height = 72 * axes.get_position().height * axes.figure.get_figheight()  # points
    least = 1.1 * plt.rcParams["font.size"] / height * F  # mel bins
    kept = {}
    for hz in reversed(plots.TICKS_HZ):
        at = bin_of(hz, rate, F)
        if at < F - 0.5 and (not kept or min(kept) - at > least):
            kept[at] = str(hz)
    axes.set_yticks(list(kept), list(kept.values()))
    axes.set_ylim(-0.5, F - 0.5)


def spectrograms(mels, columns=5, unit="log power (nats)", height=None, **options):
    """A page of spectrograms on one colour scale, with one bar.   mels: {title: (T, F)}"""
    rows = -(-len(mels) // columns)
    fig, axes = figure(rows, columns, height or 0.4 + 1.9 * rows, sharex=True, sharey=True, squeeze=False)
    low, high = min(m.min() for m in mels.values()), max(m.max() for m in mels.values())
    for ax, (title, mel) in zip(axes.flat, mels.items(), strict=False):
        image = spectrogram(mel, title, ax, None, **{"vmin": low, "vmax": high, **options})
        ax.xaxis.set_major_locator(MaxNLocator(2))
        ax.label_outer()
    for ax in axes.flat[len(mels) :]:
        ax.set_axis_off()
    fig.colorbar(image, ax=axes, label=unit)
    plt.show()


def heatmap(values, kind, unit, axes=None, title="", xlabel="", ylabel="", limit=None, height=2.8, bar=True, **options):
    """Any other map of numbers, rows downwards, with a colour bar.   values (rows, columns) -> the image

    kind: "signed" (0 in the middle), "share" (from 0) or "count". unit: of the colour bar. limit: the value in full
    colour (default: the largest). options: those of imshow (extent, origin, vmin, aspect).
    """
    own = axes is None
    if own:
        _, axes = figure(height=height)
    image = axes.imshow(values, **{**_scale([values], kind, limit), **options})
    axes.set(xlabel=xlabel, ylabel=ylabel)
    _picture(axes, title)
    if bar:
        axes.figure.colorbar(image, ax=axes, label=unit)
    if own:
        plt.show()
    return image


def maps(values, kind, unit, xlabel="", ylabel="", limit=None, columns=None, height=None, **options):
    """Maps side by side on one colour scale, with one bar.   values: {title: (rows, columns)}; else as `heatmap`"""
    columns = columns or len(values)
    rows = -(-len(values) // columns)
    fig, axes = figure(rows, columns, height or 0.4 + 2.2 * rows, squeeze=False)
    scale = _scale(list(values.values()), kind, limit)
    for ax, (title, one) in zip(axes.flat, values.items(), strict=False):
        image = heatmap(one, kind, unit, ax, title, xlabel, ylabel, bar=False, **{**scale, **options})
    for ax in axes.flat[len(values) :]:
        ax.set_axis_off()
    for ax in axes[:, 1:].flat:
        ax.set_ylabel("")
    for ax in axes[:-1].flat:
        ax.set_xlabel("")
    fig.colorbar(image, ax=axes, label=unit)
    plt.show()


def _scale(arrays, kind, limit):
    if kind not in KINDS:
        raise Error(f"there is no kind of picture {kind!r}: there are {', '.join(KINDS)}.")
    if kind == "signed":
        limit = limit or max(np.nanmax(np.abs(a)) for a in arrays) or 1.0
        return {"cmap": KINDS[kind], "vmin": -limit, "vmax": limit}
    low = 0 if kind == "share" else min(np.nanmin(a) for a in arrays)
    return {"cmap": KINDS[kind], "vmin": low, "vmax": limit or max(np.nanmax(a) for a in arrays)}


def _picture(axes, title):
    axes.set_title(title)
    axes.grid(False)
    axes.spines[:].set_visible(True)


# -- lines and bars ---------------------------------------------------------------------------------------------


def lines(x, series, axes=None, title="", xlabel="", ylabel="", height=2.8, names=True, limits=None, **options):
    """Lines, each with its name beside its end.   x (n,), series: {name: y (n,)}

    names: False where another panel names the same lines. limits: further settings of the axes, such as
    {"ylim": (0, 1), "yscale": "log"}. options: those of plot.
    """
    own = axes is None
    if own:
        _, axes = figure(height=height)
    for name, y in series.items():
        axes.plot(x, y, label=name, **options)
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    axes.margins(x=0.01)
    axes.set(**(limits or {}))
    if names and (len(series) > 1 or own):
        beside(axes)
    if own:
        plt.show()
    return axes


def beside(axes):
    """Write the name of each line at its right end, in its colour: a legend beside the data. Set the limits first."""
    found = [line for line in axes.get_lines() if not line.get_label().startswith("_")]
    if not found:
        return
    inside = axes.transData + axes.transAxes.inverted()
    right = max(axes.get_xlim())
    ends = []
    for line in found:
        x, y = (np.asarray(v, float) for v in line.get_data(orig=False))
        usable = np.flatnonzero(np.isfinite(y) & (x <= right))
        end = inside.transform((x[usable[-1]], y[usable[-1]]))[1] if usable.size else 0.5
        ends.append(min(max(end, 0.0), 1.0))
    gap = 1.25 * plt.rcParams["legend.fontsize"] / (72 * axes.get_position().height * axes.figure.get_figheight())
    for line, y in zip(found, _apart(ends, gap), strict=True):
        text = {"color": line.get_color(), "fontsize": plt.rcParams["legend.fontsize"], "va": "center"}
        axes.text(1.01, y, line.get_label(), transform=axes.transAxes, **text)


def _apart(places, gap):
    """Places in [0, 1] moved so that neighbours are at least `gap` apart, in the order they had."""
    order = np.argsort(places, kind="stable")
    moved = np.asarray(places, float)[order]
    for i in range(1, len(moved)):
        moved[i] = max(moved[i], moved[i - 1] + gap)
    moved[-1] = min(moved[-1], 1.0)
    for i in range(len(moved) - 2, -1, -1):  # down again, where they left at the top
        moved[i] = min(moved[i], moved[i + 1] - gap)
    result = np.empty(len(moved))
    result[order] = moved
    return result


def bars(names, series, axes=None, title="", xlabel="", ylabel="", height=2.8, errors=None, limits=None):
    """Groups of bars.   names: one a group; series: {name: values}; errors: {name: half widths of the error bars}"""
    own = axes is None
    if own:
        _, axes = figure(height=height)
    at, width = np.arange(len(names)), 0.8 / len(series)
    for i, (name, values) in enumerate(series.items()):
        error = {"yerr": errors[name], "capsize": 3} if errors else {}
        axes.bar(at + (i - (len(series) - 1) / 2) * width, values, width, label=name, **error)
    axes.axhline(0, color="0.3", linewidth=0.6)
    axes.set_xticks(at, names)
    axes.grid(False, axis="x")
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel, **(limits or {}))
    if len(series) > 1:
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
    if own:
        plt.show()
    return axes
