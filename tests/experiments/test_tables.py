"""The tables of the experiments are those of their reports."""

import re

import pytest

from minast.bench import readme

from . import catalogue, tables


@pytest.mark.parametrize("name", tables.tables())
def test_a_table_is_that_of_its_reports(name):
    path, lines = tables.tables()[name]
    assert readme.read(path, name) == "\n".join(lines), "python -m tests.experiments.tables --write"


def test_reports_hold_nothing_of_the_machine_that_made_them():
    for path in tables.FOLDER.glob("*/*.json"):
        assert not re.search(r'"(/|[A-Z]:\\)|(?<=[ =:])/(home|root|tmp|work|Users)/', path.read_text("utf-8")), path


def test_every_report_belongs_to_an_experiment():
    named = {e.folder for e in catalogue.RESULTS}
    named |= {e.folder for base, others in catalogue.DIFFERENCES.values() for e in (base, *others)}
    assert {path.parent.name for path in tables.FOLDER.glob("*/*.json")} == named


@pytest.mark.parametrize("name", catalogue.DIFFERENCES)
def test_what_is_compared_hears_the_same(name):
    """Rate, filters and normalisation: another mean would be a second difference, which no table shows."""
    base, others = catalogue.DIFFERENCES[name]
    for other in others:
        for one, two in zip(base.runs, other.runs, strict=True):
            same = ("rate", "mel_bins", "window", "mean", "std")
            assert {key: one["features"][key] for key in same} == {key: two["features"][key] for key in same}, other


def test_a_difference_needs_the_same_clips():
    base = catalogue.ESC10_VIT
    assert base.difference(base, "accuracy") == (0, 0, 0)
    other = tables.Experiment(base.folder, "", "")
    other.__dict__["runs"] = base.runs[1:]
    with pytest.raises(ValueError, match="same clips"):
        base.difference(other, "accuracy")
