"""Folders, manifests, the named data sets, splits, the feature cache."""

import csv
import shutil

import numpy as np
import pytest
import soundfile

import minast
from minast.datasets import open_dataset
from minast.training.feature_cache import FeatureCache


def write(path, seconds=0.1):
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, np.random.default_rng(0).uniform(-0.1, 0.1, int(16000 * seconds)), 16000)


def refused(data, match, **options):
    with pytest.raises(minast.Error, match=match) as error:
        open_dataset(str(data), **options)
    assert "\n" not in str(error.value)


def test_folder(tones):
    data = open_dataset(str(tones))
    assert data.labels == ["high", "low", "middle"] and not data.multilabel
    assert [len(data.of(s)) for s in ("train", "valid", "test")] == [18, 6, 6]
    for k in range(3):
        assert sum(clip.labels == (k,) for clip in data.of("test")) == 2  # a fifth of each class
    assert all(f"/{data.labels[clip.labels[0]]}/" in clip.path for clip in data.clips)


def test_split_is_decided_by_the_seed(tones):
    names = [[c.name for c in open_dataset(str(tones), seed=s).of("test")] for s in (0, 0, 1)]
    assert names[0] == names[1] != names[2]


def test_folder_with_given_splits(tmp_path):
    for split, count in (("train", 3), ("val", 2), ("test", 1)):
        for name in ("cat", "dog"):
            for i in range(count):
                write(tmp_path / split / name / f"{i}.wav")
    data = open_dataset(str(tmp_path))
    assert data.labels == ["cat", "dog"] and data.validation_split == "valid"
    assert [len(data.of(s)) for s in ("train", "valid", "test")] == [6, 4, 2]


def test_folders_without_use(tmp_path):
    refused(tmp_path / "none", "no such folder or file")
    refused(tmp_path, "no sub-folders")
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "notes.txt").write_text("x")
    refused(tmp_path, r"sub-folders \(1\) but no audio")
    write(tmp_path / "a" / "1.wav")
    refused(tmp_path, "only one class.*'a'")
    write(tmp_path / "b" / "1.wav")
    refused(tmp_path, "no clip is in the test split")


def manifest(path, rows, columns=("file", "labels", "split")):
    with open(path, "w", newline="") as f:
        table = csv.writer(f)
        table.writerow(columns)
        table.writerows(rows)
    return path


def test_manifest_with_several_labels(tmp_path):
    for i in range(4):
        write(tmp_path / "sounds" / f"{i}.wav")
    rows = [["sounds/0.wav", "cat; dog", "train"], ["sounds/1.wav", "dog", "train"]]
    rows += [["sounds/2.wav", "cat", "test"], ["sounds/3.wav", "bird", "test"]]
    data = open_dataset(str(manifest(tmp_path / "m.csv", rows)))
    assert data.multilabel and data.labels == ["bird", "cat", "dog"]
    assert data.targets(data.of("train")).tolist() == [[0, 1, 1], [0, 0, 1]]


def test_manifest_without_split(tones, tmp_path):
    rows = [[str(path), path.parent.name] for path in sorted(tones.rglob("*.wav"))]
    data = open_dataset(str(manifest(tmp_path / "m.csv", rows, ("file", "labels"))))
    assert not data.multilabel and len(data.of("test")) == 6


def test_bad_manifests(tmp_path):
    write(tmp_path / "a.wav")
    write(tmp_path / "b.flac")
    bad = tmp_path / "m.csv"
    for rows, columns, match in [
        ([["a.wav", "x"]], ("file", "animal"), "no column 'labels'.*'file', 'animal'"),
        ([["x"]], ("label",), "no column 'file'"),
        ([["a.wav", "x", "y"]], ("path", "class", "category"), "'class', 'category' could all hold the labels"),
        ([["a.wav", "a.wav", "y"]], ("path", "filename", "label"), "'filename', 'path' could all hold the file"),
        ([["a.wav", "x", "3b"]], ("path", "class", "fold"), "line 2: the fold is '3b'"),
        ([["b.wav", "x", ""]], None, "line 2.*no file .*b.wav"),
        ([["a.wav", "", ""]], None, "line 2: the labels are empty, a.wav needs one"),
        ([["", "x", ""]], None, "line 2.*'file' is empty"),
        ([["a.wav", "x", "train"], ["b.flac", "y", "exam"]], None, "line 3.*'exam'"),
        ([["a.wav", "x", "train"], ["b.flac", "y", ""]], None, "1 of 2 rows have no split"),
        ([["a.wav", "x", "train"]], None, "only one class"),
        ([["a.wav", "x", "train"], ["b.flac", "y", "train"]], None, "no clip is in the test split"),
        ([], None, "names no files"),
        ([["a.wav", "x", "train", "y"]], None, "line 2: there are more cells than columns"),
        ([["a.wav", "x", "train"], ["a.wav", "y", "test"]], None, "line 3: a.wav is already in line 2"),
    ]:
        refused(manifest(bad, rows, columns or ("file", "labels", "split")), match)
    bad.write_bytes(b"\xff\xfe\x00file,labels")
    refused(bad, "cannot be read as a CSV manifest")
    bad.write_text("")
    refused(bad, "no column 'file'")


def test_names(tmp_path):
    refused("fsdd:", "fsdd:PATH")
    refused(f"esc10:{tmp_path}/none", "no folder")
    refused(f"fsdd:{tmp_path}", "7_jackson_32.wav")
    refused(f"esc10:{tmp_path}", "esc50.csv")
    refused(f"esc10:{tmp_path}", "folds 1 to 5", fold=6)
    refused("builtin", "no folds", fold=1)


def test_fsdd(shared_data):
    data = open_dataset(f"fsdd:{shared_data}/fsdd")
    assert len(data.of("train")) == 2700 and len(data.of("test")) == 300 and len(data.labels) == 10


@pytest.mark.parametrize("fold", [1, 5])
def test_esc10(shared_data, fold):
    data = open_dataset(f"esc10:{shared_data}/esc10", fold=fold)
    assert len(data.of("train")) == 320 and len(data.of("test")) == 80
    assert "Dog bark" in data.labels and all(f"/{fold}-" in clip.path for clip in data.of("test"))


def test_esc50_layout(tmp_path):
    (tmp_path / "meta").mkdir()
    rows = [["1-1-A-0.wav", 1, 0, "dog", "True"], ["2-1-A-0.wav", 2, 0, "dog", "True"]]
    rows += [["1-2-A-1.wav", 1, 1, "sea_waves", "True"], ["3-2-A-1.wav", 3, 1, "sea_waves", "True"]]
    rows += [["1-3-A-2.wav", 1, 2, "cow", "False"], ["2-3-A-2.wav", 2, 2, "cow", "False"]]
    for name, *_ in rows:
        write(tmp_path / "audio" / name)
    manifest(tmp_path / "meta" / "esc50.csv", rows, ("filename", "fold", "target", "category", "esc10"))
    assert open_dataset(f"esc10:{tmp_path}").labels == ["dog", "sea waves"]
    assert len(open_dataset(f"esc50:{tmp_path}", fold=2).of("test")) == 2


FEATURES = minast.FeatureConfig(frames=48)


def test_the_cache_finds_features_again_by_content(tones, tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    copy = tmp_path / "copy"
    shutil.copytree(tones, copy)
    first = FeatureCache(open_dataset(str(copy)).clips, FEATURES, quiet=True)
    files = sorted((tmp_path / "cache").rglob("*.mel"))
    assert len(files) == 30 and first[0].shape == (48, 128)
    (copy / "low" / "0.wav").rename(copy / "low" / "zero.wav")
    times = [f.stat().st_mtime_ns for f in files]
    FeatureCache(open_dataset(str(copy)).clips, FEATURES, quiet=True)
    assert sorted((tmp_path / "cache").rglob("*.mel")) == files and [f.stat().st_mtime_ns for f in files] == times
    write(copy / "low" / "1.wav", 0.2)
    FeatureCache(open_dataset(str(copy)).clips, FEATURES, quiet=True)
    assert len(list((tmp_path / "cache").rglob("*.mel"))) == 31
    hann = minast.FeatureConfig(frames=48, window="hann")
    assert not np.array_equal(FeatureCache(open_dataset(str(copy)).clips, hann, quiet=True)[5], first[5])


def test_the_cache_survives_a_damaged_entry_and_an_unwritable_cache(tones, tmp_path, monkeypatch, capsys):
    clips = open_dataset(str(tones)).clips[:3]
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    first = FeatureCache(clips, FEATURES, quiet=True)
    for path in (tmp_path / "cache").rglob("*.mel"):
        path.write_bytes(path.read_bytes()[:50])
    assert np.array_equal(FeatureCache(clips, FEATURES, quiet=True)[2], first[2])
    (tmp_path / "file").touch()
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "file"))
    assert np.array_equal(FeatureCache(clips, FEATURES, quiet=True)[2], first[2])
    assert "not kept" in capsys.readouterr().err


def test_a_cache_on_disk_equals_one_in_memory(tones, monkeypatch):
    from minast.training import clip_cache

    clips = open_dataset(str(tones)).clips
    memory = FeatureCache(clips, FEATURES, quiet=True)
    monkeypatch.setattr(clip_cache, "IN_MEMORY", 10000)
    disk = FeatureCache(clips, FEATURES, quiet=True)
    assert disk._rows[-1] is None and memory._rows[-1] is not None
    assert all(np.array_equal(a, b) for a, b in zip(memory, disk, strict=True))


def test_statistics(tones):
    clips = FeatureCache(open_dataset(str(tones)).clips, FEATURES, quiet=True)
    everything = np.concatenate([clips[i] for i in range(len(clips))]).astype(np.float64)
    assert np.allclose(clips.mean_std(), (everything.mean(), everything.std()))


def test_a_bad_clip_is_named(tmp_path):
    write(tmp_path / "a" / "short.wav", 0.02)
    write(tmp_path / "b" / "fine.wav")
    rows = [["a/short.wav", "a", "train"], ["b/fine.wav", "b", "test"]]
    clips = open_dataset(str(manifest(tmp_path / "m.csv", rows)), training=False).clips
    with pytest.raises(minast.Error, match=r"short\.wav.*320 samples.*400"):
        FeatureCache(clips, FEATURES, quiet=True)
