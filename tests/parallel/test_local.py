"""Processes that the first one starts (`--workers`): the runs of one; one that is killed, stopped, or has an error."""

import os
import re
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import resource_tracker
from multiprocessing.context import SpawnProcess
from pathlib import Path

import numpy as np
import pytest

import minast
from minast import Error, parallel, threads, train
from minast.checkpoint import load_state
from minast.parallel.group import SINGLE
from minast.parallel.local import WINDOW, common
from tests.conftest import TINY_RUN
from tests.parallel import worker
from tests.parallel.runs import FIXED, ROOT, same, state, until_epoch

RUN = [*TINY_RUN, "--threads", "2"]
PROC = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc")


@pytest.mark.parametrize("size", [2, 4])
def test_all_operations(size):
    assert parallel.spread(worker.everything, None, size) == f"{size} processes: all is well, {minast.__version__}"
    assert parallel.world() is SINGLE


def long_sums(n):
    """Arrays that need several windows, several at a time."""
    group = parallel.world()
    given = [np.random.default_rng(rank).integers(-99, 99, n).astype(np.float32) for rank in range(group.size)]
    parts = [given[group.rank].copy() for _ in range(3)]
    array = np.full((3, n), group.rank)
    group.wait([group.begin_all_reduce(part) for part in parts])
    group.broadcast(array)
    total = sum(given)
    return all(np.array_equal(part, total) for part in parts) and not array.any()


def test_arrays_longer_than_a_window():
    assert parallel.spread(long_sums, WINDOW + 5, 2)


def test_where_a_window_and_a_piece_overlap():
    whole = np.arange(100)
    for window in (slice(0, 10), slice(40, 60), slice(90, 100)):
        for piece in (slice(0, 100), slice(5, 45), slice(10, 10), slice(55, 100), slice(60, 90)):
            found, there = common(window, piece)
            expected = sorted({*whole[window]} & {*whole[piece]})
            assert whole[window][found].tolist() == whole[piece][there].tolist() == expected


def count(_):
    return parallel.world().gather(
        [threads.count(), os.environ.get("CUDA_VISIBLE_DEVICES") == str(parallel.world().rank)]
    )


def test_threads_are_shared_and_each_has_its_gpu(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setenv("MINAST_THREADS", "5")
    assert parallel.spread(count, None, 2).tolist() == [[2, 1]] * 2
    assert threads.count() == 5 and "CUDA_VISIBLE_DEVICES" not in os.environ
    assert parallel.spread(count, None, 1).tolist() == [[5, 0]]


# -- errors --------------------------------------------------------------------------------------------------------


def fails(way):
    group = parallel.world()
    if group.rank == 1:
        if way == "error":
            raise Error("the second process has found something.")
        if way == "bug":
            raise KeyError("what nobody expected")
        os.kill(os.getpid(), signal.SIGKILL)
    if way == "error":
        group.wait([group.begin_all_reduce(np.ones(10, np.float32))])  # the second one never comes to it
    group.barrier()


def test_an_error_elsewhere_is_raised_here():
    before = set(threading.enumerate())
    with pytest.raises(Error, match=r"^the second process has found something\.$"):
        parallel.spread(fails, "error", 3)
    assert parallel.world() is SINGLE
    for thread in set(threading.enumerate()) - before:
        thread.join(0 if re.fullmatch(r"minast-\d+", thread.name) else 10)  # those of minast.threads stay
        assert not thread.is_alive() or re.fullmatch(r"minast-\d+", thread.name)
    with pytest.raises(Error, match=r"^process 2 of 2: what nobody expected\.$"):
        parallel.spread(fails, "bug", 2)


def test_an_error_here_ends_the_others():
    with pytest.raises(ZeroDivisionError):
        parallel.spread(divides, None, 2)


def divides(_):
    return 1 // parallel.world().rank if not parallel.world().rank else parallel.world().barrier()


def test_a_process_that_cannot_begin(monkeypatch):
    from minast.parallel import local

    monkeypatch.setattr(local, "_live", os._exit)  # which wants another number of arguments
    with pytest.raises(Error, match=r"^one of the 2 processes ended before it could begin\. A script must be a file"):
        parallel.spread(count, None, 2)


def test_processes_that_cannot_be_started(monkeypatch, tones, command):
    from minast.parallel import local

    monkeypatch.setattr(local, "Board", lambda *_: os.open("/no/such/file", os.O_RDONLY))
    with pytest.raises(Error, match=r"^2 processes cannot be started here: No such file"):
        parallel.spread(count, None, 2)
    monkeypatch.setattr(local.multiprocessing, "current_process", lambda: type("Process", (), {"daemon": True}))
    with pytest.raises(Error, match="started as a daemon"):
        parallel.spread(count, None, 2)
    status, _, err = command("train", tones, "--batch", "4", "--workers", "5")
    assert status == 2 and "--batch 4 is less than a clip for each of 5 --workers" in err


def test_threads_of_one_program_have_groups_of_their_own(monkeypatch):
    for name in ("MINAST_THREADS", "CUDA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)
    with ThreadPoolExecutor(2) as pool:
        found = [pool.submit(parallel.spread, count, None, size) for size in (2, 3)]
        while not all(each.done() for each in found):
            assert parallel.world() is SINGLE
            time.sleep(0.01)
    assert [len(each.result()) for each in found] == [2, 3]
    assert "MINAST_THREADS" not in os.environ and "CUDA_VISIBLE_DEVICES" not in os.environ


@PROC
def test_ctrl_c_while_they_start(monkeypatch, capfd):
    """It waits until all are there; then none stays, and none says anything."""
    from minast.console import signals

    real, there = SpawnProcess.start, []

    def start(process):
        real(process)
        there.append(process.pid)
        os.kill(os.getpid(), signal.SIGINT)
        status = Path(f"/proc/{process.pid}/status").read_text()
        blocked = int(re.search(r"SigBlk:\s*(\w+)", status)[1], 16)
        assert all(blocked >> number - 1 & 1 for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP))

    monkeypatch.setattr(SpawnProcess, "start", start)
    resource_tracker._resource_tracker._stop()  # as in a new program, where the first process would start it
    capfd.readouterr()
    with signals.raising(), pytest.raises(signals.Stopped):
        parallel.spread(count, None, 3)
    assert len(there) == 2
    gone(there)
    out, err = capfd.readouterr()
    assert out == "Stopped while the processes were starting: nothing was done yet. Run the same command again.\n"
    assert not err


def test_there_are_several_already(monkeypatch):
    monkeypatch.setattr(parallel, "_joined", [type("Group", (), {"size": 2, "thread": None})()])
    with pytest.raises(Error, match="--workers 2 is for one process, and there are 2 already"):
        parallel.spread(count, None, 2)


# -- runs ----------------------------------------------------------------------------------------------------------


def started(*words):
    command = [sys.executable, "-m", "minast.train", *map(str, words), "--workers", "2"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, cwd=ROOT, **pipes)


def others(process):
    """The process numbers of those that a run has started."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = path.read_text().rpartition(")")[2].split()
            if int(words[1]) == process.pid and b"spawn_main" in (path.parent / "cmdline").read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


def gone(numbers):
    """Wait until these processes have ended."""
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{number}").exists() for number in numbers):
        assert time.monotonic() < deadline, "a process stays"
        time.sleep(0.02)


def test_a_run_is_that_of_one_process(tones, tmp_path, command):
    """In fixed order all bits, with the moments divided; and resumed by one process."""
    one, two = tmp_path / "1", tmp_path / "2"
    assert train.main([str(tones), "--out", str(one), *TINY_RUN, "--threads", "1", *FIXED]) == 0
    status, out, err = command("train", tones, "--out", two, *RUN, *FIXED, "--shard-optimizer", "--workers", "2")
    assert status == 0 and "backend fast, 2 processes; to" in out and out.count("\nepoch 3 of 3") == 1, err
    assert same(state(two), state(one)) and set(os.listdir(two)) == set(os.listdir(one))
    status, _, err = command("train", tones, "--folds", "2", "--workers", "2", "--out", tmp_path / "many")
    assert status == 2 and err.count("minast: --folds and --seeds make many runs") == 1


@PROC
def test_ctrl_c(tones, tmp_path):
    """To all processes, as a terminal sends it: they stop after the same step, the first one saves, none is left."""
    out = tmp_path / "run"
    with started(tones, "--out", out, *RUN, "--epochs", "500") as process:
        until_epoch(out, 1)
        numbers = others(process)
        assert len(numbers) == 1
        for number in (*numbers, process.pid):
            os.kill(number, signal.SIGINT)
        text, err = process.communicate(timeout=60)
    assert process.returncode == 130 and re.search(r"Stopped after step (\d+) of \d+; nothing is lost", text), err
    assert text.endswith(f"python -m minast.train --resume {out} --workers 2\n")
    assert err == "\nfinishing this step; press Ctrl-C again to stop at once\n"
    gone(numbers)
    assert load_state(out / "last.npz")["m"].shape == minast.load(out / "last.npz", "numpy")[0].w.flat.shape


@PROC
@pytest.mark.parametrize("first", [False, True])
def test_a_killed_process(tones, tmp_path, first):
    """SIGKILL of any: the other one says so and ends, and the run goes on as if nothing had been."""
    out, flags = tmp_path / "killed", [*TINY_RUN, "--threads", "2", *FIXED, "--epochs", "5"]
    with started(tones, "--out", out, *flags) as process:
        until_epoch(out, 1)
        numbers = others(process)
        until_epoch(out, 2)
        os.kill(process.pid if first else numbers[0], signal.SIGKILL)
        _, err = process.communicate(timeout=60)
    assert process.returncode == (-signal.SIGKILL if first else 2)
    gone(numbers)
    assert err.startswith(f"minast: process {1 if first else 2} of 2 was lost, and the run ends. The last good "), err
    assert f"checkpoint is {out / 'last.npz'}, after" in err and f"--resume {out} --workers 2" in err
    if not first:
        assert train.main(["--resume", str(out)]) == 0
        whole = [str(tones), "--out", str(tmp_path / "whole"), *TINY_RUN, "--threads", "1", *FIXED, "--epochs", "5"]
        assert train.main(whole) == 0
        assert same(state(out), state(tmp_path / "whole"))
