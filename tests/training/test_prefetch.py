"""Batches in the background: the same ones, in order, a few ahead, errors at their turn."""

import threading
import time

import pytest

from minast.training.prefetch import DEPTH, Prefetcher


def test_same_as_map():
    def make(step):
        time.sleep(0.002 * (step % 3))  # the later may be ready first
        return step * step

    with Prefetcher(make, range(5, 40)) as batches:
        assert list(batches) == [step * step for step in range(5, 40)]


def test_only_a_few_ahead_and_never_more_after_the_end():
    made = []
    with Prefetcher(made.append, range(100)) as batches:
        next(batches)
        time.sleep(0.05)
        assert 1 <= len(made) <= DEPTH + 1
    time.sleep(0.05)
    count = len(made)
    time.sleep(0.05)
    assert len(made) == count <= DEPTH + 1


def test_an_error_comes_when_its_batch_is_due():
    def make(step):
        return 1 // (step - 2)

    with Prefetcher(make, range(4)) as batches:
        assert [next(batches), next(batches)] == [-1, -1]
        with pytest.raises(ZeroDivisionError):
            next(batches)


def test_waiting_is_counted():
    gate = threading.Event()
    with Prefetcher(lambda step: gate.wait(5), range(1)) as batches:
        threading.Timer(0.1, gate.set).start()
        next(batches)
        assert 0.05 < batches.waited < 4
