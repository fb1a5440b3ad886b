"""Calibration and thresholds against scikit-learn, SciPy and the slow way; what a checkpoint keeps of them."""

import json
from dataclasses import replace

import numpy as np
import pytest
from scipy import optimize

import minast
from minast import metrics, scoring
from minast.checkpoint import keep_decisions, load_state
from minast.decisions import Decisions, calibration, cross_calibrated, decide, thresholds
from minast.decisions.reliability import BINS, calibration_error, class_errors, reliability
from tests.golden import make_run, metric_cases

GOLDEN = np.load(make_run.HERE.parent / "metrics.npz")
TINY = {"dim": 12, "depth": 1, "heads": 3, "frames": 32, "mel_bins": 32}


def softmax(z):
    e = np.exp(z - z.max(axis=1, keepdims=True))
    return e / e.sum(axis=1, keepdims=True)


def overconfident(loss, n=4000, k=5, slope=3.0, bias=-1.0, seed=0):
    """Clips whose labels are drawn from honest probabilities, and what a model says that exaggerates them."""
    rng = np.random.default_rng(seed)
    z = 1.5 * rng.standard_normal((n, k))
    if loss == "ce":
        honest = softmax(z)
        targets = np.eye(k)[(honest.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)]
        return softmax(slope * z), targets, honest
    honest = 1 / (1 + np.exp(-z))
    return 1 / (1 + np.exp(-slope * z - bias)), (rng.random((n, k)) < honest).astype(float), honest


# -- calibration -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ("several 300x20", "several 17x5"))
def test_platts_scaling_is_scikit_learns(name):
    """Its minimiser stops at a gradient of 1e-6 or so: Newton's method is the more exact one."""
    scores, targets = metric_cases.cases()[name]
    found = calibration.fit(scores, targets, "bce")
    np.testing.assert_allclose(found, GOLDEN[f"{name}/Platt"], rtol=1e-4)
    z, t = calibration.logits_of(scores, "bce"), calibration.laplace_each(targets)
    mine, theirs = (calibration.sigmoid_loss(np.array(ab), z, t)[0] for ab in (found, GOLDEN[f"{name}/Platt"]))
    assert mine <= theirs + 1e-15


@pytest.mark.parametrize("loss", ("ce", "bce"))
def test_it_finds_what_scipy_finds(loss):
    scores, targets, _ = overconfident(loss, n=200)
    z = calibration.logits_of(scores, loss)
    if loss == "ce":
        t = calibration.laplace_one(targets > 0.5)
        best = optimize.minimize_scalar(
            lambda a: -(t * np.log(softmax(a * z))).sum(axis=1).mean(), bounds=(0.01, 10), method="bounded",
            options={"xatol": 1e-9},
        )  # fmt: skip
        expected = [best.x, 0]
    else:
        t = calibration.laplace_each(targets > 0.5)
        p = lambda ab: 1 / (1 + np.exp(-ab[0] * z - ab[1]))  # noqa: E731
        expected = optimize.minimize(
            lambda ab: -(t * np.log(p(ab)) + (1 - t) * np.log(1 - p(ab))).mean(), [1, 0], method="Nelder-Mead",
            options={"xatol": 1e-8, "fatol": 1e-15},
        ).x  # fmt: skip
    np.testing.assert_allclose(calibration.fit(scores, targets, loss), expected, atol=1e-6)


@pytest.mark.parametrize("function", (calibration.softmax_loss, calibration.sigmoid_loss))
def test_gradients_and_curvatures(function):
    rng = np.random.default_rng(0)
    z, t = rng.standard_normal((7, 4)) * 3, rng.random((7, 4))
    t /= t.sum(axis=1, keepdims=True)
    x = np.array([0.7, -0.3])[: 1 if function is calibration.softmax_loss else 2]
    _, gradient, curvature = function(x, z, t)
    for i, step in enumerate(1e-5 * np.eye(len(x))):
        above, below = function(x + step, z, t), function(x - step, z, t)
        assert gradient[i] == pytest.approx((above[0] - below[0]) / 2e-5, rel=1e-7)
        np.testing.assert_allclose(curvature[i], (above[1] - below[1]) / 2e-5, rtol=1e-7)


@pytest.mark.parametrize(("loss", "bias"), (("ce", 0), ("bce", 1 / 3)))
def test_exaggeration_is_undone(loss, bias):
    scores, targets, honest = overconfident(loss, n=20000)
    slope, found = calibration.fit(scores, targets, loss)
    assert slope == pytest.approx(1 / 3, abs=0.02) and found == pytest.approx(bias, abs=0.02)
    mended = calibration.calibrated(scores, loss, slope, found)
    assert np.abs(mended - honest).max() < 0.02
    before, after = (calibration_error(p, targets, loss) for p in (scores, mended))
    assert before > 0.1 and after < 0.02
    for k in range(5):  # within a class of a sigmoid head the order stays, within a clip that of a softmax head
        rows = (scores[:, k], mended[:, k]) if loss == "bce" else (scores[k], mended[k])
        np.testing.assert_array_equal(*(row.argsort() for row in rows))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("loss", ("ce", "bce"))
def test_a_model_without_mistakes_is_not_believed_without_end(loss):
    """100 of 100 right is about 99 % (Laplace's rule), not certainty; and certainty itself is no trouble."""
    targets = np.eye(4)[np.arange(100) % 4]
    for scores in (0.9 * targets + 0.025, targets):
        slope, bias = calibration.fit(scores, targets, loss)
        p = calibration.calibrated(scores, loss, slope, bias)[targets > 0]
        assert np.isfinite([slope, bias]).all() and 0.97 < p.min() <= p.max() < 0.999, (slope, bias, p)


@pytest.mark.filterwarnings("error")
def test_models_that_know_nothing_or_less():
    rng = np.random.default_rng(0)
    targets = (rng.random((500, 4)) < 0.2).astype(float)
    backwards = np.clip(0.8 - 0.6 * targets + 0.1 * rng.random((500, 4)), 0, 1)
    p = calibration.calibrated(backwards, "bce", *calibration.fit(backwards, targets, "bce"))
    assert np.allclose(p, targets.mean(), atol=0.01) and (p.argsort(axis=0) == backwards.argsort(axis=0)).all()
    same = np.full((500, 4), 0.7)
    p = calibration.calibrated(same, "bce", *calibration.fit(same, targets, "bce"))
    assert np.allclose(p, targets.mean(), atol=0.01)
    one = np.eye(4)[rng.integers(0, 4, 500)]
    p = calibration.calibrated(softmax(-3 * one), "ce", *calibration.fit(softmax(-3 * one), one, "ce"))
    assert np.allclose(p, 0.25, atol=0.01)
    assert calibration.fit(same, np.zeros((500, 4)), "bce") == (1, 0) == calibration.fit(same, np.ones((500, 4)), "bce")


def test_the_error_after_is_of_clips_that_were_not_fitted_to():
    scores, targets, _ = overconfident("bce", n=50)
    fair = cross_calibrated(scores, targets, "bce")
    found = decide(scores, targets, "bce")
    assert found.ece == (calibration_error(scores, targets, "bce"), calibration_error(fair, targets, "bce"))
    left = np.flatnonzero(np.random.default_rng(0).permutation(50) % 5 == 3)
    rest = np.setdiff1d(np.arange(50), left)
    fitted = calibration.fit(scores[rest], targets[rest], "bce")
    np.testing.assert_allclose(fair[left], calibration.calibrated(scores[left], "bce", *fitted), rtol=1e-12)


@pytest.mark.parametrize("loss", ("ce", "bce"))
def test_a_calibration_that_does_not_help_is_not_used(loss):
    """Six clips, all of them right with 99 %: what they can show is less than that."""
    targets = np.eye(3)[[0, 1, 2, 0, 1, 2]]
    scores = 0.985 * targets + 0.005
    found = decide(scores, targets, loss)
    assert not found.calibrates and found.calibrated(scores) is scores and found.ece[0] == found.ece[1]
    before, after = (calibration.log_loss(p, targets, loss) for p in (scores, cross_calibrated(scores, targets, loss)))
    assert before < after and before == pytest.approx(scoring.mean_loss(scores, targets, loss))
    wrong, labels, _ = overconfident(loss, n=200)
    found = decide(wrong, labels, loss)
    assert found.calibrates and found.ece[1] < found.ece[0]


# -- reliability -----------------------------------------------------------------------------------------------


def test_calibration_error_by_hand():
    """Four clips said 0.9 and were right three times, one said 0.6 and was wrong: 4/5 * 0.15 + 1/5 * 0.6."""
    scores = np.array([[0.9, 0.1]] * 4 + [[0.4, 0.6]])
    targets = np.eye(2)[[0, 0, 0, 1, 0]]
    assert calibration_error(scores, targets, "ce") == pytest.approx(0.8 * 0.15 + 0.2 * 0.6)
    found = reliability(scores, targets, "ce")
    assert found.count.tolist() == [0] * 9 + [1, 0, 0, 0, 4, 0] and found.count.sum() == 5
    assert found.probability[13] == pytest.approx(0.9) and found.share[13] == 0.75 and np.isnan(found.share[0])
    each = class_errors(scores, targets)
    assert each == pytest.approx([0.8 * 0.15 + 0.2 * 0.6, 0.8 * 0.15 + 0.2 * 0.6])
    targets[:, 1] = 0
    assert np.isnan(class_errors(scores, targets)[1])
    assert calibration_error(scores, targets, "bce") == pytest.approx(class_errors(scores, targets)[0])
    assert reliability(scores, targets, "bce").count.sum() == 5  # of the class that has clips


def test_every_probability_has_a_bin():
    edges = np.linspace(0, 1, BINS + 1)
    for p in (*edges, np.nextafter(1, 0), 5e-324):
        assert reliability(np.array([[p]]), np.ones((1, 1)), "bce").count.sum() == 1
    assert np.isnan(calibration_error(np.ones((2, 2)), np.zeros((2, 2)), "bce"))


# -- thresholds ------------------------------------------------------------------------------------------------


def slow_threshold(score, positive, goal, wanted):
    """Every distinct score as a threshold, one after another.   -> the decisions of the best"""
    best = None
    for threshold in sorted(set(score), reverse=True):
        given = score >= threshold
        hits = (given & positive).sum()
        precision, recall = hits / given.sum(), hits / positive.sum()
        f1 = 2 * hits / (given.sum() + positive.sum())
        if goal == "F1" and (best is None or f1 > best[0]):
            best = f1, given
        if goal == "precision" and precision >= wanted:
            best = precision, given
        if goal == "recall" and recall >= wanted and best is None:
            best = recall, given
    return None if best is None else best[1]


@pytest.mark.parametrize(("goal", "wanted"), (("F1", None), ("precision", 0.5), ("precision", 0.9), ("recall", 0.8)))
@pytest.mark.parametrize("levels", (4, 20, 10**6))
def test_thresholds_are_the_best_there_are(goal, wanted, levels):
    rng, unreachable = np.random.default_rng(levels), 0
    targets = rng.random((40, 30)) < 0.2
    scores = np.floor((0.7 * rng.random((40, 30)) + 0.2 * targets) * levels) / levels
    for k, threshold in enumerate(thresholds.chosen(scores, targets, goal, wanted)):
        if not targets[:, k].any():
            assert threshold == thresholds.UNKNOWN
            continue
        expected = slow_threshold(scores[:, k], targets[:, k], goal, wanted)
        unreachable += expected is None
        assert (threshold is None) == (expected is None)
        if expected is not None:
            np.testing.assert_array_equal(scores[:, k] >= threshold, expected)
    assert unreachable or (goal, wanted) != ("precision", 0.9)


def test_a_threshold_lies_between_two_scores():
    score, positive = np.array([[0.2], [0.4], [0.8]]), np.array([[0], [1], [1]])
    assert thresholds.chosen(score, positive) == [pytest.approx(0.3)]
    neighbours = np.array([[0.5], [np.nextafter(0.5, 1)]])
    assert thresholds.chosen(neighbours, np.array([[0], [1]])) == [np.nextafter(0.5, 1)]
    assert thresholds.chosen(np.zeros((2, 1)), np.array([[0], [1]])) == [0.0]


# -- what a checkpoint keeps -----------------------------------------------------------------------------------


@pytest.fixture
def kept(tmp_path):
    """A checkpoint with a training state, and decisions in it."""
    model = minast.AST(minast.ModelConfig(**TINY, classes=5), seed=0)
    scores, targets, _ = overconfident("bce", n=60)
    targets[:, 2] = 0
    found = decide(scores, targets, "bce", "precision", 0.95, "clips of a test")
    path = tmp_path / "m.npz"
    minast.save(path, model, loss="bce", history=[{"epoch": 1}], notes={"seed": 3}, state={"m": model.w.flat, "t": 5})
    before = {name: array.tobytes() for name, array in np.load(path).items() if name != "minast"}
    keep_decisions(path, found)
    assert {name: array.tobytes() for name, array in np.load(path).items() if name != "minast"} == before
    return path, found


def test_decisions_come_back(kept):
    path, found = kept
    _, info = minast.load(path)
    assert info.decisions == found and info.notes == {"seed": 3} and load_state(path)["t"] == 5
    assert found.thresholds[2] == thresholds.UNKNOWN and found.clips[2] == 0 and found.goal == "precision"
    assert Decisions.from_saved(json.loads(json.dumps(found.to_save()))) == found
    scores, _, _ = overconfident("bce", n=9, seed=1)
    np.testing.assert_array_equal(info.decisions.calibrated(scores), found.calibrated(scores))
    classifier = minast.Classifier.load(path)
    classifier.save(path.with_name("copy.npz"))
    assert minast.load(path.with_name("copy.npz"))[1].decisions == found
    assert minast.load(path, frames=64)[1].decisions is None  # found on clips of another length
    keep_decisions(path, None)
    assert minast.load(path)[1].decisions is None and load_state(path)["t"] == 5
    assert "decisions" not in json.loads(np.load(path)["minast"].item())


def test_other_models_decisions_are_refused(kept, tmp_path):
    _, found = kept
    for labels, loss in (("abcd", "bce"), ("abcde", "ce")):
        model = minast.AST(minast.ModelConfig(**TINY, classes=len(labels)), seed=0)
        with pytest.raises(minast.Error, match=r"decisions are for 5 classes and loss bce, the model has"):
            minast.save(tmp_path / "other.npz", model, labels, loss=loss, decisions=found)
        minast.save(tmp_path / "other.npz", model, labels, loss=loss)
        with pytest.raises(minast.Error, match="decisions are for"):
            keep_decisions(tmp_path / "other.npz", found)
        assert minast.load(tmp_path / "other.npz")[1].decisions is None


DAMAGED = [
    ({"thresholds": [0.5] * 4}, "4 thresholds and 5 counts"),
    ({"thresholds": [0.5, 0.5, 0.5, 0.5, 1.5]}, r"thresholds\[4\] is 1.5"),
    ({"thresholds": "high"}, "decisions.thresholds is"),
    ({"slope": 0}, "decisions.slope is 0"),
    ({"slope": "1"}, "decisions.slope is"),
    ({"bias": 1e300}, "decisions.bias is"),
    ({"goal": "luck"}, "decisions.goal is"),
    ({"wanted": None}, "thresholds for precision need a wanted precision"),
    ({"clips": [1, 2, 3, 4, -5]}, r"decisions.clips\[4\] is -5"),
    ({"ece": [0.1]}, "decisions.ece is"),
    ({"loss": "ce"}, "decisions are for 5 classes and loss ce"),
    ({"more": 1}, "has a field 'more'"),
    ({"data": None}, "decisions.data is"),
]


@pytest.mark.parametrize(("changes", "words"), DAMAGED, ids=[str(changes) for changes, _ in DAMAGED])
def test_damaged_decisions_are_one_sentence(kept, changes, words):
    path, _ = kept
    arrays = dict(np.load(path))
    about = json.loads(arrays["minast"].item())
    about["decisions"].update(changes)
    np.savez(path, **{**arrays, "minast": np.array(json.dumps(about))})
    with pytest.raises(minast.Error, match=words) as refused:
        minast.load(path)
    assert str(refused.value).startswith(f"{path}: the checkpoint's settings are damaged: ")


@pytest.mark.parametrize("value", ({}, [], 7, "F1"))
def test_what_are_no_decisions(kept, value):
    path, _ = kept
    arrays = dict(np.load(path))
    about = json.loads(arrays["minast"].item()) | {"decisions": value}
    np.savez(path, **{**arrays, "minast": np.array(json.dumps(about))})
    with pytest.raises(minast.Error, match="the checkpoint's settings are damaged: decisions"):
        minast.load(path)


def test_decide_refuses_what_is_no_table():
    with pytest.raises(minast.Error, match="at least one clip"):
        decide(np.zeros((0, 3)), np.zeros((0, 3)), "bce")
    with pytest.raises(minast.Error, match="clips, classes"):
        decide(np.zeros((4, 3)), np.zeros((4, 2)), "bce")
    found = decide(np.full((4, 3), 0.5), np.zeros((4, 3)), "bce")
    assert found.ece == (0, 0) and found.thresholds == [0.5] * 3
    with pytest.raises(minast.Error, match="thresholds for F1 need no wanted value"):
        replace(found, wanted=0.5)


def test_given_is_decided_at_the_thresholds():
    scores, targets, _ = overconfident("bce", n=60)
    found = replace(decide(scores, targets, "bce"), thresholds=[0.5, None, 0.0, 1.0, 0.25])
    p = found.calibrated(scores)
    np.testing.assert_array_equal(found.given(p), metrics.decided(p, "bce", found.limits))
    assert not found.given(p)[:, 1].any() and found.given(p)[:, 2].all()
    assert scoring.probabilities is calibration.probabilities
