"""A drawing as SVG text: boxes, words, arrows in one style, on a light panel that can be read on any background."""

import html

INK, SOFT, LINE = "#1f2933", "#5b6773", "#9aa5b1"
PANEL, BOX, ACCENT = "#fbfaf7", "#ffffff", "#d55e00"
FILLS = {  # what a box stands for -> its colour
    "plain": BOX,
    "sound": "#e3eef9",
    "token": "#e4f3ec",
    "weight": "#fbeedb",
    "gradient": "#f6e3ee",
    "here": "#ffe3cf",
    "quiet": "#f0efec",
}


class Drawing:
    """SVG elements, one after another; `text()` is the file. Lengths in pixels at full size, y downwards."""

    def __init__(self, width, height, title):
        self.width, self.height, self.title, self.parts = width, height, title, []

    def add(self, tag, content=None, **attributes):
        """One element; `stroke_width` stands for `stroke-width`."""
        inside = " ".join(f'{k.rstrip("_").replace("_", "-")}="{_number(v)}"' for k, v in attributes.items())
        self.parts.append(f"<{tag} {inside}/>" if content is None else f"<{tag} {inside}>{content}</{tag}>")

    def words(self, x, y, text, size=13, anchor="middle", bold=False, color=INK, mono=False, italic=False):
        """A line of text, its middle at height y."""
        more = {"font_weight": "bold"} if bold else {}
        more |= {"font_family": "monospace"} if mono else {}
        more |= {"font_style": "italic"} if italic else {}
        more |= {"font_size": size, "text_anchor": anchor, "fill": color}
        self.add("text", html.escape(text), x=x, y=y + 0.35 * size, **more)

    def box(self, x, y, w, h, *lines, fill="plain", size=13, stroke=None, bold=True, radius=6):
        """A box with lines of text in it, the first bold."""
        here = fill == "here"
        edge = {"stroke": stroke or (ACCENT if here else LINE), "stroke_width": 2 if here else 1.2}
        self.add("rect", x=x, y=y, width=w, height=h, rx=radius, fill=FILLS.get(fill, fill), **edge)
        step = 1.3 * size
        for i, line in enumerate(lines):
            at = y + h / 2 + (i - (len(lines) - 1) / 2) * step
            self.words(x + w / 2, at, line, size if i == 0 else size - 1.5, bold=bold and i == 0)

    def arrow(self, *points, color=INK, dashed=False, width=1.6):
        """A line through points (x, y), with a head at the last one."""
        (x0, y0), (x1, y1) = points[-2:]
        length = max(((x1 - x0) ** 2 + (y1 - y0) ** 2) ** 0.5, 1e-9)
        ux, uy = (x1 - x0) / length, (y1 - y0) / length
        bx, by = x1 - 8 * ux, y1 - 8 * uy
        self.line(*points[:-1], (bx, by), color=color, dashed=dashed, width=width)
        head = f"{_number(x1)},{_number(y1)} {_number(bx - 4 * uy)},{_number(by + 4 * ux)} "
        self.add("polygon", points=head + f"{_number(bx + 4 * uy)},{_number(by - 4 * ux)}", fill=color)

    def line(self, *points, color=INK, dashed=False, width=1.6):
        """A line through points (x, y)."""
        path = " ".join(f"{_number(x)},{_number(y)}" for x, y in points)
        more = {"stroke_dasharray": "5 4"} if dashed else {}
        self.add("polyline", points=path, fill="none", stroke=color, stroke_width=width, **more)

    def text(self):
        """The whole file."""
        w, h = _number(self.width), _number(self.height)
        head = (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" width="{w}" height="{h}" role="img" '
            f'font-family="Helvetica, Arial, sans-serif">'
        )
        panel = f'<rect x="0.5" y="0.5" width="{_number(self.width - 1)}" height="{_number(self.height - 1)}" rx="10" '
        panel += f'fill="{PANEL}" stroke="#dcd9d2"/>'
        return "\n".join([head, f"<title>{html.escape(self.title)}</title>", panel, *self.parts, "</svg>"]) + "\n"


def _number(value):
    return f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else value
