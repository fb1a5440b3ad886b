"""Pictures of sound: what lies where, not how it looks."""

import numpy as np
import pytest

import minast
from minast import features, plots


def empty():
    return plots.figure().subplots()


def test_a_spectrogram_is_where_its_frames_are():
    axes, mel = empty(), np.random.default_rng(0).random((98, 128))
    image = plots.spectrogram(axes, mel, start=2.0)
    left, right, low, high = image.get_extent()
    assert np.allclose([left, right], [2.0075, 2.9875])  # frame 0 spans 2.000 to 2.025 s: its middle is 2.0125
    assert (low, high) == (-0.5, 127.5) and np.array_equal(image.get_array(), mel.T)
    assert axes.get_xlabel() == "time (s)" and axes.get_ylabel() == "frequency (Hz)"
    assert axes.figure.axes[1].get_ylabel() == "log power (nats)"
    assert [t.get_text() for t in axes.get_yticklabels()] == ["100", "200", "500", "1000", "2000", "4000", "7000"]


def test_mel_bins_instead_of_hertz():
    axes = empty()
    plots.spectrogram(axes, np.zeros((10, 128)), hz=False, label=None)
    assert axes.get_ylabel() == "mel bin" and len(axes.figure.axes) == 1


@pytest.mark.parametrize("rate, bins", [(16000, 128), (8000, 64)])
def test_ticks_are_at_the_filters(rate, bins):
    """A filter's weights, linear in mel, have their middle where `hz_of` says; `bin_of` is its inverse."""
    bank = features.mel_filterbank(rate, bins, fft_size=2**15)
    hz = np.arange(len(bank)) * rate / 2**15
    for m in (0, 7, bins // 2, bins - 1):
        support = features.mel_from_hz(hz[np.flatnonzero(bank[:, m])])
        centre = features.hz_from_mel((support[0] + support[-1]) / 2)
        assert abs(features.hz_of(m, rate, bins) / centre - 1) < 0.02
        assert abs(features.bin_of(features.hz_of(m, rate, bins), rate, bins) - m) < 1e-9
    wave = np.sin(2 * np.pi * 1000 * np.arange(rate // 2) / rate)  # and a tone of 1000 Hz shows at its tick
    loudest = minast.log_mel(wave, rate, bins).mean(axis=0).argmax()
    assert abs(loudest - features.bin_of(1000, rate, bins)) <= 1


def test_relevance_over_a_spectrogram():
    mel, values = np.random.default_rng(1).random((20, 30)), np.zeros((20, 30))
    values[5, 7] = 2.0
    axes = empty()
    image = plots.relevance(axes, mel, values, limit=2.0)
    assert len(axes.images) == 2 and np.array_equal(axes.images[0].get_array(), mel.T)
    alpha = image.get_alpha()
    assert alpha[7, 5] == 0.8 and alpha.sum() == 0.8 and image.get_clim() == (0, 2)
    signed = plots.relevance(empty(), mel, -values)
    assert signed.get_clim()[0] == -signed.get_clim()[1]
    assert plots.relevance(empty(), mel, 0 * values).get_alpha().max() == 0  # nothing is relevant: nothing is drawn
    axes.figure.canvas.draw()


def test_scores_over_time():
    axes, values = empty(), np.random.default_rng(2).random((4, 3))
    image = plots.scores(axes, [0, 0.25, 0.5, 0.75], values, ["a", "$b", "c"], seconds=1.0)
    corners = image.get_coordinates()
    assert np.allclose(corners[0, :, 0], [0, 0.625, 0.875, 1.125, 1.75])  # around their middles, to the ends
    assert np.array_equal(np.asarray(image.get_array()).reshape(3, 4), values.T)
    assert [t.get_text() for t in axes.get_yticklabels()] == ["a", "$b", "c"]
    axes.figure.canvas.draw()
    one = plots.scores(empty(), [3.0], values[:1], ["a", "b", "c"], seconds=1.0)
    assert np.allclose(one.get_coordinates()[0, :, 0], [3.0, 4.0])
    last = plots.scores(empty(), [0, 1, 1.5], values[:3], ["a", "b", "c"], seconds=1.0)  # flush with the end
    assert np.allclose(last.get_coordinates()[0, :, 0], [0, 1, 1.75, 2.5])


def test_what_cannot_be_drawn():
    with pytest.raises(minast.Error, match="one clip is drawn"):
        plots.spectrogram(empty(), np.zeros((2, 3, 4)))
    with pytest.raises(minast.Error, match="must be the same"):
        plots.relevance(empty(), np.zeros((3, 4)), np.zeros((4, 3)))
    with pytest.raises(minast.Error, match="4 segments and 3 labels"):
        plots.scores(empty(), range(4), np.zeros((3, 4)), "abc", 1.0)
    with pytest.raises(minast.Error, match="at least one segment"):
        plots.scores(empty(), [], np.zeros((0, 3)), "abc", 1.0)
