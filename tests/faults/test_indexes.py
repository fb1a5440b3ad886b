"""An index that is killed while it is made: what it then takes to end as one that was not."""

import os
import shutil
import signal
import time

import numpy as np

from tests.faults.test_scans import archive, model  # noqa: F401  a fixture


def files_in(folder):
    return {name: (folder / name).read_bytes() for name in os.listdir(folder)}


def ends_as_undisturbed(server, tmp_path, arguments, kills, seed, extra=()):
    """Embed once undisturbed, once killed again and again; compare all files byte by byte."""
    began = time.perf_counter()
    status, _, err = server.run("embed", [*arguments, "--out", tmp_path / "whole", *extra])
    seconds, rng, killed = time.perf_counter() - began, np.random.default_rng(seed), 0
    assert status == 0, err
    out = tmp_path / "killed"
    for _ in range(10 * kills):
        if killed == kills:
            break
        child = server.start("embed", [*arguments, "--out", out, "--resume", *extra])
        time.sleep(seconds * rng.uniform(0, 1.0) / kills + 0.2)
        os.kill(child.pid, signal.SIGKILL)
        status, _, err = server.wait(child)
        killed += status == -signal.SIGKILL
        if status == 0:  # it had ended before: once more, from the beginning
            assert files_in(out) == files_in(tmp_path / "whole")
            shutil.rmtree(out)
    status, _, err = server.run("embed", [*arguments, "--out", out, "--resume", *extra])
    assert status == 0 and killed == kills, err
    assert files_in(out) == files_in(tmp_path / "whole")
    assert {name for name in os.listdir(tmp_path) if not name.startswith(".minast-")} == {"archive", "whole", "killed"}


def test_killed_at_random_moments(server, model, tones, tmp_path):  # noqa: F811
    folder = archive(tones, tmp_path / "archive", 120)
    ends_as_undisturbed(server, tmp_path, [model, folder, "--threads", 1, "--hop", 0.1], 3, 0)


def test_two_processes_killed(server, model, tones, tmp_path):  # noqa: F811
    folder = archive(tones, tmp_path / "archive", 400)
    ends_as_undisturbed(server, tmp_path, [model, folder, "--threads", 2, "--hop", 0.02], 3, 1, ["--workers", 2])


def test_killed_at_each_fsync(server, model, tones, tmp_path):  # noqa: F811
    """Of the journal, and of each file of the index."""
    folder = archive(tones, tmp_path / "archive", 70)  # three units
    arguments = [model, folder, "--threads", 1, "--out"]
    status, _, err = server.run("embed", [*arguments, tmp_path / "whole"])
    assert status == 0, err
    for n in range(40):
        out = tmp_path / f"{n}"
        status, _, err = server.run("embed", [*arguments, out], ["kill_at", "fsync", n])
        if status == 0:
            break
        assert status == -signal.SIGKILL
        status, _, err = server.run("embed", [*arguments, out, "--resume"])
        assert status == 0 and files_in(out) == files_in(tmp_path / "whole"), err
    assert n == 14  # begun, three units; five files, of which each has its folder synced too


def test_a_full_disk(server, model, tones, tmp_path):  # noqa: F811
    folder = archive(tones, tmp_path / "archive", 70)
    arguments = [model, folder, "--threads", 1, "--out", tmp_path / "index"]
    status, _, err = server.run("embed", arguments, ["full_disk", 0])
    assert status == 2 and "cannot be written: No space left on device" in err and not (tmp_path / "index").exists()
    status, _, err = server.run("embed", [*arguments, "--resume"])
    assert status == 0 and (tmp_path / "index" / "index.json").exists()
