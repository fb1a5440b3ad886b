"""An archive's scan that is killed at random moments: what it then takes to end in the table of one that was not."""

import os
import shutil
import signal
import time

import numpy as np
import pytest

from tests.faults.test_two_runs import until

SMALL = 120  # recordings of the fast tier


def archive(tones, folder, count):
    """Short recordings, one in a hundred broken in one of three ways."""
    sounds = sorted(tones.rglob("*.wav"))
    for i in range(count):
        path = folder / f"{i // 100:03}" / f"{i:05}.wav"
        path.parent.mkdir(exist_ok=True, parents=True)
        if i % 100 == 17:
            broken = (b"", b"no sound", sounds[0].read_bytes()[:40])[i // 100 % 3]
            path.write_bytes(broken)
        else:
            os.link(sounds[i % len(sounds)], path) if i % 5 else shutil.copy(sounds[i % len(sounds)], path)
    return folder


def tables(out):
    return out.read_bytes(), out.with_suffix(".skipped.csv").read_bytes()


def ends_as_undisturbed(server, tmp_path, arguments, kills, seed, extra=()):
    """Scan once undisturbed, once killed again and again; compare the tables byte by byte."""
    began = time.perf_counter()
    status, _, err = server.run("scan", [*arguments, "--out", tmp_path / "whole.csv", *extra])
    seconds, rng, killed = time.perf_counter() - began, np.random.default_rng(seed), 0
    assert status == 0, err
    out = tmp_path / "killed.csv"
    for _ in range(10 * kills):
        if killed == kills:
            break
        child = server.start("scan", [*arguments, "--out", out, "--resume", *extra])
        time.sleep(seconds * rng.uniform(0, 1.2) / kills + 0.2)
        os.kill(child.pid, signal.SIGKILL)
        status, _, err = server.wait(child)
        killed += status == -signal.SIGKILL
        if status == 0:  # it had ended before: once more, from the beginning
            assert tables(out) == tables(tmp_path / "whole.csv")
            out.unlink()
    status, _, err = server.run("scan", [*arguments, "--out", out, "--resume", *extra])
    assert status == 0 and killed == kills, err
    assert tables(out) == tables(tmp_path / "whole.csv")
    left = {"whole.csv", "killed.csv", "whole.skipped.csv", "killed.skipped.csv", "archive"}
    assert {name for name in os.listdir(tmp_path) if not name.startswith(".minast-")} == left


@pytest.fixture(scope="module")
def model(trained):
    return trained / "best.npz"


def test_killed_at_random_moments(server, model, tones, tmp_path):
    folder = archive(tones, tmp_path / "archive", SMALL)
    ends_as_undisturbed(server, tmp_path, [model, folder, "--threads", 1, "--hop", 0.1], 3, 0)


def test_2000_recordings_killed_five_times(server, model, tones, tmp_path):
    folder = archive(tones, tmp_path / "archive", 2000)
    ends_as_undisturbed(server, tmp_path, [model, folder, "--threads", 1, "--hop", 0.1], 5, 1)


def test_two_processes_killed_five_times(server, model, tones, tmp_path):
    """The parent is killed; its workers end with it, and do not write on."""
    folder = archive(tones, tmp_path / "archive", 600)
    arguments = [model, folder, "--threads", 2, "--hop", 0.02]
    ends_as_undisturbed(server, tmp_path, arguments, 5, 2, ["--workers", 2])


def test_killed_at_each_fsync(server, model, tones, tmp_path):
    """Of the journal, of both tables and of their folder."""
    folder = archive(tones, tmp_path / "archive", 70)  # three units
    arguments = [model, folder, "--threads", 1, "--out"]
    status, _, err = server.run("scan", [*arguments, tmp_path / "whole.csv"])
    assert status == 0, err
    for n in range(20):
        out = tmp_path / f"{n}.csv"
        status, _, err = server.run("scan", [*arguments, out], ["kill_at", "fsync", n])
        if status == 0:
            break
        assert status == -signal.SIGKILL
        status, _, err = server.run("scan", [*arguments, out, "--resume"])
        assert status == 0 and tables(out) == tables(tmp_path / "whole.csv"), err
    assert n == 8  # begun, three units; skipped.csv and its folder, the table and its folder


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_stopped_in_an_orderly_way(server, model, tones, tmp_path, number):
    """When the first of many units is done."""
    folder, journal = archive(tones, tmp_path / "archive", 2000), tmp_path / "e.csv.part"
    arguments = [model, folder, "--threads", 2, "--workers", 2, "--out", tmp_path / "e.csv"]
    child = server.start("scan", arguments)
    until(journal)
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and b'"results"' not in journal.read_bytes():
        time.sleep(0.01)
    os.kill(child.pid, number)
    status, _, err = server.wait(child)
    assert status == 128 + number and "the same command with --resume goes on" in err and "Traceback" not in err


def test_a_full_disk(server, model, tones, tmp_path):
    folder = archive(tones, tmp_path / "archive", 70)
    out = tmp_path / "e.csv"
    status, _, err = server.run("scan", [model, folder, "--threads", 1, "--out", out], ["full_disk", 0])
    assert status == 2 and "cannot be written: No space left on device" in err and not out.exists()
    status, _, err = server.run("scan", [model, folder, "--threads", 1, "--out", out, "--resume"])
    assert status == 0 and "70 of 70 recordings are done already" in err and out.exists()
