"""The journal of an archive, and tables of recordings from several drives."""

import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from minast.errors import Error
from minast.storage import files
from minast.streaming import archive, session, tables
from minast.streaming.journal import Journal

FILES = [("a.wav", 10), ("b.wav", 20)]


@pytest.fixture
def windows(monkeypatch):
    """An open file cannot be removed."""
    held, real = [], os.unlink

    def unlink(path):
        if any(not journal._file.closed for journal in held):
            raise PermissionError(13, "The process cannot access the file because it is being used", path)
        real(path)

    monkeypatch.setattr(os, "unlink", unlink)
    return held


@pytest.mark.parametrize("done", [True, False], ids=["done", "nothing done"])
def test_a_journal_is_closed_before_it_is_removed(tmp_path, windows, done):
    path = str(tmp_path / "out.csv.part")
    with Journal.begin(path, {"hop": 1}, FILES) as journal:
        windows.append(journal)
        if done:
            journal.add(0, [{"seconds": 1.0}, {"seconds": 2.0}])
            journal.remove()
            assert [name for name, _ in journal] == ["a.wav", "b.wav"]  # it can be read up to the end of the block
    assert not os.path.exists(path)


def test_a_journal_of_work_that_is_not_finished_stays(tmp_path):
    path = str(tmp_path / "out.csv.part")
    with Journal.begin(path, {"hop": 1}, FILES) as journal:
        journal.add(0, [{"seconds": 1.0}])
    with Journal.resume(path, {"hop": 1}) as journal:
        assert [unit.first for unit in journal.left()] == [1]
    assert os.path.exists(path)


def test_work_that_was_begun_elsewhere_is_not_gone_on_with_here(tmp_path, monkeypatch):
    """Where recordings have relative names, which mean others in another folder."""
    for card in "ab":
        (tmp_path / card / "rec").mkdir(parents=True)
        (tmp_path / card / "rec" / "1.wav").write_bytes(b"x")
    args = SimpleNamespace(paths=["rec"], out=str(tmp_path / "e.csv"), resume=False)
    monkeypatch.chdir(tmp_path / "a")
    with session.journal_of(args, {"hop": 1}, "a scan", print) as journal:
        journal.add(0, [{"error": "x"}])
    args.resume = True
    with session.journal_of(args, {"hop": 1}, "a scan", print) as journal:
        assert len(journal.files) == 1
    monkeypatch.chdir(tmp_path / "b")
    with pytest.raises(
        Error, match=r"e\.csv\.part was begun in .*a, from where its recordings are named: resume it there"
    ):
        session.journal_of(args, {"hop": 1}, "a scan", print)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a").rename(tmp_path / "moved")
    monkeypatch.chdir(tmp_path / "moved")
    with session.journal_of(args, {"hop": 1}, "a scan", print):  # the folder was moved, with all that is in it
        pass
    monkeypatch.chdir(tmp_path)
    (tmp_path / "moved").rename(tmp_path / "a")
    args = SimpleNamespace(paths=[str(tmp_path / "a" / "rec")], out=str(tmp_path / "f.csv"), resume=False)
    with session.journal_of(args, {"hop": 1}, "a scan", print) as journal:
        journal.add(0, [{"error": "x"}])
    monkeypatch.chdir(tmp_path / "a")
    args.resume = True
    with session.journal_of(args, {"hop": 1}, "a scan", print):  # absolute names mean the same everywhere
        pass


class Reads:
    """A pool of one that says whether a recording's file is there."""

    room = 1

    def __init__(self, fails=()):
        self.fails = fails

    def submit(self, unit):
        self.unit = unit

    def finished(self):
        found = [
            {"seconds": 1.0} if os.path.exists(name) and name not in self.fails else {"error": "no"}
            for name in self.unit.files
        ]
        return self.unit, found


@pytest.mark.parametrize(("files", "kept"), [(30, 9), (5, 9 + 5)], ids=["a drive", "a folder"])
def test_a_drive_that_is_away_costs_nothing(tmp_path, files, kept):
    """What comes after it was gone is not done, and can be resumed; a small folder at the end was deleted."""
    for folder, count in (("here", 9), ("away", files)):
        (tmp_path / folder).mkdir()
        for i in range(count):
            (tmp_path / folder / f"{i:02}.wav").write_bytes(b"x")
    names = sorted(map(str, tmp_path.glob("here/*"))) + sorted(map(str, tmp_path.glob("away/*")))
    (tmp_path / "away").rename(tmp_path / "elsewhere")
    path = str(tmp_path / "out.part")
    with Journal.begin(path, {}, [(name, 2**30) for name in names]) as journal:
        if files > archive.FEW:
            with pytest.raises(Error, match="30 recordings are not there any more, nor are their folders"):
                archive.work(Reads(), journal, journal.left(), lambda *_: None)
        else:
            archive.work(Reads(), journal, journal.left(), lambda *_: None)
        assert sum(1 for _ in journal) == kept
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    if files > archive.FEW:
        with Journal.resume(path, {}) as journal:
            archive.work(Reads(), journal, journal.left(), lambda *_: None)
            assert sum("seconds" in result for _, result in journal) == 39


def test_a_drive_that_goes_while_a_unit_is_read(tmp_path):
    """What one of several workers had begun before is no sign that the drive is back; good results wait, too."""
    (tmp_path / "away").mkdir()
    names = [str(tmp_path / "away" / f"{i:02}.wav") for i in range(96)]
    for name in names:
        Path(name).write_bytes(b"x")

    class Two(Reads):
        """Two workers; the first unit comes last. The drive goes within the second one."""

        room, units = 2, []

        def submit(self, unit):
            self.units.append(unit)

        def finished(self):
            unit = self.units.pop(1 if len(self.units) > 1 else 0)
            if unit.first == 0:
                return unit, [{"seconds": 1.0}] * 32
            if (tmp_path / "away").exists():
                (tmp_path / "away").rename(tmp_path / "elsewhere")
                return unit, [{"seconds": 1.0}] * 16 + [{"error": "no"}] * 16
            return unit, [{"error": "no"}] * 32

    path = str(tmp_path / "out.part")
    with Journal.begin(path, {}, [(name, 1) for name in names]) as journal:
        assert [len(unit.files) for unit in journal.left()] == [32, 32, 32]
        with pytest.raises(Error, match="48 recordings are not there any more"):
            archive.work(Two(), journal, journal.left(), lambda *_: None)
        assert [("error" in result) for _, result in journal] == [False] * (32 + 16)  # all that was read is kept
    (tmp_path / "elsewhere").rename(tmp_path / "away")
    with Journal.resume(path, {}) as journal:
        archive.work(Reads(), journal, journal.left(), lambda *_: None)
        assert [("error" in result) for _, result in journal] == [False] * 96


@pytest.mark.parametrize("after", ["near", "elsewhere", "an address"])
def test_what_says_that_it_was_no_drive(tmp_path, monkeypatch, after):
    """A recording near by that is read later; one on another drive, or an address, says nothing."""
    near = {"near": tmp_path / "usb" / "z.wav", "elsewhere": tmp_path / "z.wav", "an address": "https://x/z.wav"}[after]
    names = [str(tmp_path / "usb" / "gone" / f"{i}.wav") for i in range(20)] + [str(near)]
    (tmp_path / "usb").mkdir()
    if after != "an address":
        near.write_bytes(b"x")

    class Good(Reads):
        def finished(self):
            unit, found = super().finished()
            return unit, [{"seconds": 1.0}] if unit.files == (str(near),) else found

    monkeypatch.chdir(tmp_path / "usb")  # an address is no path from here
    with Journal.begin(str(tmp_path / "out.part"), {}, [(name, 2**30) for name in names]) as journal:
        if after == "near":
            archive.work(Good(), journal, journal.left(), lambda *_: None)
        else:
            with pytest.raises(Error, match="20 recordings are not there any more"):
                archive.work(Good(), journal, journal.left(), lambda *_: None)
        assert sum(1 for _ in journal) == (21 if after == "near" else 1)


def test_a_folder_that_is_gone_in_the_middle_is_an_error_of_its_recordings(tmp_path):
    names = [str(tmp_path / "gone" / f"{i}.wav") for i in range(20)]
    (tmp_path / "z.wav").write_bytes(b"x")
    with Journal.begin(
        str(tmp_path / "out.part"), {}, [(n, 2**30) for n in [*names, str(tmp_path / "z.wav")]]
    ) as journal:
        archive.work(Reads(), journal, journal.left(), lambda *_: None)
        assert [("error" in result) for _, result in journal] == [True] * 20 + [False]


def test_an_earlier_track_of_a_recording_without_events_is_emptied(tmp_path):
    names = [str(tmp_path / f"{i}.wav") for i in range(3)]
    heard = {"seconds": 2.0, "events": [[0.0, 1.0, 0, 0.9]]}
    out = str(tmp_path / "tracks")
    tables.write_audacity(out, [(name, heard) for name in names[:2]], ["dog"], 16000)
    tables.write_audacity(
        out, [(names[0], heard), (names[1], {"seconds": 2.0, "events": []}), (names[2], {})], ["dog"], 16000
    )
    assert sorted(os.listdir(out)) == ["0.wav.txt", "1.wav.txt"]
    tables.write_audacity(out, [(names[0], {"error": "it is damaged"}), (names[1], heard)], ["dog"], 16000)
    assert (tmp_path / "tracks" / "0.wav.txt").read_text()  # of what cannot be read, it stays
    tables.write_audacity(out, [(names[0], heard), (names[1], {"events": []})], ["dog"], 16000)
    assert (tmp_path / "tracks" / "1.wav.txt").read_text() == "" != (tmp_path / "tracks" / "0.wav.txt").read_text()


def test_recordings_of_several_drives_have_places_of_their_own(monkeypatch):
    import ntpath

    monkeypatch.setattr(files, "os", ntpath_os := type("os", (), {"path": ntpath, "fspath": os.fspath}))
    monkeypatch.setattr(tables, "os", ntpath_os)
    names = [r"C:\field\north\a.wav", r"D:\a.wav"]
    base = files.common_folder({ntpath.dirname(name) for name in names})
    assert base == "" and [tables._below(name, base) for name in names] == [r"C\field\north\a.wav", r"D\a.wav"]
    names[1] = r"C:\field\south\a.wav"
    base = files.common_folder({ntpath.dirname(name) for name in names})
    assert [tables._below(name, base) for name in names] == [r"north\a.wav", r"south\a.wav"]
