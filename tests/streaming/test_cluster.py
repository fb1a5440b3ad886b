"""scan on a dask cluster: two worker processes on this machine, one of which is killed at work."""

import logging
import os
import shutil
import signal
import threading
import time

import pytest

from minast.streaming.cluster import do_unit

distributed, dask = (pytest.importorskip(name) for name in ("distributed", "dask"))


def local_cluster():
    """A scheduler in this process, and two workers with a process each."""
    quiet = {"dashboard_address": None, "silence_logs": logging.CRITICAL}
    return distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, **quiet)


@pytest.fixture(scope="module")
def cluster():
    with local_cluster() as running:
        yield running


@pytest.fixture
def archived(tones, tmp_path):
    folder = tmp_path / "archive"
    for i in range(5):
        shutil.copytree(tones, folder / str(i))
    (folder / "bad.wav").write_text("no sound")
    return folder


def test_a_killed_worker_costs_nothing_and_doubles_nothing(trained, archived, tmp_path, command, cluster, monkeypatch):
    monkeypatch.setattr("minast.streaming.work.MOST_FILES", 4)
    arguments = ["scan", trained / "best.npz", archived, "--hop", 0.02, "--threads", 1, "--out"]
    status, _, err = command(*arguments, tmp_path / "here.csv")
    assert status == 0, err
    client = distributed.Client(cluster, set_as_default=False)
    killed = threading.Event()

    def kill_one():
        """As soon as it has computed something, and while it has more to do."""
        while not killed.is_set():
            busy = [name for name, tasks in client.processing().items() if tasks]
            if busy and any(client.has_what().values()):
                pid = client.run(os.getpid, workers=busy[:1])[busy[0]]
                os.kill(pid, signal.SIGKILL)
                killed.set()
            time.sleep(0.01)

    thread = threading.Thread(target=kill_one, daemon=True)
    thread.start()
    status, _, err = command(*arguments, tmp_path / "there.csv", "--cluster", cluster.scheduler_address)
    was_killed = killed.is_set()
    killed.set()
    thread.join()
    client.close()
    assert status == 0 and was_killed, err
    for name in ("csv", "skipped.csv"):
        assert (tmp_path / f"here.{name}").read_bytes() == (tmp_path / f"there.{name}").read_bytes()


def deadly(settings, files):
    """`do_unit`, but a worker that comes to bad.wav ends at once, as with a decoder that crashes."""
    if any(name.endswith("bad.wav") for name in files):
        os._exit(9)
    return do_unit(settings, files)


def test_a_file_that_kills_its_workers_is_skipped(trained, archived, tmp_path, command, monkeypatch):
    monkeypatch.setattr("minast.streaming.cluster.do_unit", deadly)
    monkeypatch.setattr("minast.streaming.archive.TRIES", 1)
    with dask.config.set({"distributed.scheduler.allowed-failures": 0}), local_cluster() as cluster:
        arguments = ["scan", trained / "best.npz", archived / "bad.wav", archived / "0" / "low"]
        flags = ["--out", tmp_path / "e.csv", "--cluster", cluster.scheduler_address]
        status, _, err = command(*arguments, *flags)
    assert status == 0 and "1 recording could not be read" in err
    assert 'bad.wav,"whatever read it was killed, 1 times."' in (tmp_path / "e.skipped.csv").read_text()
    assert len((tmp_path / "e.csv").read_text().splitlines()) == 1 + 10


def test_no_cluster(trained, tones, tmp_path, command, monkeypatch):
    monkeypatch.setattr("minast.streaming.cluster.TIMEOUT", 1)
    flags = ("--out", tmp_path / "e.csv", "--cluster", "tcp://127.0.0.1:9")
    status, _, err = command("scan", trained / "best.npz", tones, *flags)
    assert status == 2 and "--cluster tcp://127.0.0.1:9: no scheduler answers there" in err
    monkeypatch.setitem(__import__("sys").modules, "distributed", None)
    status, _, err = command("scan", trained / "best.npz", tones, *flags, "--resume")
    assert status == 2 and "--cluster needs dask.distributed: pip install '.[cluster]' in the checkout" in err
