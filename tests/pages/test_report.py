"""The page of a run: it holds what was measured, in one file, whatever the labels are; worst mistakes come first."""

import json

import numpy as np
import pytest

from minast import metrics, pages, scoring
from minast.errors import Error
from minast.pages import mistakes
from minast.pages.record import in_question
from tests.pages.made import HOSTILE, Reader, made


def test_the_record_is_what_the_scores_say(tmp_path):
    record, shown = made()
    pages.write_report(tmp_path, record, shown)
    read = pages.load_record(tmp_path / "report.json")
    assert read == json.loads((tmp_path / "report.json").read_text()) == record
    scores = np.array(read["scores"])
    targets = np.array([[k in clip["labels"] for k in range(4)] for clip in read["clips"]], float)
    assert read["result"]["values"]["accuracy"] == metrics.accuracy(scores, targets)
    assert np.isclose(read["result"]["values"]["mAP"], metrics.mean_average_precision(scores, targets), atol=1e-9)
    low, high = read["result"]["intervals"]["accuracy"]
    assert low < read["result"]["values"]["accuracy"] < high
    losses = [clip["loss"] for clip in read["clips"]]
    assert np.isclose(np.mean(losses), scoring.mean_loss(scores, targets, "ce"), rtol=1e-5)
    cells = np.zeros((4, 4), int)
    for true, guess, n in read["confusion"]:
        cells[true, guess] = n
    assert np.array_equal(cells, metrics.confusion_matrix(scores, targets.argmax(axis=1)))
    assert sum(row["clips"] for row in read["classes"]) == 40
    assert sum(b["count"] for b in read["calibration"]["before"]["bins"]) == 40
    assert read["settings"]["lr"] == {"value": 1e-3, "default": 5e-4}


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_a_swapped_label_is_the_worst_mistake(loss):
    record, shown = made(loss=loss, swapped=17)
    assert record["mistakes"][0]["clip"] == 17 and record["mistakes"][0]["about"] == 17 % 4 + 1
    losses = [record["clips"][entry["clip"]]["loss"] for entry in record["mistakes"]]
    assert losses == sorted(losses, reverse=True) and not any(
        record["clips"][e["clip"]]["right"] for e in record["mistakes"]
    )
    page = pages.run_page(record, shown)
    assert page.index("class 0 17.wav") < page.index("class 0 " + str(record["mistakes"][1]["clip"]) + ".wav")


def test_what_a_mistake_is_about():
    """The class that was heard, of clips with one label; with several labels, the one that is most wrong."""
    scores, targets = np.array([[0.1, 0.6, 0.3]]), np.array([[1.0, 0, 0]])
    assert in_question(scores, targets, "ce").tolist() == [1]
    assert in_question(scores, targets, "bce").tolist() == [0]
    found, shown = made(loss="bce", swapped=17)
    assert any("what spoke for" in player for player in shown.values())  # a label that was missed was not heard
    first = found["mistakes"][0]
    assert "where the model heard" in shown[first["clip"]] and first["about"] not in found["clips"][17]["labels"]


def test_nearest_clips_are_the_same_sounds():
    """Clips 0 to 19 of both splits are the same sounds: each is its own nearest training clip."""
    record, _ = made(swapped=7)
    first = record["mistakes"][0]
    assert first["clip"] == 7 and first["nearest"][0]["name"] == "train 7.wav"
    assert first["nearest"][0]["cosine"] > 0.9999 and record["compared"] == 20
    cosines = [near["cosine"] for near in first["nearest"]]
    assert cosines == sorted(cosines, reverse=True) and len(cosines) == 5


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_hostile_labels_and_file_names(loss, tmp_path):
    labels = [HOSTILE.partition("\x1b")[0], "b" * 1000, "'", "日本語"]  # no label has a control character
    record, shown = made(loss=loss, labels=labels)
    pages.write_report(tmp_path, record, shown)
    read = Reader((tmp_path / "report.html").read_text("utf-8"))
    assert len(read.all("script")) == 1
    assert all(a["src"].startswith("data:image/png;base64,") for a in read.all("img"))
    assert all(a["src"].startswith("data:audio/") for a in read.all("audio")) and read.all("audio")
    assert not [a for _, a in read.found for name in a if name.startswith("on")]
    assert "日本語" in "".join(read.text)


def test_a_thousand_clips_of_fifty_classes_fit(tmp_path):
    record, shown = made(50, 1000)
    pages.write_report(tmp_path, record, shown)
    page = (tmp_path / "report.html").read_text("utf-8")
    assert len(page) < 2_000_000 and (tmp_path / "report.json").stat().st_size < 2_000_000
    read = Reader(page)
    assert len(read.all("audio")) == len(record["mistakes"]) == 20 and page.count("class 0 ") > 1000
    assert len([a for a in read.all("table") if "data-fold" in a]) >= 3  # classes, confusions, clips, data


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_no_markup_of_the_page_is_shown_as_text(loss):
    shown = "".join(Reader(pages.run_page(*made(loss=loss))).text)
    assert "<" not in shown and "Nearest training clips, by the cosine" in shown


def test_pictures_stop_where_the_page_would_be_too_large(monkeypatch):
    full, shown = made()
    each = max(map(len, shown.values()))
    monkeypatch.setattr(mistakes, "BUDGET", int(2.5 * each))
    record, some = made()
    assert 2 <= len(some) < len(shown) and list(some) == list(shown)[: len(some)]
    page = pages.run_page(record, some)
    assert f"Pictures and sounds of {len(full['mistakes']) - len(some)} clips are left out" in page
    assert "their data were not at hand" in pages.run_page(record, {})


def test_many_scores_are_left_out(monkeypatch):
    from minast.pages import record as module

    monkeypatch.setattr(module, "MOST_SCORES", 100)
    record, shown = made()
    assert record["scores"] is None and pages.run_page(record, shown)


def test_classes_without_clips_are_left_out_of_the_table():
    record, shown = made(labels=["a", "b", "c", "d", "never tested"])
    assert record["classes"][4]["clips"] == 0 and record["classes"][4]["AP"] is None
    page = pages.run_page(record, shown)
    table = page[page.index("Results of each class") : page.index(">Confusions</h2>")]
    assert ">a</th>" in table and "never tested" not in table


def test_a_run_without_mistakes_says_what_that_is_worth():
    record, shown = made()
    record["result"]["values"]["accuracy"] = 1.0
    record["result"]["intervals"]["accuracy"] = [1.0, 1.0]
    assert "7.5\u202f% may be: rule of three" in pages.run_page(record, shown)


def test_thresholds_and_calibration_of_the_checkpoint():
    from minast.checkpoint import Info
    from minast.config import FeatureConfig
    from minast.decisions import decide
    from minast.pages.record import calibration, class_rows, given_labels

    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < 0.3).astype(float)
    scores = np.clip(0.5 * targets + 0.4 * rng.random((200, 3)), 0, 1)
    info = Info(["a", "b", "c"], FeatureConfig(), "bce")
    decided = decide(scores, targets, "bce")
    with_them = type(info)(info.labels, info.features, "bce", decisions=decided)
    given = given_labels(with_them, scores)
    assert np.array_equal(given, decided.given(decided.calibrated(scores)))
    rows = class_rows(with_them, scores, targets, given, "bce")
    assert [row["threshold"] for row in rows] == list(decided.thresholds)
    found = calibration(with_them, scores, targets)
    assert found["after"]["ece"] < found["before"]["ece"] and found["slope"] == decided.slope
    assert calibration(info, scores, targets)["after"] is None


def test_a_report_that_cannot_be_read(tmp_path):
    path = tmp_path / "report.json"
    for text, said in (("{", "cannot be read"), ("[]", "format None"), ('{"format": 99}', "format 99")):
        path.write_text(text)
        with pytest.raises(Error, match=said):
            pages.load_record(path)


@pytest.mark.parametrize("count, epochs, seen", [(300, 25, 300), (2400, 3, 1080), (10**6, 5, 2000), (5000, 0, 100)])
def test_how_many_training_clips_are_looked_at(count, epochs, seen):
    from minast.pages.record import drawn

    found = drawn(count, epochs)
    assert len(found) == len(set(found.tolist())) == seen and found.max() < count and (np.diff(found) > 0).all()
