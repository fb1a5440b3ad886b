"""One page that compares runs: what differs between their settings, their curves, results and paired differences.

Runs that differ in nothing but seed and fold are one entry: its figure is the mean over its runs.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .. import metrics
from ..text import counted, duration, listed
from .builder import Column, Section, figure, notes, page, side_by_side, stacked, table
from .charts import COLOURS, Line, intervals, line_chart
from .headline import shows, titled
from .html import Html, number, percent, tag
from .run import JSON, written

COMPARISON = "comparison.html"
NOT_SETTINGS = {"fingerprint", "threads", "cache", "tensorboard"}  # they change no result, or only rounding
REPEATED = {"seed", "fold", "split_seed"}  # runs that differ in these alone are one entry
ENDS = re.compile(r"([-_./ ]|fold|seed)*$")  # of what names of folds and seeds have in common
MOST_LINES = 24  # in a chart


@dataclass
class Entry:
    """Runs with the same settings."""

    name: str
    runs: list[dict]  # their records
    colour: int

    def value(self, measure: str) -> float | None:
        """The mean over the runs; None if one lacks it."""
        found = [run["result"]["values"].get(measure) for run in self.runs]
        return None if any(v is None for v in found) else float(np.mean(found))

    def deviation(self, measure: str) -> float | None:
        """The standard deviation over the runs, dividing by n - 1."""
        found = [run["result"]["values"].get(measure) for run in self.runs]
        return None if len(found) < 2 or any(v is None for v in found) else float(np.std(found, ddof=1))

    def interval(self, measure: str) -> list | None:
        """95 %: of the run, or of all runs' clips put together; None where a run keeps no scores."""
        if len(self.runs) == 1:
            return self.runs[0]["result"]["intervals"].get(measure)
        parts = [_aligned(run, self.runs[0]["data"]["labels"]) for run in self.runs]
        if any(part is None for part in parts):
            return None
        who = [unit for part in parts for unit in part.units]
        scores, targets = (np.concatenate([getattr(part, name) for part in parts]) for name in ("scores", "targets"))
        pair = metrics.intervals(scores, targets, self.runs[0]["model"]["loss"], who).get(measure)
        return None if pair is None or np.isnan(pair).any() else list(pair)


def entries(records: Sequence[dict]) -> list[Entry]:
    """The runs by their settings, in the order in which they are named."""
    found = {}
    for record in records:
        found.setdefault(repr(_settings(record, NOT_SETTINGS | REPEATED)), []).append(record)
    names = _names(list(found.values()))
    return [Entry(name, runs, i % COLOURS) for i, (name, runs) in enumerate(zip(names, found.values(), strict=True))]


def differing(records: Sequence[dict]) -> list[str]:
    """The settings that are not the same in all runs."""
    rows = [_settings(record, NOT_SETTINGS) for record in records]
    names = dict.fromkeys(name for row in rows for name in row)
    return [name for name in names if len({repr(row.get(name)) for row in rows}) > 1]


def compare_page(records: Sequence[dict], lacking: Sequence[str] = ()) -> Html:
    """The whole page.   lacking: sentences about runs that could not be compared"""
    found = entries(records)
    measure = records[0]["result"]["measure"]
    sections = [
        _results(found, measure),
        _differences(found, measure),
        _curves(found, measure),
        _settings_table(records, found),
        _runs(records, measure),
    ]
    data = list(dict.fromkeys(record["data"]["name"] for record in records))
    title = f"{counted(len(records), 'run')} compared: {', '.join(data[:3])}{', ...' if len(data) > 3 else ''}"
    return page(title, [s for s in sections if s], _lead(found, measure), notes([*_warnings(found, data), *lacking]))


def _lead(found, measure):
    known = [entry for entry in found if entry.value(measure) is not None]
    if not known:
        return f"No run has a value of {measure}: none of the tested clips has a label."
    best = max(known, key=lambda entry: entry.value(measure))
    first = [entry for entry in known if np.isclose(entry.value(measure), best.value(measure), rtol=0, atol=1e-9)]
    if len(found) == 1:
        spread = best.deviation(measure)
        more = f", standard deviation {_points(measure, spread)}" if spread is not None else ""
        return f"Mean {measure} {shows(measure, best.value(measure))} over {counted(len(best.runs), 'run')}{more}."
    if len(first) > 1:
        names = [f"“{entry.name}”" for entry in first]
        names = [*names[:4], f"{len(names) - 4} more"] if len(names) > 5 else names
        share = "have the same" if len(first) == len(found) else "share the highest"
        means = ", mean over their runs" if any(len(entry.runs) > 1 for entry in first) else ""
        return f"{listed(names, 'and')} {share} {measure}: {shows(measure, best.value(measure))}{means}."
    of = f", mean of {len(best.runs)} runs" if len(best.runs) > 1 else ""
    return f"“{best.name}” has the highest {measure}: {shows(measure, best.value(measure))}{of}."


def _warnings(found, data):
    said = []
    if len(data) > 1:
        said.append("The runs were tested on different data: their figures cannot be compared directly.")
    losses = {entry.runs[0]["model"]["loss"] for entry in found}
    if len(losses) > 1:
        said.append("Some runs have one label per clip, others several: their measures differ.")
    if any(run["result"]["split"] == "validation" for entry in found for run in entry.runs):
        said.append("Some figures are of validation clips, on which the epoch was chosen.")
    return said


# -- sections ------------------------------------------------------------------------------------------------------


def _results(found, measure):
    rows, dots = [], []
    for entry in found:
        pair = entry.interval(measure)
        value, low, high = entry.value(measure), *(pair or (None, None))
        dots.append((entry.name, value, low, high, entry.colour))
        tested = {_unit(clip) for run in entry.runs for clip in run["clips"]}
        spent = [run["cost"]["seconds"] for run in entry.runs]
        rows.append(
            [
                _keyed(entry),
                len(entry.runs),
                len(tested),
                value,
                entry.deviation(measure),
                (low, Html(f"{shows(measure, low)} to {shows(measure, high)}")) if pair else None,
                *(entry.value(name) for name in ("mAP", "AUC") if name != measure),
                None if None in spent else float(np.mean(spent)),
            ]
        )
    columns = [
        Column("run"),
        Column("runs", number),
        Column("clips", number, hint="different clips that were tested"),
        Column(measure, lambda v: shows(measure, v)),
        Column("deviation", lambda v: _points(measure, v), hint="standard deviation over runs"),
        Column("95 % interval", hint="bootstrap over clips, or over their groups"),
        *(Column(name, number) for name in ("mAP", "AUC") if name != measure),
        Column("time", duration, hint="of training, mean over runs"),
    ]
    several = len({len(entry.runs) for entry in found} | {1}) > 1
    columns, rows = _without(columns, rows, [] if several else ["runs", "deviation"])
    describe = f"{measure} of each run with its 95 % interval"
    chart = intervals(dots, describe, lambda v: shows(measure, v), _tick(measure), measure)
    caption = f"{titled(measure)} with {'95 % intervals' if len(found) > 1 else 'its 95 % interval'}."
    if len(found) > 1:
        caption += " Intervals that overlap may still hide a clear difference: see below."
    return Section("Results", stacked(figure(chart, caption, True), table(columns, rows, label="Results")))


def _differences(found, measure):
    if len(found) < 2:
        return None
    first, rows, dots, left = found[0], [], [], []
    for entry in found[1:]:
        pair = paired(first, entry, measure)
        if pair is None:
            left.append(entry.name)
            continue
        difference, clips = pair
        low, high = difference.low, difference.high
        verdict = "better" if low > 0 else "worse" if high < 0 else "no clear difference"
        between = Html(f"{_points(measure, low, True)} to {_points(measure, high, True)}")
        rows.append([_keyed(entry), difference.value, (low, between), verdict, clips])
        dots.append((entry.name, difference.value, low, high, entry.colour))
    columns = [
        Column("run"),
        Column(f"difference in {measure}", lambda v: _points(measure, v, True)),
        Column("95 % interval"),
        Column("verdict"),
        Column("clips", number, hint="that both tested"),
    ]
    lead = f"Against “{first.name}”, on the clips that both tested: clips that are hard for all do not blur it."
    if left:
        lead += (
            f" Without clips in common, or without scores: {', '.join(left[:10])}{', ...' if len(left) > 10 else ''}."
        )
    if not rows:
        return Section("Paired differences", tag("p", "There is nothing to pair."), lead)
    axis = "percentage points" if measure == "accuracy" else measure
    describe = f"Difference in {measure} to {first.name}"
    chart = intervals(dots, describe, lambda v: _points(measure, v, True), _tick(measure, "+"), axis, zero=True)
    body = stacked(figure(chart, "Right of the dashed line: better.", True), table(columns, rows, label="Differences"))
    return Section("Paired differences", body, lead)


def _curves(found, measure):
    scored, losses = [], []
    several = len(found) > 1
    for entry in found:
        for i, run in enumerate(entry.runs):
            history = run["history"]
            if not history or len(scored) >= MOST_LINES:
                continue
            x, colour = [row["epoch"] for row in history], entry.colour if several else i % COLOURS
            name = entry.name if i == 0 else ""
            if not several:
                name = run["name"].removeprefix(entry.name).lstrip("-_./ ") or run["name"]
            scored.append(Line(name, x, [row.get(measure) for row in history], colour))
            losses.append(Line(name, x, [row.get("train_loss") for row in history], colour))
    if not scored:
        return None
    show = (lambda v: percent(v, 0)) if measure == "accuracy" else (lambda v: f"{v:.2f}")
    parts = [
        figure(
            line_chart(scored, "epoch", measure, f"{measure} by epoch of each run", show, low=0, high=1),
            f"{titled(measure)} on the clips that are scored after each epoch.",
        ),
        figure(
            line_chart(losses, "epoch", "loss (nats)", "Training loss by epoch of each run", low=0), "Training loss."
        ),
    ]
    total = sum(len(entry.runs) for entry in found)
    lead = f"The first {MOST_LINES} of {total} runs are drawn." if total > MOST_LINES else ""
    return Section("Learning", side_by_side(*parts), lead)


def _settings_table(records, found):
    names = [name for name in differing(records) if name not in REPEATED]
    if len(found) < 2 or not names:
        return Section("Settings", tag("p", "All settings are the same, but for seeds and folds."))
    rows = [[_keyed(e), *(written(_settings(e.runs[0], ()).get(name)) for name in names)] for e in found]
    columns = [Column("run"), *(Column(name) for name in names)]
    return Section("Settings that differ", table(columns, rows, label="Settings that differ"))


def _runs(records, measure):
    rows = []
    for record in records:
        settings, result = record["settings"], record["result"]
        fold, seed = (settings.get(name, {}).get("value") for name in ("fold", "seed"))
        value = result["values"].get(measure)
        rows.append(
            [record["name"], fold, seed, value, result["epoch"], len(record["history"]), record["cost"]["seconds"]]
        )
    columns = [
        Column("run"),
        Column("fold"),
        Column("seed"),
        Column(measure, lambda v: shows(measure, v)),
        Column("epoch", hint="whose weights are quoted"),
        Column("epochs"),
        Column("time", duration),
    ]
    return Section("All runs", table(columns, rows, label="All runs"), f"Their numbers are in each folder's {JSON}.")


# -- pairing -------------------------------------------------------------------------------------------------------


@dataclass
class Aligned:
    """Scores and targets (n, K) of a run with its classes in a given order; what each clip is, and belongs to."""

    scores: np.ndarray
    targets: np.ndarray
    keys: list[str]
    units: list[str]


def paired(a: Entry, b: Entry, measure: str) -> tuple[metrics.Difference, int] | None:
    """The measure of b minus that of a, on the clips that both tested.   -> difference, clips; None without any

    Each run of b is put beside a run of a that tested the same clips: the same fold, seeds in their order.
    """
    labels = a.runs[0]["data"]["labels"]
    left, parts, seen = [_aligned(run, labels) for run in a.runs], [], set()
    for run in b.runs:
        own = _aligned(run, labels)
        if own is None:
            continue
        shared = [len(set(own.keys) & set(each.keys)) if each else 0 for each in left]
        best = int(np.argmax(shared))
        if not shared[best]:
            continue
        other, left[best] = left[best], None
        places = {key: i for i, key in enumerate(other.keys)}
        mine = [i for i, key in enumerate(own.keys) if key in places]
        theirs = [places[own.keys[i]] for i in mine]
        parts.append((other.scores[theirs], own.scores[mine], own.targets[mine], [own.units[i] for i in mine]))
        seen |= {own.keys[i] for i in mine}
    if not parts:
        return None
    before, after, targets = (np.concatenate([part[i] for part in parts]) for i in range(3))
    who = [unit for part in parts for unit in part[3]]
    found = metrics.paired_difference(before, after, targets, a.runs[0]["model"]["loss"], who).get(measure)
    return None if found is None or np.isnan(found).any() else (found, len(seen))


def _aligned(run, labels):
    """-> Aligned, or None for a run without scores or with other classes"""
    own = run["data"]["labels"]
    if run["scores"] is None or set(own) != set(labels):
        return None
    order = [own.index(name) for name in labels]
    targets = np.zeros((len(run["clips"]), len(own)))
    for row, clip in zip(targets, run["clips"], strict=True):
        row[clip["labels"]] = 1
    keys = [f"{run['data']['name']} {_unit(clip)}" for clip in run["clips"]]
    units = metrics.units([clip["group"] for clip in run["clips"]], [clip["name"] for clip in run["clips"]])
    return Aligned(np.array(run["scores"])[:, order], targets[:, order], keys, units)


def _unit(clip):
    """What tells a clip from others: its content, or its name where it has no file."""
    return clip["content"] or clip["name"]


# -- names ---------------------------------------------------------------------------------------------------------


def _settings(record, without):
    """{name: value}: the run's settings, and those of its model and features that no setting has."""
    found = {name: setting["value"] for name, setting in record["settings"].items()}
    found |= {
        name: value for part in ("model", "features") for name, value in record[part].items() if name != "weights"
    }
    measured = () if found.get("preset") is None else ("mean", "std")  # of each fold's training clips
    return {name: value for name, value in found.items() if name not in without and name not in measured}


def _names(groups):
    """A name for each entry: of its run, or what its runs' names have in common; numbered where two are the same."""
    found = []
    for runs in groups:
        names = [run["name"] for run in runs]
        common = names[0]
        while not all(name.startswith(common) for name in names):
            common = common[:-1]
        name = names[0] if len(runs) == 1 else ENDS.sub("", common) or names[0]
        n = found.count(name) + 1
        found.append(name if n == 1 else f"{name} ({n})")
    return found


def _keyed(entry):
    """The name of an entry behind its colour."""
    return entry.name, tag("span", tag("i", class_=f"key c{entry.colour}"), entry.name)


def _tick(measure, sign=""):
    """How a number at an axis is written."""
    return lambda v: (
        f"{100 * v:{sign if v else ''}g}" + ("" if sign else "\u202f%") if measure == "accuracy" else f"{v:g}"
    )


def _points(measure, value, signed=False):
    """A difference or a deviation: of an accuracy in percentage points."""
    if value is None:
        return "–"
    sign = "+" if signed else ""
    return f"{100 * value:{sign}.1f} points" if measure == "accuracy" else f"{value:{sign}.3f}"


def _without(columns, rows, names):
    kept = [i for i, column in enumerate(columns) if column.name not in names]
    return [columns[i] for i in kept], [[row[i] for i in kept] for row in rows]
