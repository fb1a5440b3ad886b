"""Writing files: all or nothing, where the path leads, with the old permissions or those that `open` would give."""

import os
import socket
import stat
import subprocess
import sys
import threading

import pytest

import minast
from minast.storage.files import atomic, remove_stale, writable_file, writable_folder

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, links and pipes are POSIX's")
ordinary = pytest.mark.skipif(os.name == "posix" and os.geteuid() == 0, reason="root may write anywhere")


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


def write(path, data=b"new"):
    with atomic(path) as f:
        f.write(data)


def test_a_target_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    for check in (write, writable_file):
        with pytest.raises(minast.Error, match=r"none/a\.bin cannot be written: there is no folder .*/none\."):
            check(tmp_path / "none/a.bin")
        with pytest.raises(minast.Error, match="folder is a folder: name the file to write"):
            check(tmp_path / "folder")
        with pytest.raises(minast.Error, match="cannot be written: File name too long"):
            check(tmp_path / ("x" * 256))
    with pytest.raises(minast.Error, match="the name of the file to write is empty"):
        writable_file("")
    assert [p.name for p in tmp_path.iterdir()] == ["folder"]
    monkeypatch.chdir(tmp_path)
    write("here.bin")
    assert writable_file("here.bin") == "here.bin" and (tmp_path / "here.bin").read_bytes() == b"new"


NAMES = [b"x" * 255, "ä".encode() * 127, b"a\nb", b"\xff\xfe.npz", b"-x.wav", b"$(touch here)", b" ", b"\x1b[31mred"]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems refuse some of these names")
@pytest.mark.parametrize("name", NAMES, ids=range(len(NAMES)))
def test_every_name_that_the_system_takes(tmp_path, name):
    path = os.path.join(tmp_path, os.fsdecode(name))
    writable_file(path)
    for data in (b"one", b"two"):
        write(path, data)
        with open(path, "rb") as f:
            assert f.read() == data and os.listdir(os.fsencode(tmp_path)) == [name]
    os.remove(path)
    os.mkdir(path)
    with pytest.raises(minast.Error) as refused:
        write(path)
    assert str(refused.value).isprintable()


# -- what is there already -----------------------------------------------------------------------------------------


@posix
def test_a_link_stays_and_its_target_is_replaced(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "real.npz").write_bytes(b"old")
    (tmp_path / "one").symlink_to("elsewhere/real.npz")
    (tmp_path / "two").symlink_to("one")
    (tmp_path / "dangling").symlink_to("elsewhere/new.npz")
    (tmp_path / "circle").symlink_to("circle")
    for name, target in (("two", "real.npz"), ("dangling", "new.npz")):
        writable_file(tmp_path / name)
        write(tmp_path / name, name.encode())
        assert (tmp_path / name).is_symlink() and (tmp_path / "elsewhere" / target).read_bytes() == name.encode()
    assert sorted(os.listdir(tmp_path / "elsewhere")) == ["new.npz", "real.npz"]
    with pytest.raises(minast.Error, match="circle cannot be written: Too many levels"):
        write(tmp_path / "circle")


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o664, 0o755])
def test_permissions_of_a_file_that_is_replaced_stay(tmp_path, mode):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(mode)
    with atomic(path) as f:
        f.write(b"new")
        (part,) = set(os.listdir(tmp_path)) - {"a.bin"}
        assert stat.S_IMODE(os.stat(tmp_path / part).st_mode) == mode  # nobody else reads it while it is written
    assert stat.S_IMODE(path.stat().st_mode) == mode and path.read_bytes() == b"new"


@pytest.mark.skipif(os.name != "posix" or os.geteuid() != 0, reason="only root may give files away")
def test_owner_and_group_stay(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    os.chown(path, 12345, 23456)
    write(path)
    found = path.stat()
    assert (found.st_uid, found.st_gid, path.read_bytes()) == (12345, 23456, b"new")


@posix
@ordinary
def test_what_is_write_protected_is_refused(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(b"old")
    path.chmod(0o444)
    for check in (write, writable_file):
        with pytest.raises(minast.Error, match="it is write-protected"):
            check(path)
    tmp_path.chmod(0o555)
    try:
        for check in (write, writable_file):
            with pytest.raises(minast.Error, match="new cannot be written: Permission denied"):
                check(tmp_path / "new")
        with pytest.raises(minast.Error, match=r"the output folder .* cannot be written to: Permission denied"):
            writable_folder(tmp_path)
    finally:
        tmp_path.chmod(0o755)
    assert path.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.bin"]


@posix
def test_devices_and_pipes_are_written_into(tmp_path):
    (tmp_path / "null").symlink_to("/dev/null")
    for path in ("/dev/null", tmp_path / "null"):
        writable_file(path)
        write(path)
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    pipe, got = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: got.append(pipe.read_bytes()))
    reader.start()
    write(writable_file(pipe), b"through the pipe")
    reader.join(10)
    assert got == [b"through the pipe"] and stat.S_ISFIFO(pipe.stat().st_mode)
    if os.path.exists("/dev/full"):
        with pytest.raises(minast.Error, match="/dev/full cannot be written: No space left on device"):
            write("/dev/full")


@posix
def test_sockets_are_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("s")
        for check in (write, writable_file):
            with pytest.raises(minast.Error, match="s cannot be written: it is a socket"):
                check("s")
        assert stat.S_ISSOCK(os.stat("s").st_mode)


@posix
def test_standard_output_by_its_name(tmp_path):
    """Redirected to a pipe and to a file: the shell's own file gets the data."""
    code = "import sys; from minast.storage.files import atomic\nwith atomic('/dev/stdout') as f: f.write(b'data')"
    assert subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60).stdout == b"data"
    with open(tmp_path / "out", "wb") as f:
        subprocess.run([sys.executable, "-c", code], stdout=f, check=True, timeout=60)
        assert os.path.samestat(os.fstat(f.fileno()), os.stat(tmp_path / "out"))
    assert (tmp_path / "out").read_bytes() == b"data" and os.listdir(tmp_path) == ["out"]


# -- killed processes ----------------------------------------------------------------------------------------------


@posix
@pytest.mark.skipif(sys.platform == "win32", reason="there are no locks")
def test_what_a_killed_writer_left_is_removed_and_a_living_ones_is_not(tmp_path):
    code = "import os, sys\nfrom minast.storage.files import atomic\nwith atomic(sys.argv[1]): os.kill(os.getpid(), 9)"
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], timeout=60)
    for name in (".minast-notes.part", ".other-0123456789ab.part", "minast-0123456789ab.part"):  # not ours
        (tmp_path / name).touch()
    assert len(os.listdir(tmp_path)) == 4
    with atomic(tmp_path / "b.bin") as f:
        f.write(b"alive")
        writable_file(tmp_path / "c.bin")
        assert len(os.listdir(tmp_path)) == 4  # the dead one's is gone
    remove_stale(tmp_path)
    assert (tmp_path / "b.bin").read_bytes() == b"alive" and len(os.listdir(tmp_path)) == 4
    remove_stale(tmp_path / "none")


@posix
def test_a_part_removed_before_it_was_locked_is_made_again(tmp_path, monkeypatch):
    """`remove_stale` of another process comes between creating the file and locking it."""
    import fcntl

    lock, removed = fcntl.flock, []

    def late(number, how):
        if not removed:
            removed.extend(os.listdir(tmp_path))
            os.unlink(tmp_path / removed[0])
        return lock(number, how)

    monkeypatch.setattr(fcntl, "flock", late)
    write(tmp_path / "a.bin")
    assert removed and os.listdir(tmp_path) == ["a.bin"] and (tmp_path / "a.bin").read_bytes() == b"new"


@posix
def test_file_and_folder_are_synced_in_this_order(tmp_path, monkeypatch):
    done = []
    sync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda n: (done.append(stat.S_ISDIR(os.fstat(n).st_mode)), sync(n)))
    monkeypatch.setattr(os, "replace", lambda a, b: (done.append("renamed"), replace(a, b)))
    write(tmp_path / "a.bin")
    assert done == [False, "renamed", True]
    with atomic(tmp_path / "a.bin", sync=False) as f:
        f.write(b"made again if it is lost")
    assert done == [False, "renamed", True, "renamed"]


@posix
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002, 0o000])
def test_permissions_follow_the_umask(tmp_path, umask):
    """The umask at the time of writing, as another program would find it; importing minast leaves it alone."""
    code = f"""if True:
        import os, sys
        os.umask({umask})
        changes, real = [], os.umask
        os.umask = lambda mask: changes.append(mask) or real(mask)
        from minast.storage.files import atomic
        import minast, minast.train
        with atomic(sys.argv[1]) as f:
            f.write(b"x")
        with atomic(sys.argv[1] + ".private", private=True) as f:
            f.write(b"x")
        assert not changes, changes
        assert real(0) == {umask}"""
    subprocess.run([sys.executable, "-c", code, tmp_path / "a.bin"], check=True, timeout=60)
    assert stat.S_IMODE((tmp_path / "a.bin").stat().st_mode) == 0o666 & ~umask
    assert stat.S_IMODE((tmp_path / "a.bin.private").stat().st_mode) == 0o600 & ~umask
