"""The page of one run, made from its record."""

import json
import os

from ..errors import Error, reason
from ..storage.files import atomic
from ..text import duration
from . import mistakes
from .builder import Column, Section, code, figure, folded, notes, page, pairs, side_by_side, stacked, table
from .charts import Line, heat_map, line_chart, reliability
from .headline import headline, numbers, remarks, shows, titled
from .html import Html, joined, number, percent, size, tag
from .record import FORMAT

JSON, HTML = "report.json", "report.html"
MOST_ROWS = 1000  # of a table
MOST_IN_MATRIX = 100  # classes
SHORT = {"ce": "one label per clip", "bce": "several labels per clip"}


def write_report(folder: str | os.PathLike, record: dict, shown: dict[int, Html] | None = None) -> str:
    """Write report.json and report.html.   record: of `run_record`; shown: of `mistakes.players` -> path of the page

    Raises minast.Error as `atomic` does.
    """
    with atomic(os.path.join(folder, JSON), "w", encoding="utf-8") as f:
        json.dump(record, f, ensure_ascii=True, allow_nan=False, separators=(",", ":"))
        f.write("\n")
    path = os.path.join(folder, HTML)
    with atomic(path, "w", encoding="utf-8") as f:
        f.write(run_page(record, shown or {}))
    return path


def run_page(record: dict, shown: dict[int, Html]) -> Html:
    """The whole page."""
    sections = [
        _learning(record),
        _classes(record),
        _confusion(record),
        _calibration(record),
        _mistakes(record, shown),
        _clips(record),
        _settings(record),
        _data(record),
        _origin(record),
    ]
    return page(
        f"{record['name']}: {record['data']['name']}",
        [section for section in sections if section],
        headline(record),
        stacked(numbers(record), notes(remarks(record))),
    )


# -- sections ------------------------------------------------------------------------------------------------------


def _learning(record):
    history = record["history"]
    if not history:
        return None
    measure, epochs = record["result"]["measure"], [row["epoch"] for row in history]
    epoch = record["result"]["epoch"]
    kind = "the best" if record["result"]["chosen"] else "the last"
    if record["result"]["averaged"]:
        kind = f"averaged from {record['result']['averaged'][0]}"
    mark = (epoch, f"epoch {epoch}, {kind}")
    scored = record["result"]["scored"]
    top = "training" if measure == "accuracy" else "training: top guess is a label"

    def line(name, key, colour):
        return Line(name, epochs, [row.get(key) for row in history], colour)

    first, last = history[0], history[-1]
    went = (
        f"{measure} went from {shows(measure, first[measure])} after the first epoch to "
        f"{shows(measure, last[measure])} after the last."
    )
    said = f"On the {scored} clips, {went if len(history) > 1 else f'{measure} was {shows(measure, last[measure])}.'}"
    losses = line_chart(
        [line("training", "train_loss", 0), line(scored, "valid_loss", 1)],
        "epoch",
        "loss (nats)",
        f"Loss by epoch: training from {number(first['train_loss'])} to {number(last['train_loss'])}, {scored} from "
        f"{number(first['valid_loss'])} to {number(last['valid_loss'])}",
        low=0,
        mark=mark,
    )
    right = line_chart(
        [line(top, "train_top1", 0), line(scored, measure, 1)],
        "epoch",
        measure,
        said,
        (lambda v: percent(v, 0)) if measure == "accuracy" else (lambda v: f"{v:.2f}"),
        low=0,
        high=1,
        mark=mark,
    )
    rate = line_chart(
        [line("learning rate", "lr", 2)],
        "epoch",
        "learning rate",
        f"Learning rate by epoch, at most {max(row['lr'] for row in history):.2g}",
        lambda v: f"{v:.3g}",
        low=0,
        mark=mark,
    )
    parts = [
        figure(losses, f"Loss. {_overfitting(history, scored)}".strip()),
        figure(right, f"{titled(measure)}. {said}"),
        figure(rate, "Learning rate at the end of each epoch."),
    ]
    return Section("Learning", side_by_side(*parts))


def _overfitting(history, scored):
    """Where the loss of the scored clips was lowest, in words."""
    losses = [row["valid_loss"] for row in history]
    best = min(range(len(losses)), key=lambda i: losses[i] if losses[i] is not None else float("inf"))
    if best == len(losses) - 1:
        return f"On the {scored} clips it was still falling at the end." if len(losses) > 1 else ""
    return f"On the {scored} clips it was lowest after epoch {history[best]['epoch']}."


def _classes(record):
    rows = [row for row in record["classes"] if row["clips"]]
    if not rows:
        return None
    single = record["model"]["loss"] == "ce"
    columns = [Column("class"), Column("clips", number), Column("AP", number, True, "average precision")]
    keys = ["label", "clips", "AP"]
    if single:
        columns.append(Column("right", percent, True, "share of the clips of this class that are recognised: recall"))
        keys.append("recall")
    columns += [
        Column("precision", percent, hint="share of the clips given this label that have it"),
        *([] if single else [Column("recall", percent, hint="share of the clips with this label that get it")]),
        Column("F1", number, hint="harmonic mean of precision and recall"),
    ]
    keys += ["precision", *([] if single else ["recall"]), "F1"]
    if any(row["threshold"] is not None for row in rows):
        of = "calibrated probability" if record["calibration"]["after"] else "probability"
        columns.append(Column("threshold", number, hint=f"from this {of} on, the label is given"))
        keys.append("threshold")
    main = "recall" if single else "AP"
    rows.sort(key=lambda row: -1 if row[main] is None else row[main])
    body = table(columns, [[row[key] for key in keys] for row in rows[:MOST_ROWS]], label="Results of each class")
    worst, best = rows[0], rows[-1]
    show = percent if single else number
    lead = f"Hardest: {worst['label']} ({show(worst[main])}). Easiest: {best['label']} ({show(best[main])})."
    if worst[main] == best[main]:
        lead = f"All classes have the same {'share of right clips' if single else 'AP'}: {show(best[main])}."
    if len(rows) > MOST_ROWS:
        lead += f" The {MOST_ROWS} hardest of {len(rows)} classes are shown; report.json has all."
    return Section("Classes" if single else "Average precision by class", body, lead)


def _confusion(record):
    cells, labels = record["confusion"], record["data"]["labels"]
    if cells is None:
        return None
    wrong = sorted((c for c in cells if c[0] != c[1]), key=lambda c: -c[2])
    totals = {}
    for true, _, n in cells:
        totals[true] = totals.get(true, 0) + n
    rows = [[labels[t], labels[g], n, n / totals[t]] for t, g, n in wrong[:MOST_ROWS]]
    columns = [Column("true class"), Column("heard as"), Column("clips", number), Column("of the class", percent, True)]
    lead = "No clip is taken for another class."
    if wrong:
        t, g, n = wrong[0]
        lead = f"Most often, {labels[t]} is heard as {labels[g]}: {n} of {totals[t]} clips."
    parts = []
    if len(labels) <= MOST_IN_MATRIX:
        shown = heat_map(cells, labels, f"Confusion matrix of {len(labels)} classes. {lead}")
        caption = (
            "A row is a true class, a column what was heard. Blue is right, orange wrong; stronger: more of the row."
        )
        parts.append(
            figure(tag("div", shown, class_="scroll", tabindex=0, role="group", aria_label="matrix"), caption, True)
        )
    else:
        lead += f" A matrix of {len(labels)} classes cannot be read: the confusions are listed instead."
    if rows:
        parts.append(table(columns, rows, "Confusions, the most frequent first", fold=10))
    return Section("Confusions", joined(parts), lead)


def _calibration(record):
    found = record["calibration"]
    single = record["model"]["head"] == "softmax"
    kind = "the probability of the likeliest class is" if single else "the probabilities of all labels are"
    used = [b for b in found["before"]["bins"] if b["count"]]
    if not used:
        return None  # no tested clip has a label
    surer = sum(b["count"] * (b["probability"] - b["share"]) for b in used) / sum(b["count"] for b in used)
    lead = f"Expected calibration error {percent(found['before']['ece'])}."
    lead += f" On average, {kind} {100 * abs(surer):.1f} points too {'high' if surer > 0 else 'low'}."
    caption = (
        "A bar shows how often what was given this probability was right. On the dashed line both are equal; orange is "
        "the difference. Below: how often each probability is given."
    )
    parts = [figure(reliability(found["before"]["bins"], lead), f"As the model is. {caption}")]
    if found["after"]:
        text = f"Calibrated, with numbers that were fitted to the validation clips: {percent(found['after']['ece'])}."
        lead += f" {text}"
        parts.append(figure(reliability(found["after"]["bins"], text), text))
    return Section("Calibration", side_by_side(*parts), lead)


def _mistakes(record, shown):
    entries = record["mistakes"]
    if not entries:
        return None
    wrong = sum(not clip["right"] for clip in record["clips"])
    several = record["model"]["loss"] == "bce"
    what = "do not get exactly their labels" if several else "are wrong"
    lead = f"{wrong} of {number(len(record['clips']))} clips {what}; these have the highest loss, the worst first. "
    if not wrong:
        lead = "No clip is wrong; these have the highest loss. "
    lead += "A wrong label in the data shows here before anything else."
    if record["compared"]:
        lead += f" Nearest clips are among {number(record['compared'])} training clips"
        total = record["data"]["splits"].get("train", 0)
        lead += ", drawn at random." if record["compared"] < total else "."
    left = [e for e in entries if e["clip"] not in shown]
    if left:
        which = "Pictures and sounds" if len(left) == len(entries) else f"Pictures and sounds of {len(left)} clips"
        lead += (
            f" {which} are left out: {'their data were not at hand' if not shown else 'the page would be too large'}."
        )
    return Section("Worst mistakes", mistakes.cards(record, shown), lead)


def _clips(record):
    labels = record["data"]["labels"]
    order = sorted(range(len(record["clips"])), key=lambda i: -record["clips"][i]["loss"])[:MOST_ROWS]
    rows = []
    for i in order:
        clip = record["clips"][i]
        given, p = clip["top"][0]
        own = ", ".join(labels[k] for k in clip["labels"])
        rows.append([clip["name"], own, labels[given], p, clip["loss"], "yes" if clip["right"] else "no"])
    columns = [
        Column("clip"),
        Column("labels"),
        Column("likeliest"),
        Column("probability", percent),
        Column("loss", number, hint="in nats"),
        Column("right"),
    ]
    more = f" The {MOST_ROWS} with the highest loss are shown." if len(record["clips"]) > MOST_ROWS else ""
    return Section(
        "All tested clips", folded(f"{number(len(record['clips']))} clips.{more}", table(columns, rows, label="Clips"))
    )


def _settings(record):
    settings = record["settings"]
    rows = [[name, written(s["value"]), written(s["default"])] for name, s in settings.items()]
    changed = [r for r, s in zip(rows, settings.values(), strict=True) if differs(s)]
    usual = [r for r, s in zip(rows, settings.values(), strict=True) if not differs(s)]
    columns = [Column("setting"), Column("value"), Column("default")]
    parts = [table(columns, changed, label="Settings that differ from the defaults")] if changed else []
    others = [
        *((r[0], r[1]) for r in usual),
        *((f"model: {name}", written(v)) for name, v in record["model"].items()),
        *((f"features: {name}", written(v)) for name, v in record["features"].items()),
    ]
    parts.append(folded(f"{len(others)} settings at their defaults, or that follow from the data", pairs(others)))
    names = ", ".join(r[0] for r in changed)
    lead = f"Other than the defaults for these data: {names}." if changed else "All settings are the defaults."
    return Section("Settings", joined(parts), lead)


def differs(setting: dict) -> bool:
    """Whether a setting has a default, and another value."""
    return setting["default"] is not None and setting["value"] != setting["default"]


def written(value: object) -> str:
    """A setting's value in a table."""
    if isinstance(value, list):
        return " ".join(map(written, value))
    if value is None or isinstance(value, bool):
        return {None: "–", True: "yes", False: "no"}[value]
    return f"{value:.6g}" if isinstance(value, float) else f"{value}"


def _data(record):
    data = record["data"]
    splits = list(data["counts"])
    lead = (
        f"{data['name']}: {', '.join(f'{number(n)} {split}' for split, n in data['splits'].items())} clips of "
        f"{len(data['labels'])} classes, {SHORT[record['model']['loss']]}. Split: {data['split_from']}."
    )
    short, median, long = data["seconds"]
    lead += f" The tested clips last {short:.2f} to {long:.2f} s, half of them over {median:.2f} s."
    rows = [[label, *(data["counts"][s][k] for s in splits)] for k, label in enumerate(data["labels"])]
    columns = [Column("class"), *(Column(split, number) for split in splits)]
    body = table(columns, rows[:MOST_ROWS], "Clips per class", fold=12)
    return Section("Data", joined([notes([*data["notes"], *data["skipped"]]), body]), lead)


def _origin(record):
    machine = {k: v for k, v in record["machine"].items() if v is not None}
    rows = [*machine.items(), ("minast", record["minast"]), ("written", record["written"])]
    cost = record["cost"]
    rows += [("training time", duration(cost["seconds"])), ("memory at most", size(cost["memory_bytes"]))]
    parts = [code(record["command"])] if record["command"] else []
    return Section("Where and how", joined([*parts, pairs([(k, str(v)) for k, v in rows])]))


def load_record(path: str | os.PathLike) -> dict:
    """What report.json holds. Raises minast.Error for a file that is none, or of a later format."""
    try:
        with open(path, encoding="utf-8") as f:
            record = json.load(f)
    except (OSError, ValueError, RecursionError) as error:
        raise Error(
            f"{path}: this report cannot be read ({reason(error)}): remove it, and the run is scored again."
        ) from None
    number_ = record.get("format") if isinstance(record, dict) else None
    if number_ != FORMAT:
        raise Error(
            f"{path}: this report has format {number_!r}, this version of minast reads {FORMAT}: update minast."
        )
    return record
