"""Runs and models from version 0.1, whose splits were drawn by position: they go on with the clips they began with."""

import json

import numpy as np

import minast
from minast import train
from minast.checkpoint import load_state
from minast.datasets import open_dataset
from minast.training import run_folder


def as_version_0_1(folder, tones):
    """Make a finished run look as that version left it: with the split that it would have drawn."""
    data = open_dataset(str(tones), drawn_by="position")
    for name in ("last.npz", "best.npz"):
        arrays = dict(np.load(folder / name))
        about = json.loads(arrays["minast"].item())
        for key in ("trained_on", "drawn_by"):
            del about["notes"][key]
        about["notes"]["fold"] = None
        if "settings" in about["state"]:
            for key in ("skip_bad", "drawn_by"):
                del about["state"]["settings"][key]
            about["state"]["settings"]["fingerprint"] = run_folder.fingerprint(data)
        np.savez(folder / name, **{**arrays, "minast": np.array(json.dumps(about))})
    return data


def test_a_run_of_version_0_1_goes_on(tones, tmp_path, capsys, command):
    out = tmp_path / "run"
    assert train.main([str(tones), "--out", str(out), "--depth", "1", "--epochs", "1"]) == 0
    data = as_version_0_1(out, tones)
    assert {c.path for c in data.of("test")} != {c.path for c in open_dataset(str(tones)).of("test")}
    assert train.main(["--resume", str(out)]) == 0
    assert load_state(out / "last.npz")["settings"].get("drawn_by", "position") == "position"
    status, _, err = command("evaluate", out / "best.npz", tones, "--out", tmp_path / "report")
    assert status == 0 and "does not say which clips it was trained on" in err
    tested = (tmp_path / "report" / "scores.csv").read_text().splitlines()[1:]
    assert {line.partition(",")[0] for line in tested} == {c.path for c in data.of("test")}


def test_new_settings_are_kept(tones, tmp_path):
    assert train.main([str(tones), "--out", str(tmp_path), "--depth", "1", "--epochs", "1", "--skip-bad"]) == 0
    settings = load_state(tmp_path / "last.npz")["settings"]
    assert settings["drawn_by"] == "groups" and settings["skip_bad"] is True
    assert minast.load(tmp_path / "last.npz")[1].notes["drawn_by"] == "groups"
