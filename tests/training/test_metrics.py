"""Metrics against scikit-learn (stored by golden/make_metrics.py) and their definitions, written out the slow way."""

import numpy as np
import pytest

from minast import Error, metrics
from minast.metrics import bootstrap, ranking
from tests.golden import make_run, metric_cases

CASES = metric_cases.cases()
GOLDEN = np.load(make_run.HERE.parent / "metrics.npz")


def golden(name):
    return {key.partition("/")[2]: GOLDEN[key] for key in GOLDEN.files if key.partition("/")[0] == name}


@pytest.mark.parametrize("name", CASES)
def test_ranking_is_scikit_learns(name):
    scores, targets = CASES[name]
    expected, close = golden(name), {"rtol": 0, "atol": 1e-12}
    np.testing.assert_allclose(metrics.average_precision(scores, targets), expected["AP"], **close)
    np.testing.assert_allclose(metrics.roc_auc_per_class(scores, targets), expected["AUC"], **close)
    means = metrics.mean_average_precision(scores, targets), metrics.roc_auc(scores, targets)
    np.testing.assert_allclose(means, [expected.get(each, np.nan) for each in ("mAP", "mean AUC")], **close)


@pytest.mark.parametrize("name", CASES)
def test_decisions_are_scikit_learns(name):
    scores, targets = CASES[name]
    expected, close = golden(name), {"rtol": 0, "atol": 1e-12}
    loss = "ce" if name.startswith("one") else "bce"
    given = metrics.decided(scores, loss)
    rates = metrics.precision_recall_f1(given, targets)
    if not targets.any():
        assert np.isnan(rates).all() and np.isnan(metrics.f1_macro(given, targets) + metrics.f1_micro(given, targets))
        return
    if targets.shape[1] > 1:
        np.testing.assert_allclose(rates, expected["rates None"], **close)
        assert metrics.f1_micro(given, targets) == pytest.approx(expected["rates micro"][2], abs=1e-12)
    assert metrics.f1_macro(given, targets) == pytest.approx(expected["rates macro"][2], abs=1e-12)
    if loss == "ce":
        assert metrics.accuracy(scores, targets) == pytest.approx(expected["accuracy"], abs=1e-12)
        assert metrics.balanced_accuracy(scores, targets) == pytest.approx(expected["balanced accuracy"], abs=1e-12)
        np.testing.assert_array_equal(metrics.confusion_matrix(scores, targets.argmax(1)), expected["confusion"])


def slow_ap(score, positive):
    """One threshold a distinct score, from the highest."""
    area, recall_before = 0.0, 0.0
    for threshold in sorted(set(score), reverse=True):
        chosen = score >= threshold
        recall = (chosen & positive).sum() / positive.sum()
        area += (recall - recall_before) * (chosen & positive).sum() / chosen.sum()
        recall_before = recall
    return area


def slow_auc(score, positive):
    wins = [(p > n) + 0.5 * (p == n) for p in score[positive] for n in score[~positive]]
    return np.mean(wins)


def slow_f1(given, positive):
    precision, recall = (given & positive).sum() / max(1, given.sum()), (given & positive).sum() / positive.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@pytest.mark.parametrize("levels", [1, 3, 10, 1000])
def test_the_slow_definitions(levels):
    rng = np.random.default_rng(levels)
    scores, targets = rng.integers(0, levels, (60, 4)) / levels, rng.random((60, 4)) < 0.3
    found = metrics.average_precision(scores, targets), metrics.roc_auc_per_class(scores, targets)
    given = scores >= (thresholds := np.array([0.2, 0.5, 0.9, 1.0]))
    np.testing.assert_array_equal(metrics.decided(scores, "bce", thresholds), given)
    for k in range(4):
        assert found[0][k] == pytest.approx(slow_ap(scores[:, k], targets[:, k]), abs=1e-12)
        assert found[1][k] == pytest.approx(slow_auc(scores[:, k], targets[:, k]), abs=1e-12)
        f1 = metrics.precision_recall_f1(given, targets)[2][k]
        assert f1 == pytest.approx(slow_f1(given[:, k], targets[:, k]), abs=1e-12)


def test_classes_without_positives_are_left_out():
    scores = np.array([[0.9, 0.1], [0.2, 0.3], [0.8, 0.9]])
    targets = np.array([[1, 0], [0, 0], [1, 0]])
    assert metrics.has_clips(targets).tolist() == [True, False]
    assert metrics.mean_average_precision(scores, targets) == 1.0
    assert metrics.roc_auc(scores, targets) == 1.0
    assert metrics.d_prime(scores, targets) == np.inf
    assert metrics.f1_macro(scores >= 0.5, targets) == 1.0
    assert metrics.f1_micro(scores >= 0.5, targets) == 0.8  # a false alarm is one, whatever the class
    assert np.isnan(metrics.average_precision(scores, targets)[1])
    assert np.isnan(metrics.mean_average_precision(scores, targets * 0))


def test_d_prime_is_of_the_mean_auc():
    assert abs(np.sqrt(2) * 1.0 - metrics.d_prime(*d_prime_one())) < 0.02


def d_prime_one():
    """20000 scores whose positives lie sqrt(2) deviations higher: AUC = Phi(1), so d' = sqrt(2)."""
    rng = np.random.default_rng(0)
    targets = rng.random((20000, 1)) < 0.5
    return rng.standard_normal((20000, 1)) + np.sqrt(2) * targets, targets


def test_official_log():
    """The committed AudioSet log has AUC 0.9786 with d' 2.864."""
    assert abs(ranking.d_prime_of(0.9786) - 2.864) < 0.005


def test_accuracy_and_confusion():
    scores = np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]])
    assert metrics.accuracy(scores, np.array([1, 0, 0])) == pytest.approx(2 / 3)
    assert metrics.accuracy(scores, np.eye(2)[[1, 0, 0]]) == pytest.approx(2 / 3)
    assert metrics.confusion_matrix(scores, np.array([1, 0, 0])).tolist() == [[1, 1], [0, 1]]


def test_measures_of_each_class_are_those_of_the_functions():
    scores, targets = metric_cases.several("classes", 40, 5)
    given = metrics.decided(scores, "bce")
    found = metrics.class_measures(scores, targets, given)
    assert list(found) == ["clips", "AP", "AUC", "precision", "recall", "F1"]
    np.testing.assert_array_equal(found["clips"], np.asarray(targets).sum(axis=0))
    np.testing.assert_array_equal(found["AP"], metrics.average_precision(scores, targets))
    np.testing.assert_array_equal(found["AUC"], metrics.roc_auc_per_class(scores, targets))
    np.testing.assert_array_equal([found[n] for n in list(found)[3:]], metrics.precision_recall_f1(given, targets))


def test_units_tell_a_clip_from_a_group_of_its_name():
    assert metrics.units(["", ""]) is None and metrics.units(["", ""], ["a", "b"]) == ["clip a", "clip b"]
    assert metrics.units(["a", "", "a"], ["x", "a", "y"]) == ["group a", "clip a", "group a"]
    assert len(set(metrics.units(["a", "", ""]))) == 3


def test_refusals():
    with pytest.raises(Error, match="same shape"):
        metrics.roc_auc(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(Error, match="same shape"):
        metrics.f1_macro(np.zeros((3, 2)), np.zeros((3, 3)))
    with pytest.raises(Error, match="NaN"):
        metrics.roc_auc(np.full((3, 2), np.nan), np.ones((3, 2)))
    with pytest.raises(Error, match="2 groups for 3 clips"):
        metrics.intervals(np.zeros((3, 2)), np.ones((3, 2)), "bce", groups=["a", "b"])


# -- the bootstrap ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("loss", ("ce", "bce"))
def test_a_draw_is_the_measures_of_the_clips_that_were_drawn(loss):
    """Ties, a class without clips and one that some draws miss: weights count as repeated clips do."""
    scores, targets = metric_cases.single("draws", 40, 5) if loss == "ce" else metric_cases.several("draws", 40, 5)
    scores, targets = np.round(scores, 1), targets.copy()
    targets[:, 3] = False
    targets[:, 4] = np.arange(40) == 0
    groups = np.arange(40) // 2
    (weights,) = bootstrap._weights(groups, seed=1, draws=25)
    assert (
        weights.shape == (40, 25) and (weights[::2] == weights[1::2]).all() and (weights[::2].sum(axis=0) == 20).all()
    )
    drawn = bootstrap._drawn([scores], targets, loss, groups, 1, 25, 0.5)
    missed = 0
    for d in range(25):
        repeated = np.repeat(np.arange(40), weights[:, d])
        expected = metrics.measures(scores[repeated], targets[repeated], loss)
        missed += not targets[repeated, 4].any()
        for name, value in expected.items():
            np.testing.assert_allclose(drawn[name][0, d], value, atol=1e-12, err_msg=name)
    assert 0 < missed < 25


def test_draws_do_not_depend_on_how_many_are_computed_at_once(monkeypatch):
    scores, targets = metric_cases.several("blocks", 30, 3)
    whole = metrics.intervals(scores, targets, "bce", draws=50)
    monkeypatch.setattr(bootstrap, "AT_ONCE", 30 * 7)
    assert metrics.intervals(scores, targets, "bce", draws=50) == whole
    assert metrics.intervals(scores, targets, "bce", draws=50, seed=1) != whole


def test_the_interval_of_an_accuracy_is_the_binomials():
    """80 % of 200 clips: 0.8 +- 1.96 sqrt(0.8 * 0.2 / 200)."""
    targets = np.eye(2)[np.zeros(200, int)]
    scores = np.eye(2)[np.r_[np.zeros(160, int), np.ones(40, int)]]
    low, high = metrics.intervals(scores, targets, "ce", draws=4000)["accuracy"]
    assert (low, high) == pytest.approx((0.8 - 0.0554, 0.8 + 0.0554), abs=0.006)
    in_groups = metrics.intervals(scores, targets, "ce", groups=np.arange(200) // 20, draws=4000)["accuracy"]
    assert in_groups[1] - in_groups[0] > 3 * (high - low)  # ten groups of 20: sqrt(20) times as wide


def test_the_interval_holds_the_estimate_at_chance_level():
    """Clips drawn twice tie with themselves: without the correction all draws lie above the estimate."""
    rng = np.random.default_rng(0)
    scores, targets = rng.random((500, 300)), rng.random((500, 300)) < 0.01
    estimate, (low, high) = (f(scores, targets, "bce")["mAP"] for f in (metrics.measures, metrics.intervals))
    draws = bootstrap._drawn([scores], targets, "bce", None, 0, 100, 0.5)["mAP"][0]
    assert draws.min() > estimate and low < estimate < high


@pytest.mark.filterwarnings("error")
def test_intervals_where_little_is_defined():
    scores = np.array([[0.9, 0.1], [0.8, 0.3], [0.1, 0.2]])
    nothing = metrics.intervals(scores, np.zeros((3, 2)), "bce")
    assert set(nothing) == {"mAP", "AUC", "d_prime", "F1", "F1_micro"} and np.isnan(list(nothing.values())).all()
    perfect = metrics.intervals(scores, np.array([[1, 0], [1, 0], [0, 0]]), "bce", draws=200)
    assert perfect["AUC"] == (1, 1) and perfect["d_prime"] == (np.inf, np.inf)
    one_group = metrics.intervals(scores, np.array([[1, 0], [1, 0], [0, 1]]), "ce", groups="aaa")
    assert np.isnan(list(one_group.values())).all()


def test_a_paired_difference_sees_what_two_intervals_hide():
    """Model b is right wherever a is, and on one clip in twenty more."""
    n, rng = 300, np.random.default_rng(2)
    truth = rng.integers(0, 3, n)
    right = rng.random(n) < 0.7
    more = right | (rng.random(n) < 0.15)
    targets = np.eye(3)[truth]
    a, b = (0.8 * np.eye(3)[np.where(ok, truth, (truth + 1) % 3)] + 0.2 / 3 for ok in (right, more))
    apart = [metrics.intervals(x, targets, "ce")["accuracy"] for x in (a, b)]
    found = metrics.paired_difference(a, b, targets, "ce")["accuracy"]
    assert apart[0][1] > apart[1][0]  # they overlap
    assert found.value == pytest.approx(more.mean() - right.mean()) and 0 < found.low < found.value < found.high
    assert found.high - found.low < 0.7 * (apart[0][1] - apart[0][0])
    turned = metrics.paired_difference(b, a, targets, "ce")["accuracy"]
    assert turned == pytest.approx((-found.value, -found.high, -found.low), abs=1e-12)
    same = metrics.paired_difference(a, a, targets, "ce")
    assert same["accuracy"] == same["mAP"] == (0, 0, 0)
