"""Processes of `--workers` of scan and embed: which signals end them, and that none stays."""

import os
import signal
import time
from multiprocessing.context import SpawnProcess

import pytest

from minast.console import signals
from minast.streaming.pools import Processes

pytestmark = pytest.mark.skipif(os.name != "posix", reason="Windows has other signals")


class Idle:
    """Settings of workers that have nothing to do."""

    def worker(self):
        return self


def test_ctrl_c_is_left_to_the_parent_and_sigterm_ends_a_worker():
    pool = Processes(Idle(), print, 1)
    try:
        process, pipe = pool.workers[0].process, pool.workers[0].pipe
        assert pipe.recv() == ("ready", None)
        os.kill(process.pid, signal.SIGINT)
        time.sleep(0.1)
        assert process.is_alive()
        os.kill(process.pid, signal.SIGTERM)
        process.join(20)
        assert process.exitcode == -signal.SIGTERM
    finally:
        pool.close()


def test_a_signal_while_they_are_started_leaves_none(monkeypatch):
    real, begun = SpawnProcess.start, []

    def start(process):
        real(process)
        begun.append(process)
        if len(begun) == 2:
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(SpawnProcess, "start", start)
    with signals.raising(), pytest.raises(signals.Stopped):
        Processes(Idle(), print, 3)
    assert len(begun) == 2 and not any(process.is_alive() for process in begun)
