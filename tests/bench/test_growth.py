"""How cost grows: what is counted, how slopes are fitted and judged, the processes, the file, the page, the command."""

import json
import os
import signal
import time
from dataclasses import replace

import numpy as np
import pytest

import minast
from minast.bench import readme, table
from minast.bench.cpu.models import flops
from minast.bench.growth import counted, data_jobs, jobs, page, picture, plan, rounds, slopes, stored, worker
from minast.config import ModelConfig

TOY = {"depth": 3, "frames": 48, "classes": 3}
ABOUT = {"processor": "made up", "threads": 2, "load": 0.1, "kernels": "Haswell", "torch": "2.13"}


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Plans depend on the number of threads."""
    monkeypatch.setenv("MINAST_THREADS", "2")


def curve(x, y, work=None, size=None, axis="clips", job="prepare", start=1000, peak=None, noise=0.0):
    """Points of a made-up curve: y seconds at x in five rounds; work and size as given, else x."""
    made = np.random.default_rng(0).normal(1, noise, (len(x), 5)) if noise else np.ones((len(x), 5))
    columns = zip(x, work or x, size or x, [list(b * row) for b, row in zip(y, made, strict=True)], strict=True)
    peaks = peak or [start + 8 * int(n) for n in x]
    return [stored.Measured(axis, job, *each, start, p) for each, p in zip(columns, peaks, strict=True)]


def whole(exponent=1.0, unit=1e-10, sizes=plan.FULL):
    """A run in which time is unit (counted work)^exponent, and memory what is counted."""
    found = stored.Found(ABOUT, sizes.said)
    for p in plan.points(sizes):
        y = unit * p.work**exponent
        peak = int(4e7 + p.size * (100 if p.axis == "clips" else 1))
        found.points.append(
            stored.Measured(p.axis, p.job, p.x, p.work, p.size, [y, y * 1.01, y * 0.99], int(4e7), peak)
        )
    return found


# -- what is counted -------------------------------------------------------------------------------------------


def arrays(cache, weights, seen):
    """The memory that a cache holds, but for the weights, each piece once.   -> {address: bytes}"""
    for item in cache if isinstance(cache, (tuple, list)) else [cache]:
        if isinstance(item, (tuple, list)):
            arrays(item, weights, seen)
        elif isinstance(item, np.ndarray):
            while isinstance(item.base, np.ndarray):
                item = item.base
            if not np.shares_memory(item, weights):
                seen[item.ctypes.data] = item.nbytes
    return seen


@pytest.mark.parametrize("width", [64, 512], ids=["all is kept", "inputs are made again"])
def test_what_is_kept_is_what_the_tape_holds(width):
    c = ModelConfig(**TOY | {"frames": 98}, dim=width, heads=width // 32, prefix_tokens=2)
    model, x, _ = jobs.setting({"dim": width, "heads": width // 32, "prefix_tokens": 2, **TOY, "frames": 98}, 2)
    tape = []
    model._encoder_forward(x, tape)
    held = sum(arrays(tape, model.w.flat, {}).values())
    assert held == pytest.approx(
        2 * counted.kept(c), rel=0.06
    )  # row statistics, and the prefix tokens of the last block
    assert (counted.LEAN if width == 512 else counted.WHOLE) * 2 * 4 * c.tokens * c.dim * (c.depth - 1) < held


def test_flop_grow_from_linear_to_quadratic():
    def grown(frames):
        """How much a clip of twice the length costs."""
        pair = [ModelConfig.preset("small", frames=n) for n in (frames, 2 * frames)]
        once, twice = (counted.forward_flop(c, 1) for c in pair)
        return twice / once

    assert grown(60) < 2.4 and 3.7 < grown(50_000) < 4
    c = ModelConfig.preset("small", frames=998)
    assert counted.forward_flop(c, 3) == 3 * flops(c)
    assert 3 * flops(c) < counted.step_flop(c, 1) < 3.5 * flops(c)
    equal = ModelConfig.preset("small", frames=1936)  # where page and README say that both shares are the same
    assert counted.attention_flop(equal) / (flops(equal) - counted.attention_flop(equal)) == pytest.approx(1, abs=0.03)


def test_memory_of_a_batch_is_level_where_it_is_cut_into_parts():
    c = ModelConfig(**plan.FULL.batched)
    sizes = [counted.largest_part(c, n) for n in (1, 16, 32, 64, 128)]
    assert sizes == [1, 16, 32, 32, 32]
    model = minast.AST(ModelConfig(**TOY, dim=768, heads=12), "fast", None)
    for clips in (1, 50, 100, 333):
        parts = model._parts(clips)
        assert counted.largest_part(model.config, clips) == max(part.stop - part.start for part in parts)


def test_every_point_is_planned_once():
    for sizes in (plan.FULL, plan.REHEARSAL):
        made = plan.points(sizes)
        assert len({(*p.curve, p.x) for p in made}) == len(made)
        assert {p.axis for p in made} == set(plan.AXES) and all(p.work > 0 and p.size > 0 for p in made)
        assert set(sizes.said) == set(plan.AXES) and {p.job for p in made} == set(plan.JOBS) == set(jobs.JOBS)
    assert {p.curve for p in plan.points(plan.FULL, ["width"])} == {("width", "forward"), ("width", "step")}


def test_threads_are_halved_down_to_one(monkeypatch):
    monkeypatch.setenv("MINAST_THREADS", "6")
    made = [p for p in plan.points(plan.REHEARSAL, ["threads"]) if p.job == "forward"]
    assert [(p.x, p.threads) for p in made] == [(1, 1), (3, 3), (6, 6)]
    assert made[0].work == pytest.approx(6 * made[-1].work) and made[0].size == made[-1].size
    assert {p.threads for p in plan.points(plan.REHEARSAL, ["length"])} == {6}


# -- slopes ----------------------------------------------------------------------------------------------------

X = [100, 1000, 10_000, 100_000, 1_000_000]


def test_a_planted_square_is_flagged_where_a_line_is_expected():
    fit = slopes.time_of(curve(X, [1e-9 * x**2 for x in X]))
    assert fit.slope == pytest.approx(2) and fit.wanted == pytest.approx(1)
    assert fit.verdict == "steeper" and fit.deviation == pytest.approx(1)
    level = slopes.time_of(curve(X, [1.0] * 5))
    assert level.verdict == "flatter" and level.deviation == pytest.approx(-1)


@pytest.mark.parametrize("exponent", [0.85, 1.0, 1.15])
def test_what_grows_nearly_as_expected_is_not_flagged(exponent):
    fit = slopes.time_of(curve(X, [1e-6 * x**exponent for x in X], noise=0.05))
    assert not fit.verdict and fit.deviation == pytest.approx(exponent - 1, abs=0.03) and 0 < fit.spread < 0.05


def test_small_sizes_do_not_count():
    fit = slopes.time_of(curve(X, [0.01 + 1e-6 * x for x in X]))  # a constant that governs the first three points
    assert list(fit.upper) == [False, False, True, True, True] and not fit.verdict
    assert slopes.upper_half(np.array([1.0, 2.0])).all()
    assert list(slopes.upper_half(np.array([1.0, 2, 5, 10, 20, 30, 60]))) == [
        False,
        False,
        False,
        True,
        True,
        True,
        True,
    ]


def test_memory_is_compared_with_that_of_a_process_and_what_is_counted():
    """Also a planted square of which the process itself hides the most."""
    straight = slopes.memory_of(curve(X, [1] * 5, start=10**8, peak=[10**8 + 50 * x for x in X]))
    assert straight.scale == pytest.approx(50) and (straight.wanted, straight.slope) == pytest.approx((1, 1))
    assert straight.expected == pytest.approx(straight.y) and straight.y[0] == 10**8 + 5000
    square = slopes.memory_of(curve(X, [1] * 5, start=10**8, peak=[10**8 + x * x // 2000 for x in X]))
    assert square.verdict == "steeper" and square.slope == pytest.approx(2)
    nothing = slopes.memory_of(curve(X, [1] * 5, start=10**8, peak=[10**8] * 5))
    assert nothing.verdict == "flatter" and nothing.slope == pytest.approx(0, abs=1e-9)


def test_one_point_is_no_curve():
    assert slopes.time_of(curve([10], [1])) is None and slopes.memory_of(curve([10], [1])) is None


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


# -- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def readme_page(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# x\n\n" + "\n".join(readme.markers("growth")) + "\n")
    return path


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


def test_page_and_picture_from_stored_numbers(tmp_path, readme_page, command):
    file, drawn = tmp_path / "g.json", tmp_path / "pictures" / "growth.png"
    drawn.parent.mkdir()
    stored.write(file, whole())
    flags = ("--json", tmp_path / "again.json", "--picture", drawn, "--readme", readme_page)
    assert command("bench", "growth", "--from", file, *flags) == (0, "", "")
    assert drawn.read_bytes()[1:4] == b"PNG" and stored.read(file) == stored.read(tmp_path / "again.json") == whole()
    text = readme.read(readme_page, "growth")
    assert text.startswith("![Time and memory against what grows, measured and expected](pictures/growth.png)\n")
    rows = [line for line in text.splitlines() if line.startswith("| ")][2:]
    assert len(rows) == 21 and not any(word in text for word in ("steeper", "flatter"))
    assert "None of the 21 slopes is more than 0.2 from the expected one. Medians of 3 interleaved rounds." in text
    assert "processor made up, threads 2, kernels Haswell; load before the run 0.1." in text
    assert "| threads | forward pass, time | 1: " in text and "| -1.00 | -1.00 ± 0.00 | 0.00 |" in text
    assert "100 bytes a clip" in text and "1.00 of what is counted" in text and "10 GFLOP/s" in text
    assert "1 000 000: 0.10 ms" in text and "- length of a clip: small, one clip" in text


def test_what_does_not_fit_is_named(tmp_path, command):
    file = tmp_path / "g.json"
    stored.write(file, whole(exponent=2.0, unit=1e-18))
    status, out, err = command("bench", "growth", "--from", file)
    assert status == 0 and "| +1.00 |" in out and "**steeper**" in out and "**flatter**" in out  # the latter: threads
    assert "note: length of a clip, forward pass, time: slope 3." in err and "steeper than the expected 1." in err
    assert "slopes are more than 0.2 from the expected one" in out


def test_a_part_of_the_curves_is_a_part_of_the_page(tmp_path):
    found = whole()
    found.points = [p for p in found.points if p.axis == "length" or p.x == 1]
    text = page.markdown(found)
    assert "- threads: no curve, which takes two points" in text and text.count("| length of a clip |") == 4
    picture.draw(tmp_path / "g.png", found)
    assert (tmp_path / "g.png").stat().st_size > 10_000


def test_figures_of_a_machine_that_is_held_back_are_not_for_the_page(tmp_path, readme_page, command, monkeypatch):
    held, file, before = "OPENBLAS_CORETYPE=Haswell makes it slow", tmp_path / "g.json", readme_page.read_text()
    found = whole()
    stored.write(file, replace(found, about=ABOUT | {"held": held}))
    status, _, err = command("bench", "growth", "--from", file, "--readme", readme_page)
    assert status == 2 and f"its table is not written: {held}: so these were measured" in err
    monkeypatch.setattr("minast.bench.machine.held", lambda: [held])
    status, _, err = command("bench", "growth", "--readme", readme_page)
    assert status == 2 and f"{held}: unset what is named here, then measure." in err
    assert readme_page.read_text() == before
    assert f"held {held}" in page.markdown(stored.read(file))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["size"], "nothing called 'size' grows here: choose from length, batch, width, threads, clips."),
        (["--resume"], "--resume goes on with the numbers of a file: name it with --json."),
        (["--rounds", "0"], "--rounds is 0"),
        (["--readme", "README.md", "--rehearse"], "the figures of a rehearsal mean nothing"),
        (["--from", "g.json", "--readme", "README.md"], "the figures of a rehearsal mean nothing"),
        (["--from", "g.json", "width"], "--from takes what is in the file"),
        (["--from", "none.json"], "none.json: No such file or directory."),
        (["--readme", "other.md"], "other.md: the table needs the lines <!-- minast bench growth: begin -->"),
        (["--picture", "none/g.png"], "none/g.png cannot be written: there is no folder"),
        (["--from", "empty.json", "--picture", "g.png"], "g.png: there is nothing to draw: no curve has two points."),
    ],
)
def test_what_is_refused_before_anything_runs(flags, said, tmp_path, readme_page, command, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(rounds, "measure", None)
    (tmp_path / "other.md").write_text("# no markers\n")
    stored.write("g.json", replace(whole(), rehearsal=True))
    stored.write("empty.json", stored.Found(ABOUT, plan.FULL.said))
    status, out, err = command("bench", "growth", *flags)
    assert (status, out) == (2, "") and said in err and err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda v: "x", "is an object with named fields"),
        (lambda v: v | {"more": 1}, "has a field 'more' that this version of minast does not know"),
        (lambda v: v | {"rehearsal": 1}, "rehearsal is 1: it must be true or false"),
        (lambda v: v | {"points": [v["points"][0] | {"peak": -1}]}, "points[0].peak is -1: it must be a whole number"),
        (lambda v: v | {"points": [v["points"][0] | {"axis": "heat"}]}, 'points[0].axis is "heat": it must be one of'),
        (lambda v: v | {"points": [v["points"][0] | {"work": 0}]}, "points[0].work is 0: it must be a number above 0"),
        (lambda v: v | {"points": v["points"][:1] * 2}, "forward pass, length of a clip 1 is there twice"),
        (lambda v: v | {"points": [v["points"][0] | {"seconds": []}]}, "has 0 rounds"),
        (lambda v: v | {"points": [v["points"][0], v["points"][1] | {"seconds": [1.0]}]}, "has 1 rounds"),
        (lambda v: v | {"said": {}}, "said.length is missing"),
    ],
)
def test_a_file_of_another_kind_gets_a_sentence(change, said, tmp_path):
    file = tmp_path / "g.json"
    stored.write(file, whole())
    changed = change(json.loads(file.read_text()))
    file.write_text(json.dumps(changed))
    if said.startswith("is an object"):
        said = "it must be an object with named fields"
    with pytest.raises(minast.Error) as refused:
        stored.read(file)
    assert said in str(refused.value) and str(file) in str(refused.value)
    file.write_text(json.dumps(changed)[:-3])
    with pytest.raises(minast.Error, match=r"g\.json is damaged, or was not written by"):
        stored.read(file)


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


def test_the_page_of_the_bench():
    """It has the markers, and says what the code does."""
    path = readme.of_kernels().parents[1] / "minast" / "bench" / "README.md"
    if not path.exists():
        pytest.skip("an installed package has no pages")
    assert readme.find(path, "growth") == "growth" and readme.read(path, "growth")
    text = path.read_text(encoding="utf-8")
    assert f"more than {slopes.TOLERANCE:g} from" in text and f"takes more than {rounds.LONG:g} s" in text
    assert f"{data_jobs.FILES} short files" in text and f"{1 + counted.WHOLE} values" in text
