"""What fails costs its own cell or row: never what was measured before, nor what comes after."""

import json

import pytest

from minast import Error
from minast.bench import catalogue, row, runner
from minast.bench.gpu.device import Device
from minast.bench.gpu.rows import DeviceRow
from minast.bench.kernels import memory_bound
from minast.bench.kernels.cases.case import TOY
from tests.kernel_cases import need_compiler
from tests.pretended import Pretended


class OutOfMemoryError(Exception):
    """As torch's: it is not a MemoryError."""


def failing(after=0):
    """A function that works `after` times."""
    calls = []

    def call():
        calls.append(None)
        if len(calls) > after:
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 5.5 GiB.\nAnd much more text")

    return call


@pytest.mark.parametrize("after", [0, 1, 3])
def test_a_library_that_fails_costs_its_cell(after):
    """At its first call, or in the middle of the rounds: all others are timed again, in every round."""
    ours, without = [], {}
    calls = {"a": list, "eager": failing(after), "b": dict}
    (mine,), beside = Device(gpu=False).beside([lambda: ours.append(None)], calls, without, 3)
    assert mine.shape == (3,) and list(beside) == ["a", "b"] and all((t > 0).all() for t in (mine, *beside.values()))
    assert without == {"eager": "OutOfMemoryError: CUDA out of memory. Tried to allocate 5.5 GiB."}
    assert list(calls) == ["a", "eager", "b"]  # the caller's


def test_all_libraries_may_fail():
    without = {"c": "no torch"}
    (mine,), beside = Device(gpu=False).beside([list], {"a": failing(), "b": failing(1)}, without, 2)
    assert len(mine) == 2 and beside == {} and list(without) == ["c", "a", "b"]


def test_our_own_failure_is_the_rows():
    with pytest.raises(OutOfMemoryError):
        Device(gpu=False).beside([failing()], {"a": list}, {}, 2)


def test_a_case_that_fails_leaves_the_others():
    need_compiler()
    cases = list(memory_bound.cases(Pretended(), TOY, "float32"))[:3]
    broken = cases[1]._replace(name="broken", call=failing())
    rows = memory_bound.makers(Pretended(), TOY, 1, ("float32",), [cases[0], broken, cases[2]])
    seen = []
    with pytest.raises(Error, match=r"^broken, float32: OutOfMemoryError: CUDA out of memory"):
        seen.extend(found.name for found in row.each(rows))
    assert seen == [f"{cases[0].name}, float32", f"{cases[2].name}, float32"]


def test_a_librarys_check_that_fails_leaves_the_row():
    need_compiler()
    case = next(iter(memory_bound.cases(Pretended(), TOY, "float16")))._replace(half=failing)
    (done,) = memory_bound.measure(Pretended(), TOY, 1, ("float16",), [case])
    assert done.without["layers.py on CuPy"].startswith("OutOfMemoryError: CUDA out of memory")


def made(name):
    return DeviceRow(name, 1.0, device="a GPU")


def measured(monkeypatch, tmp_path, *rows):
    """What `runner.measure` returns or raises for rows r0, r1, ..., and the names in its JSON file."""
    monkeypatch.setattr(catalogue, "ROWS", {f"r{i}": catalogue.Entry(run, "") for i, run in enumerate(rows)})
    monkeypatch.setattr(catalogue, "DEVICE", {})
    file = tmp_path / "rows.json"
    try:
        result = runner.measure(list(catalogue.ROWS), 1, None, str(file))
    except BaseException as error:
        result = error
    return result, [r["name"] for r in json.loads(file.read_text())["rows"]]


def test_a_row_that_fails_leaves_the_others(monkeypatch, tmp_path, capsys):
    def part(rounds):
        yield made("first half")
        raise AssertionError("of torch's")

    rows = [lambda _: [made("one")], part, lambda _: failing()(), lambda _: [made("last")]]
    (done, _, failed), stored = measured(monkeypatch, tmp_path, *rows)
    assert [r.name for r in done] == stored == ["one", "first half", "last"]
    assert failed == [
        "r1: AssertionError: of torch's",
        "r2: OutOfMemoryError: CUDA out of memory. Tried to allocate 5.5 GiB.",
    ]


def test_ctrl_c_leaves_what_was_measured(monkeypatch, tmp_path):
    def stopped(rounds):
        yield made("first half")
        raise KeyboardInterrupt

    result, stored = measured(monkeypatch, tmp_path, lambda _: [made("one")], stopped, lambda _: [made("last")])
    assert isinstance(result, KeyboardInterrupt) and stored == ["one", "first half"]


def test_of_an_own_error_the_whole_sentence_is_said():
    def wrong():
        raise Error("softmax: the result differs: nothing was timed.")

    with pytest.raises(Error, match=r"^softmax: the result differs: nothing was timed\.$"):
        list(row.each([("softmax, float32", wrong)]))
    assert row.reason(ValueError()) == "ValueError"
