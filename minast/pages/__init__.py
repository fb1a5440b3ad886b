"""Pages: one HTML file each, which needs no network, no other file and no framework; light and dark, laptop and phone.

What a page is made of, for reports and for any other page:

    page(title, sections, lead, top)         the whole page; `Section(title, body, lead)` is a part with a heading;
                                             `script` and `style` are what a page has of its own, as in minast/review
    table(columns, rows, caption)            sorted by a click on a heading; of long ones the first rows are shown, and
                                             a field filters them. `Column(name, show, bar)`
    figure(content, caption)                 a chart or a picture; side_by_side(...) puts several into a row
    tiles((name, value, remark), ...)        key figures; notes(sentences), what must be known; folded(summary, ...)
    charts.line_chart, .intervals,           inline SVG in the page's colours, with values under the pointer
      .reliability, .heat_map
    sound.player(audio, seconds, picture)    a sound whose cursor moves over its spectrogram; a click there plays;
                                             `marks` are events over it, and seek(name, seconds, text) is a button that
                                             plays the player of this name from there
    sound.sound_uri, .spectrogram_uri,       a waveform, a log-mel, a relevance map as data URIs
      .relevance_uri
    tag("p", text, class_="note")            any element. Texts are escaped; `Html` is markup that is ready, so what
                                             comes from users and files stays a str

    page("Events", [Section("street.wav", player(sound_uri(wave, 16000), 7.0, spectrogram_uri(mel)))])

A page's security policy forbids every network, and every script but page.js and the page's own: what else could slip in
does not run. The
style is page.css: its variables (--accent, --warm, --soft, ...) are the colours, --c0 to --c7 those of lines.

Of runs: `run_record` collects the numbers (report.json; record.py describes it), `players` makes the pictures and
sounds of the worst mistakes, `write_report` writes report.json and report.html, `run_page` and `compare.compare_page`
make pages of records.
"""

from .builder import Column, Section, figure, folded, notes, page, paragraph, side_by_side, stacked, table, tiles
from .html import Html, tag
from .mistakes import players
from .record import run_record
from .run import HTML, JSON, load_record, run_page, write_report
from .sound import player, relevance_uri, seek, sound_uri, spectrogram_uri

FILES = (JSON, HTML)  # of a run

__all__ = [
    "FILES",
    "HTML",
    "JSON",
    "Column",
    "Html",
    "Section",
    "figure",
    "folded",
    "load_record",
    "notes",
    "page",
    "paragraph",
    "player",
    "players",
    "relevance_uri",
    "run_page",
    "run_record",
    "seek",
    "side_by_side",
    "sound_uri",
    "spectrogram_uri",
    "stacked",
    "table",
    "tag",
    "tiles",
    "write_report",
]
