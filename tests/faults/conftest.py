"""A warm server of child processes, a few short sounds, and the run that nothing disturbed."""

import os
import shutil
import time

import pytest

from tests.faults import runs
from tests.faults.server import Server

collect_ignore_glob = [] if hasattr(os, "fork") else ["test_*.py"]  # child processes are forked here


@pytest.fixture(scope="session")
def server(own_cache):
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def few(tones, tmp_path_factory):
    """A folder with five sounds of each of two classes."""
    folder = tmp_path_factory.mktemp("few")
    for name in ("low", "high"):
        shutil.copytree(tones / name, folder / name, ignore=shutil.ignore_patterns("[5-9].wav"))
    return folder


@pytest.fixture(scope="session")
def undisturbed(server, few, tmp_path_factory):
    """The weights of a run that nothing disturbed; `undisturbed.folder`, `.seconds`, and `.events` of each kind."""
    out, log = tmp_path_factory.mktemp("undisturbed") / "run", tmp_path_factory.mktemp("log") / "events"
    status, _, err = server.run("train", runs.begin(few, out.with_name("warm-up")))  # fills the cache of features
    began = time.perf_counter()
    status, _, err = server.run("train", runs.begin(few, out), ["count", str(log)])
    assert (status, err) == (0, "")

    class Undisturbed(dict):
        folder, seconds, events = out, time.perf_counter() - began, log.read_text()

    runs.complete(out)
    return Undisturbed(runs.weights(out))
