"""minast report: a run's page is written again, scored again, or compared with others."""

import json
import shutil

import numpy as np
import pytest

import minast
from minast.checkpoint import load_state
from tests.golden.make_run import HERE as OLD
from tests.golden.make_run import write_sounds
from tests.pages.made import Reader


@pytest.fixture
def run(trained, tmp_path):
    """A copy of a finished run."""
    return shutil.copytree(trained, tmp_path / "tones-run")


def test_training_leaves_a_report(trained):
    record = json.loads((trained / "report.json").read_text())
    page = (trained / "report.html").read_text("utf-8")
    read = Reader(page)
    assert len(record["history"]) == 3 and record["result"]["clips"] == len(record["clips"])
    assert record["settings"]["epochs"]["value"] == 3 and record["machine"]["backend"]
    assert record["mistakes"] and len(read.all("audio")) == len(record["mistakes"])
    assert all(near["name"].endswith(".wav") for near in record["mistakes"][0]["nearest"])
    assert str(trained.parent) not in json.dumps(record["clips"])  # names do not tell where the data lie


def test_a_swapped_label_comes_first(tones, tmp_path, command):
    """One test clip of the low noises is called high: of a run that has learned the three, it is the worst mistake."""
    rows = ["file,label,split"]
    for name in ("low", "middle", "high"):
        for i in range(10):
            label = "high" if (name, i) == ("low", 9) else name
            rows.append(f"{tones / name / f'{i}.wav'},{label},{'test' if i > 6 else 'train'}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    arguments = [tmp_path / "clips.csv", "--out", tmp_path / "run", "--depth", "2", "--epochs", "4", "--batch", "4"]
    assert command("train", *arguments, "--lr", "1e-3")[0] == 0
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    labels, worst = record["data"]["labels"], record["mistakes"][0]
    clip = record["clips"][worst["clip"]]
    assert (
        clip["name"].endswith("low/9.wav") and labels[clip["labels"][0]] == "high" and labels[worst["about"]] == "low"
    )
    assert [labels[near["labels"][0]] for near in worst["nearest"]].count("low") >= 4
    assert "is the label right?" in (tmp_path / "run" / "report.html").read_text("utf-8")


def test_one_run_is_written_again_the_same(run, command):
    before = (run / "report.html").read_text("utf-8")
    (run / "report.html").unlink()
    status, out, err = command("report", run)
    assert status == 0 and "written from report.json" in out and err == ""
    assert (run / "report.html").read_text("utf-8") == before


def test_a_run_without_a_report_is_scored_again(run, command):
    before = json.loads((run / "report.json").read_text())
    (run / "report.json").unlink()
    status, out, _ = command("report", run)
    after = json.loads((run / "report.json").read_text())
    assert status == 0 and "scored again" in out
    assert np.allclose(before["scores"], after["scores"], atol=1e-5)
    assert before["result"]["values"] == pytest.approx(after["result"]["values"], abs=1e-5, nan_ok=True)
    assert [c["name"] for c in before["clips"]] == [c["name"] for c in after["clips"]]


def test_the_page_says_what_it_lacks_without_the_data(run, command, monkeypatch):
    from minast import report
    from minast.errors import Error

    def gone(*_, **__):
        raise Error("the data are gone.")

    monkeypatch.setattr(report, "same_data", gone)
    status, _, err = command("report", run, "--out", run / "other.html")
    assert status == 0 and "pictures and sounds are left out: the data are gone." in err
    page = (run / "other.html").read_text("utf-8")
    assert "their data were not at hand" in page and not Reader(page).all("audio")


def test_runs_are_compared_on_one_page(run, tmp_path, command):
    folds = tmp_path / "folds"
    for name in ("fold-1", "fold-2"):
        shutil.copytree(run, folds / name)
    (folds / "fold-2" / "report.json").write_text("{")
    other = shutil.copytree(run, tmp_path / "other")
    record = json.loads((other / "report.json").read_text())
    record["settings"]["lr"]["value"] = 1.0
    (other / "report.json").write_text(json.dumps(record))
    status, out, err = command("report", folds, other, "--out", tmp_path / "all.html")
    assert status == 2 and "2 runs compared" in out and "cannot be read" in err
    shown = "".join(Reader((tmp_path / "all.html").read_text("utf-8")).text)
    assert "fold-2 is not compared" in shown and "Paired differences" in shown and "Settings that differ" in shown
    (folds / "fold-2" / "report.json").write_text((run / "report.json").read_text())
    assert command("report", folds)[0] == 0 and (folds / "comparison.html").exists()


def test_a_comparison_is_not_written_beside_other_files(run, tmp_path, command, monkeypatch):
    other = shutil.copytree(run, tmp_path / "elsewhere" / "other")
    monkeypatch.chdir(tmp_path)
    status, out, _ = command("report", run, other)
    assert (status, out) == (0, "runs/comparison.html: 2 runs compared\n")
    assert not (tmp_path / "comparison.html").exists() and (tmp_path / "runs" / "comparison.html").exists()


def test_what_is_no_run(tmp_path, command):
    for path, said in ((tmp_path, "there is no run here"), (tmp_path / "x", "there is no such folder")):
        status, _, err = command("report", path)
        assert status == 2 and said in err
    (tmp_path / "best.npz").write_bytes(b"PK")
    status, _, err = command("report", tmp_path)
    assert status == 2 and "has no last.npz" in err


def test_a_run_of_version_0_1_is_scored_where_its_data_are(tmp_path, command):
    """It wrote no report. best.npz is made from its last.npz, and the place of its data is put right, as a user may."""
    old, sounds = tmp_path / "old", tmp_path / "sounds"
    old.mkdir()
    sounds.mkdir()
    shutil.copy(OLD / "last.npz", old)
    shutil.copy(OLD / "last.npz", old / "best.npz")
    status, _, err = command("report", old)
    assert status == 2 and "there is no such folder" in err and err.count("\n") == 1
    model, info = minast.load(old / "last.npz", "numpy")
    state = load_state(old / "last.npz")
    state["settings"] |= {"data": str(write_sounds(sounds)), "folder": str(tmp_path)}
    minast.save(old / "last.npz", model, info.labels, info.features, info.loss, info.history, info.notes, state)
    status, out, err = command("report", old)
    record = json.loads((old / "report.json").read_text())
    assert status == 0 and "scored again" in out and record["result"]["clips"] == len(record["clips"]) > 0
    assert [row["epoch"] for row in record["history"]] == [row["epoch"] for row in info.history]
    assert Reader((old / "report.html").read_text("utf-8")).all("audio")
