"""Runs beside each other: what differs, and differences on the clips that both tested."""

import copy

import numpy as np
import pytest

from minast import metrics
from minast.pages.compare import compare_page, differing, entries, paired
from tests.pages.made import HOSTILE, Reader, made


def better(record, gain, number, name, /, **settings):
    """The same clips, scored by a better model."""
    run, rng = copy.deepcopy(record), np.random.default_rng(number)
    scores = np.array(run["scores"])
    for row, clip in zip(scores, run["clips"], strict=True):
        row[clip["labels"]] += gain * rng.random(len(clip["labels"]))
    scores /= scores.sum(axis=1, keepdims=True)
    run["scores"], run["name"] = scores.tolist(), name
    own = np.array([clip["labels"][0] for clip in run["clips"]])
    run["result"]["values"]["accuracy"] = float((scores.argmax(axis=1) == own).mean())
    run["settings"] |= {key: {"value": value, "default": None} for key, value in settings.items()}
    return run


@pytest.fixture(scope="module")
def record():
    return made(clips=120)[0]


def test_seeds_and_folds_of_the_same_settings_are_one_entry(record):
    runs = [better(record, 0.0, s, f"x/plain-seed-{s}", seed=s) for s in range(3)]
    runs += [better(record, 3.0, s, f"x/mixup-seed-{s}", seed=s, mixup=0.5) for s in range(2)]
    found = entries(runs)
    assert [(entry.name, len(entry.runs)) for entry in found] == [("x/plain", 3), ("x/mixup", 2)]
    assert set(differing(runs)) == {"seed", "mixup"}
    values = [run["result"]["values"]["accuracy"] for run in runs[3:]]
    assert found[1].value("accuracy") == np.mean(values) and found[1].deviation("accuracy") == np.std(values, ddof=1)
    low, high = found[1].interval("accuracy")
    assert low < found[1].value("accuracy") <= high


def test_a_paired_difference_is_that_of_the_scores_whatever_the_order(record):
    a, b = better(record, 0.0, 0, "a"), better(record, 3.0, 1, "b", lr=1.0)
    order = np.random.default_rng(0).permutation(len(b["clips"]))[:90]  # other clips are lacking, in another order
    b["clips"], b["scores"] = [b["clips"][i] for i in order], [b["scores"][i] for i in order]
    first, second = entries([a, b])
    found, clips = paired(first, second, "accuracy")
    targets = np.array([[k in a["clips"][i]["labels"] for k in range(4)] for i in order], float)
    before, after = np.array(a["scores"])[order], np.array(b["scores"])
    assert clips == 90 and found.value == pytest.approx(
        metrics.accuracy(after, targets) - metrics.accuracy(before, targets)
    )
    assert found.low < found.value < found.high and found.low > 0


def test_classes_in_another_order_are_matched_by_name(record):
    a, b = better(record, 0.0, 0, "a"), better(record, 0.0, 0, "b", lr=1.0)
    turn = [2, 0, 3, 1]
    b["data"]["labels"] = [a["data"]["labels"][k] for k in turn]
    b["scores"] = np.array(b["scores"])[:, turn].tolist()
    for clip in b["clips"]:
        clip["labels"] = [turn.index(k) for k in clip["labels"]]
    found, clips = paired(*entries([a, b]), "mAP")
    assert clips == 120 and abs(found.value) < 1e-9


def test_what_cannot_be_paired_is_said(record):
    a, b, c = (better(record, 0.0, 0, name, lr=lr) for name, lr in (("a", 1.0), ("b", 2.0), ("c", 3.0)))
    b["scores"] = None
    for clip in c["clips"]:
        clip["name"] += " of others"
    page = compare_page([a, b, c], ["d is not compared: it is gone"])
    assert "Without clips in common, or without scores: b, c." in page and "There is nothing to pair" in page
    assert "d is not compared: it is gone" in page


def test_the_page_is_whole_and_says_who_is_better(record):
    runs = [better(record, 0.0, 0, HOSTILE), better(record, 3.0, 1, "better", lr=HOSTILE)]
    read = Reader(compare_page(runs))
    shown = "".join(read.text)
    assert len(read.all("script")) == 1 and not read.all("img")
    assert "“better” has the highest accuracy" in shown and "verdict" in shown and shown.count("points") >= 3
    assert "Settings that differ" in shown and "<script>alert(1)</script>" in shown


def test_a_tie_is_said_as_one(record):
    def lead(runs):
        return "".join(Reader(compare_page(runs)).text)

    tied = [better(record, 0.0, 0, name, lr=float(i)) for i, name in enumerate("abcdefg")]
    assert "“a” and “b” have the same accuracy: " in lead(tied[:2]) and "highest" not in lead(tied[:2])
    assert "“a”, “b”, “c”, “d” and 3 more have the same accuracy: " in lead(tied)
    worse = copy.deepcopy(tied[2])
    worse["result"]["values"]["accuracy"] -= 0.01
    assert "“a” and “b” share the highest accuracy: " in lead([worse, *tied[:2]])
    assert "“a” has the highest accuracy: " in lead([tied[0], worse])


def test_one_entry_has_its_spread_and_no_differences(record):
    runs = [better(record, 3.0, s, f"seed-{s}", seed=s) for s in range(3)]
    shown = "".join(Reader(compare_page(runs)).text)
    assert "over 3 runs, standard deviation" in shown and "Paired differences" not in shown
    assert "All settings are the same" in shown
