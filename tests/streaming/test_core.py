"""Recordings in, segments with times and scores out; work in the background; which recordings are meant."""

import io
import threading
import time

import numpy as np
import pytest
import soundfile

from minast import scoring, threads
from minast.config import FeatureConfig
from minast.errors import Error
from minast.features import log_mel, model_inputs, segments
from minast.streaming.core import Ended, Scored, scored
from minast.streaming.inputs import recordings
from minast.streaming.sound import OpenSound

FEATURES = FeatureConfig(frames=48)


@pytest.mark.parametrize("rate", [16000, 22050])
@pytest.mark.parametrize("seconds", [0.03, 0.3, 0.48, 0.495, 0.96, 1.7, 25.013])
def test_times_are_those_of_the_whole_sound(rate, seconds):
    features = FeatureConfig(rate=rate, frames=48)
    wave = np.random.default_rng(0).uniform(-0.3, 0.3, round(rate * seconds)).astype(np.float32)
    for hop in (None, 7, 48):
        sound = OpenSound(wave, features)
        found = list(sound.timed_segments(hop))
        starts, ends = scoring.segment_times(len(wave) / rate, features, hop)
        np.testing.assert_allclose([each.start for each in found], starts, rtol=0, atol=1e-9)
        np.testing.assert_allclose([each.end for each in found][:-1], ends[:-1], rtol=0, atol=1e-9)
        assert found[-1].end <= ends[-1] < found[-1].end + 0.025 + 1e-9
        whole = segments(log_mel(wave, rate), 48, hop)
        np.testing.assert_array_equal([each.x for each in found], model_inputs_of(whole, features))


def model_inputs_of(cut, features):
    return ((cut - features.mean) / (2 * features.std)).astype(np.float32)


def mean(x):
    return x.mean(axis=(1, 2))


def test_several_recordings_in_order_and_bad_ones_cost_no_other(tmp_path):
    rng, names = np.random.default_rng(0), []
    for i, seconds in enumerate((0.5, 3.1, 0.2, 65.0)):  # the last is longer than what is kept
        names.append(tmp_path / f"{i}.wav")
        soundfile.write(names[-1], rng.uniform(-0.3, 0.3, round(16000 * seconds)), 16000)
    (tmp_path / "bad.wav").write_text("no sound")
    names[1:1] = [tmp_path / "bad.wav", tmp_path / "absent.wav"]

    def open_sound(path):
        if path == names[4]:
            raise ZeroDivisionError("a bug in a decoder")
        return OpenSound(path, FEATURES)

    found = {}
    for each in scored(mean, names, open_sound, hop=24, batch=5):
        found.setdefault(each.key, []).append(each)
    assert list(found) == names
    for path in (names[0], names[3], names[5]):
        *rows, end = found[path]
        x = model_inputs(log_mel(soundfile.read(path, dtype="float32")[0]), FEATURES)
        assert isinstance(end, Ended) and not end.error and all(isinstance(row, Scored) for row in rows)
        np.testing.assert_allclose([r.row for r in rows][: 2 * (len(x) - 1) : 2], mean(x)[:-1], rtol=1e-5)
        assert rows[-1].end == pytest.approx(end.sound.seconds, abs=0.026)
    assert "bad.wav: this cannot be decoded" in found[names[1]][0].error
    assert "there is no such file" in found[names[2]][0].error
    assert found[names[4]][0].error == "ZeroDivisionError: a bug in a decoder."


def test_one_that_fails_midway_says_so_behind_its_segments():
    class Fails(OpenSound):
        def segments(self, hop=None):
            yield from list(super().segments(hop))[:2]
            raise Error("a.wav: it went away.")

    wave = np.zeros(16000 * 3, np.float32)
    found = list(scored(mean, [Fails, OpenSound], lambda kind: kind(wave, FEATURES), batch=3))
    assert [type(each).__name__ for each in found[:3]] == ["Scored", "Scored", "Ended"]
    assert found[2].error == "a.wav: it went away." and found[-1].error == "" and len(found) == 3 + 8


def test_rows_of_many_recordings_fill_batches():
    sizes = []

    def counting(x):
        sizes.append(len(x))
        return mean(x)

    wave = np.zeros(16000, np.float32)  # 98 frames: three segments
    assert len(list(scored(counting, range(7), lambda _: OpenSound(wave, FEATURES), batch=4))) == 7 * 4
    assert sizes == [4] * 5 + [1]


@pytest.mark.parametrize("ahead", [1, 3])
def test_work_in_the_background_is_bounded_and_raises_in_its_place(ahead):
    taken, main = [], threading.get_ident()

    def items():
        for i in range(10):
            assert threading.get_ident() != main
            taken.append(i)
            if i == 7:
                raise KeyError("seven")
            yield i

    with threads.in_background(items(), ahead) as found:
        time.sleep(0.05)
        assert len(taken) <= ahead
        assert [next(found) for _ in range(7)] == list(range(7))
        with pytest.raises(KeyError):
            next(found)
    with threads.in_background(iter("abc"), ahead) as found:
        assert list(found) == ["a", "b", "c"]
    with threads.ordered(str, iter(range(20)), ahead) as found:
        assert list(found) == [str(i) for i in range(20)]


def test_which_recordings(tmp_path, monkeypatch, capsys):
    for name in ("a/1.wav", "a/b/2.flac", "a/notes.txt", "a/x.m4q", "c 3.wav"):
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_bytes(b"12345")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO("c 3.wav\n\na\n"))
    complaints = []
    found = recordings(["-", "a/**/*.flac", "gone.wav", "no/*.wav"], complaints.append)
    assert found == [("c 3.wav", 5), ("a/1.wav", 5), ("a/b/2.flac", 5), ("gone.wav", 0)]
    assert len(complaints) == 1 and "no file matches" in str(complaints[0])
    assert "a: left out: 1 file of a kind that is not read: x.m4q." in capsys.readouterr().err
    for name, target in (("gone.wav", "nothing"), ("self.wav", "self.wav"), ("b/loop", "..")):
        (tmp_path / "a" / name).symlink_to(target)
    assert recordings(["a"], complaints.append) == [("a/1.wav", 5), ("a/b/2.flac", 5)] and len(complaints) == 1
    assert "a: left out: 2 broken links or special files: gone.wav, self.wav." in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    with pytest.raises(Error, match="there is no recording to read"):
        recordings(["empty"], complaints.append)
    assert "no audio files in this folder" in str(complaints[-1])
