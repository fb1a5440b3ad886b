"""2000 damaged, lying and attacking files; and the harness itself, which must notice what it is there to notice."""

import json
import os
import socket
import sys
import time
from collections import Counter

import pytest

from . import weights
from .__main__ import Worker, run
from .reader import Reader, case
from .worker import judged

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="limits and peaks of memory are read from /proc")

GROUPS = ("structures", "bench", "data", "audio", "flags")  # of readers: all


def test_2000_files(tmp_path):
    table, faults = run(2000, 1, GROUPS, tmp_path, say=lambda _: None)
    total = sum(table.values(), Counter())
    assert not faults, json.dumps(faults[:5], indent=1)
    assert total["refused"] > 500 and total["same"] + total["changed"] > 300  # changes, harmless and fatal
    assert total.total() == 2000 and all(counts.total() >= 70 for counts in table.values())


def test_a_case_follows_from_its_seed_and_number(tmp_path):
    everything = weights.weights()
    for number in range(40):
        first, again, other = (case(everything, seed, number) for seed in (3, 3, 4))
        assert first == again and first[1] != other[1]


# -- what it must notice -------------------------------------------------------------------------------------------


def hang(folder):
    time.sleep(60)


def crash(folder):
    os.abort()


def trace(folder):
    raise KeyError("x")


def write_outside(folder):
    with open(os.path.join(os.path.dirname(__file__), "outside"), "w"):
        pass


def connect(folder):
    socket.socket()


def start(folder):
    os.system("true")


def start_unseen(folder):
    try:
        os.system("true")
    except BaseException:
        return "good"


def fill(folder):
    return "good" if len(bytearray(600 * 2**20)) else ""


def claim(folder):
    bytearray(2**40)


def other(folder):
    return "other"


def warn(folder):
    import numpy as np

    return np.log(np.zeros(1))


def good(folder):
    return "good"


FAULTS = {
    hang: "hang: more than",
    crash: "crash: status",
    trace: "KeyError",
    write_outside: "Forbidden",
    connect: "Forbidden: 'socket",
    start: 'Forbidden: "os.system',
    start_unseen: "forbidden: os.system",
    fill: "memory: 6",
    claim: "MemoryError",
    other: "accepted with other content, in silence",
    warn: "RuntimeWarning",
}
STAND_INS = (
    "from tests.fuzz import readers, test_fuzz, worker\nreaders.all_readers = test_fuzz.stand_ins\nworker.main()"
)


def stand_ins(work):
    """A reader for each fault: it reads the good file well, and any other as badly as it can."""

    def bad(fault):
        def read(folder):
            with open(os.path.join(folder, "x"), "rb") as file:
                return "good" if file.read() == b"good file" else fault(folder)

        return Reader({"x": b"good file"}, {"x": [(spoil, False)]}, read, damage=False)

    return {fault.__name__: bad(fault) for fault in (*FAULTS, good)}


def spoil(rng, data):
    """Another file."""
    return b"bad file"


@pytest.fixture
def one_worker(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.fuzz.__main__.LIMIT", 2)
    monkeypatch.setattr("tests.fuzz.__main__.PATIENCE", 2)
    worker = Worker(0, str(tmp_path), [])
    worker.words = [sys.executable, "-c", STAND_INS, *worker.words[3:]]
    yield worker
    worker.stop()


def test_every_kind_of_fault_is_noticed(one_worker):
    names = one_worker.start()
    for number, fault in enumerate(FAULTS):
        verdict = one_worker.ask(number)
        assert names[number] == fault.__name__ and verdict["verdict"] == "fault", (fault, verdict)
        assert FAULTS[fault] in verdict["detail"], verdict
    assert one_worker.ask(len(FAULTS))["verdict"] == "same"
    assert not os.path.exists(os.path.join(os.path.dirname(__file__), "outside"))


@pytest.mark.parametrize("sentence", ["two\nlines.", "no end", "\x1b[31mred.", "x" * 3000 + "."])
def test_a_bad_sentence_is_a_fault(sentence):
    assert judged(sentence)[0] == "fault"
    assert judged("a.npz: this is no checkpoint.") == ("refused", "a.npz: this is no checkpoint.")
