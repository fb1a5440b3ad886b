"""AST from the waveform to the label; overlapping patches; positions for another grid. Shapes come from the code."""

import math

import numpy as np

from minast import features
from minast.config import PATCH, FeatureConfig, ModelConfig
from minast.positions import cut_middle, stretch

from .svg import ACCENT, LINE, SOFT, Drawing

BLUE, GREEN = "#0072b2", "#009e73"


def ast():
    """The whole model on ten seconds, with the shapes of the published AST."""
    rate = FeatureConfig().rate
    c = ModelConfig.preset("base", prefix_tokens=2)
    seconds, patches = 10, math.prod(c.grid)
    made = features.frame_count(seconds * rate, rate)
    d = Drawing(760, 348, "The Audio Spectrogram Transformer, from the waveform to the logits")
    P = c.prefix_tokens
    tiles = [
        ("waveform", _wave, f"({seconds * rate},)", f"{seconds} s at {rate // 1000} kHz", "sound"),
        ("log-mel", _mel, f"({c.frames}, {c.mel_bins})", f"{made} frames, padded", "sound"),
        ("patches", _squares, f"({patches}, {PATCH * PATCH})", f"{PATCH} x {PATCH}, stride {c.fstride}", "token"),
        ("tokens", _bars(9), f"({c.tokens}, {c.dim})", f"linear; {P} in front; + positions", "token"),
        (f"{c.depth} blocks", _block, f"({c.tokens}, {c.dim})", "attention, MLP", "weight"),
        ("prefix tokens", _bars(P), f"({P}, {c.dim})", "layer norm", "token"),
        ("embedding", _bars(1), f"({c.dim},)", "mean; layer norm", "token"),
        ("logits", _scores, f"({c.classes},)", "linear; one a class", "weight"),
    ]
    w, h, step = 160, 84, 186
    for i, (name, picture, shape, note, fill) in enumerate(tiles):
        x, y = 20 + step * (i % 4), 20 + 180 * (i // 4)
        d.box(x, y, w, h, fill=fill)
        d.words(x + w / 2, y + 16, name, 15, bold=True)
        picture(d, x + 16, y + 30, w - 32, h - 40)
        d.words(x + w / 2, y + h + 17, shape, 15, mono=True)
        d.words(x + w / 2, y + h + 36, note, 12, color=SOFT)
        if i % 4:
            d.arrow((x - step + w, y + h / 2), (x, y + h / 2))
    middle = 20 + h + 68
    d.arrow((20 + 3 * step + w / 2, middle - 19), (20 + 3 * step + w / 2, middle), (100, middle), (100, 200))
    return d


def _wave(d, x, y, w, h):
    points = []
    for i in range(81):
        u = i / 80
        loud = 0.15 + 0.85 * max(0.0, math.sin(2 * math.pi * 2.5 * u)) ** 2
        points.append((x + w * u, y + h / 2 - h / 2 * loud * math.sin(2 * math.pi * 23.3 * u)))
    d.line(*points, color=BLUE, width=1.3)


def _mel(d, x, y, w, h):
    shades = ["#440154", "#3b528b", "#21918c", "#5ec962", "#fde725"]
    columns, rows = 26, 9
    for i in range(columns):
        for j in range(rows):
            near = abs(j - 5.5 + 2.5 * ((i % 8) / 4 - 1)) if i % 8 < 6 else 9
            shade = 4 if near < 0.6 else 3 if near < 1.2 else (i * 7 + j * 5) % 3 * (1 if j > 3 else 0)
            box = {"width": w / columns + 0.3, "height": h / rows + 0.3, "fill": shades[shade]}
            d.add("rect", x=x + i * w / columns, y=y + h - (j + 1) * h / rows, **box)


def _squares(d, x, y, w, h):
    size = h * 0.62
    for f in range(2):
        for t in range(6):
            color = (BLUE, ACCENT)[(f + t) % 2]
            left, top = x + t * (w - size) / 5, y + (1 - f) * (h - size)
            d.add("rect", x=left, y=top, width=size, height=size, fill="none", stroke=color, stroke_width=1.4)


def _bars(count):
    def draw(d, x, y, w, h):
        gap = w / 9
        left = x + (w - gap * count) / 2
        for i in range(count):
            color = ACCENT if i < 2 and count > 1 else GREEN
            d.add("rect", x=left + gap * (i + 0.2), y=y, width=gap * 0.6, height=h, rx=2, fill=color)

    return draw


def _block(d, x, y, w, h):
    for i, name in enumerate(("attention", "MLP")):
        d.box(x + 4, y - 2 + i * (h / 2 + 1), w - 8, h / 2 - 1, name, size=12, bold=False, radius=4)


def _scores(d, x, y, w, h):
    for i, value in enumerate((0.2, 0.12, 0.3, 0.95, 0.18, 0.1, 0.25, 0.15)):
        color = ACCENT if value > 0.9 else LINE
        d.add("rect", x=x + i * w / 8 + 3, y=y + h * (1 - value), width=w / 8 - 6, height=h * value, fill=color)


def patches():
    """Overlapping patches, and the order of the tokens and of the pixels in one."""
    c = ModelConfig.preset("nano", mel_bins=36, frames=46, classes=2)
    (gf, gt), stride, s = c.grid, c.fstride, 8.5
    d = Drawing(760, 400, "Overlapping patches and the order of tokens")
    x0, y0 = 52, 36
    right, bottom = x0 + c.frames * s, y0 + c.mel_bins * s
    d.add("rect", x=x0, y=y0, width=c.frames * s, height=c.mel_bins * s, fill="#e9edf1", stroke=LINE)
    colors = (BLUE, ACCENT, GREEN)
    for f in range(gf):
        for t in range(gt):
            left, top = x0 + t * stride * s, bottom - (f * stride + PATCH) * s
            look = {"fill": "none", "stroke": colors[(f + t) % 3], "stroke_width": 2}
            d.add("rect", x=left + 1.5, y=top + 1.5, width=PATCH * s - 3, height=PATCH * s - 3, rx=3, **look)
            at = left + PATCH * s / 2, top + PATCH * s / 2
            d.add("circle", cx=at[0], cy=at[1], r=13, fill="#ffffff", stroke=colors[(f + t) % 3])
            d.words(*at, str(f * gt + t), 14, bold=True)
    overlap = PATCH - stride
    look = {"fill": ACCENT, "fill_opacity": 0.18}
    d.add("rect", x=x0 + stride * s, y=y0, width=overlap * s, height=c.mel_bins * s, **look)
    d.words(x0 + (stride + overlap / 2) * s, y0 - 14, f"shared: {overlap} frames", 13, color=ACCENT)
    d.arrow((x0, bottom + 16), (right, bottom + 16), color=SOFT)
    d.words((x0 + right) / 2, bottom + 34, f"time: {c.frames} frames, a patch every {stride}", 13, color=SOFT)
    d.arrow((x0 - 16, bottom), (x0 - 16, y0), color=SOFT)
    d.words(x0 - 34, y0 + 6, "mel", 13, color=SOFT)
    d.words(x0 - 34, y0 + 22, "bins", 13, color=SOFT)

    left = right + 40
    d.words(left, y0 + 6, "the tokens, in order", 14, anchor="start", bold=True)
    names = ["cls", *map(str, range(gf * gt))]
    for i, name in enumerate(names):
        row, column = (0, 0) if i == 0 else (1 + (i - 1) // gt, (i - 1) % gt)
        fill = "weight" if i == 0 else "token"
        d.box(left + 56 * column, y0 + 24 + 36 * row, 50, 30, name, fill=fill, size=14)
        if i and column == gt - 1 and row < gf:
            d.words(left + 56 * gt + 4, y0 + 39 + 36 * row, "↵", 16, color=SOFT)
    d.words(left, y0 + 186, "token = f · grid_t + t: time first, then up", 13, anchor="start")
    d.words(left, y0 + 214, "inside a patch", 14, anchor="start", bold=True)
    d.words(left, y0 + 236, f"pixel = i · {PATCH} + j: i mel bin, j frame", 13, anchor="start")
    d.words(left, y0 + 264, f"{gf} x {gt} = {gf * gt} patches here;", 13, anchor="start", color=SOFT)
    base = ModelConfig.preset("base", prefix_tokens=2)
    f, t = base.grid
    d.words(left, y0 + 282, f"{f} x {t} = {f * t} in AST on 10 s", 13, anchor="start", color=SOFT)
    return d


def positions():
    """A square grid of positions, cut in frequency and stretched in time; by the functions that do it."""
    old, new = (24, 24), ModelConfig.preset("base").grid
    d = Drawing(760, 282, "Positions of an image model for a spectrogram: cut and stretch")
    grid = np.stack(np.meshgrid(np.arange(old[0]), np.arange(old[1]), indexing="ij"), axis=-1).astype(float)
    cut = cut_middle(grid, new[0], 0)
    wide = stretch(cut, new[1], 1)
    first, last = int(cut[0, 0, 0]), int(cut[-1, 0, 0])
    cell, top = 7, 62
    places = ((24, grid, cell, "of images"), (236, cut, cell, "cut"), (436, wide, 3, "stretched"))
    for left, values, width, name in places:
        rows, columns, _ = values.shape
        upper = top + (old[0] - rows) / 2 * cell
        for column in range(columns):
            look = {"width": width + 0.2, "height": rows * cell, "fill": _shade(values[0, column, 1] / (old[1] - 1))}
            d.add("rect", x=left + column * width, y=upper, **look)
        for row in range(rows + 1):
            edge = upper + row * cell
            d.line((left, edge), (left + columns * width, edge), color="#ffffff", width=0.7)
        d.words(left + columns * width / 2, 24, name, 15, bold=True)
        d.words(left + columns * width / 2, 44, f"{rows} x {columns}", 14, mono=True)
    for row in (*range(first), *range(last + 1, old[0])):
        box = {"width": old[1] * cell, "height": cell, "fill": "#fbfaf7", "fill_opacity": 0.72}
        d.add("rect", x=24, y=top + row * cell, **box)
    box = {"width": old[1] * cell, "height": new[0] * cell, "fill": "none", "stroke": ACCENT, "stroke_width": 2}
    d.add("rect", x=24, y=top + first * cell, **box)
    d.arrow((200, 146), (230, 146))
    d.arrow((410, 146), (430, 146))
    bottom = top + old[0] * cell + 20
    d.words(108, bottom, f"rows {first} to {last} stay", 13, color=ACCENT)
    d.words(320, bottom, "frequency: the middle", 13, color=SOFT)
    d.words(588, bottom, f"time: {old[1]} columns interpolated to {new[1]}", 13, color=SOFT)
    d.words(380, bottom + 22, "colour: the column that a position comes from", 12, color=SOFT)
    return d


def _shade(u):
    """A colour from blue to orange, by a number in [0, 1]."""
    low, high = (0, 114, 178), (245, 190, 110)
    return "#" + "".join(f"{round(a + (b - a) * float(u)):02x}" for a, b in zip(low, high, strict=True))
