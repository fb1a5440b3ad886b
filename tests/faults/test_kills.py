"""A training run that is killed: what it then takes to end in the weights of the run that nothing disturbed."""

import os
import signal
import time

import numpy as np
import pytest

from tests.faults import runs

KILLS = int(os.environ.get("MINAST_TEST_KILLS", "8"))  # random moments: `python -m tests.faults --kills N`
ALL = "MINAST_TEST_KILLS" in os.environ
FIRST_EPOCH = [("fsync", n) for n in range(5)] + [("replace", n) for n in range(4)]
LAST = [("fsync", 16), ("fsync", 24), ("replace", 8), ("replace", 9), ("replace", 12)]
EACH = [("fsync", n) for n in range(26)] + [("replace", n) for n in range(13)]


def ends_as_undisturbed(server, few, out, undisturbed):
    status, _, err = runs.go_on(server, few, out)
    assert (status, err) == (0, "")
    assert runs.same(runs.weights(out), undisturbed)
    runs.complete(out)


@pytest.mark.parametrize(("name", "n"), EACH if ALL else FIRST_EPOCH + LAST)
def test_killed_at_an_fsync_or_a_renaming(server, few, undisturbed, tmp_path, name, n):
    """last.npz, best.npz, history.csv, curves.png: for each the file is synced, renamed, and the folder synced."""
    if n >= undisturbed.events.count(name[0]):
        pytest.skip("this run has fewer")
    out = tmp_path / "run"
    status, _, err = server.run("train", runs.begin(few, out), ["kill_at", name, n])
    assert (status, err) == (-signal.SIGKILL, "")
    ends_as_undisturbed(server, few, out, undisturbed)


@pytest.mark.parametrize("seed", range(KILLS))
def test_killed_at_a_random_moment(server, few, undisturbed, tmp_path, seed):
    out = tmp_path / "run"
    child = server.start("train", runs.begin(few, out))
    time.sleep(undisturbed.seconds * np.random.default_rng(seed).random())
    os.kill(child.pid, signal.SIGKILL)
    status, _, err = server.wait(child)
    assert status in (-signal.SIGKILL, 0) and err == ""
    ends_as_undisturbed(server, few, out, undisturbed)


def test_a_run_that_is_killed_again_and_again_arrives(server, few, undisturbed, tmp_path):
    out, kills = tmp_path / "run", 0
    status, _, _ = server.run("train", runs.begin(few, out), ["kill_at", "replace", 1])
    while status == -signal.SIGKILL and kills < 20:  # each time one file later, since the results are written together
        kills += 1
        status, _, err = server.run("train", ["--resume", out], ["kill_at", "replace", kills + 2])
    assert status == 0 and kills >= 3, err
    assert runs.same(runs.weights(out), undisturbed)
    runs.complete(out)
