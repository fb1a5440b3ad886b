"""Two training runs that want the same folder at the same time."""

import errno
import os
import signal
import time
from contextlib import ExitStack

import pytest

import minast
from minast.training.lock import lock
from tests.faults import runs

LONG = ["--epochs", "500"]  # argparse takes the last of two: this run goes on until it is stopped


def until(path, seconds=60):
    deadline = time.monotonic() + seconds
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert path.exists()


def refused(answer, out):
    status, said, err = answer
    assert status == 2 and "epoch" not in said
    assert err.startswith(
        f"minast: another training run is writing to {out}: wait until it has ended, stop it, or choose"
    )


def test_the_second_is_refused_until_the_first_has_ended(server, few, tmp_path):
    out = tmp_path / "run"
    first = server.start("train", [*runs.begin(few, out), *LONG])
    until(out)
    refused(server.run("train", runs.begin(few, out)), out)  # before anything is saved
    until(out / "last.npz")
    refused(server.run("train", runs.begin(few, out)), out)
    refused(server.run("train", ["--resume", out]), out)
    os.kill(first.pid, signal.SIGKILL)  # which gives the lock back as well
    assert server.wait(first)[0] == -signal.SIGKILL
    status, _, err = server.run("train", runs.begin(few, out))
    assert status == 2 and err.startswith(f"minast: {out} already holds a training run: continue it with --resume")
    resumed = server.start("train", ["--resume", out])
    time.sleep(0.3)
    os.kill(resumed.pid, signal.SIGTERM)
    assert server.wait(resumed)[0] == 143
    assert not [name for name in os.listdir(out) if name.startswith(".")]


def test_two_starts_at_once_without_out_get_two_folders(server, few, tmp_path):
    """The children start in the folder of the tests: so they are sent to another by a hook."""
    children = [server.start("train", [few, *runs.FLAGS], ["chdir", str(tmp_path)]) for _ in range(3)]
    answers = [server.wait(child) for child in children]
    assert [(status, err) for status, _, err in answers] == [(0, "")] * 3
    folders = sorted(os.listdir(tmp_path / "runs"))
    assert len(folders) == 3 and folders[1:] == [f"{folders[0]}-2", f"{folders[0]}-3"]
    one, two, three = (runs.weights(tmp_path / "runs" / name) for name in folders)
    assert runs.same(one, two) and runs.same(two, three)


def test_two_starts_at_once_with_the_same_out(server, few, undisturbed, tmp_path):
    out = tmp_path / "run"
    children = [server.start("train", runs.begin(few, out)) for _ in range(3)]
    answers = sorted(server.wait(child) for child in children)
    assert [status for status, _, _ in answers] == [0, 2, 2]
    assert runs.same(runs.weights(out), undisturbed)
    for _, _, err in answers[1:]:
        assert "another training run is writing to" in err or "already holds a training run" in err
    runs.complete(out)


def test_a_drive_without_locks(tmp_path, monkeypatch, capsys):
    """As some network drives: a note, and the run goes on."""
    import fcntl

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", flock)
    with ExitStack() as leaving:
        lock(tmp_path, leaving)
    assert capsys.readouterr().err.endswith("is on a drive without locks: make sure that no other run writes to it.\n")
    with ExitStack() as leaving, pytest.raises(minast.Error, match="none cannot be opened: No such file"):
        lock(tmp_path / "none", leaving)


def test_a_folder_that_was_made_anew_meanwhile_is_locked(tmp_path, monkeypatch):
    """A run that failed removes its empty folder while another waits at the door."""
    import fcntl

    folder, real, calls = tmp_path / "run", fcntl.flock, []
    folder.mkdir()

    def slow(number, how):
        if not calls:
            folder.rmdir()
            folder.mkdir()
        calls.append(number)
        return real(number, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with ExitStack() as leaving:
        lock(folder, leaving)
        assert len(calls) == 2
        with ExitStack() as other, pytest.raises(minast.Error, match="another training run is writing"):
            lock(folder, other)
    with ExitStack() as leaving:
        lock(folder, leaving)
