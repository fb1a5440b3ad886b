"""Files that cannot be used, or about which there are notes: all are named at once, and left out where asked for."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
import soundfile

import minast
from minast import audio, evaluate, train
from minast.datasets import Clip, Dataset, open_dataset
from minast.evaluate import write_scores
from minast.features import Spectrograms
from minast.training import bad_files, clip_cache, feature_cache
from tests.data.sounds import make, several, sound

SHORT = ["--depth", "1", "--epochs", "1"]


@pytest.fixture
def broken(tones, tmp_path):
    """`tones` with three files in place of others: no sound, nothing, 20 ms."""
    top = shutil.copytree(tones, tmp_path / "tones")
    (top / "low" / "0.wav").write_text("no sound")
    (top / "low" / "1.wav").write_bytes(b"")
    soundfile.write(top / "high" / "2.wav", np.full(320, 0.1), 16000)
    return top


@pytest.mark.parametrize("verb", ["train", "stats", "evaluate"])
def test_all_are_named_then_it_stops(broken, trained, tmp_path, command, verb):
    before = [trained / "best.npz"] if verb == "evaluate" else []
    after = ["--out", tmp_path / "run", *SHORT] if verb == "train" else ["--split", "all"] if before else []
    status, _, err = command(verb, *before, broken, *after)
    assert status == 2 and not (tmp_path / "run").exists()
    if verb == "stats":  # of the training clips
        assert err.count("\n") >= 1 and "--skip-bad" in err
        return
    for name in ("low/0.wav", "low/1.wav", "high/2.wav"):
        assert sum(name in line for line in err.splitlines()) == 1, err
    assert "3 of 30 files cannot be used (2 of 'low', 1 of 'high')" in err.splitlines()[-1]
    assert "with --skip-bad" in err.splitlines()[-1]


def test_training_goes_on_without_them(broken, tmp_path, command):
    status, _, err = command("train", broken, "--out", tmp_path / "run", *SHORT, "--skip-bad")
    assert status == 0 and "3 of 30 files are left out: 2 of 'low', 1 of 'high'." in err
    assert err.count("left out: ") == 4
    clips = open_dataset(str(broken)).of("train")
    good = [c for c in clips if not c.path.endswith(("low/0.wav", "low/1.wav", "high/2.wav"))]
    info = minast.load(tmp_path / "run" / "best.npz")[1]
    assert len(minast.datasets.content.trained_on(info.notes)) == len(good)
    assert train.main(["--resume", str(tmp_path / "run")]) == 0
    status, text, _ = command(
        "evaluate", tmp_path / "run" / "best.npz", broken, "--split", "all", "--skip-bad", "--json"
    )
    assert status == 0 and json.loads(text)["clips"] == 27 and json.loads(text)["unreadable"] == 3
    status, text, _ = command("stats", broken, "--skip-bad", "--json")
    assert status == 0 and json.loads(text)["clips"] == len(good)


def test_one_bad_file_is_one_sentence(tones, tmp_path, command):
    top = shutil.copytree(tones, tmp_path / "tones")
    (top / "low" / "0.wav").write_text("no sound")
    status, _, err = command("train", top, "--out", tmp_path / "run", *SHORT)
    assert status == 2 and err.count("\n") == 1 and "low/0.wav" in err and "--skip-bad goes on without it" in err


def test_a_class_that_loses_all_its_files_is_refused(tones, tmp_path, command):
    top = shutil.copytree(tones, tmp_path / "tones")
    for path in (top / "low").iterdir():
        path.write_text("no sound")
    status, _, err = command("train", top, "--out", tmp_path / "run", *SHORT, "--skip-bad")
    assert status == 2 and "no file of class 'low' can be used" in err.splitlines()[-1]


def test_no_file_at_all_can_be_used(tmp_path, command):
    make(tmp_path / "d", [f"{k}/{i}.wav: {k}{i}" for k in "ab" for i in range(20)])
    for flags in ([], ["--skip-bad"]):
        status, _, err = command("train", tmp_path / "d", "--out", tmp_path / "run", *SHORT, *flags)
        assert status == 2 and "Traceback" not in err and not (tmp_path / "run").exists()
        assert "more files cannot be used: python -m minast.data check" in err and err.count("\n") < 25


def test_a_bad_test_file_is_found_before_training(tones, tmp_path, command):
    rows = [f"{tones}/{name}/{i}.wav,{name},{s}" for name in ("low", "high") for i, s in enumerate(["train", "valid"])]
    make(tmp_path, ["m.csv: " + "\n".join(["file,labels,split", *rows, "bad.wav,low,test"]), "bad.wav: x"])
    status, out, err = command("train", tmp_path / "m.csv", "--out", tmp_path / "run", *SHORT)
    assert status == 2 and "bad.wav" in err and "epoch" not in out


def test_missing_files_of_a_table(tones, tmp_path, command):
    rows = [f"{tones}/{name}/{i}.wav,{name}" for name in ("low", "high") for i in range(4)]
    make(tmp_path, ["m.csv: " + "\n".join(["file,labels", *rows, "gone.wav,low", "away.wav,high"])])
    status, _, err = command("train", tmp_path / "m.csv", "--out", tmp_path / "run", *SHORT)
    assert status == 2 and "gone.wav" in err and "away.wav" in err and "2 of 10 files cannot be used" in err
    status, _, err = command("train", tmp_path / "m.csv", "--out", tmp_path / "run", *SHORT, "--skip-bad")
    assert status == 0 and "2 of 10 files are left out: 1 of 'low', 1 of 'high'" in err
    with pytest.raises(minast.Error, match="1 more file is missing"):
        open_dataset(str(tmp_path / "m.csv"))


def noting(monkeypatch, *endings):
    """Files with these endings are "cut short", whatever they are."""
    real = audio.decode

    def decode(path, rate=16000):
        found = real(path, rate)
        note = ("cut short: 0.40 s could be decoded of 0.50 s.",) if str(path).endswith(endings) else ()
        return audio.Decoded(found.wave, found.rate, note)

    monkeypatch.setattr(audio, "decode", decode)


def test_notes_are_counted_and_said_again_from_the_cache(tones, trained, tmp_path, monkeypatch, command):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    noting(monkeypatch, "low/0.wav", "low/1.wav")
    for decoding in (True, False):
        status, _, err = command("evaluate", trained / "best.npz", tones, "--split", "all")
        assert status == 0 and "low/0.wav: cut short: 0.40 s could be decoded of 0.50 s." in err
        assert "there are notes on 2 of 30 clips." in err
        if decoding:
            monkeypatch.setattr(audio, "decode", None)  # from now on all comes from the cache


def test_names_that_are_not_utf_8(tones, trained, tmp_path, command, capsys):
    """As file names, in messages and in scores.csv; none ends the others."""
    top = tmp_path / "d"
    for name in ("low", "high"):
        make(top, several(f"{name}/*.wav", range(5)))
    bad = os.fsdecode(os.fsencode(str(top / "low")) + b"/\xff\x1b[31m.wav")
    with open(bad, "wb") as f:
        f.write(b"no sound")
    status, _, err = command("evaluate", trained / "best.npz", top, "--split", "all", "--skip-bad")
    assert status == 0 and "\x1b" not in err and r"low/\udcff\x1b[31m.wav" in err and "1 of 11 files is left out" in err
    status, out, _ = command("data", "check", top)
    assert status == 2 and "\x1b" not in out and r"\udcff\x1b[31m.wav" in out
    data = Dataset("d", ["a"], [Clip("x\udcff.wav", (0,))])
    evaluate.write_scores(tmp_path / "scores.csv", data, ["a"], data.clips, np.ones((1, 1)))
    assert (tmp_path / "scores.csv").read_text("utf-8") == "file,labels,a\nx\\udcff.wav,a,1.000000\n"


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of a shell")
def test_a_reader_that_goes_away_costs_no_file(tones, trained, tmp_path):
    line = f"{sys.executable} -m minast.evaluate {trained}/best.npz {tones} --out {tmp_path}/report | true"
    subprocess.run(line, shell=True, capture_output=True, timeout=120, env={**os.environ, "PYTHONPATH": os.getcwd()})
    assert sorted(os.listdir(tmp_path / "report")) == ["confusion.png", "reliability.png", "scores.csv"]


def test_a_picture_that_cannot_be_drawn_costs_no_scores(tones, trained, tmp_path, monkeypatch, command):
    def failing(*_):
        raise RuntimeError("no fonts")

    monkeypatch.setattr(evaluate.plots, "per_class", failing)
    status, out, err = command("evaluate", trained / "best.npz", tones, "--out", tmp_path / "report")
    assert status == 0 and "accuracy" in out and "confusion.png is not drawn: no fonts." in err
    assert sorted(os.listdir(tmp_path / "report")) == ["reliability.png", "scores.csv"]


# -- the cache -----------------------------------------------------------------------------------------------------

FEATURES = minast.FeatureConfig(frames=48)


@pytest.fixture
def cached(tones, tmp_path, monkeypatch):
    """Clips, their features, the entries' files."""
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    clips = open_dataset(str(tones)).clips[:4]
    return clips, list(feature_cache.FeatureCache(clips, FEATURES, quiet=True)), sorted(tmp_path.rglob("*.mel"))


def test_no_flipped_bit_is_used(cached, monkeypatch):
    clips, mels, (path, *_) = cached
    whole, key = path.read_bytes(), path.stem
    rng = np.random.default_rng(0)
    places = [*range(0, 8 * 200, 7), *rng.integers(0, 8 * len(whole), 200)]  # all of the header, and anywhere
    for place in places:
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        with pytest.raises(feature_cache.cache_entry.Damaged):
            feature_cache.cache_entry.read(path, key)
    for damaged in (b"", whole[:7], whole[:100], whole[:-1], whole + b"\0", bytes(len(whole)), os.urandom(5000)):
        path.write_bytes(damaged)
        again = feature_cache.FeatureCache(clips, FEATURES, quiet=True)
        assert all(np.array_equal(a, b) for a, b in zip(again, mels, strict=True))
        assert path.read_bytes() == whole  # made anew


def test_an_entry_of_another_recording_is_not_used(cached):
    clips, mels, (first, second, *_) = cached
    shutil.copy(second, first)
    again = feature_cache.FeatureCache(clips, FEATURES, quiet=True)
    assert all(np.array_equal(a, b) for a, b in zip(again, mels, strict=True))


def test_a_damaged_entry_is_noticed_in_the_middle_of_training(cached, monkeypatch):
    clips, mels, files = cached
    monkeypatch.setattr(clip_cache, "IN_MEMORY", 0)
    rows = feature_cache.FeatureCache(clips, FEATURES, quiet=True)
    for path in files:
        path.write_bytes(path.read_bytes()[:-3] + b"abc")
    assert all(np.array_equal(rows[i], mel) for i, mel in enumerate(mels))


def test_a_file_that_changes_while_it_is_read_is_not_kept_under_its_old_content(tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    clip = Clip("a", (0,), path=str(sound(tmp_path / "a.wav")))
    real = audio.decode

    def replaced(path, rate):
        sound(path, 0.2)
        return real(path, rate)

    monkeypatch.setattr(audio, "decode", replaced)
    assert len(feature_cache.FeatureCache([clip], FEATURES, quiet=True)[0]) == 18
    assert not list((tmp_path / "cache").rglob("*.mel"))


def test_many_writers_and_readers(tones, tmp_path):
    """Two processes fill one cache, while its entries are damaged: all get the same numbers."""
    code = """
import hashlib, sys
from minast import FeatureConfig
from minast.datasets import open_dataset
from minast.training.feature_cache import FeatureCache
digest = hashlib.sha256()
for _ in range(2):
    for mel in FeatureCache(open_dataset(sys.argv[1]).clips, FeatureConfig(), quiet=True):
        digest.update(mel.tobytes())
print(digest.hexdigest())
"""
    environment = {**os.environ, "MINAST_CACHE": str(tmp_path / "cache"), "PYTHONPATH": os.getcwd()}
    run = [sys.executable, "-c", code, str(tones)]
    children = [subprocess.Popen(run, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(2)]
    rng = np.random.default_rng(0)
    while any(child.poll() is None for child in children):
        for path in (tmp_path / "cache").rglob("*.mel"):
            if rng.random() < 0.2:
                with open(path, "r+b") as f:
                    f.seek(int(rng.integers(1000)))
                    f.write(b"damage")
    digests = {child.communicate(timeout=60)[0] for child in children}
    assert len(digests) == 1 and len(digests.pop()) == 65
    assert not list((tmp_path / "cache").rglob("*.part"))


def test_features_that_are_not_finite_are_refused_by_name():
    clip = Clip("loud.wav", (0,), make=lambda rate: np.full(8000, 0.1, np.float32))
    nan = Spectrograms("cpu", lambda waves, *_: [np.full((48, 128), np.nan, np.float32) for _ in waves])
    with pytest.raises(minast.Error, match=r"loud\.wav: its spectrogram is not finite"):
        feature_cache.FeatureCache([clip], FEATURES, quiet=True, spectrograms=nan)


def test_bad_files_of_a_data_set_without_any(tones):
    data = open_dataset(str(tones))
    assert bad_files.usable(data, []) is data


def test_scores_are_a_table_that_can_be_read_back(tmp_path):
    """Names and labels that a spreadsheet would run are escaped in scores.csv, and found again by a manifest."""
    names = ("-x.wav", "=1+2.wav", "@low.wav", "+b.wav", "'-quoted.wav", "plain.wav", "'=e.wav", "@@.flac")
    make(tmp_path, names)
    labels = ["=low", "high"]
    clips = [Clip(name, (i % 2,), path=str(tmp_path / name)) for i, name in enumerate(names)]
    data = Dataset("made", labels, clips)
    write_scores(tmp_path / "scores.csv", data, labels, clips, np.full((len(names), 2), 0.5))
    assert "'-x.wav,'=low," in (tmp_path / "scores.csv").read_text()
    found = open_dataset(str(tmp_path / "scores.csv"))
    assert found.labels == labels
    wanted = {os.path.abspath(clip.path): labels[clip.labels[0]] for clip in clips}
    assert {os.path.abspath(clip.path): found.labels[clip.labels[0]] for clip in found.clips} == wanted
    assert any("an apostrophe before = + - or @" in note for note in found.notes)
