"""The parts of a page: sections, tables, figures, and the page around them, which is one file and needs no network."""

import base64
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from ..version import __version__
from .html import NONE, Html, escaped, joined, tag

FOLD = 25  # rows of a table that are shown at first
FILES = Path(__file__).parent


@dataclass(frozen=True)
class Section:
    """A part of a page with a heading, which its table of contents names."""

    title: str
    body: Html
    lead: str | Html = ""  # what it shows, in a sentence or two


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, how a value is written, and whether a bar of 0 to 1 is drawn behind it."""

    name: str
    show: Callable[[object], object] = str  # value -> text or Html; numbers are aligned
    bar: bool = False
    hint: str = ""  # what the heading means


@cache
def asset(name: str) -> str:
    """A file of this package: page.css or page.js."""
    return (FILES / name).read_text("utf-8")


def page(
    title: str,
    sections: Sequence[Section],
    lead: object = "",
    top: object = "",
    footer: object = "",
    script: str = "",
    style: str = "",
) -> Html:
    """A whole page: title, lead (a sentence), `top` (tiles, a headline figure), a table of contents, the sections.

    It is one file: style and script are inside, and its security policy lets it load nothing from any network. Pictures
    and sounds are data URIs, or files beside it. script, style: what a page has beyond page.js and page.css.
    """
    script, style = asset("page.js") + script, asset("page.css") + style
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = (
        f"default-src 'none'; img-src data: 'self' file:; media-src data: 'self' file:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    anchors = [f"s{i}" for i in range(1, len(sections) + 1)]
    contents = [tag("a", s.title, href=f"#{a}") for s, a in zip(sections, anchors, strict=True)]
    body = [
        tag("a", "To the content", href="#main", class_="skip"),
        tag("header", tag("h1", title), tag("p", lead, class_="lead") if lead else None, top),
        tag("nav", *contents, aria_label="Contents") if len(sections) > 2 else None,
        tag("main", *(_section(s, a) for s, a in zip(sections, anchors, strict=True)), id="main"),
        tag("footer", footer, tag("p", f"Written by minast {__version__}.")),
        tag("div", id="tip", role="tooltip", hidden=True),
        tag("script", Html(script)),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", http_equiv="Content-Security-Policy", content=Html(policy)),
        tag("title", title),
        tag("style", Html(style)),
    ]
    return Html(f"<!doctype html>\n{tag('html', tag('head', *head), tag('body', *body), lang='en')}\n")


def _section(section, anchor):
    lead = tag("p", section.lead, class_="lead") if section.lead else None
    return tag("section", tag("h2", section.title, id=anchor), lead, section.body, aria_labelledby=anchor)


def tiles(*pairs: tuple[str, object, object]) -> Html:
    """Key figures side by side: (name, value, remark)."""
    return tag(
        "dl",
        *(
            tag("div", tag("dt", name), tag("dd", tag("b", value), tag("small", remark) if remark else None))
            for name, value, remark in pairs
        ),
        class_="tiles",
    )


def notes(sentences: Sequence[str]) -> Html:
    """What a reader must know, a sentence each; nothing if there is none."""
    return tag("ul", *(tag("li", s) for s in sentences), class_="notes") if sentences else Html("")


def figure(content: Html, caption: object = "", wide: bool = False) -> Html:
    """A chart or a picture with its caption, which says what it shows in plain words."""
    return tag(
        "figure", content, tag("figcaption", caption) if caption else None, class_="chart wide" if wide else "chart"
    )


def side_by_side(*parts: Html) -> Html:
    """Figures in a grid: two or three a row on a laptop, one on a phone."""
    return tag("div", *parts, class_="grid")


def folded(summary: object, *content: object) -> Html:
    """What is shown on a click."""
    return tag("details", tag("summary", summary), *content)


def table(
    columns: Sequence[Column], rows: Sequence[Sequence[object]], caption: object = "", fold: int = FOLD, label: str = ""
) -> Html:
    """A table that a click on a heading sorts. The first cell of a row is its heading.

    A cell is a value, which its column writes and by which the column is sorted, or a pair (value, Html). None is a
    dash. Of more than `fold` rows, the rest is shown on a click, and a field filters them. label: what the table is,
    for screen readers, where there is no caption.
    """
    numeric = [any(_number(value) for value in column) for column in zip(*map(_values, rows), strict=True)]
    numeric = numeric or [False] * len(columns)
    heads = [
        tag("th", tag("button", c.name, type="button", title=c.hint or None), scope="col", class_=n and "n")
        for c, n in zip(columns, numeric, strict=True)
    ]
    lines = []
    for row in rows:
        cells = [_cell(c, v, n, i == 0) for i, (c, v, n) in enumerate(zip(columns, row, numeric, strict=True))]
        lines.append(tag("tr", *cells))
    long = len(rows) > fold
    whole = tag(
        "table",
        tag("caption", caption) if caption else None,
        tag("thead", tag("tr", *heads)),
        tag("tbody", *lines),
        class_="sortable",
        data_fold=fold if long else None,
        aria_label=label or None,
    )
    return tag("div", whole, class_="scroll", tabindex=0, role="group", aria_label=label or "table")


def _values(row):
    return [value[0] if isinstance(value, tuple) else value for value in row]


def _number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _cell(column, value, numeric, first):
    key, shown = value if isinstance(value, tuple) else (value, None)
    if shown is None:
        shown = NONE if key is None or key != key else column.show(key)
    bar = column.bar and _number(key) and key == key
    return tag(
        "th" if first else "td",
        shown,
        scope="row" if first else None,
        class_=("n bar" if bar else "n") if numeric else None,
        data_v=key if _number(key) else None,
        style=f"--v:{min(max(float(key), 0), 1):.4f}" if bar else None,
    )


def pairs(rows: Sequence[tuple[object, object]]) -> Html:
    """A short list of names and values."""
    return tag("dl", *(tag("div", tag("dt", k), tag("dd", v)) for k, v in rows), class_="pairs")


def paragraph(*parts: object) -> Html:
    """A paragraph of texts and markup."""
    return tag("p", *parts)


def stacked(*parts: object) -> Html:
    """Parts of a section one after another."""
    return joined(parts)


def code(text: str) -> Html:
    """A command to copy."""
    return tag("pre", tag("code", escaped(text)), tabindex=0)
