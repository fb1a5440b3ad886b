"""The rows of scan, listen and int8, at toy size: what they run and compare, not how long it takes."""

import importlib.util
import os

import numpy as np
import pytest

from minast.bench import catalogue, exported, stored, table
from minast.bench.cpu import cache, models, recordings
from minast.bench.pytorch.twin import SETTINGS
from minast.bench.row import Skip
from minast.config import ModelConfig
from minast.errors import Error
from minast.model import AST
from minast.training.feature_cache import FeatureCache


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    def setting(preset, frames, batch):
        return AST(ModelConfig.preset(preset, depth=2, frames=frames, classes=5, **SETTINGS), "fast"), None, None

    monkeypatch.setattr(models, "setting", setting)
    monkeypatch.setattr(recordings, "SIZES", {"nano": (48, 0.4, 3)})
    monkeypatch.setattr(recordings, "SEGMENTS", 3)


def test_scan(monkeypatch, tmp_path):
    heard, scan = [], recordings.Scanner.do
    monkeypatch.setattr(recordings.Scanner, "do", lambda self, files: heard.append(len(files)) or scan(self, files))
    (row,) = catalogue.ROWS["scan"].run(1)
    both = importlib.util.find_spec("torch") and importlib.util.find_spec("transformers")
    assert heard == ([1, 3, 3] if both else [3, 3])  # one is compared, all are timed
    assert row.unit == "x real time" and row.ours > 0 and (row.ratio is not None) == bool(both)
    assert both or "is not installed" in row.note
    table.write_json(tmp_path / "rows.json", [row], {})
    assert stored.read([tmp_path / "rows.json"])[0] == [row]


def test_transformers_side_is_compared_before_it_is_timed(monkeypatch):
    """Here another one stands for it, with probabilities that are ours, or not."""

    def given(apart):
        def labelled(folder):
            model, info = recordings.load(f"{folder}/model.npz", "fast")
            function = recordings_scores(model, info)
            return lambda path: {name: p + apart for name, p in zip(info.labels, function(path), strict=True)}

        return labelled

    monkeypatch.setattr(recordings, "labelled", given(0.0))
    (row,) = recordings.scan(1)
    assert row.against == recordings.THEIRS and row.theirs > 0 and row.ratio > 0
    monkeypatch.setattr(recordings, "labelled", given(0.01))
    with pytest.raises(Error, match="nothing was timed"):
        next(recordings.scan(1))


def recordings_scores(model, info):
    from minast.audio import load_audio
    from minast.features import log_mel, model_inputs
    from minast.scoring import segment_scores

    f, scores = info.features, segment_scores(model, info.loss)
    return lambda path: scores(model_inputs(log_mel(load_audio(path), f.rate, f.mel_bins, f.window), f))[0]


def test_listen():
    (row,) = catalogue.ROWS["listen"].run(1)
    assert row.ours > 0 and row.unit == "s" and "of 3 segments" in row.note and "0.12 s: p99" in row.name


def test_int8(monkeypatch):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    (row,) = catalogue.ROWS["int8"].run(1)
    assert row.ratio == pytest.approx(row.theirs / row.ours) and "MB instead of" in row.note
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(Skip, match="onnx is not installed"):
        next(exported.int8(1))


def test_a_checkpoint_of_ones_own(trained, tones, tmp_path, command):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    file = tmp_path / "rows.json"
    status, out, err = command("bench", "exported", trained / "best.npz", tones, "--rounds", 1, "--json", file)
    assert status == 0 and out.count("ms a segment") == 3, err
    rows, about = stored.read([file])
    assert [row.name for row in rows][1:] == ["onnx", "onnx, int8"] and about["clips"] > 0
    accuracies = [float(row.note.partition("accuracy ")[2].partition(";")[0]) for row in rows]
    assert accuracies[0] == accuracies[1] and np.ptp(accuracies) < 0.2
    status, _, err = command("bench", "import", "exported")
    assert status == 2 and "exported is a command, not a row" in err


def test_cache(monkeypatch, tmp_path):
    """Each filling writes all entries anew, beside a copy of as many bytes; the user's cache is left alone."""
    monkeypatch.setattr(cache, "FILES", 5)
    monkeypatch.setattr(cache, "SECONDS", 1)
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "users"))
    found = []
    monkeypatch.setattr(cache, "FeatureCache", lambda *a, **k: found.append(k) or FeatureCache(*a, **k))
    (row,) = catalogue.ROWS["cache"].run(1)
    assert len(found) == 3 and all(not kept["in_memory"] for kept in found)  # one is compared, two are timed
    assert row.against == "a copy" and row.ratio > 0 and row.note == "reads 0 MB, writes 0 MB"
    assert os.environ["MINAST_CACHE"] == str(tmp_path / "users") and not (tmp_path / "users").exists()


def test_a_cache_that_keeps_nothing_is_no_row(monkeypatch):
    monkeypatch.setattr(cache, "FILES", 5)
    monkeypatch.setattr(FeatureCache, "_keep", lambda *_: False)
    with pytest.raises(Error, match="the cache has kept 0 of 5 files"):
        list(catalogue.ROWS["cache"].run(1))
