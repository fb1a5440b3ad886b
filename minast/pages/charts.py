"""Charts as inline SVG: their colours follow the page, light or dark; values are shown under the pointer."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ..text import visible
from .html import Html, number, percent, tag

WIDTH, HEIGHT = 370, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 24, 38  # margins
MOST_BANDS = 400  # places along x that show their values
COLOURS = 8  # in page.css: c0 to c7


@dataclass(frozen=True)
class Line:
    """Points joined by lines.   y: None or NaN where there is no value"""

    name: str
    x: Sequence[float]
    y: Sequence[float | None]
    colour: int = 0
    dashed: bool = False


def line_chart(
    lines: Sequence[Line],
    x_name: str,
    y_name: str,
    describe: str,
    show: Callable[[float], str] = number,
    low: float | None = None,
    high: float | None = None,
    mark: tuple[float, str] | None = None,
) -> Html:
    """Lines over x, with a legend.   describe: the chart in a sentence, for who cannot see it

    show: how y is written. low, high: of the y axis (default: of the values). mark: a vertical line, (x, name).
    """
    points = [(x, y) for line in lines for x, y in zip(line.x, line.y, strict=True) if _is(y)]
    if not points:
        return tag("p", "There are no values to draw.", class_="note")
    xs, ys = [p[0] for p in points], [p[1] for p in points]
    ticks = steps(min(ys) if low is None else low, max(ys) if high is None else high)
    x0, x1 = min(xs), max(xs)
    x0, x1 = (x0 - 0.5, x1 + 0.5) if x0 == x1 else (x0, x1)
    at_x, at_y = scale(x0, x1, LEFT, WIDTH - RIGHT), scale(ticks[0], ticks[-1], HEIGHT - BOTTOM, TOP)
    along = steps(x0, x1, 6)
    whole = [tick for tick in along if tick.is_integer()]  # there is no epoch 1.5
    parts = [
        *_y_axis(ticks, at_y, plain if show is number else show, y_name),
        *_x_axis(whole if all(float(x).is_integer() for x in xs) else along, x0, x1, at_x, x_name),
    ]
    if mark:
        x = at_x(mark[0])
        end = x > WIDTH * 0.6
        parts.append(tag("line", x1=f"{x:.1f}", x2=f"{x:.1f}", y1=TOP - 3, y2=HEIGHT - BOTTOM, class_="mark"))
        place = {"x": f"{x + 4 if end else x - 4:.1f}", "y": TOP - 6, "text_anchor": "end" if end else "start"}
        parts.append(tag("text", mark[1], class_="marked", **place))
    for line in lines:
        parts += _path(line, at_x, at_y)
    parts += _bands(lines, at_x, x_name, show)
    return tag("div", svg(WIDTH, HEIGHT, describe, *parts), legend(lines))


def legend(lines: Sequence[Line]) -> Html | None:
    """The names of the lines, of those that have one; nothing for a single line."""
    if len(lines) == 1:
        return None
    lines = [n for n in lines if n.name]
    items = [
        tag("li", tag("i", class_=f"key c{n.colour % COLOURS}{' dash' if n.dashed else ''}"), n.name) for n in lines
    ]
    return tag("ul", *items, class_="legend")


def _path(line, at_x, at_y):
    runs, run = [], []
    for x, y in zip(line.x, line.y, strict=True):
        if _is(y):
            run.append((at_x(x), at_y(y)))
        elif run:
            runs, run = [*runs, run], []
    runs += [run] if run else []
    d = " ".join("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in r) for r in runs)
    colour = f"c{line.colour % COLOURS}"
    drawn = [tag("path", d=Html(d), class_=f"line {colour}{' dash' if line.dashed else ''}")]
    if sum(map(len, runs)) <= 40:
        drawn += [
            tag("circle", cx=f"{x:.1f}", cy=f"{y:.1f}", r=2.2, class_=f"dot {colour}") for r in runs for x, y in r
        ]
    return drawn


def _bands(lines, at_x, x_name, show):
    """Invisible bands over the chart whose tip says all values at an x."""
    table = {}
    for line in lines:
        for x, y in zip(line.x, line.y, strict=True):
            if _is(y):
                table.setdefault(x, []).append(f"{line.name}: {show(y)}".removeprefix(": "))
    xs = sorted(table)
    if len(xs) > MOST_BANDS:
        return []
    places = [at_x(x) for x in xs]
    edges = [LEFT, *((a + b) / 2 for a, b in pairwise(places)), WIDTH - RIGHT]
    return [
        tag(
            "rect",
            x=f"{a:.1f}",
            y=TOP,
            width=f"{max(b - a, 0.1):.1f}",
            height=HEIGHT - TOP - BOTTOM,
            class_="band",
            data_tip=" · ".join([f"{x_name} {x:g}", *table[x]]),
        )
        for x, (a, b) in zip(xs, pairwise(edges), strict=True)
    ]


def intervals(
    rows: Sequence[tuple[str, float, float | None, float | None, int]],
    describe: str,
    show: Callable[[float], str] = percent,
    tick: Callable[[float], str] | None = None,
    axis: str = "",
    zero: bool = False,
) -> Html:
    """A dot with its interval for each row (name, value, low, high, colour).

    show, tick: how a value, and a number at the axis, is written. axis: its name. zero: draw a line at 0.
    """
    width, tick = 470, tick or show
    known = [v for row in rows for v in row[1:4] if _is(v)] + ([0.0] if zero else [])
    if not known:
        return tag("p", "There are no values to draw.", class_="note")
    ticks, left, each = steps(min(known), max(known)), 150, 26
    height = 6 + each * len(rows) + (44 if axis else 26)
    at = scale(ticks[0], ticks[-1], left, width - 24)
    top, bottom = 6, 6 + each * len(rows)
    parts = []
    for t in ticks:
        parts.append(tag("line", x1=f"{at(t):.1f}", x2=f"{at(t):.1f}", y1=top, y2=bottom, class_="grid"))
        parts.append(tag("text", tick(t), x=f"{at(t):.1f}", y=bottom + 16, text_anchor="middle"))
    if axis:
        parts.append(tag("text", axis, x=(left + width - 24) / 2, y=bottom + 34, text_anchor="middle", class_="axis"))
    if zero:
        parts.append(tag("line", x1=f"{at(0):.1f}", x2=f"{at(0):.1f}", y1=top, y2=bottom, class_="mark"))
    for i, (name, value, low, high, colour) in enumerate(rows):
        y, c = top + each * (i + 0.5), f"c{colour % COLOURS}"
        parts.append(tag("text", short(name, 22), x=left - 10, y=y + 4, text_anchor="end", class_="name"))
        if _is(low) and _is(high):
            parts.append(tag("line", x1=f"{at(low):.1f}", x2=f"{at(high):.1f}", y1=y, y2=y, class_=f"span {c}"))
        if _is(value):
            parts.append(tag("circle", cx=f"{at(value):.1f}", cy=y, r=5, class_=f"dot {c}"))
        said = f"{name}: {show(value)}" + (f", {show(low)} to {show(high)}" if _is(low) and _is(high) else "")
        parts.append(tag("rect", x=0, y=y - each / 2, width=width, height=each, class_="band", data_tip=said))
    return svg(width, height, describe, *parts, class_="dots")


def reliability(bins: Sequence[dict], describe: str) -> Html:
    """How often the model is right against how sure it is, a bar per bin; below it, how many there are of each.

    bins: {"count", "probability", "share"} of bins of equal width; the last two are None where there are none.
    """
    side, bottom, under = 300, 250, 300  # of the square and of the histogram
    at_x, at_y = scale(0, 1, LEFT, side), scale(0, 1, bottom, TOP)
    most = max(b["count"] for b in bins) or 1
    parts = [*_y_axis([0, 0.25, 0.5, 0.75, 1], at_y, lambda v: percent(v, 0), "", side)]
    for i, b in enumerate(bins):
        low, high = i / len(bins), (i + 1) / len(bins)
        box = {"x": f"{at_x(low) + 0.7:.1f}", "width": f"{at_x(high) - at_x(low) - 1.4:.1f}"}
        tall = 36 * b["count"] / most
        parts.append(tag("rect", y=f"{under - tall:.1f}", height=f"{tall:.1f}", class_="count", **box))
        said = f"{percent(low, 0)} to {percent(high, 0)}: given {number(int(b['count']))} times"
        if b["count"]:
            y, sure = at_y(b["share"]), at_y(b["probability"])
            low_end = max(y, sure)
            parts.append(tag("rect", y=f"{low_end:.1f}", height=f"{bottom - low_end:.1f}", class_="share", **box))
            parts.append(tag("rect", y=f"{min(y, sure):.1f}", height=f"{abs(y - sure):.1f}", class_="gap", **box))
            parts.append(tag("rect", y=f"{y - 1:.1f}", height=2, class_="true", **box))
            said += f", {percent(b['probability'])} on average; true in {percent(b['share'])}"
        parts.append(tag("rect", y=TOP, height=under - TOP, class_="band", data_tip=said, **box))
    ends = {"x1": f"{at_x(0):.1f}", "y1": f"{at_y(0):.1f}", "x2": f"{at_x(1):.1f}", "y2": f"{at_y(1):.1f}"}
    parts.append(tag("line", class_="mark", **ends))
    for t in (0, 0.25, 0.5, 0.75, 1):
        parts.append(tag("text", percent(t, 0), x=f"{at_x(t):.1f}", y=under + 16, text_anchor="middle"))
    parts.append(tag("text", "probability given", x=f"{at_x(0.5):.1f}", y=under + 33, text_anchor="middle"))
    return svg(side + 16, under + 40, describe, *parts, class_="square")


def heat_map(cells: Sequence[tuple[int, int, int]], labels: Sequence[str], describe: str) -> Html:
    """A confusion matrix: (true, predicted, clips) of the cells that are not empty; colours are shares of the row."""
    k = len(labels)
    cell = 36 if k <= 12 else 24 if k <= 25 else 14 if k <= 60 else 9
    font = min(12, cell - 2) if k <= 60 else 7.5
    longest = min(max(len(short(name, 20)) for name in labels), 20)
    margin = 26 + longest * font * 0.6
    top, edge = 8, k * cell
    totals = [0] * k
    for true, _, n in cells:
        totals[true] += n
    parts = [tag("rect", x=f"{margin:.1f}", y=top, width=edge, height=edge, class_="ground")]
    for i, name in enumerate(labels):
        middle = top + cell * (i + 0.5)
        style = {"font_size": f"{font:.1f}"}
        y = {"x": f"{margin - 6:.1f}", "y": f"{middle + font * 0.35:.1f}", "text_anchor": "end"}
        parts.append(tag("text", short(name, 20), class_="name", **y, **style))
        x, low = margin + cell * (i + 0.5), top + edge + 6
        if longest <= 3:
            place = {"x": f"{x:.1f}", "y": f"{low + font:.1f}", "text_anchor": "middle"}
        else:
            turn = f"translate({x + font * 0.35:.1f} {low:.1f}) rotate(-90)"
            place = {"transform": turn, "text_anchor": "end"}
        parts.append(tag("text", short(name, 20), class_="name", **place, **style))
    for true, guess, n in cells:
        x, y, share = margin + guess * cell, top + true * cell, n / totals[true]
        kind = "hit" if true == guess else "miss"
        box = {"x": f"{x + 0.5:.1f}", "y": f"{y + 0.5:.1f}", "width": cell - 1, "height": cell - 1}
        said = f"{labels[true]} heard as {labels[guess]}: {n} of {totals[true]} ({percent(share, 0)})"
        if true == guess:
            said = f"{labels[true]}: {n} of {totals[true]} right ({percent(share, 0)})"
        opacity = f"{0.12 + 0.88 * share:.2f}" if kind == "hit" else f"{0.25 + 0.75 * share:.2f}"
        parts.append(tag("rect", class_=f"cell {kind}", fill_opacity=opacity, data_tip=said, **box))
        if cell >= 24:
            strong = " strong" if share > 0.55 else ""
            place = {"x": f"{x + cell / 2:.1f}", "y": f"{y + cell / 2 + 4:.1f}", "text_anchor": "middle"}
            parts.append(tag("text", str(n), class_=f"value{strong}", **place))
    return svg(margin + edge + 8, top + edge + margin - 10, describe, *parts, class_="matrix" + " big" * (k > 12))


# -- pieces --------------------------------------------------------------------------------------------------------


def svg(width: float, height: float, describe: str, *parts: object, class_: str = "") -> Html:
    """An SVG of this size, which scales with the page."""
    box = f"0 0 {width:.0f} {height:.0f}"
    style = f"--w:{width:.0f}px"
    return tag("svg", *parts, viewBox=box, role="img", aria_label=describe, class_=class_ or None, style=style)


def steps(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers from at most `low` to at least `high`, about as many as asked for."""
    span = high - low or abs(high) or 1.0
    raw = span / about
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    last = max(last, first + 1)
    return [float(round(i * step, 12)) for i in range(first, last + 1)]


def scale(low: float, high: float, begin: float, end: float) -> Callable[[float], float]:
    """The line through (low, begin) and (high, end)."""
    return lambda v: begin + (v - low) / ((high - low) or 1) * (end - begin)


def plain(value: float) -> str:
    """A round number with no more digits than it needs."""
    return f"{value:g}"


def short(text: str, most: int) -> str:
    """The text as it is shown, cut in the middle if it is longer, since names often differ at their ends."""
    text, half = visible(text, 4 * most), (most - 1) // 2
    return text if len(text) <= most else f"{text[: most - 1 - half]}…{text[-half:]}"


def _is(value):
    return value is not None and math.isfinite(value)


def _y_axis(ticks, at_y, show, name, right=WIDTH - RIGHT):
    parts = [tag("text", name, x=2, y=TOP - 10, class_="axis")] if name else []
    for t in ticks:
        y = f"{at_y(t):.1f}"
        parts.append(tag("line", x1=LEFT, x2=right, y1=y, y2=y, class_="grid"))
        parts.append(tag("text", show(t), x=LEFT - 6, y=f"{at_y(t) + 4:.1f}", text_anchor="end"))
    return parts


def _x_axis(ticks, low, high, at_x, name):
    parts = [
        tag("text", f"{t:g}", x=f"{at_x(t):.1f}", y=HEIGHT - BOTTOM + 16, text_anchor="middle")
        for t in ticks
        if low <= t <= high and (t == int(t) or high - low < 2)
    ]
    return [*parts, tag("text", name, x=(LEFT + WIDTH - RIGHT) / 2, y=HEIGHT - 6, text_anchor="middle", class_="axis")]
