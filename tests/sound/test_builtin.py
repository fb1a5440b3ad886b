"""The built-in sounds: the same from the same seed, well formed at any rate, varied, and not told apart by loudness."""

import numpy as np
import pytest

import minast
from minast.datasets.synthetic import generate

CLASSES = len(generate.LABELS)


def rms(wave):
    return np.sqrt(np.mean(np.square(wave, dtype=np.float64)))


def level_db(wave):
    return 20 * np.log10(rms(wave))


def test_ten_names():
    assert sorted(generate.LABELS) == sorted(
        ["siren", "telephone", "clock", "engine", "rain", "bell", "bird", "heartbeat", "alarm", "speech"]
    )


@pytest.mark.parametrize("rate", [8000, 16000, 44100])
def test_well_formed(rate):
    for index in range(2 * CLASSES):
        wave, target = generate.clip(index, 3, rate, 1.0)
        assert wave.dtype == np.float32 and wave.shape == (rate,), generate.LABELS[target]
        assert np.isfinite(wave).all() and np.abs(wave).max() <= 1, generate.LABELS[target]
        assert rms(wave) > 1e-3, generate.LABELS[target]


@pytest.mark.parametrize("seconds", [0.5, 0.7331, 3.0])
def test_length_is_seconds(seconds):
    for label in generate.LABELS:
        assert len(generate.synthesise(label, np.random.default_rng(0), 16000, seconds)) == round(16000 * seconds), (
            label
        )


def test_same_seed_same_clip_in_any_order():
    forwards = [generate.clip(i, 5)[0] for i in range(CLASSES)]
    np.random.seed(1)  # noqa: NPY002 - the global generator must not matter
    backwards = [generate.clip(i, 5)[0] for i in reversed(range(CLASSES))][::-1]
    for a, b in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(a, b)


def test_seed_split_and_index_change_the_clip():
    wave = generate.clip(4, 0)[0]
    others = [
        generate.clip(4, 1),
        generate.clip(4, 0, split="valid"),
        generate.clip(4, 0, split="test"),
        generate.clip(14, 0),
    ]
    for other, target in others:
        assert target == 4
        assert abs(np.corrcoef(wave, other)[0, 1]) < 0.5


def test_classes_are_balanced():
    targets = [generate.clip(i, 0, 8000, 0.5)[1] for i in range(3 * CLASSES)]
    assert np.bincount(targets, minlength=CLASSES).tolist() == [3] * CLASSES


def test_each_class_varies_in_level_and_spectrum():
    for target, label in enumerate(generate.LABELS):
        waves = [generate.clip(target + CLASSES * i, 0)[0] for i in range(12)]
        levels = [level_db(w) for w in waves]
        assert max(levels) - min(levels) > 10, label
        shapes = np.array([minast.log_mel(w).mean(axis=0) for w in waves])
        shapes -= shapes.mean(axis=1, keepdims=True)
        assert shapes.std(axis=0).mean() > 0.5, label  # nats, between clips of one class


def test_loudness_does_not_give_the_class_away():
    """The class whose mean level is nearest is right little more often than 1 in 10."""
    train = [(level_db(wave), target) for wave, target in (generate.clip(i, 0, 8000) for i in range(200))]
    test = [(level_db(wave), target) for wave, target in (generate.clip(i, 0, 8000, split="test") for i in range(300))]
    centres = np.array([np.mean([level for level, target in train if target == k]) for k in range(CLASSES)])
    assert centres.max() - centres.min() < 8
    hits = np.mean([np.argmin(np.abs(centres - level)) == target for level, target in test])
    assert hits <= 0.2


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda: generate.synthesise("cat", np.random.default_rng(0)), "no built-in sound 'cat'"),
        (lambda: generate.synthesise("bird", np.random.default_rng(0), seconds=0.1), "0.1 s at 16000 Hz"),
        (lambda: generate.synthesise("bird", np.random.default_rng(0), rate=2000), "1.0 s at 2000 Hz"),
        (lambda: generate.clip(0, 0, split="dev"), "no split 'dev'"),
    ],
)
def test_a_wrong_request_is_explained(call, words):
    with pytest.raises(minast.Error, match=words):
        call()
