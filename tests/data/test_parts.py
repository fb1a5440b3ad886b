"""Clips that are parts of their files: a manifest with start and end, read by seeking or from the beginning."""

import shutil

import numpy as np
import pytest
import soundfile

import minast
from minast import audio
from minast.audio import parts
from minast.datasets import content, open_dataset
from minast.training import run_folder
from minast.training.feature_cache import Waves

RATE = 22050


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """8 s of noise and tones in several formats, stereo, one of them at the scale of integers."""
    folder = tmp_path_factory.mktemp("recordings")
    t = np.arange(8 * RATE) / RATE
    left = 0.3 * np.sin(2 * np.pi * (300 + 40 * t) * t) * (1 + np.sin(9 * t)) / 2
    x = np.stack([left, 0.1 * np.random.default_rng(0).uniform(-1, 1, len(t))], axis=1).astype("f4")
    for name in ("a.wav", "b.flac", "c.ogg", "d.mp3"):
        soundfile.write(folder / name, x, RATE)
    soundfile.write(folder / "loud.wav", x * 2**15, RATE, subtype="FLOAT")
    return folder


@pytest.mark.parametrize("name", ["a.wav", "b.flac", "c.ogg", "d.mp3", "loud.wav"])
@pytest.mark.parametrize("rate", [RATE, 16000, None])
def test_a_part_is_the_whole_cut_at_its_times(recordings, name, rate):
    whole = audio.decode(recordings / name, rate)
    for start, end in ((0, 0.5), (2.125, 4.5), (7.25, 8)):
        part = audio.decode(recordings / name, rate, (start, end))
        wanted = whole.wave[round(start * whole.rate) : round(end * whole.rate)]
        assert part.rate == whole.rate and part.channels == 2 and part.notes == whole.notes
        assert abs(len(part.wave) - len(wanted)) <= 1
        n = min(len(part.wave), len(wanted))
        assert np.abs(part.wave[:n] - wanted[:n]).max() < 1e-4


def test_what_can_be_sought_is_sought(recordings, monkeypatch):
    monkeypatch.setattr(parts, "_from_the_beginning", None)
    for name in ("a.wav", "b.flac", "loud.wav"):
        audio.decode(recordings / name, 16000, (5, 6))
    with pytest.raises(TypeError):
        audio.decode(recordings / "d.mp3", 16000, (5, 6))


def test_a_part_beyond_the_end(recordings):
    with pytest.raises(minast.Error, match=r"a.wav: a clip is said to begin at 9 s, and the recording ends at 8.000 s"):
        audio.decode(recordings / "a.wav", 16000, (9, 10))
    found = audio.decode(recordings / "a.wav", 16000, (7, 9))
    assert len(found.wave) == 16000 and found.cut and "said to end at 9 s" in found.notes[0]
    with pytest.raises(minast.Error, match="no such file"):
        audio.decode(recordings / "none.wav", 16000, (7, 9))


def write(folder, text):
    path = folder / "labels.csv"
    path.write_text(text)
    return str(path)


def test_a_manifest_of_parts(recordings):
    rows = "a.wav,0,1,dog,right\na.wav,1,2.5,cat,relabelled\na.wav,3,4,cat,wrong\nb.flac,,,dog,\nd.mp3,2,3,cat,right\n"
    path = write(recordings, "file,start,end,label,verdict\n" + rows)
    data = open_dataset(path)
    assert data.labels == ["cat", "dog"] and [clip.part for clip in data.clips] == [(0, 1), (1, 2.5), None, (2, 3)]
    assert [clip.labels for clip in data.clips] == [(1,), (0,), (1,), (0,)]
    names = [clip.name.removeprefix(str(recordings) + "/") for clip in data.clips]
    assert names == ["a.wav, 0 to 1 s", "a.wav, 1 to 2.5 s", "b.flac", "d.mp3, 2 to 3 s"]
    assert data.clips.groups.tolist() == [0, 0, 1, 2]  # clips of one file are never on both sides of a split
    assert [len(clip.wave(16000)) for clip in data.clips] == [16000, 24000, 128000, 16000]
    assert any("1 row with the verdict 'wrong' is left out" in note for note in data.notes)
    assert any("3 clips are parts of their files, from start to end" in note for note in data.notes)
    some = data.clips[np.array([3, 1])]
    assert [clip.part for clip in some] == [(2, 3), (1, 2.5)] and some.parts.tolist() == [[2, 3], [1, 2.5]]


def test_parts_are_told_apart_everywhere(recordings):
    files = ("a.wav", "b.flac")
    rows = "".join(f"{name},{i},{i + 1},{'dog' if i % 2 else 'cat'}\n" for name in files for i in range(4))
    data = open_dataset(write(recordings, "file,start,end,label\n" + rows))
    found = content.of_clips(data.clips)
    assert len(set(found)) == 8 and content.copies(found) == []
    waves = Waves(data.clips, minast.FeatureConfig(frames=98, mean=0, std=1), quiet=True)
    again = Waves(data.clips, minast.FeatureConfig(frames=98, mean=0, std=1), quiet=True)
    for i, clip in enumerate(data.clips):
        assert np.abs(waves[i] - clip.wave(16000)).max() == 0 == np.abs(again[i] - waves[i]).max()


def test_who_knows_a_file_knows_its_parts_and_who_knows_a_part_knows_the_file(recordings):
    rows = [f"{name},{i},{i + 1},{'dog' if i % 2 else 'cat'}\n" for name in ("a.wav", "b.flac") for i in range(4)]
    parts = open_dataset(write(recordings, "file,start,end,label\n" + "".join(rows))).clips
    whole = open_dataset(write(recordings, "file,label\na.wav,cat\nb.flac,dog\nd.mp3,dog\n")).clips
    mixed = open_dataset(write(recordings, "file,start,end,label\na.wav,0,1,cat\nb.flac,,,dog\nd.mp3,,,dog\n")).clips

    def known_to_who_learnt(learnt, clips):
        return content.known_to(clips, content.shortened(content.with_files(learnt))).tolist()

    assert known_to_who_learnt(whole[:1], parts) == [True] * 4 + [False] * 4
    assert known_to_who_learnt(parts[:1], whole) == [True, False, False]
    assert known_to_who_learnt(parts[:2], parts) == [True] * 2 + [False] * 6  # not the other parts of the same file
    assert known_to_who_learnt(parts[4:5], mixed) == [False, True, False]
    assert known_to_who_learnt(whole[1:2], mixed) == [False, True, False]
    assert known_to_who_learnt(mixed, whole) == [True, True, True]
    known = content.shortened(content.with_files(parts[4:5]))
    assert content.known_files(content.digests(list(whole.paths())), known).tolist() == [False, True, False]


def test_a_whole_file_is_never_apart_from_its_parts(recordings, tmp_path):
    for i in range(12):
        shutil.copy(recordings / "a.wav", recordings / f"x{i}.wav")
        with open(recordings / f"x{i}.wav", "ab") as f:
            f.write(bytes([i]))
    rows = [f"x{i}.wav,,,dog\nx{i}.wav,0,1,cat\n" for i in range(12)]
    path = write(recordings, "file,start,end,label\n" + "".join(rows))
    for seed in range(4):
        clips = open_dataset(path, seed).clips
        assert len({*clips.splits.tolist()}) == 3
        for i in range(12):
            assert len({clip.split for clip in clips if f"x{i}.wav" in clip.name}) == 1


def test_parts_of_copies_are_never_apart(recordings):
    """Other stretches of one recording, under two names; groups within a recording stay as they are given."""
    (recordings / "copies").mkdir(exist_ok=True)
    rows = []
    for i in range(12):
        for name in (f"y{i}.wav", f"copies/y{i}.wav"):
            shutil.copy(recordings / "a.wav", recordings / name)
            with open(recordings / name, "ab") as f:
                f.write(bytes([100 + i]))
        rows.append(f"y{i}.wav,0,1,dog\ncopies/y{i}.wav,4,5,cat\n")
    path = write(recordings, "file,start,end,label\n" + "".join(rows))
    for seed in range(4):
        clips = open_dataset(path, seed).clips
        assert len({*clips.splits.tolist()}) == 3
        for i in range(12):
            assert len({clip.split for clip in clips if f"y{i}.wav" in clip.name}) == 1
    rows = [f"y0.wav,{i / 10:g},{(i + 1) / 10:g},{'dog' if i % 2 else 'cat'},speaker{i // 4}\n" for i in range(40)]
    clips = open_dataset(write(recordings, "file,start,end,label,group\n" + "".join(rows))).clips
    assert len({*clips.splits.tolist()}) == 3


def test_other_times_are_other_data(recordings, monkeypatch):
    """Also by a hundredth of a second after an hour, and where no file is read for it."""
    texts = ("3000.01,3001", "3000.02,3001")
    paths = [write(recordings, f"file,start,end,label\na.wav,{text},cat\nb.flac,0,1,dog\n") for text in texts[:1]]
    first = open_dataset(paths[0], training=False)
    second = open_dataset(
        write(recordings, f"file,start,end,label\na.wav,{texts[1]},cat\nb.flac,0,1,dog\n"), training=False
    )
    for large in (run_folder.LARGE, 1):
        monkeypatch.setattr(run_folder, "LARGE", large)
        assert run_folder.fingerprint(first) == run_folder.fingerprint(first) != run_folder.fingerprint(second)


def test_rows_of_a_page_can_be_added_to_a_table_of_events(recordings):
    """As search, probe and a page write them, with a verdict in the fifth cell."""
    rows = "a.wav,0,1,dog\na.wav,1,2,cat,right,dog,0.9\na.wav,2,3,cat,wrong,cat,0.8\n"
    rows += "b.flac,0,1,dog,0.93\n"  # scan's
    assert len(open_dataset(write(recordings, "file,start,end,label\n" + rows), training=False).clips) == 3
    with pytest.raises(minast.Error, match="line 2: the verdict is 'cat'"):
        open_dataset(write(recordings, "file,start,end,label\na.wav,0,1,dog,cat\n"))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ("a.wav,2,1,dog\n", "line 2: start is '2' and end is '1': they must be seconds"),
        ("a.wav,0,,dog\n", "start is '0' and end is ''"),
        ("a.wav,-1,1,dog\n", "start is '-1'"),
        ("a.wav,nan,1,dog\n", "start is 'nan'"),
        ("a.wav,0,1,dog\na.wav,0,1.0,cat\n", "line 3: this part of a.wav is already in line 2"),
    ],
)
def test_parts_that_make_no_sense(recordings, rows, words):
    with pytest.raises(minast.Error, match=words):
        open_dataset(write(recordings, "file,start,end,label\n" + rows))


def test_verdicts(recordings):
    with pytest.raises(minast.Error, match="line 2: the verdict is 'perhaps': it must be right, relabelled or wrong"):
        open_dataset(write(recordings, "file,label,verdict\na.wav,dog,perhaps\n"))
    with pytest.raises(minast.Error, match="the verdict on all 2 rows is wrong"):
        open_dataset(write(recordings, "file,label,verdict\na.wav,dog,wrong\nb.flac,dog,Wrong\n"))


def test_times_in_another_recording_are_not_used(recordings):
    """UrbanSound8K's: its files are cut already, and start and end are those in what they were cut from."""
    rows = "a.wav,100,104,dog,train\nb.flac,0,1,cat,train\nc.ogg,0,1,cat,test\n"
    path = write(recordings, "slice_file_name,start,end,class,split\n" + rows)
    data = open_dataset(path)
    assert data.clips.parts is None and any("'start', 'end' are not used" in note for note in data.notes)
