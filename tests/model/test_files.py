"""Atomic writing: all or nothing, with the permissions that `open` would give."""

import os
import stat
import subprocess
import sys

import pytest

import minast
from minast.files import atomic


def test_the_file_appears_when_the_block_ends(tmp_path):
    path = tmp_path / "a.txt"
    with atomic(path, "w", encoding="utf-8") as f:
        f.write("Sirène")
        assert not path.exists() and len(list(tmp_path.iterdir())) == 1
    assert path.read_text(encoding="utf-8") == "Sirène" and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("failure", [KeyboardInterrupt, ValueError])
def test_an_exception_leaves_the_old_file(tmp_path, failure):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    with pytest.raises(failure), atomic(path) as f:
        f.write(b"new")
        raise failure
    assert path.read_bytes() == b"old" and len(list(tmp_path.iterdir())) == 1


def test_two_writers_of_one_path_do_not_meet(tmp_path):
    path = tmp_path / "a.bin"
    with atomic(path) as first:
        first.write(b"first")
        with atomic(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"


def test_a_target_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    with (
        pytest.raises(minast.Error, match=r"none/a\.bin cannot be written: there is no folder .*/none\."),
        atomic(tmp_path / "none/a.bin"),
    ):
        pass
    (tmp_path / "folder").mkdir()
    with pytest.raises(minast.Error, match="folder is a folder: name the file to write"), atomic(tmp_path / "folder"):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    monkeypatch.chdir(tmp_path)
    with atomic("here.bin") as f:
        f.write(b"x")
    assert (tmp_path / "here.bin").read_bytes() == b"x"


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's")
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_permissions_follow_the_umask(tmp_path, umask):
    """The umask at the time of writing, as another program would find it; importing minast leaves it alone."""
    code = f"""if True:
        import os, sys
        os.umask({umask})
        changes, real = [], os.umask
        os.umask = lambda mask: changes.append(mask) or real(mask)
        from minast.files import atomic
        import minast, minast.train
        with atomic(sys.argv[1]) as f:
            f.write(b"x")
        assert not changes, changes
        assert real(0) == {umask}"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], check=True, timeout=60)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o666 & ~umask
