"""The tables of the experiments, from the report.json of their runs.

    python -m tests.experiments.tables            prints them
    python -m tests.experiments.tables --write    writes them into the README files

A folder here is an experiment: the report.json of each of its runs, under the run's name. Runs of one experiment differ
in fold and seed; their scores are put together for the interval, in which all clips of a group, or all scores of a
clip, are drawn together.
"""

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from minast import metrics
from minast.bench import readme
from minast.text import duration

FOLDER = Path(__file__).parent
ROOT = FOLDER.parents[1]


@dataclass(frozen=True)
class Experiment:
    """A folder of finished runs."""

    folder: str
    task: str  # in words
    start: str  # the weights that training starts from, or what is varied
    names: str = "*"  # which runs of the folder

    @cached_property
    def runs(self) -> list[dict]:
        """The records of all runs, in the order of their names."""
        paths = sorted((FOLDER / self.folder).glob(f"{self.names}.json"))
        return [json.loads(path.read_text("utf-8")) for path in paths]

    @cached_property
    def measure(self) -> str:
        """What the runs are judged by."""
        return self.runs[0]["result"]["measure"]

    def values(self, measure: str) -> np.ndarray:
        """A measure of each run."""
        return np.array([run["result"]["values"][measure] for run in self.runs])

    @cached_property
    def pooled(self) -> tuple[np.ndarray, np.ndarray, list[str], list[str]]:
        """All runs together.   -> scores (N, K), targets (N, K), the clips' names, what is drawn together"""
        classes = len(self.runs[0]["data"]["labels"])
        rows = [
            (run, clip, score) for run in self.runs for clip, score in zip(run["clips"], run["scores"], strict=True)
        ]
        targets = np.zeros((len(rows), classes))
        for i, (_, clip, _) in enumerate(rows):
            targets[i, clip["labels"]] = 1
        names = [clip["name"] for _, clip, _ in rows]
        units = [clip["group"] or clip["name"] for _, clip, _ in rows]
        return np.array([score for *_, score in rows]), targets, names, units

    @cached_property
    def loss(self) -> str:
        """Whether scores are softmax's ("ce") or sigmoid's ("bce")."""
        return self.runs[0]["settings"]["loss"]["value"]

    def interval(self, measure: str) -> tuple[float, float]:
        """The 95 % interval of a measure of all scores."""
        scores, targets, _, units = self.pooled
        return metrics.intervals(scores, targets, self.loss, units)[measure]

    def difference(self, other: "Experiment", measure: str) -> metrics.Difference:
        """A measure of this experiment minus that of another on the same clips, with its 95 % interval."""
        scores, targets, names, units = self.pooled
        theirs, same, clips, _ = other.pooled
        if names != clips or not np.array_equal(targets, same):
            raise ValueError(f"{self.folder} and {other.folder} were not tested on the same clips in the same order.")
        return metrics.paired_difference(theirs, scores, targets, self.loss, units)[measure]


def percent(value: float, sign: str = "") -> str:
    """0.9375 -> 93.8"""
    return f"{100 * value:{sign}.1f}"


def mean_and_deviation(values: np.ndarray) -> str:
    """Mean of the runs, and their standard deviation where there are several, in percent."""
    return f"**{percent(values.mean())} %**" + (f" ± {percent(values.std(ddof=1))}" if len(values) > 1 else "")


def results(experiments: list[Experiment]) -> Iterator[str]:
    """A line for each experiment: what its runs reach."""
    yield "| task | start | runs | test clips | accuracy, mean ± deviation | 95 % interval | a run |"
    yield "| --- | --- | ---: | ---: | ---: | ---: | ---: |"
    for e in experiments:
        low, high = e.interval(e.measure)
        values, clips = e.values(e.measure), len(set(e.pooled[2]))
        seconds = np.median([run["cost"]["seconds"] for run in e.runs])
        name = "" if e.measure == "accuracy" else f"{e.measure} "
        yield (
            f"| {e.task} | {e.start} | {len(e.runs)} | {clips} | {name}{mean_and_deviation(values)} "
            f"| {percent(low)} to {percent(high)} | {duration(seconds)} |"
        )


def differences(base: Experiment, others: list[Experiment]) -> Iterator[str]:
    """A line for each variant: what it changes on the same clips."""
    yield f"| varied | {base.measure} | difference, with its 95 % interval | a run |"
    yield "| --- | ---: | ---: | ---: |"
    for e in (base, *others):
        seconds, mean = duration(np.median([run["cost"]["seconds"] for run in e.runs])), e.values(e.measure).mean()
        words = ""
        if e is not base:
            found = e.difference(base, base.measure)
            words = f"{percent(found.value, '+')} ({percent(found.low, '+')} to {percent(found.high, '+')})"
        yield f"| {e.start} | {percent(mean)} % | {words} | {seconds} |"


def tables() -> dict[str, tuple[Path, list[str]]]:
    """{name of a table: (the file that it stands in, its lines)}"""
    from . import catalogue

    front = [e for e in catalogue.RESULTS if e not in catalogue.OFF_FRONT]
    return {
        "experiments": (FOLDER / "README.md", list(results(catalogue.RESULTS))),
        "experiments-front": (ROOT / "README.md", list(results(front))),
        **{
            f"experiments-{name}": (FOLDER / "README.md", list(differences(base, others)))
            for name, (base, others) in catalogue.DIFFERENCES.items()
        },
    }


def main(argv=None):
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="write the tables into the README files")
    write = parser.parse_args(argv).write
    for name, (path, lines) in tables().items():
        print(f"\n{name}\n" + "\n".join(lines))
        if write:
            readme.write(path, name, "\n".join(lines))


if __name__ == "__main__":
    main()
