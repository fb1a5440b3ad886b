"""How exercises are judged: right, wrong with the reason, not done; the check's own mistakes are raised."""

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tutorials"))

from exercises.verdict import Wrong, exercise, expect


def judge(check, *answers):
    return exercise(check)(*answers)


def double(answer):
    """Compared with twice the number, at three numbers."""
    for x in (1.0, 2.0, 5.0):
        expect(answer(x), 2 * x, given=f"x={x}", slips={"you squared it": x * x})


@pytest.fixture
def said(capsys):
    return lambda: capsys.readouterr().out


def test_right(said):
    assert judge(double, lambda x: x + x) is True
    assert said() == "Right. Compared with twice the number, at three numbers.\n"


@pytest.mark.parametrize("stub", [None, ..., "__global__ void f() { /* your code */ }", lambda x: None, lambda x: ...])
def test_not_done(stub, said):
    assert judge(double, stub) is None
    assert said().startswith("Not done yet: ")


def test_a_missing_return_after_right_answers_is_wrong(said):
    assert judge(double, lambda x: 2 * x if x < 5 else None) is False
    assert "for x=5.0" in said()


def test_the_slip_is_named_at_the_first_input_that_shows_it(said):
    assert judge(double, lambda x: x * x) is False
    assert said() == "Wrong: for x=1.0, the result is 1, expected 2. Likely slip: you squared it.\n"
    assert judge(double, lambda x: x + 1) is False
    out = said()
    assert "for x=2.0" in out and "slip" not in out


def test_what_the_reader_raises_is_a_sentence_with_its_line(said):
    def answer(x):
        return x / (x - 2)

    assert judge(double, lambda x: 2 * x if x < 2 else answer(x)) is False
    out = said()
    assert "ZeroDivisionError" in out and "`return x / (x - 2)`" in out and "float division" in out
    line = answer.__code__.co_firstlineno + 1
    assert f"line {line}," in out


def test_an_error_far_below_names_the_readers_own_line(said):
    def answer(x):
        return np.zeros((2, 3)) @ np.zeros((2, 3))

    assert judge(double, answer) is False
    assert "ValueError" in (out := said()) and f"line {answer.__code__.co_firstlineno + 1}," in out


def test_wrong_parameters(said):
    assert judge(double, lambda: 1) is False
    assert "TypeError" in said()


def test_mistakes_of_the_check_are_raised():
    def check(answer):
        """Never."""
        answer(1)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        judge(check, lambda x: x)


def test_a_check_may_say_it_itself(said):
    def check(answer):
        """Never."""
        raise Wrong("it is a copy.")

    assert judge(check, lambda x: x) is False
    assert said() == "Wrong: it is a copy.\n"


A = np.arange(6.0).reshape(2, 3)
I3 = np.array([1, 2, 3])


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (A.T, A, ["shape (3, 2)", "shape (2, 3)", "opposite order"]),
        (A.ravel(), A, ["shape (6,)", "arrangement"]),
        (A[:1], A, ["shape (1, 3)"]),
        (A[0, 0], A, ["a number", "shape (2, 3)"]),
        (A, 3.0, ["shape (2, 3)", "a number (3)"]),
        ([[1, 2], [3]], A, ["unequal"]),
        ("text", A, ["type str"]),
        (3.0, 3, ["right value", "float64"]),
        (1.0, np.bool_(True), ["True and False"]),
        (A + 0j, A, ["complex"]),
        (np.where(A == 4, np.nan, A), A, ["1 values", "NaN", "[1, 1]"]),
        (A + (A == 5), A, ["[1, 2]", "is 6, expected 5", "1 of 6"]),
        (2 * A, A, ["2 times"]),
        (-A, A, ["signs"]),
        (0 * A, A, ["zero"]),
        (A + 3, A, ["same 3"]),
        (I3 + 1, I3, ["same 1", "3 of 3"]),
        ("yes", "no", ["'yes'", "'no'"]),
        (A, (A, A), ["2 results", "one ndarray"]),
        ((A,), (A, A), ["2 results", "1 of them"]),
        ((A, A + 1), (A, A), ["result 2 of 2"]),
    ],
)
def test_the_difference_in_words(got, want, words, said):
    def check(answer):
        """Never."""
        expect(answer(), want, given="these")

    assert judge(check, lambda: got) is False
    out = said()
    assert out.startswith("Wrong: for these, ")
    for word in words:
        assert word in out, out


@pytest.mark.parametrize(
    ("got", "want"),
    [
        *((A.tolist(), A), (A * (1 + 1e-8), A), ((A * (1 + 1e-5)).astype(np.float32), A), (np.int64(3), 3)),
        *(([A, 1], (A, 1)), ([], np.zeros(0, int)), (np.array([np.nan, np.inf]), np.array([np.nan, np.inf])), (1, 1.0)),
    ],
)
def test_equal_enough(got, want):
    def check(answer):
        """Equal."""
        expect(answer(), want)

    assert judge(check, lambda: got) is True


@pytest.mark.parametrize(("tol", "verdict"), [(None, False), (1e-6, False), (1e-2, True)])
def test_tolerance_is_relative_to_the_largest(tol, verdict):
    def check(answer):
        """Close."""
        expect(answer(), A, tol=tol)

    assert judge(check, lambda: A + 1e-3 * np.sin(A)) is verdict


def test_dtype_where_it_matters(said):
    def check(answer):
        """float32."""
        expect(answer(), A, dtype="float32")

    assert judge(check, lambda: A) is False
    assert "float64, expected float32" in said()
    assert judge(check, lambda: A.astype(np.float32)) is True


def test_a_slip_may_be_made_when_it_is_needed(said):
    calls = []

    def check(answer):
        """Slow."""
        expect(answer(), A, slips={"you did not sort": lambda: calls.append(1) or A[::-1]})

    assert judge(check, lambda: A) is True and not calls
    assert judge(check, lambda: A[::-1]) is False and calls
    assert "you did not sort" in said()


# -- wrong diagnoses, and right answers in an unusual form ---------------------------------------------------------


def halves(answer):
    """The two halves of a number, the larger one first."""
    for n in (4, 5, 9):
        slips = {"you rounded both down": (n // 2, n // 2), "you put the smaller one first": (n // 2, (n + 1) // 2)}
        slips["you doubled"] = (n, 2 * n)
        expect(answer(n), ((n + 1) // 2, n // 2), given=f"n={n}", slips=slips)


@pytest.mark.parametrize(
    ("answer", "slip"),
    [
        (lambda n: (n // 2, n // 2), "you rounded both down"),
        (
            lambda n: (n // 2, (n + 1) // 2),
            "you put the smaller one first",
        ),  # at 5 half of it fits both
        (lambda n: (n // 2, n // 2) if n < 6 else (0, 0), None),  # fits at 5, but not at 9
        (lambda n: (n // 2 + n % 2, 2 * n), None),  # one of two results is that of "you doubled"
        (lambda n: ((n + 1) // 2, n // 2) if n != 9 else (4, 4), None),  # right at 5, where the slip would not be
    ],
)
def test_a_slip_is_named_only_if_it_explains_every_answer(answer, slip, said):
    assert judge(halves, answer) is False
    out = said()
    assert f"Likely slip: {slip}." in out if slip else "Likely slip" not in out


def test_an_answer_that_fails_in_another_way_later_keeps_its_first_reason(said):
    def answer(x):
        if x > 3:
            raise ValueError("later")
        return x * x

    assert judge(double, answer) is False
    assert said() == "Wrong: for x=1.0, the result is 1, expected 2. Likely slip: you squared it.\n"


def test_the_second_run_says_nothing(said):
    def check(answer):
        """Loud."""
        print("tried")
        double(answer)

    assert judge(check, lambda x: x * x) is False
    assert said().count("tried") == 1


@pytest.mark.parametrize(
    ("got", "want"),
    [
        (np.array([6, 18]), (6, 18)),  # two numbers in an array
        ([6, 18], (6, 18)),
        ({1, 5, 3}, np.array([1, 3, 5])),  # places as a set
        (1e-17, 0.0),  # what rounding leaves of 0
        (np.array([1e-17, -2e-17]), np.zeros(2)),
        (np.float32(0.1), 0.1),
        (range(3), np.arange(3)),
        ([True, False], np.array([True, False])),
        (np.str_("yes"), "yes"),
    ],
)
def test_right_in_an_unusual_form(got, want):
    def check(answer):
        """Equal."""
        expect(answer(), want)

    assert judge(check, lambda: got) is True


@pytest.mark.parametrize(
    ("got", "want", "words"),
    [
        (np.array(["a", "b"]), "a", "expected 'a'"),  # compared as a whole, not element by element
        (True, 1, "True and False where numbers"),
        ({1, 2}, np.array([1, 3]), "expected 3"),
        (1e-5, 0.0, "is 1e-05, expected 0"),
        (1.00001, 1.0, "is 1.00001, expected 1"),
        (1.0000021, 1.0, "is 1.0000021, expected 1"),  # as many digits as it takes
        ((3, None), (3, 4), "result 2 of 2 is None"),
        ({3: 4}, (3, 4), "one dict"),
    ],
)
def test_wrong_in_an_unusual_form(got, want, words, said):
    def check(answer):
        """Equal."""
        expect(answer(), want)

    assert judge(check, lambda: got) is False
    assert words in said()
