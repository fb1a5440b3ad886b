"""Clip scores: the right squashing function, the mean over windows, losses by their formula."""

import numpy as np
import pytest

from minast import FeatureConfig, ModelConfig, scoring
from minast.checkpoint import Info

LOGITS = np.array([[1.0, -2.0, 0.5], [1000.0, -1000.0, 0.0]])


def test_softmax_for_ce_sigmoid_for_bce():
    p = scoring.probabilities(LOGITS, "ce")
    e = np.exp(LOGITS[0])
    assert np.allclose(p[0], e / e.sum()) and np.allclose(p[1], [1, 0, 0])
    p = scoring.probabilities(LOGITS, "bce")
    assert np.allclose(p[0], 1 / (1 + np.exp(-LOGITS[0]))) and np.allclose(p[1], [1, 0, 0.5])


class Loudness:
    """Stands in for a model: the logits of a window are its first frame's first bins."""

    config = ModelConfig(dim=12, heads=3, classes=3, frames=16, mel_bins=16)

    def forward(self, x):
        assert x.shape[1:] == (16, 16) and len(x) <= 4
        return x[:, 0, :3]

    def numpy(self, x):
        return x


@pytest.mark.parametrize("loss", ["ce", "bce"])
def test_a_clip_scores_the_mean_of_its_windows(loss):
    features = FeatureConfig(frames=16, mel_bins=16, mean=0.5, std=0.25)
    rng = np.random.default_rng(0)
    mels = [rng.random((t, 16)).astype(np.float32) for t in (5, 16, 23, 24, 70)]
    scores = scoring.clip_scores(Loudness(), Info(["a", "b", "c"], features, loss), mels, batch=4)
    for mel, score, windows in zip(mels, scores, (1, 1, 1, 2, 4), strict=True):
        firsts = (mel[: windows * 16 : 16, :3].astype(float) - 0.5) / 0.5
        assert np.allclose(score, scoring.probabilities(firsts, loss).mean(axis=0), atol=1e-6)


def test_losses():
    p, y = np.array([[0.7, 0.2, 0.1], [0.1, 0.1, 0.8]]), np.array([[1, 0, 0], [0, 1, 0]])
    assert scoring.mean_loss(p, y, "ce") == pytest.approx(-(np.log(0.7) + np.log(0.1)) / 2)
    wanted = -(y * np.log(p) + (1 - y) * np.log(1 - p)).mean()
    assert scoring.mean_loss(p, y, "bce") == pytest.approx(wanted)
    assert np.isfinite(scoring.mean_loss(np.array([[0.0, 1.0]]), np.array([[1, 0]]), "ce"))


def test_what_training_goes_by():
    p, y = np.array([[0.7, 0.3], [0.1, 0.9], [0.6, 0.4]]), np.array([[1, 0], [0, 1], [0, 1]])
    assert next(iter(scoring.measures(p, y, "ce").items())) == ("accuracy", pytest.approx(2 / 3))
    assert list(scoring.measures(p, y, "bce")) == ["mAP", "AUC", "d_prime"]
