"""The page of a scan without a browser: its pictures and sounds, that it is whole or not there, size and memory."""

import csv
import io
import json
import os
import re
from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
import soundfile

import minast
from minast import checkpoint
from minast.checkpoint import Info
from minast.config import FeatureConfig
from minast.review import Page, folder, recording, tiles
from minast.review.page import html
from minast.review.spool import STEP, Spool
from tests.pages.made import HOSTILE, Reader

RATE = 16000


@contextmanager
def quiet(items):
    yield items


def data_of(page):
    return json.loads(re.search(r'<script type="application/json" id="scan">(.*?)</script>', page, re.DOTALL)[1])


def noise(seconds, seed=0):
    return (0.1 * np.random.default_rng(seed).standard_normal(int(seconds * RATE))).astype("f4")


@pytest.mark.parametrize("frames", [1, 15, 16, 17, 70, 100, 257])
def test_a_pyramid_is_the_mean_of_all_it_covers(frames, monkeypatch):
    monkeypatch.setattr(tiles, "TILE", 16)
    levels = np.random.default_rng(0).integers(0, 256, (frames, 3)).astype(np.uint8)
    count = tiles.count_levels(frames)
    found = {}
    for tile in tiles.tiles((levels[i : i + 16] for i in range(0, frames, 16)), count):
        assert len(tile.levels) <= 16 and tile.place == len(found.setdefault(tile.level, []))
        found[tile.level].append(tile.levels)
    assert np.array_equal(np.concatenate(found[0]), levels) and len(found) == count
    assert len(found[count - 1]) == 1  # the last level is one picture
    for level in range(1, count):
        whole = np.concatenate(found[level]).astype(float)
        size = 4**level
        wanted = np.stack([levels[i : i + size].mean(axis=0) for i in range(0, frames, size)])
        assert whole.shape == wanted.shape
        assert np.abs(whole[:-1] - wanted[:-1]).max(initial=0) <= level + 0.5  # rounded down at each level


def test_a_spool_is_the_log_mel_to_half_a_step(monkeypatch):
    monkeypatch.setattr("minast.review.spool.IN_MEMORY", 1000)  # it goes on in a file
    mel = minast.log_mel(noise(3))
    with Spool(128) as spool:
        for i in range(0, len(mel), 70):
            spool.add(mel[i : i + 70])
        assert spool.frames == len(mel) and np.abs(spool.mel(20, 90) - mel[20:90]).max() <= STEP / 2 + 1e-6
        shown = np.concatenate(list(spool.levels(64)))
    assert shown.shape == mel.shape and shown.min() == 0 and shown.max() == 255
    assert np.corrcoef(shown.ravel(), mel.ravel())[0, 1] > 0.99


def test_a_picture_has_the_colours_of_all_spectrograms():
    from PIL import Image

    levels = np.repeat(np.linspace(0, 255, 128).astype(np.uint8)[None], 32, axis=0)  # brighter with the frequency
    picture = np.asarray(Image.open(io.BytesIO(tiles.encoded(levels))).convert("RGB")).astype(float)
    assert picture.shape == (128, 32, 3)
    wanted = minast.plots.colours("viridis", 256)[levels.T[::-1]]
    assert np.abs(picture - wanted).mean() < 8  # WebP's loss; upside down it would be far more


def test_the_parts_of_a_sound_are_all_of_it(tmp_path, monkeypatch):
    monkeypatch.setattr(recording, "SOUND", 2)
    x = noise(7.3)
    soundfile.write(tmp_path / "a.flac", x, RATE)
    (tmp_path / "out").mkdir()
    found = recording.write(
        str(tmp_path / "out"), str(tmp_path / "a.flac"), FeatureConfig(frames=98, mean=-7, std=4), []
    )
    names = sorted(name for name in os.listdir(tmp_path / "out") if name.endswith(found["sound"]))
    lengths = [soundfile.info(tmp_path / "out" / name).duration for name in names]
    assert names == [f"{i:04}.{found['sound']}" for i in range(4)] and found["seconds"] == 7.3
    assert lengths[:3] == pytest.approx([2, 2, 2], abs=0.1) and lengths[3] == pytest.approx(1.3, abs=0.1)
    assert found["levels"] == 1 and (tmp_path / "out" / f"0-0000.{tiles.ending()}").exists()


def results_of(tmp_path, count=2, seconds=3.0):
    found = []
    for i in range(count):
        path = str(tmp_path / f"{i}.wav")
        soundfile.write(path, noise(seconds, i), RATE)
        found.append((path, {"seconds": seconds, "rate": RATE, "notes": [], "events": [[0.5, 1.5, i % 2, 0.9]]}))
    return found


@pytest.fixture
def model(tmp_path):
    """A checkpoint of a tiny model with random weights.   -> path, Info"""
    config = minast.ModelConfig(dim=16, depth=1, heads=2, frames=48, fstride=16, tstride=16, classes=2, mel_bins=128)
    info = Info(["low", "high"], FeatureConfig(frames=48, mean=-7, std=4), "ce")
    checkpoint.save(tmp_path / "m.npz", minast.AST(config, "numpy", seed=0), info.labels, info.features, info.loss)
    return str(tmp_path / "m.npz"), info


def write(at, results, model, most=5):
    return Page(str(at)).write(results, model[0], "digest", model[1], most, quiet)


def test_a_page_is_whole_or_not_there(tmp_path, model, monkeypatch):
    results, real, calls = results_of(tmp_path, 3), recording.write, []

    def interrupted(*arguments, **options):
        calls.append(arguments[1])
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(folder.recording, "write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "page", results, model)
    assert not (tmp_path / "page").exists() and (tmp_path / "page.part").exists()
    assert write(tmp_path / "page", results, model) == []
    assert [os.path.basename(path) for path in calls] == ["0.wav", "1.wav", "1.wav", "2.wav"]  # the first was there
    assert sorted(os.listdir(tmp_path / "page")) == ["index.html", "sounds"] and not (tmp_path / "page.part").exists()
    first = data_of((tmp_path / "page" / "index.html").read_text())
    assert write(tmp_path / "page", results[:2], model) == []  # in place of the one before
    again = data_of((tmp_path / "page" / "index.html").read_text())
    assert sorted(os.listdir(tmp_path / "page" / "sounds")) == ["000000", "000001"] and again["key"] != first["key"]
    assert [each for each in os.listdir(tmp_path) if each.startswith("page")] == ["page"]
    (event,) = [e for e in again["events"] if e[0] == 0]
    assert event[:6] == [0, 0.5, 1.5, 0, 0.9, 0] and event[6:] == [0.5, 1.5]
    assert (tmp_path / "page" / "sounds" / "000000" / "r0.png").read_bytes().startswith(b"\x89PNG")


def test_an_interrupted_page_is_gone_on_with(trained, tones, tmp_path, command, monkeypatch):
    real, calls = recording.write, []

    def interrupted(*arguments, **options):
        calls.append(os.path.basename(arguments[1]))
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*arguments, **options)

    monkeypatch.setattr(folder.recording, "write", interrupted)
    flags = ("--out", tmp_path / "e.csv", "--page", tmp_path / "page", "--relevance", 1)
    arguments = ("scan", trained / "best.npz", *(tones / "low" / f"{i}.wav" for i in range(4)), *flags)
    status, _, err = command(*arguments)
    assert status == 130 and "the page is not complete: the same command with --resume goes on with it" in err
    assert not (tmp_path / "page").exists() and (tmp_path / "e.csv.part").exists()
    status, out, err = command(*arguments, "--resume")
    assert status == 0 and "page/index.html: open it in a browser" in out
    assert calls == ["0.wav", "1.wav", "2.wav", "2.wav", "3.wav"] and not (tmp_path / "e.csv.part").exists()
    assert len(data_of((tmp_path / "page" / "index.html").read_text())["files"]) == 4
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("x")
    status, _, err = command(*arguments[:-4], "--page", tmp_path / "notes")
    assert status == 2 and "no page of a scan" in err and not (tmp_path / "e.csv.part").exists()


def test_what_is_no_page_is_left_alone(tmp_path, model):
    (tmp_path / "own").mkdir()
    (tmp_path / "own" / "thesis.txt").write_text("x")
    with pytest.raises(minast.Error, match="own: there is something here that is no page of a scan: name a new folder"):
        Page(str(tmp_path / "own"))
    with pytest.raises(minast.Error, match="no page of a scan"):
        Page(model[0])
    Page(str(tmp_path / "deep" / "page"))


@pytest.mark.parametrize("killed", ["half-written", "between the renamings", "before the last step"])
def test_a_page_goes_on_wherever_it_was_killed(tmp_path, model, monkeypatch, killed):
    results, real = results_of(tmp_path, 1), os.rename
    assert write(tmp_path / "page", results, model) == []
    monkeypatch.setattr(folder.recording, "write", partial(interrupt, folder.recording.write, killed == "half-written"))
    renamed = []

    def rename(a, b):
        renamed.append((a, b))
        if killed == "between the renamings" and b == str(tmp_path / "page"):
            raise KeyboardInterrupt
        real(a, b)

    monkeypatch.setattr(os, "rename", rename)
    unlink = os.unlink
    if killed == "before the last step":
        monkeypatch.setattr(os, "unlink", lambda path: interrupt(unlink, str(path).endswith("page/key.txt"), path))
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "page", results, model)
    monkeypatch.undo()
    if killed == "half-written":
        (tmp_path / "page.part" / ".minast-0123456789ab.part").write_text("half")
    assert write(tmp_path / "page", results, model) == []
    assert sorted(os.listdir(tmp_path / "page")) == ["index.html", "sounds"]


def interrupt(function, now, *arguments, **options):
    if now:
        raise KeyboardInterrupt
    return function(*arguments, **options)


@pytest.mark.parametrize("name", ["page.old", "page.part", "page.mine"])
def test_folders_of_similar_names_are_left_alone(tmp_path, model, name):
    """A page that was kept under another name, before and after the next one is written."""
    results = results_of(tmp_path, 1)
    assert write(tmp_path / "page", results, model) == []
    (tmp_path / "page").rename(tmp_path / name)
    kept = (tmp_path / name / "index.html").read_bytes()
    if name == "page.part":
        with pytest.raises(minast.Error, match=r"page\.part, and there is something else: rename that"):
            Page(str(tmp_path / "page"))
    else:
        for _ in range(2):
            assert write(tmp_path / "page", results, model) == []
        assert sorted(path for path in os.listdir(tmp_path) if path.startswith("page")) == ["page", name]
    assert (tmp_path / name / "index.html").read_bytes() == kept


def test_a_recording_that_is_gone_costs_no_other(tmp_path, model):
    results = results_of(tmp_path, 2)
    os.unlink(results[0][0])
    (sentence,) = write(tmp_path / "page", results, model)
    assert "0.wav: there is no such file" in sentence
    data = data_of((tmp_path / "page" / "index.html").read_text())
    assert [file[4] for file in data["files"]] == [0, 1] and len(data["events"]) == 2
    assert sorted(os.listdir(tmp_path / "page" / "sounds")) == ["000001"]


def test_names_and_labels_are_no_markup():
    names = ["/a/<img src=x onerror=alert(1)>.wav", f"/a/{HOSTILE}.wav", "/a/-->.wav"]
    info = Info([HOSTILE.partition("\x1b")[0], "<!--<script>"], FeatureConfig(frames=98, mean=0, std=1), "ce")
    about = {"seconds": 3.0, "number": 0, "levels": 1, "sound": "mp3", "relevance": {}}
    page = html("k", [(name, [[0, 1, 0, 0.5], [1, 2, 1, 0.5]], about) for name in names], info)
    reader = Reader(page)
    assert [dict(attrs).get("id") for attrs in reader.all("script")] == ["scan", None]
    assert not [attrs for attrs in reader.all("img") if "onerror" in attrs] and "alert(1)>" not in page
    data = data_of(page)
    assert [file[0] for file in data["files"]] == names and data["plain"] == info.labels
    policy = next(attrs["content"] for attrs in reader.all("meta") if "http-equiv" in attrs)
    assert "default-src 'none'" in policy and "unsafe" not in policy.partition("script-src")[2]


def test_a_thousand_recordings_and_ten_thousand_events_are_a_small_page():
    info = Info([f"label {k}" for k in range(50)], FeatureConfig(frames=998, mean=0, std=1), "bce")
    about = {"seconds": 600.0, "number": 7, "levels": 4, "sound": "mp3", "relevance": {"0": [1.0, 2.0]}}
    events = [[i * 60.125, i * 60.125 + 3.25, i, 0.8765] for i in range(10)]
    page = html("k", [(f"/archive/site{i % 20}/2024-05-{i:04}.wav", events, about) for i in range(1000)], info)
    assert len(page) < 600_000  # 50 bytes an event; pictures and sounds are files that are loaded when they are seen
    assert len(Reader(page).found) < 200  # rows are made when they are seen


def test_memory_does_not_grow_with_the_length(tmp_path, monkeypatch):
    import tracemalloc

    monkeypatch.setattr("minast.review.spool.IN_MEMORY", 2**16)
    monkeypatch.setattr("minast.audio.recording.KEEP", 0)
    monkeypatch.setattr(recording, "SOUND", 20)

    peaks = []
    for minutes in (2, 4):
        path = tmp_path / f"{minutes}.wav"
        with soundfile.SoundFile(path, "w", 8000, 1) as f:
            for i in range(minutes):
                f.write(noise(30, i))  # 30 s at 16 kHz are a minute at 8
        (tmp_path / str(minutes)).mkdir()
        features = FeatureConfig(frames=98, rate=8000, mel_bins=32, mean=-7, std=4)
        tracemalloc.start()
        recording.write(str(tmp_path / str(minutes)), str(path), features, [])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]


def test_from_a_scan_to_a_model_of_ones_own(trained, tones, tmp_path, command):
    """scan, page, verdicts as the page's table has them, train; the page's own table is tested in the browser."""
    for i, name in enumerate(("a.wav", "b.wav", "c.wav")):
        parts = [soundfile.read(tones / k / f"{3 * i + n}.wav")[0] for n in range(3) for k in ("low", "high")]
        soundfile.write(tmp_path / name, np.concatenate(parts), RATE)
    flags = ("--out", tmp_path / "e.csv", "--page", tmp_path / "page", "--relevance", 1)
    status, out, err = command("scan", trained / "best.npz", *sorted(tmp_path.glob("?.wav")), *flags)
    assert (status, err) == (0, "") and "page/index.html: open it in a browser" in out
    data = data_of((tmp_path / "page" / "index.html").read_text())
    assert sum(len(event) == 8 for event in data["events"]) == len({event[3] for event in data["events"]})
    with open(tmp_path / "labels.csv", "w", newline="") as f:
        rows = csv.writer(f)
        rows.writerow(["file", "start", "end", "label", "verdict", "heard", "score"])
        for i, (file, start, end, label, score, *_) in enumerate(data["events"]):
            heard = data["plain"][label]
            rows.writerow([data["files"][file][0], start, end, heard, "wrong" if i == 3 else "right", heard, score])
    flags = ("--epochs", 1, "--preset", "nano", "--depth", 1, "--frames", 48, "--out", tmp_path / "run", "--no-cache")
    status, out, err = command("train", tmp_path / "labels.csv", *flags)
    assert status == 0, err
    count = len(data["events"]) - 1
    assert f"{count} clips are parts of their files, from start to end" in out + err
    assert "1 row with the verdict 'wrong' is left out" in out + err and (tmp_path / "run" / "best.npz").exists()
