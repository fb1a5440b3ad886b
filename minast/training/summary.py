"""What many runs say together: mean and standard deviation over folds and seeds, and the pooled result."""

import json
import os
from collections.abc import Sequence

import numpy as np

from .. import metrics, scoring
from ..console.say import printable
from ..errors import Error
from ..storage.files import atomic
from ..text import counted, duration, visible
from .result import Result

SUMMARY = "summary.json"


def summarise(data: str, runs: Sequence[tuple[int | None, int, str, Result]], planned: int) -> dict:
    """All that summary.json has.   runs: (fold, seed, folder, result) of those that are finished; planned: all

    Standard deviations divide by n - 1 and are null for one run. "over_folds" is that of the folds' means over seeds,
    "over_seeds" that of the seeds' means over folds. "pooled" measures all scores of all runs as if they were of one
    model; its interval draws clips, or their groups, each with its scores of all seeds.
    """
    found = {"format": 1, "data": data, "planned": planned, "finished": len(runs)}
    if not runs:
        return found
    first = runs[0][3]
    if any((r.labels, r.loss, r.split) != (first.labels, first.loss, first.split) for *_, r in runs):
        raise Error("the runs have different labels, losses or splits: their results cannot be put together.")
    rows = [
        {"folder": folder, "fold": fold, "seed": seed, "epoch": result.epoch, "clips": len(result.clips)}
        | {"seconds": result.seconds, **result.measures}
        for fold, seed, folder, result in runs
    ]
    names = list(first.measures)
    found |= {"measure": first.measure, "split": first.split, "runs": rows, "seconds": sum(r["seconds"] for r in rows)}
    found["mean"] = {name: float(np.mean([row[name] for row in rows])) for name in names}
    found["std"] = {name: deviation([row[name] for row in rows]) for name in names}
    for over, key in (("over_folds", "fold"), ("over_seeds", "seed")):
        values = sorted({row[key] for row in rows}, key=lambda value: (value is None, value or 0))
        means = [[np.mean([row[name] for row in rows if row[key] == v]) for v in values] for name in names]
        found[over] = dict(zip(names, map(deviation, means), strict=True))
        found[f"{key}s"] = values
    return {**found, "pooled": pooled([result for *_, result in runs])}


def deviation(values: Sequence[float]) -> float | None:
    """The standard deviation of a sample, dividing by n - 1; None for fewer than two numbers, NaN with infinities."""
    with np.errstate(invalid="ignore"):  # d' of a perfect AUC
        return float(np.std(values, ddof=1)) if len(values) > 1 else None


def pooled(results: Sequence[Result]) -> dict:
    """Measures of all scores together, with 95 % intervals over clips or groups."""
    scores, targets = (np.concatenate([getattr(r, name) for r in results]) for name in ("scores", "targets"))
    clips, groups = ([text for r in results for text in getattr(r, name)] for name in ("clips", "groups"))
    who, loss = metrics.units(groups, clips), results[0].loss
    found = metrics.intervals(scores, targets, loss, who)
    return {
        "clips": len(set(clips)),
        "groups": len(set(who)) if any(groups) else None,
        "measures": scoring.measures(scores, targets, loss),
        "intervals": {name: list(pair) for name, pair in found.items()},
    }


def write(folder: str | os.PathLike, summary: dict) -> None:
    """summary.json: NaN and infinities become null."""
    with atomic(os.path.join(folder, SUMMARY), "w", encoding="utf-8") as f:
        json.dump(printable(summary), f, indent=1)


def show(summary: dict) -> list[str]:
    """The summary as lines: a table of the runs, then what they say together."""
    if not summary["finished"]:
        return ["no run is finished"]
    measure, runs, split = summary["measure"], summary["runs"], summary["split"]
    others = [name for name in ("mAP", "AUC") if name != measure]
    width = max(len(row["folder"]) for row in runs)
    lines = ["", f"{'run':{width}}  {measure:>9}  {others[0]:>6}  {'  '.join(f'{o:>6}' for o in others[1:])}".rstrip()]
    lines[-1] += f"  {split + ' clips':>12}  epoch    time"
    for row in runs:
        cells = "  ".join(f"{row[name]:6.4f}" for name in others)
        lines.append(
            f"{visible(row['folder']):{width}}  {row[measure]:>9.2%}  {cells}  {row['clips']:>12}  {row['epoch']:>5}  "
            f"{duration(row['seconds']):>6}"
        )
    part, spread = summary["pooled"], summary["std"][measure]
    low, high = part["intervals"][measure]
    interval = "no interval" if np.isnan(low + high) else f"95% interval {low:.2%} to {high:.2%}"
    words = [f"{spread:.2%} over {counted(len(runs), 'run')}"] if spread is not None else []
    for over, key in (("over_folds", "folds"), ("over_seeds", "seeds")):
        if summary[over][measure] is not None and len(runs) > len(summary[key]):
            words.append(f"{summary[over][measure]:.2%} over {len(summary[key])} {key}")
    mean = f"mean {measure} {summary['mean'][measure]:.2%}"
    lines.append(mean + (f", standard deviation {', '.join(words)}" if words else ""))
    of = f"{counted(part['groups'], 'group')} of " if part["groups"] else ""
    lines.append(
        f"pooled {measure} {part['measures'][measure]:.2%} ({interval}) over {of}{counted(part['clips'], 'clip')}"
    )
    if summary["finished"] < summary["planned"]:
        lines.append(f"{summary['finished']} of {summary['planned']} runs are finished")
    return lines
