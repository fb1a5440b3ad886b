"""How an exercise is checked: one verdict in words, never a traceback.

    @exercise
    def frame_count(answer):
        "Compared with counting the frames one by one, at seven lengths."
        for samples in (400, 559, 560):
            want = ...                            # independent of the solution
            expect(answer(samples), want, given=f"samples={samples}", slips={"you forgot the last frame": want - 1})

prints "Right. Compared with ...", or what is wrong, and returns True (right), False (wrong) or None (not done).

A likely slip is named only if it gives what the answer gives at *every* input of the check, since one input often
fits several mistakes: after the first difference the check runs once more, and drops each slip that another input
contradicts.
"""

import contextlib
import functools
import io
import linecache
import traceback

import numpy as np


class Wrong(Exception):
    """The answer is wrong: a sentence that says how. A check raises it for what `expect` cannot compare.

    slips: the likely mistakes that fit the input at which the answer failed.
    """

    def __init__(self, sentence, slips=()):
        super().__init__(sentence)
        self.slips = list(slips)


class NotDone(Exception):
    """There is no answer yet."""


class _Raised(Exception):
    """The reader's code raised something."""


_matched = 0  # answers that `expect` has found right, in the exercise under way
_suspects = None  # in the second run of a check: the slips that no input has contradicted yet


def exercise(check):
    """Make check(answer, ...) print its verdict.   -> the function that a notebook calls: True, False or None

    answer: the reader's function, or text (the source of a kernel). What the check itself raises, apart from Wrong and
    NotDone, is a mistake in the check and is raised.
    """

    @functools.wraps(check)
    def run(*answers):
        global _matched
        _matched = 0
        try:
            check(*(_guarded(a) for a in answers))
        except NotDone as reason:
            print(f"Not done yet: {reason}")
            return None
        except Wrong as reason:
            slip = next(iter(_confirmed(check, answers, reason.slips)), None)
            print(f"Wrong: {reason}" + (f" Likely slip: {slip}." if slip else ""))
            return False
        except _Raised as reason:
            print(f"Wrong: {reason}")
            return False
        print("Right. " + " ".join(check.__doc__.split("\n\n")[0].split()))
        return True

    run.is_exercise = True
    return run


def _confirmed(check, answers, slips):
    """Those slips that give what the answer gives at every input of the check, in their order."""
    global _suspects
    if not slips:
        return []
    _suspects, sentences = list(slips), io.StringIO()
    try:
        with contextlib.redirect_stdout(sentences):
            check(*(_guarded(a) for a in answers))
    except Exception:  # whatever comes of going on with a wrong answer: the verdict stands already
        pass
    finally:
        remaining, _suspects = _suspects, None
    return remaining


def expect(got, want, given="", tol=None, slips=None, dtype=None, what="the result"):
    """Compare one answer with what it should be; the first difference ends the exercise.

    got, want: numbers, arrays, texts, or tuples of them. given: the input, in words. tol: largest error allowed,
    relative to the largest |want|; by default 1e-6, with float32 in it 1e-4. slips: {likely mistake: what it gives}; a
    function without arguments may stand for a value that is costly to make. dtype: demanded, if given. what: what
    `got` is.
    """
    global _matched
    if _suspects is not None:
        _suspects[:] = [s for s in _suspects if s not in (slips or {}) or _same(got, _value(slips[s]), tol)]
        return
    if got is None or got is Ellipsis:
        if _matched:
            raise Wrong(f"{_for(given)}{what} is {got}: is a `return` missing on one of the ways through your code?")
        if got is Ellipsis:
            raise NotDone("the answer is still `...`. Replace the line that says `your code`.")
        raise NotDone(f"{what} is None. If you have written code already, its `return` is missing.")
    several = isinstance(want, (tuple, list))
    problem = (_first_of_several if several else _difference)(got, want, tol, dtype, what)
    if problem:
        fitting = (text for text, slip in (slips or {}).items() if _same(got, _value(slip), tol))
        raise Wrong(f"{_for(given)}{problem}", fitting)
    _matched += 1


def _first_of_several(got, want, tol, dtype, what):
    """None, or what differs between several results and those expected."""
    if isinstance(got, np.ndarray) and got.shape == (len(want),) and all(np.ndim(w) == 0 for w in want):
        got = got.tolist()  # some numbers in an array are some numbers
    if not isinstance(got, (tuple, list)) or len(got) != len(want):
        found = f"{len(got)} of them" if isinstance(got, (tuple, list)) else f"one {type(got).__name__}"
        return f"{len(want)} results are expected, separated by commas; you return {found}."
    for i, (g, w) in enumerate(zip(got, want, strict=True)):
        one = f"result {i + 1} of {len(want)}"
        if g is None or g is Ellipsis:
            return f"{one} is {g}."
        problem = _difference(g, w, tol, dtype, one)
        if problem:
            return problem
    return None


def _same(got, value, tol):
    """Is the answer exactly what a slip gives? Several results must all be."""
    several = isinstance(value, (tuple, list))
    return (_first_of_several if several else _difference)(got, value, tol, None, "it") is None


def _for(given):
    return f"for {given}, " if given else ""


def _value(slip):
    return slip() if callable(slip) else slip


def _guarded(answer):
    """The reader's function with its exceptions told apart from those of the check."""
    if answer is None or answer is Ellipsis or (isinstance(answer, str) and "your code" in answer):
        raise NotDone("there is no answer. Replace the line that says `your code`.")
    if not callable(answer):
        return answer

    @functools.wraps(answer)
    def call(*arguments, **named):
        try:
            return answer(*arguments, **named)
        except Exception as error:
            raise _Raised(_where(answer, error)) from error

    return call


def _where(answer, error):
    """'your function raises ZeroDivisionError in line 3, `return a / 0`: division by zero'."""
    code = getattr(answer, "__code__", None)
    frames = traceback.extract_tb(error.__traceback__)
    own = [f for f in frames if code and f.filename == code.co_filename]
    text = str(error) or "no message"
    if not own:  # it was never entered: its parameters are not those that the exercise names
        return f"calling your function raises {type(error).__name__}: {text}"
    line = own[-1].line or linecache.getline(own[-1].filename, own[-1].lineno).strip()
    quoted = f", `{line}`" if line else ""
    return f"your code raises {type(error).__name__} in line {own[-1].lineno}{quoted}: {text}"


# -- comparing -------------------------------------------------------------------------------------------------


def _difference(got, want, tol, dtype, what):
    """None, or what differs: kind and shape first, then values."""
    if isinstance(want, str):
        return None if isinstance(got, str) and got == want else f"{what} is {got!r}, expected {want!r}."
    if isinstance(got, (set, frozenset)):  # places in no order
        got = sorted(got)
    try:
        g, w = np.asarray(got), np.asarray(want)
    except ValueError:
        return f"{what} is a list of lists of unequal lengths: an array is expected."
    if g.dtype.kind not in "biufc":
        return f"{what} is of type {type(got).__name__}: {_a(w)} is expected."
    if g.shape != w.shape:
        return f"{what} is {_a(g)}, expected {_a(w)}.{_same_size(g, w)}"
    if dtype is not None and g.dtype != np.dtype(dtype):
        return f"{what} is of dtype {g.dtype}, expected {np.dtype(dtype)}."
    if g.size and w.dtype.kind in "iu" and g.dtype.kind == "f" and np.array_equal(g, w):
        return f"{what} is {_short(g)}, the right value, but {g.dtype} where a whole number belongs: use // and int()."
    if w.dtype.kind == "b" and g.dtype.kind != "b":
        return f"{what} holds {g.dtype} where True and False belong."
    if g.dtype.kind == "b" and w.dtype.kind != "b":
        return f"{what} holds True and False where numbers belong."
    if w.dtype.kind != "c" and g.dtype.kind == "c":
        return f"{what} is complex, expected real numbers."
    close = _close(g, w, tol)
    if close.all():
        return None
    if g.dtype.kind in "fc" and not np.isfinite(g[~close]).all():
        bad = ~np.isfinite(g) & ~close
        return f"{what} holds {bad.sum()} values that are NaN or infinite of {g.size}{_at(bad)}."
    wrong = f" ({(~close).sum()} of {g.size} values differ)" if g.size > 1 else ""
    first = tuple(np.argwhere(~close)[0]) if g.ndim else ()
    found, right = _apart(g[first], w[first])
    return f"{what}{_at(~close)} is {found}, expected {right}{wrong}.{_pattern(g, w, close)}"


def _close(g, w, tol):
    """Which entries agree.   g, w arrays of one shape -> bool of that shape"""
    if g.dtype.kind in "biu" and w.dtype.kind in "biu":
        return np.asarray(g == w)
    if tol is None:
        tol = 1e-4 if np.float32 in (g.dtype, w.dtype) else 1e-6
    finite = np.abs(w[np.isfinite(w)])
    scale = (float(finite.max()) if finite.size else 0.0) or 1e-3  # where 0 is right, rounding may leave 1e-17
    with np.errstate(invalid="ignore", over="ignore"):
        gap = np.abs(g.astype(complex) - w.astype(complex))
    return (gap <= tol * scale) | (g == w) | (np.isnan(g) & np.isnan(w))


def _a(x):
    return f"a number ({_short(x)})" if x.ndim == 0 else f"an array of shape {x.shape}"


def _at(mask):
    if not mask.ndim:
        return ""
    return " at [" + ", ".join(str(i) for i in np.argwhere(mask)[0]) + "]"


def _short(x, digits=6):
    x = np.asarray(x)[()]
    return f"{x:.{digits}g}" if x.dtype.kind in "fc" else str(x)


def _apart(a, b):
    """Two different numbers with as many digits as it takes to tell them apart."""
    texts = [(_short(a, digits), _short(b, digits)) for digits in (6, 9, 17)]
    return next((pair for pair in texts if pair[0] != pair[1]), texts[-1])


def _same_size(g, w):
    if g.ndim > 1 and g.T.shape == w.shape:
        return " The axes stand in the opposite order."
    if g.size == w.size and g.size > 1:
        return " The number of values is right: their arrangement is not."
    return ""


def _pattern(g, w, close):
    """What all values have in common, where it is one factor, one sign or one shift."""
    if g.dtype.kind == "c" or w.dtype.kind == "c" or (~close).sum() < 2 or not np.isfinite(g).all():
        return ""
    g, w = g.astype(float), w.astype(float)
    big = np.abs(w) > 1e-3 * np.abs(w).max()
    ratio = g[big] / w[big]
    if big.sum() > 1 and np.allclose(ratio, ratio[0], rtol=1e-3, atol=0):
        if abs(ratio[0] + 1) < 1e-3:
            return " All signs are the wrong way round."
        return f" All values are {ratio[0]:.4g} times the right ones." if ratio[0] else " All values are zero."
    shift = g - w
    if np.allclose(shift, shift.flat[0], rtol=1e-3, atol=0):
        return f" All values are off by the same {shift.flat[0]:.4g}."
    return ""
