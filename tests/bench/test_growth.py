"""How cost grows: what is counted, how slopes are fitted and judged, the file, the page and its command."""

import json
from dataclasses import replace

import numpy as np
import pytest

import minast
from minast.bench import counted, readme
from minast.bench.counted import flops
from minast.bench.growth import data_jobs, jobs, page, picture, plan, rounds, slopes, stored
from minast.config import ModelConfig
from tests.bench.made_up import ABOUT, curve, whole

TOY = {"depth": 3, "frames": 48, "classes": 3}


@pytest.fixture(autouse=True)
def two_threads(monkeypatch):
    """Plans depend on the number of threads."""
    monkeypatch.setenv("MINAST_THREADS", "2")


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


# -- the command -----------------------------------------------------------------------------------------------


@pytest.fixture
def readme_page(tmp_path):
    path = tmp_path / "README.md"
    path.write_text("# x\n\n" + "\n".join(readme.markers("growth")) + "\n")
    return path


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
    assert status == 2 and f"the table is not written since its rows were measured while {held}: measure" in err
    monkeypatch.setattr("minast.bench.machine.held", lambda: [held])
    status, _, err = command("bench", "growth", "--readme", readme_page)
    assert status == 2 and f"{held}: unset what is named here first." in err
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


def test_the_page_of_the_bench():
    """It has the markers, and says what the code does."""
    path = readme.of_kernels().parents[1] / "minast" / "bench" / "README.md"
    if not path.exists():
        pytest.skip("an installed package has no pages")
    assert readme.find(path, "growth") == "growth" and readme.read(path, "growth")
    text = path.read_text(encoding="utf-8")
    assert f"more than {slopes.TOLERANCE:g} from" in text and f"takes more than {rounds.LONG:g} s" in text
    assert f"{data_jobs.FILES} short files" in text and f"{1 + counted.WHOLE} values" in text
