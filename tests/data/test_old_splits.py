"""Runs and models from version 0.1, whose splits were drawn by position: they go on with the clips they began with."""

import hashlib
import json
from pathlib import Path

import numpy as np

import minast
from minast import train
from minast.checkpoint import load_state
from minast.datasets import content, open_dataset
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


def test_a_split_by_content_as_versions_before_drew_it(tones):
    """A fifth of each class is for testing, in the order of a hash, and there is no validation split."""
    data = open_dataset(str(tones), seed=3, drawn_by="content")
    assert data.of("valid") == [] and data.split_from == "a fifth of each class held out, seed 3"
    for k in range(3):
        mine = [clip for clip in data.clips if clip.labels == (k,)]
        mine.sort(
            key=lambda clip: hashlib.sha256(b"3:" + hashlib.sha256(Path(clip.path).read_bytes()).digest()).digest()
        )
        assert [clip.split for clip in mine] == ["test"] * 2 + ["train"] * 8
    first = data.of("test")[0]
    known = content.shortened(content.digests([first.path]))
    again = open_dataset(str(tones), seed=3, drawn_by="content", trained_on=known)
    assert first.path not in [clip.path for clip in again.of("test")] and len(again.of("test")) == len(data.of("test"))
    now = open_dataset(str(tones), seed=3)
    assert now.of("test") == data.of("test") and len(now.of("valid")) == 6  # the same clips are tested
