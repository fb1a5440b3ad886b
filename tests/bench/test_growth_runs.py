"""How cost grows: jobs in processes of their own, rounds in which they take turns, what Ctrl-C leaves."""

import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

from minast.bench import table
from minast.bench.growth import data_jobs, page, plan, rounds, slopes, stored, worker
from tests.bench.made_up import ABOUT


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Plans depend on the number of threads."""
    monkeypatch.setenv("MINAST_THREADS", "2")


# -- processes -------------------------------------------------------------------------------------------------


def toy(job="forward", **changes):
    made = next(p for p in plan.points(plan.REHEARSAL) if p.job == job)
    return replace(made, **changes)


def test_a_point_in_a_process_of_its_own(tmp_path, monkeypatch):
    """Its peak is its own, its errors are told, and it ends with its block."""
    ballast = np.ones(2**24)  # 128 MiB of this process
    with worker.Worker(toy("step"), str(tmp_path)) as child:
        first, second = child.run(), child.run()
        number = child.process.pid
    assert first["start"] < first["peak"] <= second["peak"] < ballast.nbytes and second["seconds"] > 0
    with pytest.raises(ProcessLookupError):
        os.kill(number, 0)
    bad = {"model": {"dim": 30, "heads": 4}, "batch": 1}
    with (
        worker.Worker(toy(settings=bad), str(tmp_path)) as child,
        pytest.raises(worker.Lost, match=r"dim is 30 and heads is 4: the width must be a multiple"),
    ):
        child.run()


def test_a_process_that_is_killed(tmp_path):
    with worker.Worker(toy(), str(tmp_path)) as child:
        os.kill(child.process.pid, signal.SIGKILL)
        with pytest.raises(worker.Lost, match="ended by SIGKILL, as happens when memory runs out"):
            child.run()


@pytest.mark.parametrize("clips", [100, 700])
def test_jobs_on_a_data_set_do_what_they_say(clips, tmp_path, monkeypatch):
    monkeypatch.setenv("MINAST_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(data_jobs, "FILES", 16)
    found = data_jobs.manifest(clips, str(tmp_path))()
    assert len(found.clips) == clips and len(found.of("train")) == clips * 9 // 10 and not found.bad
    mels, targets, order = data_jobs.prepare(clips, str(tmp_path))()
    assert len(mels) == len(targets) == len(order) == clips * 9 // 10 and set(targets[:].sum(axis=1)) == {2}
    assert mels[0].shape == (8, 128)
    run = data_jobs.batches(clips, str(tmp_path))
    run(), run()


# -- rounds ----------------------------------------------------------------------------------------------------


class Made:
    """Stands for `worker.Worker`: seconds are 1e-9 work, and calls are listed."""

    calls: list = []  # noqa: RUF012  of the whole test
    ends = None  # a point's x whose process does not survive its second call
    stops: int | None = None  # how many calls there are before Ctrl-C

    def __init__(self, point, folder):
        self.point, self.count = point, 0

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def run(self):
        if Made.stops is not None and len(Made.calls) >= Made.stops:
            raise KeyboardInterrupt
        Made.calls.append((*self.point.curve, self.point.x))
        self.count += 1
        if self.point.x == Made.ends and self.count > 1:
            raise worker.Lost("it was killed")
        p = self.point
        return {"seconds": 1e-9 * p.work, "start": 10**7, "peak": int(1e7 + p.size) + self.count}


@pytest.fixture
def made_up(monkeypatch):
    """No processes, no pauses: `Made` instead."""
    monkeypatch.setattr(rounds, "Worker", Made)
    monkeypatch.setattr(rounds, "PAUSE", 0)
    monkeypatch.setattr(Made, "calls", [])
    return Made


def test_points_of_a_curve_take_turns(made_up, tmp_path):
    found, saved = stored.Found(ABOUT, plan.REHEARSAL.said), []
    points = plan.points(plan.REHEARSAL, ["batch"])
    rounds.measure(points, 4, found, str(tmp_path), lambda: saved.append(len(found.points)))
    turns = [("batch", "forward", n) for n in (1, 2, 4)] * 5 + [("batch", "step", n) for n in (1, 2, 4)] * 5
    assert made_up.calls == turns
    assert [len(p.seconds) for p in found.points] == [4] * 6 and saved == [0, 3, 3, 3, 3, 3, 6, 6, 6, 6]
    assert found.points[0].peak % 10 != found.points[0].start  # of the last call
    assert slopes.time_of(found.curves()["batch", "step"]).slope == pytest.approx(1)


def test_a_curve_that_takes_long_has_fewer_rounds(made_up, tmp_path, monkeypatch):
    monkeypatch.setattr(rounds, "LONG", 0.0)
    found = stored.Found(ABOUT, plan.REHEARSAL.said)
    rounds.measure(plan.points(plan.REHEARSAL, ["width"]), 9, found, str(tmp_path), lambda: None)
    assert {len(p.seconds) for p in found.points} == {rounds.FEW}


def test_a_lost_process_costs_its_point_alone(made_up, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(made_up, "ends", 4)
    found = stored.Found(ABOUT, plan.REHEARSAL.said)
    rounds.measure(plan.points(plan.REHEARSAL, ["batch"]), 2, found, str(tmp_path), lambda: None)
    assert [(p.job, p.x, len(p.seconds)) for p in found.points] == [
        (job, n, 2) for job in ("forward", "step") for n in (1, 2)
    ]
    assert "training step, clips in a batch 4: not measured: it was killed." in capsys.readouterr().err
    assert "- not measured: forward pass, clips in a batch 4: it was killed" in page.markdown(found)


def test_what_the_memory_cannot_hold_is_left_out(made_up, tmp_path, monkeypatch, capsys):
    points = [toy(x=x, size=x * 2**30) for x in (1, 2, 8)]
    assert rounds.affordable(points, 4 * 2**30) == points[:2] and rounds.affordable(points, 20 * 2**30) == points
    assert rounds.affordable(points, 2**20) == []
    monkeypatch.setattr(rounds, "physical_memory", lambda: 5 * 2**30)
    found = stored.Found(ABOUT, plan.REHEARSAL.said)
    rounds.measure(points, 1, found, str(tmp_path), lambda: None)
    assert [p.x for p in found.points] == [1, 2]
    assert "length of a clip 8: not measured: this machine has too little memory." in capsys.readouterr().err


@pytest.mark.parametrize("stops", [4, 11, 20])
def test_ctrl_c_loses_nothing_and_resume_measures_the_rest(made_up, stops, tmp_path, command, monkeypatch):
    file = tmp_path / "g.json"
    flags = ("growth", "batch", "width", "--rehearse", "--rounds", 4, "--json", file)
    monkeypatch.setattr(made_up, "stops", stops)
    assert command("bench", *flags)[0] == 130
    kept = stored.read(file)
    assert not [p for p in tmp_path.iterdir() if p != file]
    assert len({(len(p.seconds), p.curve) for p in kept.points}) == len(kept.curves()) == stops // 18 + (stops % 15 > 5)
    monkeypatch.setattr(made_up, "stops", None)
    before = len(made_up.calls)
    status, out, _ = command("bench", *flags, "--resume")
    assert status == 0 and len(stored.read(file).points) == 12 and out.count("| width of the model |") == 4
    done = sum(p.curve == ("batch", "forward") for p in kept.points) == 3 and len(kept.points[0].seconds) >= rounds.FEW
    assert len(made_up.calls) - before == (3 if done else 4) * 15
    again = len(made_up.calls)
    assert command("bench", *flags, "--resume")[0] == 0 and len(made_up.calls) == again


def test_another_machine_does_not_go_on(made_up, tmp_path, command):
    file = tmp_path / "g.json"
    flags = ("growth", "width", "--rehearse", "--rounds", 1, "--json", file)
    assert command("bench", *flags)[0] == 0
    value = json.loads(file.read_text())
    value["about"]["kernels"] = "Prescott"
    file.write_text(json.dumps(value))
    status, _, err = command("bench", *flags, "--resume")
    assert status == 2 and "was measured with kernels Prescott, here it is" in err
    value["about"] = table.conditions(2)
    file.write_text(json.dumps(value | {"rehearsal": False}))
    assert "a rehearsal and a measurement do not go into one file" in command("bench", *flags, "--resume")[2]


def test_a_rehearsal_measures(tmp_path, command, monkeypatch):
    """Really, in processes: the fewest of them stand for the others."""
    monkeypatch.setattr(rounds, "PAUSE", 0)
    file, axes = tmp_path / "g.json", ("threads",)
    began = time.time()
    flags = ("--rehearse", "--rounds", 1, "--json", file, "--picture", tmp_path / "g.png")
    status, out, err = command("bench", "growth", *axes, *flags)
    found = stored.read(file)
    assert status == 0 and found.rehearsal and not found.lost, err
    assert len(found.points) == len(plan.points(plan.REHEARSAL, axes)) and len(found.curves()) == 2
    assert all(0 < seconds < time.time() - began for p in found.points for seconds in p.seconds)
    assert all(0 < p.start <= p.peak < 2**30 for p in found.points)
    assert out.count("\n| threads | ") == 4 and (tmp_path / "g.png").exists()
