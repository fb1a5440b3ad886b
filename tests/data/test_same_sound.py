"""The same sound in different files: at another gain, in another format, resampled, cut elsewhere; and what is not."""

import json

import numpy as np
import pytest
import soundfile

from minast.audio.resample import resample
from minast.checkpoint import load_state
from minast.datasets import check, near, open_dataset, survey
from minast.datasets.landmarks import RATE, landmarks
from minast.datasets.same_sound import same_sound
from tests.data.sounds import make

RNG = np.random.default_rng


def scene(seed, seconds=3.0, rate=44100):
    """Coloured noise with a few glides in it, of which no two are alike.   -> (S,) float32"""
    rng, n = RNG(seed), int(seconds * rate)
    t = np.arange(n) / rate
    wave = 0.02 * np.convolve(rng.standard_normal(n), np.ones(8) / 8, "same")
    for _ in range(int(4 * seconds)):
        start, length, low, high = rng.uniform(0, seconds), rng.uniform(0.1, 0.5), *rng.uniform(200, 3000, 2)
        inside = (t >= start) & (t < start + length)
        x = (t[inside] - start) / length
        wave[inside] += 0.1 * np.sin(2 * np.pi * length * (low * x + (high - low) * x**2 / 2)) * np.sin(np.pi * x)
    return wave.astype(np.float32)


def word(seed, pitch, seconds=0.5, rate=8000):
    """A vowel of a voice: takes of one pitch differ by its wobble and a little noise."""
    rng, t = RNG(seed), np.arange(int(seconds * rate)) / rate
    wobble = 1 + 0.03 * np.sin(2 * np.pi * (rng.uniform(2, 5) * t + rng.random())) + 0.01 * rng.standard_normal()
    phase = 2 * np.pi * np.cumsum(pitch * wobble) / rate
    formants = [np.exp(-(((k * pitch - 700) / 400) ** 2)) + 0.3 / k for k in range(1, 20)]
    wave = sum(a * np.sin(k * phase + rng.uniform(0, 0.5)) for k, a in enumerate(formants, 1))
    return (0.05 * wave * np.hanning(len(t)) + 0.001 * rng.standard_normal(len(t))).astype(np.float32)


def saved(path, wave, rate=44100, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, wave, rate, **options)


def at_8_khz(wave):
    return resample(wave, 44100, 8000)


PLANTED = {  # name of the copy: what is written, at which rate, with which options
    "quieter.wav": lambda w: (0.5 * w, 44100),
    "louder.wav": lambda w: (np.clip(1.41 * w, -1, 1), 44100),
    "lossy.mp3": lambda w: (w, 44100),
    "lossy.ogg": lambda w: (w, 44100),
    "resampled.wav": lambda w: (resample(w, 44100, 22050), 22050),
    "telephone.wav": lambda w: (at_8_khz(w), 8000),
    "shifted.wav": lambda w: (w[12345:], 44100),
    "late.wav": lambda w: (np.concatenate([np.zeros(7777, np.float32), w]), 44100),
    "cut.wav": lambda w: (w[40000:110001], 44100),
    "overlapping.flac": lambda w: (np.concatenate([w[50000:], scene(99, 1.2)]), 44100),
    "everything.mp3": lambda w: (0.5 * resample(w, 44100, 22050)[3333:], 22050),
}


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """12 scenes for training, 6 for testing, and a copy of a training scene of each kind among the latter."""
    folder = tmp_path_factory.mktemp("planted")
    for i in range(18):
        saved(folder / ("train" if i < 12 else "test") / "ab"[i % 2] / f"{i}.wav", scene(i))
    for i, (name, change) in enumerate(PLANTED.items()):
        saved(folder / "test" / "ab"[i % 2] / name, *change(scene(i)))
    return folder


def test_planted_copies_are_found_and_nothing_else(planted):
    data = open_dataset(str(planted))
    found = near.pairs(data.clips)
    paths = list(data.clips.paths())
    names = {frozenset(paths[i].rpartition("/")[2] for i in (pair.a, pair.b)) for pair in found}
    assert names == {frozenset((f"{i}.wav", name)) for i, name in enumerate(PLANTED)}
    for pair in found:
        original, copy = sorted((paths[pair.a], paths[pair.b]), key=lambda path: "test" in path)
        expected = {"shifted.wav": 12345, "late.wav": -7777, "cut.wav": 40000, "overlapping.flac": 50000}
        start, other, seconds, correlation = pair.same
        start, other = (start, other) if paths[pair.a] == original else (other, start)
        shift = expected.get(copy.rpartition("/")[2])
        assert shift is None or abs(start - other - shift / 44100) < 1e-3
        assert correlation > (0.7 if "telephone" in copy else 0.8) and seconds > 1


def test_data_check_and_train_say_so(planted, tmp_path, command):
    status, out, _ = command("data", "check", planted, "--json")
    found = json.loads(out)
    assert status == 0 and len(found["same_sound"]) == len(PLANTED) and found["copies"] == []
    assert {each["split"] for pair in found["same_sound"] for each in pair["clips"]} == {"train", "test"}
    said = f"{len(PLANTED)} held-out clips hold the same sound as training clips, so results are too good"
    assert any(said in danger for danger in found["dangers"])
    out = command("data", "check", planted)[1]
    assert f"pairs of clips that hold the same sound: {len(PLANTED)}" in out and f"beware: {said}" in out
    out = command("data", "check", planted, "--no-sound")[1]
    assert said not in out and "whether different files hold the same sound was not looked for" in out
    flags = ("--epochs", 1, "--depth", 1, "--rate", 8000, "--out", tmp_path / "run")
    assert said in command("train", planted, *flags)[2]


def test_contradicting_labels(tmp_path, command):
    for i in range(4):
        saved(tmp_path / "ab"[i % 2] / f"{i}.wav", scene(i, 1.0))
    saved(tmp_path / "b" / "again.wav", 0.3 * scene(0, 1.0))
    out = command("data", "check", tmp_path)[1]
    assert "[different labels]" in out
    assert "beware: 1 recording has several labels in clips that hold the same sound" in out


def test_recordings_that_equal_sounds_join_are_said_to_be_joined(tmp_path, command):
    """Two classes of four recordings: three of the one share a sound, and all four of the other share another."""
    rows = []
    for k, label in enumerate("ab"):
        for i in range(4):
            wave = np.concatenate([scene(10 * k + i, 2.0), scene(99 + k if i or k else 7, 2.0)])
            saved(tmp_path / f"{label}{i}.wav", wave)
            rows += [f"{label}{i}.wav,{start},{start + 2},{label}" for start in (0, 2)]
    path = tmp_path / "l.csv"
    path.write_text("\n".join(["file,start,end,label", *rows]))
    said = command("data", "check", path)[1]
    assert "7 clips that hold the same sound as another: what belongs" in said
    assert "beware: 7 clips hold the same sound as others" in said
    assert "2 classes have fewer than four recordings or groups without a sound in common: such a class" in said
    path.write_text("\n".join(["file,start,end,label", *(row for row in rows if "a0" not in row)]))
    status, said, _ = command("data", "check", path)
    joined = "and equal sounds join the 7 recordings or groups here to 2: python -m minast.data check DATA names them"
    assert status == 2 and said.count("no clip is in the test split, of 14 clips in all; a class needs") == 1
    assert joined in said
    status, _, said = command("train", path, "--out", tmp_path / "run")
    assert status == 2 and joined in said


def test_a_drawn_split_keeps_the_same_sound_together(tmp_path, command):
    for i in range(16):
        saved(tmp_path / "d" / "ab"[i % 2] / f"{i}.wav", scene(i, 1.0))
        if i < 8:
            saved(tmp_path / "d" / "ab"[i % 2] / f"again {i}.mp3", scene(i, 1.0)[999:])
    torn = [crossing(open_dataset(str(tmp_path / "d"), seed)) for seed in range(3)]
    assert sum(torn) > 0
    for seed in range(3):
        data = open_dataset(str(tmp_path / "d"), seed, alike=True)
        assert crossing(data) == 0 and any("16 clips that hold the same sound" in note for note in data.notes)
        again = open_dataset(str(tmp_path / "d"), seed, alike=data.alike)  # as a checkpoint tells it
        assert np.array_equal(again.clips.splits, data.clips.splits)
    run = tmp_path / "run"
    assert command("train", tmp_path / "d", "--epochs", 1, "--depth", 1, "--seed", 2, "--out", run)[0] == 0
    held_out = [clip.name for clip in data.of("test")]
    status, _, err = command("evaluate", run / "best.npz", tmp_path / "d", "--out", tmp_path / "report")
    rows = (tmp_path / "report" / "scores.csv").read_text().splitlines()[1:]
    assert status == 0 and [row.partition(",")[0] for row in rows] == held_out and "left out" not in err
    assert load_state(run / "last.npz")["settings"]["drawn_by"] == "groups"


def crossing(data):
    """How many scenes are in several splits."""
    where = {}
    for clip in data.clips:
        where.setdefault(clip.path.rpartition("/")[2].split(".")[0].removeprefix("again "), set()).add(clip.split)
    return sum(len(splits) > 1 for splits in where.values())


def test_alike_is_not_the_same(tmp_path):
    """Takes of a word at one pitch, turns of a machine, hum, ticks, noise of one colour, dither and silence."""
    files = {f"word{i}": word(i, 120) for i in range(8)}
    rng = RNG(7)
    t = np.arange(16000) / 8000
    for i in range(4):
        noise, other = (np.convolve(rng.standard_normal(16000), np.ones(12) / 12, "same") for _ in range(2))
        turn = 0.2 + np.sin(2 * np.pi * 6 * t) ** 8
        files[f"machine{i}"] = 0.1 * turn * noise
        files[f"hum{i}"] = 0.1 * np.sin(2 * np.pi * 50 * t + rng.uniform(0, 6)) + 0.003 * rng.standard_normal(16000)
        ticks = np.zeros(16000)
        ticks[rng.integers(300) :: 4000] = 1
        files[f"ticks{i}"] = 0.3 * np.convolve(ticks, rng.standard_normal(60), "same")
        files[f"rain{i}"] = 0.1 * other
        files[f"dither{i}"] = rng.integers(-1, 2, 16000) / 32768
        files[f"silence{i}"] = np.zeros(16000 + i)
    for name, wave in files.items():
        saved(tmp_path / name[:3] / f"{name}.wav", np.asarray(wave, np.float32), 8000)
    data = open_dataset(str(tmp_path))
    assert near.pairs(data.clips) == []


def test_two_takes_are_not_the_same_even_side_by_side():
    a, b = (resample(word(i, 120), 8000, RATE) for i in (1, 2))
    assert all(same_sound(a, b, shift) is None for shift in range(-2048, 2049, 512))
    assert same_sound(a, 0.5 * a[100:], 0).correlation > 0.99


@pytest.mark.parametrize("shift", [0, 3, 4000, -4000])
def test_the_shift_is_found_to_the_sample(shift):
    long = resample(scene(3, 4.0), 44100, RATE)
    a, b = long[8000:40000], long[8000 + shift : 40000 + shift]
    found = same_sound(a, 0.1 * b, shift + 200)
    assert abs(found.start - found.other - shift / RATE) < 1e-9 and found.correlation > 0.999


def test_landmarks_of_silence_and_of_long_sounds():
    assert len(landmarks(np.zeros(16000, np.float32))) == len(landmarks(np.zeros(10, np.float32))) == 0
    wave = resample(scene(0, 20.0), 44100, RATE)
    long, part = landmarks(wave), landmarks(wave[32000:96000])
    assert 1000 < len(long) <= 6000 and long.dtype == np.uint32
    assert len(np.intersect1d(long[:, 0], part[:, 0])) > len(part) / 4  # what is thinned out is the same in both


def test_many_copies_of_one_sound_are_connected(tmp_path):
    for i in range(40):
        saved(tmp_path / "ab"[i % 2] / f"{i}.wav", (0.2 + 0.01 * i) * scene(0, 1.0, 16000), 16000)
    found = near.pairs(open_dataset(str(tmp_path)).clips)
    assert len(found) == 39 and len(set(near.connected(40, [(pair.a, pair.b) for pair in found]))) == 1


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(near, "LANDMARKS", 2000)
    index = near.Index()
    for i in range(40):
        marks = landmarks(resample(scene(i // 2, 1.0), 44100, RATE))
        index.add(marks[: len(marks) // (1 + i % 2)])
    assert index.total <= 2000 and index.step > 1
    a, b, _ = index.candidates()
    assert {(int(i), int(j)) for i, j in zip(a, b, strict=True)} >= {(2 * k, 2 * k + 1) for k in range(20)}


# -- what is kept on disk --------------------------------------------------------------------------------------------


def test_a_second_look_decodes_nothing(planted, monkeypatch, own_cache):
    clips = open_dataset(str(planted)).clips
    with survey.recordings(clips) as results:
        first = list(results)
    monkeypatch.setattr(type(clips[0]), "read", lambda *_: pytest.fail("the file was decoded again"))
    with survey.recordings(clips) as results:
        for old, new in zip(first, results, strict=True):
            assert old[:5] == new[:5] and np.array_equal(old.landmarks, new.landmarks)


def test_a_damaged_entry_is_made_again(tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    saved(tmp_path / "a.wav", scene(0, 0.5))
    clip = open_dataset_clip(tmp_path / "a.wav")
    with survey.recordings([clip]) as results:
        (good,) = results
    (entry,) = (tmp_path / "cache" / "recordings").rglob("*.npz")
    data = entry.read_bytes()
    for damage in (b"", data[:200], data[: len(data) // 2] + b"\0\1\2\3" + data[len(data) // 2 + 4 :]):
        entry.write_bytes(damage)
        with survey.recordings([clip]) as results:
            (again,) = results
        assert np.array_equal(again.landmarks, good.landmarks) and entry.read_bytes() == data


def open_dataset_clip(path):
    from minast.datasets import Clip

    return Clip(str(path), (0,), path=str(path))


def test_folds_of_many_clips_are_drawn_again_as_they_were(tmp_path, monkeypatch):
    """Too many to be listened to for the folds; the training clips alone, for validation, would not be."""
    for i in range(16):
        saved(tmp_path / "ab"[i % 2] / f"{i}.wav", scene(i, 1.0))
        if i < 8:
            saved(tmp_path / "ab"[i % 2] / f"again {i}.mp3", scene(i, 1.0)[999:])
    monkeypatch.setattr(near, "MOST", 20)  # of 24, of which 16 are trained on
    for seed in range(4):
        drawn = {"fold": 1, "folds": 3, "validation": 0.2}
        first = open_dataset(str(tmp_path), seed, alike=True, **drawn)
        again = open_dataset(str(tmp_path), seed, alike=first.alike, **drawn)
        assert np.array_equal(again.clips.folds, first.clips.folds)
        assert np.array_equal(again.clips.splits, first.clips.splits)


def test_what_train_does_with_many_clips(tmp_path, monkeypatch):
    make(tmp_path, [f"{k}/{i}.wav" for k in "ab" for i in range(6)])
    monkeypatch.setattr(near, "MOST", 11)
    data = open_dataset(str(tmp_path), alike=True)
    (said,) = check.dangers(data)
    assert "whether some of the 12 clips hold the same sound as others is not known" in said and not data.alike


# -- other findings of data check --------------------------------------------------------------------------------------


def test_balance_and_lengths(tmp_path, command):
    for i in range(60):
        saved(tmp_path / ("many" if i < 55 else "few") / f"{i}.wav", 0.1 * RNG(i).standard_normal(4000), 8000)
    saved(tmp_path / "many" / "long.wav", 0.1 * RNG(99).standard_normal(40000), 8000)
    saved(tmp_path / "many" / "short.wav", 0.1 * RNG(98).standard_normal(400), 8000)
    out = command("data", "check", tmp_path)[1]
    assert "largest and smallest class: many has 37 training clips, few 3, a ratio of 12.3" in out
    assert "beware: class 'many' has 37 training clips and 'few' has 3, 12 times fewer" in out
    assert "clips much longer or shorter than the others: 2" in out
    assert f"  {tmp_path}/many/long.wav: 5.00 s (the median is 0.50 s)" in out
    found = json.loads(command("data", "check", tmp_path, "--json")[1])
    assert found["unusual_lengths"] == {str(tmp_path / "many/long.wav"): 5.0, str(tmp_path / "many/short.wav"): 0.05}
    assert found["smallest_and_largest_class"][0] == {"label": "few", "training_clips": 3}


def test_real_recordings(shared_data):
    """ESC-10 has recordings that came in twice, one pair in folds 3 and 5; the takes of a digit are no copies."""
    data = open_dataset(f"esc10:{shared_data / 'esc10'}")
    names = ("2-28314-A", "2-30322-A", "2-28314-B", "2-30322-B", "3-151080-A", "5-151085-A")
    clips = data.clips[[i for i, path in enumerate(data.clips.paths()) if i % 8 == 0 or any(n in path for n in names)]]
    found = {tuple(sorted(clips[i].path.rpartition("/")[2][:-4] for i in (p.a, p.b))) for p in near.pairs(clips)}
    assert found == {names[:2], names[2:4], names[4:]}
    digits = open_dataset(f"fsdd:{shared_data / 'fsdd'}").clips
    takes = digits[[i for i, path in enumerate(digits.paths()) if "4_george" in path or "4_nicolas" in path]]
    assert len(takes) == 100 and near.pairs(takes) == []
