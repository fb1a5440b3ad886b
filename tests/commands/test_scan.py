"""scan as a user meets it: tables that other programs read, excerpts, archives with bad files."""

import contextlib
import csv
import io
import json
import multiprocessing
import os
import shutil
import signal
import threading
import time
import zlib
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from minast import checkpoint, scoring
from minast.features import log_mel, model_inputs
from minast.storage.tables import original
from minast.streaming import archive
from minast.streaming.pools import Died
from minast.streaming.progress import Progress
from minast.streaming.work import Unit, units

RATE = 16000
ORDER = ("low", "high", "middle", "low", "middle", "high", "low")


@pytest.fixture(scope="module")
def street(tones, tmp_path_factory):
    """A recording of low, middle and high noises of known lengths, one right after another.   -> path, its events"""
    rng, parts, truth, now = np.random.default_rng(3), [], [], 0.0
    for name in ORDER:
        seconds = 0.5 * int(rng.integers(3, 7))
        for _ in range(int(2 * seconds)):
            parts.append(soundfile.read(tones / name / f"{rng.integers(10)}.wav")[0])
        truth.append((now, now + seconds, name))
        now += seconds
    path = tmp_path_factory.mktemp("street") / "street.wav"
    soundfile.write(path, np.concatenate(parts), RATE)
    return path, truth


@pytest.fixture
def archived(tones, street, tmp_path):
    """A folder with sub-folders and a file that is no sound."""
    folder = tmp_path / "archive"
    shutil.copytree(tones, folder)
    shutil.copy(street[0], folder / "middle" / "street.wav")
    (folder / "high" / "=bad.wav").write_text("no sound")
    return folder


def rows_of(path):
    with open(path, newline="", encoding="utf-8") as f:
        return [
            (r["file"], float(r["start"]), float(r["end"]), r["label"], float(r["score"])) for r in csv.DictReader(f)
        ]


def lines_of(path):
    return [json.loads(line) for line in path.read_text("ascii").splitlines()]


def test_onsets_are_at_most_a_hop_off(trained, street, tmp_path, command):
    path, truth = street
    for hop in (0.48, 0.24, 0.16):
        status, out, err = command("scan", trained / "best.npz", path, "--out", tmp_path / "e.csv", "--hop", hop)
        assert (status, err) == (0, "") and f"one every {hop:g} s" in out
        rows = rows_of(tmp_path / "e.csv")
        assert [row[3] for row in rows] == list(ORDER)  # every one is found, and nothing else: precision, recall 1
        assert max(abs(row[1] - a) for row, (a, _, _) in zip(rows, truth, strict=True)) <= hop + 1e-6
        assert rows[0][1] == 0 and rows[-1][2] == pytest.approx(truth[-1][1], abs=1e-3)


def test_scores_are_those_of_the_whole_file_at_once(trained, street, tmp_path, command):
    """End to end, from 0 on: each segment's best label is an event's or part of one."""
    path, _ = street
    command("scan", trained / "best.npz", path, "--out", tmp_path / "e.jsonl", "--min-score", 0, "--batch", 7)
    (everything,) = {(line["start"], line["end"]) for line in lines_of(tmp_path / "e.jsonl")}
    model, info = checkpoint.load(trained / "best.npz")
    x = model_inputs(log_mel(soundfile.read(path, dtype="float32")[0]), info.features)
    scores = scoring.segment_scores(model, info.loss)(x)
    found = {line["label"]: line["score"] for line in lines_of(tmp_path / "e.jsonl")}
    assert everything == (0, soundfile.info(path).duration)
    assert found == pytest.approx(dict(zip(info.labels, scores.max(axis=0), strict=True)), abs=2e-4)


def test_the_end_is_heard(trained, tones, tmp_path, command):
    low, high = (soundfile.read(tones / name / "0.wav")[0] for name in ("low", "high"))
    soundfile.write(tmp_path / "a.wav", np.concatenate([low, low, high[:5000]]), RATE)  # less than a segment is left
    command("scan", trained / "best.npz", tmp_path / "a.wav", "--out", tmp_path / "e.csv")
    *_, last = rows_of(tmp_path / "e.csv")
    assert last[2] == pytest.approx(21000 / RATE, abs=1e-3) and last[3] == "high"


@pytest.mark.parametrize("workers", [1, 2])
def test_an_archive(trained, archived, tmp_path, command, workers):
    flags = ("--out", tmp_path / "e.csv", "--hop", 0.24, "--workers", workers, "--threads", workers)
    status, out, err = command("scan", trained / "best.npz", archived, archived / "gone.wav", *flags)
    assert status == 0 and "33 recordings, " in out and " of audio, " in out and "x real time" in out
    assert err == f"note: 2 recordings could not be read: {tmp_path}/e.skipped.csv says why.\n"
    with open(tmp_path / "e.skipped.csv", newline="") as f:
        skipped = {os.path.basename(original(row["file"])): row["reason"] for row in csv.DictReader(f)}
    assert skipped["=bad.wav"].startswith("this cannot be decoded") and skipped["gone.wav"] == "there is no such file."
    rows = rows_of(tmp_path / "e.csv")
    assert [row[0] for row in rows] == sorted(row[0] for row in rows) and len(rows) == 30 + len(ORDER)
    assert all(row[3] in row[0] or row[0].endswith("street.wav") for row in rows)
    assert not os.path.exists(tmp_path / "e.csv.part")
    command("scan", trained / "best.npz", archived / "low", *flags)
    assert not os.path.exists(tmp_path / "e.skipped.csv")  # that of the scan before


# -- tables, read by others ------------------------------------------------------------------------------------------


def test_formats(trained, archived, tmp_path, command):
    folder = archived / "middle"
    wanted = None
    for name in ("e.csv", "e.jsonl", "e.selections.txt", "tracks"):
        flags = ["--format", "audacity"] if name == "tracks" else []
        status, _, err = command("scan", trained / "best.npz", folder, "--out", tmp_path / name, "--hop", 0.24, *flags)
        assert (status, err) == (0, "")
        if name == "e.csv":
            wanted = rows_of(tmp_path / name)
        elif name == "e.jsonl":
            assert wanted == [tuple(line.values()) for line in lines_of(tmp_path / name)]
            assert list(lines_of(tmp_path / name)[0]) == ["file", "start", "end", "label", "score"]
        elif name == "tracks":
            assert sorted(read_audacity(tmp_path / name)) == sorted((os.path.basename(f), *rest) for f, *rest in wanted)
        else:
            assert read_raven(tmp_path / name) == wanted
    assert len(wanted) == 10 + len(ORDER)


def read_audacity(folder):
    """Label tracks as Audacity's manual has them: start, end and text, with tabs between."""
    for path in folder.rglob("*.txt"):
        for line in path.read_text("utf-8").splitlines():
            start, end, text = line.split("\t")
            label, score = text.rsplit(" ", 1)
            yield path.name.removesuffix(".txt"), float(start), float(end), label, float(score)


def read_raven(path):
    """A selection table as Raven takes it, with its times put back onto each recording."""
    with open(path, newline="", encoding="utf-8") as f:
        table = list(csv.DictReader(f, delimiter="\t", quoting=csv.QUOTE_NONE))
    before, seconds = {}, 0.0
    for name in sorted(os.listdir(os.path.dirname(table[0]["Begin Path"]))):
        before[name] = seconds
        seconds += soundfile.info(os.path.join(os.path.dirname(table[0]["Begin Path"]), name)).duration
    rows = []
    for number, row in enumerate(table, 1):
        assert (int(row["Selection"]), row["View"], row["Channel"]) == (number, "Spectrogram 1", "1")
        assert (float(row["Low Freq (Hz)"]), float(row["High Freq (Hz)"])) == (0, RATE / 2)
        start, begin, end = (float(row[n]) for n in ("File Offset (s)", "Begin Time (s)", "End Time (s)"))
        assert begin - before[os.path.basename(row["Begin Path"])] == pytest.approx(start, abs=2e-3)
        rows.append((row["Begin Path"], start, round(start + end - begin, 3), row["Label"], float(row["Score"])))
    return rows


def test_a_single_label_track_is_a_file(trained, street, tmp_path, command):
    arguments = ("scan", trained / "best.npz", street[0], "--format", "audacity", "--out")
    assert command(*arguments, tmp_path / "street.txt")[0] == 0
    assert len((tmp_path / "street.txt").read_text().splitlines()) == len(ORDER)
    status, _, err = command(*arguments[:3], street[0].parent, *arguments[3:], tmp_path / "street.txt")
    assert status == 0  # the folder has this one recording
    shutil.copy(street[0], tmp_path / "b.wav")
    status, _, err = command(*arguments[:3], tmp_path / "b.wav", *arguments[3:], tmp_path / "street.txt")
    assert status == 2 and "Audacity has a label track for each recording, and there are 2" in err
    assert not (tmp_path / "street.txt.part").exists()


# -- which events ----------------------------------------------------------------------------------------------------


def test_labels_thresholds_and_lengths(trained, street, tmp_path, command):
    base = ("scan", trained / "best.npz", street[0], "--out", tmp_path / "e.csv", "--hop", 0.1)
    command(*base, "--labels", "low;high")
    assert {row[3] for row in rows_of(tmp_path / "e.csv")} == {"low", "high"}
    command(*base, "--labels", "low", "--merge", 100)
    ((_, start, end, _, _),) = rows_of(tmp_path / "e.csv")
    assert start == 0 and end == pytest.approx(soundfile.info(street[0]).duration, abs=1e-3)
    command(*base, "--min-score", 1)
    assert rows_of(tmp_path / "e.csv") == []
    command(*base, "--min-duration", 2.2)
    lengths = [b - a for _, a, b, _, _ in rows_of(tmp_path / "e.csv")]
    assert 0 < len(lengths) < len(ORDER) and min(lengths) >= 2.2
    for flags, words in (
        (("--labels", "lwo"), "has no label 'lwo': did you mean low?"),
        (("--hop", 0.6), "--hop is 0.6 s: it may be at most a segment, 0.48 s"),
        (("--min-score", 2), "--min-score is 2: it must be a number, 0 or more and at most 1"),
        (("--workers", 2, "--cluster", "tcp://x:1"), "give one of them"),
    ):
        status, _, err = command(*base, *flags)
        assert status == 2 and words in err and not (tmp_path / "e.csv.part").exists()
    status, _, err = command(*base[:4], "/dev/null", "--format", "csv")
    assert status == 2 and "it must be a file" in err
    status, _, err = command(*base[:4], tmp_path / "events")
    assert status == 2 and "its name does not tell the format" in err


def test_excerpts(trained, archived, street, tmp_path, command):
    x = soundfile.read(street[0])[0]
    soundfile.write(archived / "stereo.flac", np.repeat(np.stack([x, x], 1), 2, axis=0), 2 * RATE, subtype="PCM_24")
    flags = ("--out", tmp_path / "e.csv", "--hop", 0.24, "--segments", tmp_path / "found", "--top", 3)
    status, out, _ = command("scan", trained / "best.npz", archived, *flags)
    assert status == 0 and "9 excerpts" in out
    rows = rows_of(tmp_path / "e.csv")
    assert sorted(os.listdir(tmp_path / "found")) == ["high", "low", "middle"]
    for label in ("low", "middle", "high"):
        names = sorted(os.listdir(tmp_path / "found" / label))
        best = sorted((row for row in rows if row[3] == label), key=lambda row: -row[4])[:3]
        assert [name.split("_")[0] for name in names] == ["001", "002", "003"]
        for name, (file, start, end, _, score) in zip(names, best, strict=True):
            stem, suffix = os.path.splitext(os.path.basename(file))
            assert name == f"{name[:3]}_{score:.3f}_{stem}_{start:.3f}s{suffix}"
            cut, rate = soundfile.read(tmp_path / "found" / label / name)
            source, own = soundfile.read(file, always_2d=True)
            place = slice(round(start * own), round(end * own))
            assert rate == own and np.abs(cut - source.mean(axis=1)[place]).max() < 2**-14
    assert any(name.endswith(".flac") for _, _, names in os.walk(tmp_path / "found") for name in names)
    stereo = archived / "stereo.flac"
    command("scan", trained / "best.npz", stereo, *flags[:-1], 1)
    cut = next((tmp_path / "found").rglob("*stereo*.flac"))
    assert soundfile.info(cut).subtype == "PCM_24" and soundfile.info(cut).samplerate == 2 * RATE


# -- stopped scans ---------------------------------------------------------------------------------------------------


def stopped(command, monkeypatch, arguments, after):
    """Run a scan that is stopped by Ctrl-C after so many units.   -> what it said"""
    add = archive.Journal.add
    left = [after]

    def interrupted(self, *rest):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGINT)
        left[0] -= 1
        return add(self, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(archive.Journal, "add", interrupted)
        status, _, err = command(*arguments)
    assert status == 130
    return err


@pytest.fixture
def small_units(monkeypatch):
    monkeypatch.setattr("minast.streaming.work.MOST_FILES", 4)


def test_a_stopped_scan_goes_on(trained, archived, tmp_path, command, monkeypatch, small_units):
    arguments = ["scan", trained / "best.npz", archived, "--hop", 0.1, "--out", tmp_path / "e.csv"]
    command(*arguments)
    whole, skipped = (tmp_path / "e.csv").read_bytes(), (tmp_path / "e.skipped.csv").read_bytes()
    os.unlink(tmp_path / "e.csv")
    err = stopped(command, monkeypatch, arguments, 3)
    assert "note: 12 of 32 recordings are done: the same command with --resume goes on." in err
    assert not (tmp_path / "e.csv").exists()
    status, _, err = command(*arguments)
    assert status == 2 and "add --resume to go on with it, or remove it" in err
    for flags, words in (
        (["--hop", 0.2], "--hop 0.1, this one has --hop 0.2"),
        (["--min-score", 0.3], "--min-score 0.3"),
    ):
        status, _, err = command(*arguments, "--resume", *flags)
        assert status == 2 and words in err and "do not belong together" in err
    other = tmp_path / "other.npz"
    model, info = checkpoint.load(trained / "best.npz")
    checkpoint.save(other, model, info.labels, info.features, info.loss)
    status, _, err = command("scan", other, *arguments[2:], "--resume")
    assert status == 2 and "another checkpoint" in err
    stopped(command, monkeypatch, [*arguments, "--resume"], 2)
    status, _, err = command(*arguments, "--resume")
    assert status == 0 and "20 of 32 recordings are done already" in err
    assert ((tmp_path / "e.csv").read_bytes(), (tmp_path / "e.skipped.csv").read_bytes()) == (whole, skipped)
    status, _, err = command(*arguments, "--resume")
    assert status == 0 and "there is nothing to go on with" in err


def test_a_journal_that_was_cut_or_changed_anywhere(trained, archived, tmp_path, command, monkeypatch, small_units):
    """Whatever is left of it: no row is lost, none is doubled."""
    arguments = ["scan", trained / "best.npz", archived, "--hop", 0.24, "--out", tmp_path / "e.csv"]
    command(*arguments)
    whole = (tmp_path / "e.csv").read_bytes()
    os.unlink(tmp_path / "e.csv")
    stopped(command, monkeypatch, arguments, 4)
    part = tmp_path / "e.csv.part"
    journal = part.read_bytes()
    assert all(zlib.crc32(line[9:]) == int(line[:8], 16) for line in journal.splitlines())
    rng = np.random.default_rng(0)
    for _ in range(8):
        damaged = bytearray(journal[: rng.integers(1, len(journal) + 1)])
        damaged[rng.integers(len(damaged))] ^= 1 << rng.integers(8)
        part.write_bytes(damaged)
        status, _, err = command(*arguments, "--resume")
        assert status == 0 and (tmp_path / "e.csv").read_bytes() == whole, err
        os.unlink(tmp_path / "e.csv")


def test_two_scans_into_one_table_are_refused(trained, archived, tmp_path, command, monkeypatch):
    inner = []

    def scan(*_):
        with contextlib.suppress(BaseException):
            inner.append(command("scan", trained / "best.npz", archived, "--out", tmp_path / "e.csv", "--resume"))

    monkeypatch.setattr(archive, "work", scan)
    command("scan", trained / "best.npz", archived, "--out", tmp_path / "e.csv")
    assert inner[0][0] == 2 and "another process is writing to" in inner[0][2]


def test_a_process_that_is_killed_is_replaced(trained, archived, tmp_path, command, small_units):
    arguments = ["scan", trained / "best.npz", archived, "--hop", 0.02, "--threads", 2, "--workers", 2, "--out"]
    assert command(*arguments, tmp_path / "whole.csv")[0] == 0
    done = threading.Event()

    def kill():
        """One of the two, when there is a result."""
        while not done.is_set():
            journal = tmp_path / "e.csv.part"
            if journal.exists() and b'"results"' in journal.read_bytes():
                multiprocessing.active_children()[0].kill()
                done.set()
            time.sleep(0.01)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    status, _, err = command(*arguments, tmp_path / "e.csv")
    assert status == 0 and done.is_set(), err
    done.set()
    thread.join()
    assert (tmp_path / "e.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    assert not multiprocessing.active_children()


def test_a_unit_that_kills_its_workers_costs_the_one_file():
    """Its files are done one by one at the end, with nothing beside them, and the one that kills again is skipped."""

    class Deadly:
        room, given = 2, ()

        def submit(self, unit):
            self.given += (unit,)

        def finished(self):
            """The death of a worker takes along all units that were given to it."""
            unit, *rest = self.given
            deadly = any("b" in unit.files for unit in self.given)
            self.given = tuple(rest)
            return unit, Died(1) if deadly else [{"events": []} for _ in unit.files]

    class Kept(dict):
        def add(self, first, results):
            assert first not in self
            self[first] = results

    journal, told = Kept(), []
    todo = [Unit(0, ("a", "b", "c")), Unit(3, ("d",)), Unit(4, ("e",))]
    archive.work(Deadly(), journal, todo, lambda unit, results: told.append(unit))
    flat = {first + i: result for first, results in journal.items() for i, result in enumerate(results)}
    assert [("error" in flat[i]) for i in range(5)] == [False, True, False, False, False]
    assert flat[1]["error"] == "whatever read it was killed, 3 times." and len(told) == 5


def test_units():
    files = [(str(i), size) for i, size in enumerate([2**20] * 40 + [2**30] + [5] * 70)]
    found = units(files)
    assert [name for unit in found for name in unit.files] == [name for name, _ in files]
    assert all(files[unit.first][0] == unit.files[0] for unit in found)
    assert [len(unit.files) for unit in found] == [32, 8, 1, 32, 32, 6]


def test_progress_where_there_is_no_terminal(capsys):
    now = [0.0]
    progress = Progress([100, 300], every=60, clock=lambda: now[0])
    now[0] = 59.0
    progress.part(Unit(1, ("b",)), 0, 0.5, 1000.0)
    assert capsys.readouterr().err == ""
    now[0] = 100.0
    progress.unit(Unit(0, ("a",)), [{"seconds": 3600.0, "notes": ["cut short."], "events": []}])
    noted, line = capsys.readouterr().err.splitlines()
    assert noted == "note: a: cut short."
    assert line == "note: 62% done, 77 min of audio, 46 x real time, 0:01:00 left."
    progress.close()


def test_all_recordings_bad(trained, tmp_path, command):
    (tmp_path / "a.wav").write_text("x")
    status, _, err = command("scan", trained / "best.npz", tmp_path / "a.wav", "--out", tmp_path / "e.csv")
    assert status == 2 and "e.csv is not written: no recording can be read (1 tried)" in err
    assert sorted(os.listdir(tmp_path)) == ["a.wav", "e.skipped.csv"]


# -- remote ----------------------------------------------------------------------------------------------------------


def test_addresses(trained, tones, tmp_path, command):
    fsspec = pytest.importorskip("fsspec")
    memory = fsspec.filesystem("memory")
    for i in range(3):
        memory.pipe(f"/bucket/low/{i}.wav", (tones / "low" / f"{i}.wav").read_bytes())
    memory.pipe("/bucket/low/bad.wav", b"no sound")
    memory.pipe("/bucket/notes.txt", b"notes")
    flags = ("--out", tmp_path / "e.csv", "--segments", tmp_path / "found", "--top", 1)
    status, out, _ = command("scan", trained / "best.npz", "memory://bucket", *flags)
    assert status == 0 and "4 recordings" in out and "1 excerpt" in out
    assert [row[0] for row in rows_of(tmp_path / "e.csv")] == [f"memory:///bucket/low/{i}.wav" for i in range(3)]
    assert 'memory:///bucket/low/bad.wav,"this cannot be decoded' in (tmp_path / "e.skipped.csv").read_text()
    pattern, absent = "memory://bucket/low/[01].wav", "memory://bucket/none.wav"
    status, out, err = command("scan", trained / "best.npz", pattern, absent, *flags)
    assert status == 2 and "2 recordings" in out and "none.wav: this cannot be read: there is nothing here" in err
    assert len({row[0] for row in rows_of(tmp_path / "e.csv")}) == 2 and "found is not empty" in err
    status, _, err = command("scan", trained / "best.npz", "nosuch://bucket/a.wav", *flags)
    assert status == 2 and "nosuch://bucket/a.wav: this cannot be read: Protocol not known: nosuch" in err
    local = (tones / "low").as_uri()
    status, out, err = command("scan", trained / "best.npz", local, *flags, "--workers", 2)
    assert status == 0 and "in 10 of 10 recordings" in out, err


def test_without_fsspec(trained, tmp_path, command, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "fsspec.core", None)
    status, _, err = command("scan", trained / "best.npz", "s3://bucket/a.wav", "--out", tmp_path / "e.csv")
    assert status == 2 and "addresses are read through fsspec: pip install fsspec" in err


def test_a_calibrated_checkpoint(trained, street, tmp_path, command, monkeypatch):
    """Its thresholds are for calibrated scores, which the table has; a label without one is never heard."""
    decisions = SimpleNamespace(thresholds=[0.3, None, 0.2], calibrated=lambda scores: scores / 2)
    given = checkpoint.info_from

    def info_from(*arguments):
        info = given(*arguments)
        object.__setattr__(info, "decisions", decisions)
        return info

    def load(*arguments):
        model, info = checkpoint.load(*arguments)
        object.__setattr__(info, "decisions", decisions)
        return model, info

    monkeypatch.setattr("minast.scan.info_from", info_from)
    monkeypatch.setattr("minast.streaming.work.load", load)
    status, out, _ = command("scan", trained / "best.npz", street[0], "--out", tmp_path / "e.csv")
    rows = rows_of(tmp_path / "e.csv")
    assert status == 0 and "from a score of 0.2 to 0.3, by label" in out
    assert {row[3] for row in rows} == {"high", "middle"} and 0.3 < max(row[4] for row in rows) <= 0.5


def test_scores_that_are_no_numbers_are_refused(trained, tones, tmp_path, command):
    model, info = checkpoint.load(trained / "best.npz")
    model.w.flat *= np.float32(1e30)
    checkpoint.save(tmp_path / "huge.npz", model, info.labels, info.features, info.loss)
    with np.errstate(all="ignore"):
        status, _, err = command("scan", tmp_path / "huge.npz", tones, "--out", tmp_path / "e.csv")
    assert status == 2 and "the model's scores are not numbers" in err and not (tmp_path / "e.csv").exists()


def test_a_list_on_standard_input(trained, tones, tmp_path, command, monkeypatch):
    names = "\n".join(str(tones / "high" / f"{i}.wav") for i in (3, 1, 2))
    monkeypatch.setattr("sys.stdin", io.StringIO(names))
    command("scan", trained / "best.npz", "-", "--out", tmp_path / "e.csv")
    assert [os.path.basename(row[0]) for row in rows_of(tmp_path / "e.csv")] == ["3.wav", "1.wav", "2.wav"]
