"""Scores of whole clips: probabilities, means over segments, losses, names of measures."""

from types import SimpleNamespace

import numpy as np
import pytest

from minast import scoring
from minast.config import FeatureConfig
from minast.errors import Error
from minast.features import model_inputs

FEATURES = FeatureConfig(frames=10, mel_bins=4, mean=0.0, std=0.5)


class Stub:
    """A model whose logits are three numbers of each segment: its mean, its first and its last value."""

    config = SimpleNamespace(classes=3)

    def __init__(self):
        self.batches = []

    def forward(self, x):
        self.batches.append(len(x))
        return np.stack([x.mean(axis=(1, 2)), x[:, 0, 0], x[:, -1, -1]], axis=1)

    def numpy(self, x):
        return x


@pytest.mark.filterwarnings("error")
def test_probabilities_of_each_loss():
    z = np.array([[0.5, -1.0, 2.0], [1000.0, -1000.0, 0.0], [-1000.0, -1000.0, -1000.0]])
    e = np.exp(z[0])
    soft, single = scoring.probabilities(z, "ce"), scoring.probabilities(z, "bce")
    np.testing.assert_allclose(soft, [e / e.sum(), [1, 0, 0], [1 / 3] * 3], rtol=1e-12, atol=1e-300)
    np.testing.assert_allclose(single, [1 / (1 + 1 / e), [1, 0, 0.5], [0, 0, 0]], rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("loss", ("ce", "bce"))
@pytest.mark.parametrize("batch", (1, 2, 3, 16))
def test_clip_scores_are_means_over_segments(loss, batch):
    rng = np.random.default_rng(0)
    mels = [rng.standard_normal((n, 4)).astype(np.float32) for n in (34, 6, 20, 57, 10)]
    model, ticks = Stub(), []
    bar = SimpleNamespace(update=ticks.append)
    got = scoring.clip_scores(model, SimpleNamespace(features=FEATURES, loss=loss), mels, batch, bar)
    wanted = []
    for mel in mels:
        logits = Stub().forward(model_inputs(mel, FEATURES)).astype(np.float64)
        wanted.append(scoring.probabilities(logits, loss).mean(axis=0))  # of probabilities, not of logits
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert got.dtype == np.float64 and len(ticks) == 5
    assert sum(model.batches) == 4 + 1 + 2 + 6 + 1 and max(model.batches) <= batch


@pytest.mark.parametrize("loss", ("ce", "bce"))
def test_scores_over_time_are_those_of_each_segment(loss):
    mel = np.random.default_rng(3).standard_normal((27, 4)).astype(np.float32)
    starts, got = scoring.scores_over_time(Stub(), SimpleNamespace(features=FEATURES, loss=loss), mel, 4, batch=2)
    np.testing.assert_allclose(starts, [0, 0.04, 0.08, 0.12, 0.16, 0.17])  # the last one ends with frame 26
    wanted = [scoring.probabilities(Stub().forward(mel[None, i : i + 10]), loss)[0] for i in (0, 4, 8, 12, 16, 17)]
    np.testing.assert_allclose(got, wanted, rtol=1e-6)
    assert len(scoring.sliding(mel[:10], FEATURES, 4)[0]) == 1 and len(scoring.sliding(mel[:11], FEATURES, 1)[0]) == 2
    starts, x = scoring.sliding(mel[:7], FEATURES, 4)
    assert list(starts) == [0] and x.shape == (1, 10, 4) and not x[:, 7:].any()  # padded as any short clip


@pytest.mark.parametrize("hop", (0, -1, 2.5))
def test_a_hop_that_is_no_number_of_frames(hop):
    with pytest.raises(Error, match="hop between segments is"):
        scoring.sliding(np.zeros((20, 4)), FEATURES, hop)


def test_mean_loss_is_the_training_loss():
    p = np.array([[0.7, 0.2, 0.1], [0.3, 0.3, 0.4]])
    one, several = np.array([[1, 0, 0], [0, 0, 1.0]]), np.array([[1, 1, 0], [0, 0, 1.0]])
    assert scoring.mean_loss(p, one, "ce") == pytest.approx(-(np.log(0.7) + np.log(0.4)) / 2, rel=1e-12)
    wanted = -np.log([0.7, 0.2, 0.9, 0.7, 0.7, 0.4]).mean()  # over clips and classes
    assert scoring.mean_loss(p, several, "bce") == pytest.approx(wanted, rel=1e-12)
    soft = np.array([[0.6, 0.4, 0.0]])
    wanted = -(0.6 * np.log(0.7) + 0.4 * np.log(0.2))
    assert scoring.mean_loss(p[:1], soft, "ce") == pytest.approx(wanted, rel=1e-12)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("loss", "worst"), (("ce", -np.log(1e-12)), ("bce", -np.log(1e-12))))
def test_certain_and_wrong_is_a_large_finite_loss(loss, worst):
    certain = np.array([[0.0, 1.0]])
    assert scoring.mean_loss(certain, 1 - certain, loss) == pytest.approx(worst, rel=1e-4)
    assert scoring.mean_loss(certain, certain, loss) == pytest.approx(0, abs=1e-10)


def test_measures_begin_with_the_one_that_training_goes_by():
    scores = np.array([[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]])
    targets = np.eye(2)[[0, 1, 1]]
    one, several = scoring.measures(scores, targets, "ce"), scoring.measures(scores, targets, "bce")
    assert list(one) == ["accuracy", "mAP", "AUC", "d_prime"] and list(several) == ["mAP", "AUC", "d_prime"]
    assert one["accuracy"] == pytest.approx(2 / 3) and one["mAP"] == several["mAP"]


@pytest.mark.parametrize("rate,hop", [(16000, 0.01), (22050, 220 / 22050), (44100, 0.01), (11025, 110 / 11025)])
def test_times_are_of_whole_samples(rate, hop):
    """Half an hour at 22050 Hz: a frame begins every 220 samples, and 10 ms instead would be off by four seconds."""
    seconds, features = 1800, FeatureConfig(rate=rate, frames=98)
    frames = 1 + (seconds * rate - int(0.025 * rate)) // int(0.01 * rate)
    starts, ends = scoring.segment_times(seconds, features)
    np.testing.assert_allclose(starts[:-1], np.arange(frames // 98) * 98 * hop)
    np.testing.assert_allclose(ends[:-1], starts[:-1] + 98 * hop)
    assert starts[-1] == pytest.approx((frames - 98) * hop) and ends[-1] == seconds


def test_times_of_short_clips_and_of_hops():
    assert [list(t) for t in scoring.segment_times(0.5, FeatureConfig(frames=98))] == [[0], [0.5]]
    starts, ends = scoring.segment_times(0.985 + 0.6, FeatureConfig(frames=98), hop=50)
    np.testing.assert_allclose(starts, [0, 0.5, 0.59])
    np.testing.assert_allclose(ends, [0.98, 1.48, 1.585])  # frame 157 would end 5 ms after the clip


def test_clips_may_be_generators_of_unknown_length():
    """What is held at a time is one batch; a clip is given as soon as it is complete."""
    alive = []

    def clip(n, value):
        for _ in range(n):
            alive.append(value)
            yield np.full((2, 3), value, np.float32)

    found = scoring.by_clip(lambda x: x[:, 0, 0], (clip(n, i) for i, n in enumerate((5, 0, 1, 2))), batch=4)
    assert [list(rows) for rows in found] == [[0] * 5, [], [2], [3] * 2] and len(alive) == 8
