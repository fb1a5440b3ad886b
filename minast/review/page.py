"""index.html of a page: recordings, events and verdicts. review.js makes them move; all data are in the file."""

import json
import os
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from ..checkpoint import Info
from ..features import FRAME, hop_seconds
from ..pages import Section, page
from ..pages.html import Html, tag
from ..pages.sound import hertz
from ..storage.files import below, common_folder
from ..streaming.remote import is_remote
from ..text import counted, duration, visible
from .recording import SOUND
from .tiles import FACTOR, TILE, ending

FILES = Path(__file__).parent
KEYS = (
    ("space", "play the event, or stop"),
    ("j, k or ↓, ↑", "the next event, the one before"),
    ("y", "right"),
    ("n", "wrong"),
    ("r", "another label; Enter repeats the last one"),
    ("u", "take the last verdict back"),
    ("+, −", "zoom in, out; also by wheel or two fingers"),
    ("←, →", "earlier, later; also by dragging"),
    ("0", "the whole recording"),
    ("e", "what the model looked at"),
)

Recordings = Sequence[tuple[str, list, dict]]  # path or address; events as a journal has them; what `recording` wrote


def html(key: str, recordings: Recordings, info: Info) -> Html:
    """The page.   key: under which the browser keeps the verdicts"""
    count, seconds = sum(len(events) for _, events, _ in recordings), sum(about["seconds"] for *_, about in recordings)
    lead = (
        f"{counted(count, 'event')} in {counted(len(recordings), 'recording')}, {duration(seconds)} of audio. Your "
        "verdicts stay in this browser, also when the page is closed; the labels that you download are a table that "
        "minast probe and minast train take."
    )
    top = tag(
        "div",
        tag("button", "Download the labels", type="button", id="download", class_="main", disabled=True),
        tag("span", "nothing is judged yet", id="progress", role="status"),
        class_="tools",
    )
    sections = [Section("Recordings", _recordings()), Section("Events", _view(info))]
    style, script = asset("review.css"), asset("timeline.js") + asset("review.js")
    data = Html(f'<script type="application/json" id="scan">{as_json(_data(key, recordings, info))}</script>')
    return page("What was heard", sections, lead, top, _keys() + data, script, style)


@cache
def asset(name: str) -> str:
    """A file of this package."""
    return (FILES / name).read_text("utf-8")


def as_json(value: object) -> str:
    """JSON that may stand in a page: nothing in it ends a script or begins a comment."""
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def _data(key, recordings, info):
    f = info.features
    step = hop_seconds(f.rate)
    names = short([name for name, *_ in recordings])
    files, events = [], []
    for i, (name, found, about) in enumerate(recordings):
        path = name if is_remote(name) else os.path.abspath(name)
        files.append([path, names[i], about["seconds"], about["number"], about["levels"], about["sound"]])
        maps = about["relevance"]
        events += [[i, *event, n, *maps.get(str(n), ())] for n, event in enumerate(found)]
    return {
        "key": f"minast-{key}",
        "labels": [visible(label, 200) for label in info.labels],
        "plain": list(info.labels),
        "files": files,  # path, name, seconds, number of its folder, levels, ending of its sounds
        "events": events,  # recording, start, end, label, score, number in its recording, from and to of its map
        "tile": {"columns": TILE, "factor": FACTOR, "step": step, "begin": (FRAME - step) / 2, "ending": ending()},
        "sound": SOUND,
    }


def short(names: Sequence[str]) -> list[str]:
    """The paths below the folder that all of them share, to be shown."""
    common = common_folder({os.path.dirname(name) for name in names if not is_remote(name)})
    return [visible(name if is_remote(name) else below(name, common), 300) for name in names]


def _recordings():
    field = tag("input", type="search", id="find", placeholder="find a recording", aria_label="find a recording")
    return tag("div", field, class_="tools") + tag(
        "div", id="files", class_="rows", role="listbox", aria_label="recordings", tabindex=0
    )


def _view(info):
    """The timeline of one recording, and the list of events."""
    rate, bins = info.features.rate, info.features.mel_bins
    picture = tag(
        "div",
        tag("div", id="tiles"),
        tag("img", id="map", alt="what the model looked at", hidden=True),
        tag("div", id="boxes"),
        tag("i", class_="cursor", id="cursor", hidden=True),
        class_="picture",
        id="picture",
        tabindex=0,
        role="application",
        aria_label="spectrogram: drag to move, wheel to zoom",
    )
    shown = tag(
        "div",
        tag("span", aria_hidden="true"),
        tag("div", tag("div", id="parts"), tag("i", id="window"), id="overview", aria_hidden="true"),
        hertz(rate, bins),
        picture,
        tag("span", aria_hidden="true"),
        tag("div", class_="seconds", id="seconds", aria_hidden="true"),
        tag("span", aria_hidden="true"),
        tag("div", id="lanes"),
        class_="sound timeline",
    )
    return tag("div", tag("h3", id="name"), shown, _buttons(), _list(), id="view")


def _buttons():
    def button(text, id, hint):
        return tag("button", text, type="button", id=id, title=hint)

    return tag(
        "div",
        button("▶ Play", "play", "play the event (space)"),
        button("✓ Right", "right", "the label is right (y)"),
        button("✗ Wrong", "wrong", "the label is wrong (n)"),
        button("Relabel", "relabel", "another label (r)"),
        button("↶ Undo", "undo", "take the last verdict back (u)"),
        tag("span", class_="gap"),
        button("−", "out", "zoom out (−)"),
        button("+", "in", "zoom in (+)"),
        button("All", "all", "the whole recording (0)"),
        tag("label", tag("input", type="checkbox", id="relevance", checked=True), "relevance", class_="toggle"),
        tag(
            "form",
            tag("input", id="label", list="known", placeholder="label, then Enter", aria_label="the right label"),
            tag("datalist", id="known"),
            tag("button", "Set", type="submit"),
            id="other",
            hidden=True,
        ),
        class_="tools bar",
    )


def _list():
    def choice(id, what, *options):
        return tag("select", *(tag("option", text, value=value) for value, text in options), id=id, aria_label=what)

    tools = tag(
        "div",
        choice("scope", "which recordings", ("one", "this recording"), ("all", "all recordings")),
        choice("order", "sorted by", ("time", "by time"), ("score", "by score")),
        choice("only", "which label", ("", "all labels")),
        choice("state", "which verdicts", ("", "judged or not"), ("open", "not judged yet"), ("done", "judged")),
        tag("span", id="count", role="status"),
        class_="tools",
    )
    return tools + tag("div", id="events", class_="rows", role="listbox", aria_label="events", tabindex=0)


def _keys():
    rows = [tag("div", tag("dt", tag("kbd", key)), tag("dd", what)) for key, what in KEYS]
    return tag("div", tag("h3", "Keys"), tag("dl", *rows, class_="pairs keys"))
