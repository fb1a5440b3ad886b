"""`embed`: what it writes, and that nothing else is ever left behind."""

import json
import os
import shutil

import numpy as np
import pytest
import soundfile

import minast
from minast import scoring
from minast.features import model_inputs
from minast.streaming.sound import OpenSound


@pytest.fixture
def long(tmp_path):
    """1.3 s: 128 frames, two whole segments of 48 and 32 more."""
    rng = np.random.default_rng(0)
    soundfile.write(tmp_path / "long.wav", rng.uniform(-0.1, 0.1, 20800), 16000)
    return tmp_path / "long.wav"


def segment_embeddings(checkpoint, path):
    """What the model itself says, one file at a time."""
    model, info = minast.load(checkpoint)
    return model.embed(model_inputs(minast.log_mel(minast.load_audio(path)), info.features))


def test_one_row_per_file(trained, tones, long, tmp_path, command):
    out = tmp_path / "e.npz"
    status, printed, err = command("embed", trained / "best.npz", tones, long, "--out", out, "--batch", 7)
    assert status == 0 and err == "" and "31 embeddings of 96 numbers, one per file, from 31 files" in printed
    with np.load(out, allow_pickle=False) as found:
        assert sorted(found.files) == ["about", "embeddings", "files"]
        rows, files, about = found["embeddings"], found["files"], json.loads(found["about"].item())
    assert rows.dtype == np.float32 and files.dtype.kind == "U" and files[-1] == str(long)
    assert list(files[:-1]) == sorted(str(path) for path in tones.rglob("*.wav"))
    for row, path in zip(rows, files, strict=True):  # whichever files shared a batch with it
        np.testing.assert_allclose(row, segment_embeddings(trained / "best.npz", path).mean(axis=0), atol=1e-5)
    assert about["version"] == minast.__version__ and about["per"] == "file"
    assert about["model"]["dim"] == 96 and about["features"]["frames"] == 48


def test_one_row_per_segment(trained, tones, long, tmp_path, command):
    out, short = tmp_path / "e.npz", tones / "low" / "0.wav"
    arguments = (trained / "best.npz", short, long, "--per", "segment", "--out", out)
    assert command("embed", *arguments)[0] == 0
    found = np.load(out)
    assert list(found["files"]) == [str(short), str(long), str(long), str(long)]
    np.testing.assert_allclose(found["starts"], [0, 0, 0.48, 0.8])
    np.testing.assert_allclose(found["ends"], [0.5, 0.48, 0.96, 1.3])  # the last one ends with the file
    np.testing.assert_allclose(
        found["embeddings"][1:], segment_embeddings(trained / "best.npz", long), rtol=1e-4, atol=1e-5
    )


def test_one_bad_file_does_not_cost_the_others(trained, tones, tmp_path, command):
    (tmp_path / "bad.wav").write_text("no sound")
    (tmp_path / "empty").mkdir()
    names = (tmp_path / "bad.wav", tones / "low" / "0.wav", tmp_path / "none.wav", tmp_path / "empty")
    status, printed, err = command("embed", trained / "best.npz", *names, "--out", tmp_path / "e.npz")
    assert status == 2 and "1 embedding of 96" in printed and err.count("\n") == 3
    assert "bad.wav: this cannot be decoded" in err and "none.wav: there is no such file" in err
    assert "empty: there are no audio files in this folder" in err
    assert list(np.load(tmp_path / "e.npz")["files"]) == [str(tones / "low" / "0.wav")]


def test_a_file_that_cannot_be_read_to_its_end_after_all(trained, tones, tmp_path, command, monkeypatch):
    """A disk that fails between the first reading and the second costs that file alone."""
    names = [tones / "low" / f"{i}.wav" for i in range(4)]
    whole = OpenSound.segments

    def failing(self, hop=None):
        segments = whole(self, hop)
        yield next(segments)
        if self.file == str(names[1]):
            raise minast.Error(f"{self.file}: this file cannot be read: Input/output error.")
        yield from segments

    monkeypatch.setattr(OpenSound, "segments", failing)
    arguments = ("embed", trained / "best.npz", *names, "--per", "segment", "--out", tmp_path / "e.npz", "--batch", 3)
    status, printed, err = command(*arguments)
    found = np.load(tmp_path / "e.npz")
    assert status == 2 and "3 embeddings" in printed and err.count("\n") == 1 and "Input/output error" in err
    assert list(found["files"]) == [str(names[i]) for i in (0, 2, 3)]
    for row, path in zip(found["embeddings"], found["files"], strict=True):
        np.testing.assert_allclose(row, segment_embeddings(trained / "best.npz", path)[0], rtol=1e-4, atol=1e-5)


def test_notes_are_printed_once(trained, tones, tmp_path, command):
    (tmp_path / "cut.wav").write_bytes((tones / "low" / "0.wav").read_bytes()[:12000])
    names = (tmp_path / "cut.wav", tones / "low" / "1.wav")
    status, printed, err = command("embed", trained / "best.npz", *names, "--out", tmp_path / "e.npz")
    assert status == 0 and "from 2 files" in printed and err.count("\n") == 1
    assert err.startswith("note: ") and "cut.wav: cut short" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--out", "e.csv"], "its name must end in .npz"),
        (["--out", "e.npz", "--batch", "0"], "--batch is 0"),
        (["--out", "model.npz"], "is the checkpoint itself"),
        (["--out", "a.wav/e.npz"], "cannot be written"),
    ],
)
def test_refusals(trained, tones, tmp_path, monkeypatch, command, arguments, words):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "model.npz").write_bytes((trained / "best.npz").read_bytes())
    (tmp_path / "a.wav").write_bytes((tones / "low" / "0.wav").read_bytes())
    before = sorted(path.name for path in tmp_path.iterdir())
    status, _, err = command("embed", "model.npz", "a.wav", *arguments)
    assert status == 2 and words in err and err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_nothing_to_do(trained, tmp_path, command):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.wav").write_text("no sound")
    status, _, err = command("embed", trained / "best.npz", tmp_path / "empty", "--out", tmp_path / "e.npz")
    assert status == 2 and "there is no recording to read" in err
    status, _, err = command("embed", trained / "best.npz", tmp_path / "bad.wav", "--out", tmp_path / "e.npz")
    assert status == 2 and "no file can be read (1 tried)" in err and not (tmp_path / "e.npz").exists()


def test_ctrl_c_leaves_the_old_file(trained, tones, tmp_path, monkeypatch, command):
    (tmp_path / "e.npz").write_text("old")

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(minast.AST, "embed", interrupted)
    status, printed, err = command("embed", trained / "best.npz", tones, "--out", tmp_path / "e.npz")
    assert status == 130 and printed == "" and err == "minast: stopped.\n"
    assert [path.name for path in tmp_path.iterdir()] == ["e.npz"] and (tmp_path / "e.npz").read_text() == "old"


def test_a_full_disk_leaves_nothing(trained, tones, tmp_path, monkeypatch, command):
    def full(file, *_, **__):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    status, _, err = command("embed", trained / "best.npz", tones / "low", "--out", tmp_path / "e.npz")
    assert status == 2 and "e.npz cannot be written: No space left on device" in err
    assert not list(tmp_path.iterdir())


def test_embeddings_that_are_no_numbers_are_refused(trained, tones, tmp_path, command):
    model, info = minast.load(trained / "best.npz")
    model.w.flat *= np.float32(1e30)
    minast.save(tmp_path / "huge.npz", model, info.labels, info.features, info.loss)
    with np.errstate(all="ignore"):
        status, _, err = command("embed", tmp_path / "huge.npz", tones / "low", "--out", tmp_path / "e.npz")
    assert status == 2 and "embeddings are not numbers" in err and not (tmp_path / "e.npz").exists()


def test_many_clips_share_batches_in_order():
    sizes = []

    def function(x):
        sizes.append(len(x))
        return x.sum(axis=(1, 2))

    clips = [np.full((n, 2, 3), i, np.float32) for i, n in enumerate((1, 4, 1, 1, 2))]
    found = list(scoring.by_clip(function, iter(clips), batch=3))
    assert sizes == [3, 3, 3]
    for i, (rows, clip) in enumerate(zip(found, clips, strict=True)):
        assert rows.tolist() == [6.0 * i] * len(clip)
    assert list(scoring.by_clip(function, [], batch=3)) == []


def test_a_folder_that_cannot_be_read_costs_only_itself(trained, tones, tmp_path, command, monkeypatch):
    shutil.copytree(tones, tmp_path / "sounds")
    listed = os.scandir

    def denied(path):  # also for root, who may read every folder
        if os.fspath(path).endswith("middle"):
            raise PermissionError(13, "Permission denied", os.fspath(path))
        return listed(path)

    monkeypatch.setattr(os, "scandir", denied)
    status, printed, err = command("embed", trained / "best.npz", tmp_path / "sounds", "--out", tmp_path / "e.npz")
    assert status == 2 and "from 20 files" in printed and "middle: this folder cannot be read" in err


def test_a_folder_as_output_is_refused_first(trained, tones, tmp_path, command):
    (tmp_path / "e.npz").mkdir()
    status, _, err = command("embed", trained / "best.npz", tones, "--out", tmp_path / "e.npz")
    assert status == 2 and "is a folder: name the file to write" in err


def test_another_checkpoint_is_not_replaced(trained, tones, tmp_path, command):
    (tmp_path / "other.npz").write_bytes((trained / "best.npz").read_bytes())
    status, _, err = command("embed", trained / "best.npz", tones / "low", "--out", tmp_path / "other.npz")
    assert status == 2 and "other.npz is a checkpoint: give the embeddings another name" in err
