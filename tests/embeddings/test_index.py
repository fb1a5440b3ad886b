"""Indexes: what embed writes, what reading refuses."""

import csv
import json
import os
import shutil

import numpy as np
import pytest
import soundfile

import minast
from minast import scoring
from minast.embeddings import index as indexes
from minast.embeddings.index import Index
from minast.features import log_mel, model_inputs
from tests.embeddings.made import make


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    """1.3 s: 128 frames, two whole segments of 48 and 32 more."""
    rng = np.random.default_rng(0)
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, rng.uniform(-0.1, 0.1, 20800), 16000)
    return path


def files_in(folder):
    return {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}


@pytest.mark.parametrize("workers", [1, 2])
def test_an_archive(trained, tones, long, tmp_path, command, monkeypatch, workers):
    monkeypatch.setattr(indexes, "SHARD", 96 * 2 * 5)  # five rows a shard
    archive = tmp_path / "archive"
    shutil.copytree(tones, archive)
    (archive / "high" / "=bad.wav").write_text("no sound")
    shutil.copy(long, archive / "zz.wav")
    out = tmp_path / "index"
    flags = ("--out", f"{out}/", "--hop", 0.24, "--workers", workers, "--threads", workers)
    status, said, err = command("embed", trained / "best.npz", archive, *flags)
    assert status == 0 and "35 embeddings of 96 numbers from 31 recordings" in said and "x real time" in said
    assert err == f"note: 1 recording could not be read: {out}/skipped.csv says why.\n"
    with open(out / "skipped.csv", newline="") as f:
        ((name, why),) = list(csv.reader(f))[1:]
    assert name.endswith("=bad.wav") and why.startswith("this cannot be decoded")
    found = Index(out)
    assert (found.rows, found.width, found.about["shards"]) == (35, 96, [5] * 7)
    assert sorted(found.files) == sorted(map(str, archive.rglob("[!=]*.wav")))
    table, own = found.segment_table(), found.files.index(str(archive / "zz.wav"))
    last = table[table["file"] == own]
    np.testing.assert_allclose(last["start"], [0, 0.24, 0.48, 0.72, 0.8])
    np.testing.assert_allclose(last["end"], [0.48, 0.72, 0.96, 1.2, 1.3])
    end = int(np.flatnonzero(table["file"] == own)[-1])
    assert found.place(end) == (str(archive / "zz.wav"), pytest.approx(0.8), 1.3)
    model, info = minast.load(trained / "best.npz")
    for number in (0, 17, 30):
        x = model_inputs(log_mel(soundfile.read(found.files[number], dtype="float32")[0]), info.features)
        rows = found.take(np.flatnonzero(table["file"] == number))
        np.testing.assert_allclose(rows[[0, -1]], model.embed(x)[[0, -1]], rtol=2e-3, atol=2e-3)
    together = np.concatenate([block for _, block, _ in found.blocks()])
    assert np.array_equal(together, found.take(np.arange(35)))
    assert sorted(os.listdir(tmp_path)) == ["archive", "index"]


def test_a_block_and_a_pool_are_kept(trained, tones, tmp_path, command):
    arguments = ("embed", trained / "best.npz", tones / "low", "--block", 1, "--pool", "both")
    status, said, _ = command(*arguments, "--out", tmp_path / "index")
    assert status == 0 and "[CLS] and the mean of all tokens after block 1 of 2" in said
    about = json.loads((tmp_path / "index" / "index.json").read_text())
    assert (about["block"], about["pool"]) == (1, "both")
    assert command(*arguments, "--out", tmp_path / "e.npz")[0] == 0
    rows, found = np.load(tmp_path / "e.npz")["embeddings"], Index(tmp_path / "index")
    np.testing.assert_allclose(found.take(np.arange(10)), rows, atol=2e-3)
    status, _, err = command(*arguments[:3], "--block", 3, "--out", tmp_path / "other")
    assert status == 2 and "--block is 3: the model has blocks 1 to 2" in err


def test_stopped_and_resumed(trained, tones, tmp_path, command, monkeypatch):
    monkeypatch.setattr("minast.streaming.work.MOST_FILES", 4)
    monkeypatch.setattr("minast.streaming.journal.PIECE", 1000)
    arguments = ["embed", trained / "best.npz", tones, "--out"]
    command(*arguments, tmp_path / "whole")
    add, left = minast.streaming.journal.Journal.add, [3]

    def interrupted(self, *rest):
        if left[0] == 0:
            raise KeyboardInterrupt
        left[0] -= 1
        return add(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(minast.streaming.journal.Journal, "add", interrupted)
        status, _, err = command(*arguments, tmp_path / "index")
    assert status == 130 and "12 of 30 recordings are done" in err and not (tmp_path / "index").exists()
    status, _, err = command(*arguments, tmp_path / "index")
    assert status == 2 and "is of an index that was stopped: add --resume" in err
    status, _, err = command(*arguments, tmp_path / "index", "--resume", "--pool", "mean")
    assert status == 2 and "--pool prefix, this one has --pool mean" in err
    journal = (tmp_path / "index.part").read_bytes()
    rng = np.random.default_rng(0)
    for cut in (len(journal), *rng.integers(1, len(journal), 3)):
        (tmp_path / "index.part").write_bytes(journal[:cut])
        status, _, err = command(*arguments, tmp_path / "index", "--resume")
        assert status == 0 and files_in(tmp_path / "index") == files_in(tmp_path / "whole"), err
        shutil.rmtree(tmp_path / "index")
    status, _, err = command(*arguments, tmp_path / "whole", "--resume")
    assert status == 0 and "there is nothing to go on with" in err


def test_what_cannot_become_an_index(trained, tones, tmp_path, command):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "a.txt").write_text("mine")
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.wav").write_text("x")
    for sound, flags, words in (
        (tones, ("--out", tmp_path / "other"), "which has other files: give another name"),
        (tones, ("--out", tmp_path / "bad.wav"), "its name must end in .npz"),
        (tones, ("--out", tmp_path / "e.npz", "--resume"), "--resume is for an index: let --out name a folder"),
        (tones, ("--out", tmp_path / "e.npz", "--workers", 2), "--workers is for an index"),
        (tones, ("--out", tmp_path / "i", "--per", "file"), "--per file is for a .npz"),
        (tones, ("--out", tmp_path / "i", "--hop", 0.6), "--hop is 0.6 s: it may be at most a segment, 0.48 s"),
        (tmp_path / "empty", ("--out", tmp_path / "i"), "there is no recording to read"),
        (tmp_path / "bad.wav", ("--out", tmp_path / "i"), "is not written: no recording can be read (1 tried)"),
    ):
        status, _, err = command("embed", trained / "best.npz", sound, *flags)
        assert status == 2 and words in err, err
    assert sorted(os.listdir(tmp_path)) == ["bad.wav", "empty", "other"]
    assert command("embed", trained / "best.npz", tones / "low", "--out", tmp_path / "empty")[0] == 0
    status, _, err = command("embed", trained / "best.npz", tones / "low", "--out", tmp_path / "empty")
    assert status == 2 and "which has an index already" in err


# -- damaged ---------------------------------------------------------------------------------------------------------


def truncated(folder):
    path = folder / "00001.npy"
    path.write_bytes(path.read_bytes()[:-1])


def longer(folder):
    with open(folder / "00000.segments.npy", "ab") as f:
        f.write(b"x")


def of_another_width(folder):
    np.save(folder / "00000.npy", np.zeros((3, 7), np.float16))


def of_objects(folder):
    np.save(folder / "00000.npy", np.array([{}, {}, {}]), allow_pickle=True)


def gone(folder):
    os.unlink(folder / "00001.segments.npy")


def changed(**fields):
    def change(folder):
        path = folder / "index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **fields}))

    return change


def without(field):
    def change(folder):
        path = folder / "index.json"
        about = json.loads(path.read_text())
        del about[field]
        path.write_text(json.dumps(about))

    return change


def no_json(folder):
    (folder / "index.json").write_text('{"format": 1,')


DAMAGE = {
    "a shard is cut": (truncated, "00001.npy: this part of the index cannot be read"),
    "a shard is longer": (longer, "00000.segments.npy: this part of the index is"),
    "a shard has another width": (of_another_width, "float16 (3, 7), index.json says float16 (3, 5)"),
    "a shard is pickled": (of_objects, "00000.npy: this part of the index cannot be read"),
    "a shard is gone": (gone, "00001.segments.npy: this part of the index cannot be read"),
    "another width": (changed(width=6), "index.json says float16 (3, 6)"),
    "more rows": (changed(shards=[3, 5]), "index.json says float16 (5, 5)"),
    "no rows": (changed(shards=[]), "index.json is damaged: it names no shards"),
    "another format": (changed(format=2), "has format 2, this version of minast reads 1"),
    "a text for a number": (changed(hop="x"), 'index.json is damaged: hop is "x"'),
    "features of another kind": (changed(features={"rate": 1}), "index.json is damaged: features.mel_bins is missing"),
    "a field is missing": (without("encoder"), "index.json is damaged: encoder is missing"),
    "not JSON": (no_json, "index.json cannot be read"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_index_is_one_sentence(tmp_path, monkeypatch, name):
    monkeypatch.setattr(indexes, "SHARD", 5 * 2 * 3)
    make(tmp_path / "index", {"a.wav": np.ones((4, 5)), "b.wav": np.ones((1, 5))})
    damage, words = DAMAGE[name]
    damage(tmp_path / "index")
    with pytest.raises(minast.Error) as raised:
        Index(tmp_path / "index")
    assert words in str(raised.value) and "\n" not in str(raised.value)


def test_what_is_read_late_is_one_sentence_too(tmp_path):
    made = make(tmp_path / "index", {"a.wav": np.ones((4, 5)), "b.wav": np.full((1, 5), np.nan)})
    with pytest.raises(minast.Error, match="numbers that are not finite"):
        list(made.blocks())
    (tmp_path / "index" / "files.jsonl").write_text('{"file": "a.wav"}\n')
    with pytest.raises(minast.Error, match="it has 1 recording, the index 2"):
        _ = Index(tmp_path / "index").files
    for text in ("[1]\n", "{}\n", "no"):
        (tmp_path / "index" / "files.jsonl").write_text(text)
        with pytest.raises(minast.Error, match="the list of recordings cannot be read"):
            _ = Index(tmp_path / "index").files


def test_what_is_no_index(tmp_path):
    with pytest.raises(minast.Error, match=r"this is no index, it has no index\.json"):
        Index(tmp_path)
    with pytest.raises(minast.Error, match="this is no index, there is no such folder"):
        Index(tmp_path / "none")


def test_times_are_those_of_segments(tmp_path):
    made = make(tmp_path / "index", {"a.wav": np.ones((4, 5))}, frames=100, hop=30)
    starts, ends = scoring.segment_times(1.915, made.features, 30)
    table = made.segment_table()
    np.testing.assert_allclose(table["start"], starts)
    np.testing.assert_allclose(table["end"], ends)
