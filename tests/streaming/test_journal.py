"""The journal of an archive, and tables of recordings from several drives."""

import os

import pytest

from minast.storage import files
from minast.streaming import tables
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
