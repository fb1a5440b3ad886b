"""Levels and channels: floats at the scale of integers, and channels that cancel."""

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import Recording, decode, recording, sndfile

T = np.arange(16000) / 16000
TONE = (0.5 * np.sin(2 * np.pi * 440 * T)).astype(np.float32)


@pytest.fixture
def read(tmp_path):
    """Decode these samples, written as floats."""

    def decoded(x, format="WAV", subtype="FLOAT"):
        soundfile.write(tmp_path / "x", x, 16000, format=format, subtype=subtype)
        return decode(tmp_path / "x")

    return decoded


@pytest.mark.parametrize("format", ["WAV", "AIFF", "CAF", "AU", "W64", "MAT5"])
@pytest.mark.parametrize(("bits", "subtype"), [(16, "FLOAT"), (24, "FLOAT"), (32, "DOUBLE")])
def test_floats_at_the_scale_of_integers_are_scaled_with_a_note(read, format, bits, subtype):
    found = read(TONE.astype(np.float64) * 2.0 ** (bits - 1), format, subtype)
    np.testing.assert_allclose(found.wave, TONE, atol=1e-6)
    assert (
        found.kinds == ("level",)
        and f"taken for {bits}-bit integers and divided by {2 ** (bits - 1)}" in found.notes[0]
    )


@pytest.mark.parametrize("gain", [1e-6, 2.5, 20])
def test_other_floats_are_left_alone(read, gain):
    found = read(TONE * np.float32(gain))
    np.testing.assert_array_equal(found.wave, TONE * np.float32(gain))
    assert found.notes == ()


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("gain", "subtype"), [(1e11, "FLOAT"), (1e38, "FLOAT"), (1e300, "DOUBLE")])
def test_larger_than_any_integer_is_refused(read, gain, subtype):
    with pytest.raises(minast.Error, match=r"x: (its samples reach 5e|.* samples are NaN or infinite)"):
        read(TONE.astype(np.float64) * gain, "WAV", subtype)


@pytest.mark.parametrize("gain", [1, 0.95])
@pytest.mark.parametrize("offset", [0, 0.2])
def test_channels_that_cancel(read, gain, offset):
    found = read(np.column_stack([TONE + offset, -gain * TONE + offset]))
    np.testing.assert_allclose(found.wave, TONE + np.float32(offset), atol=1e-7)
    assert found.kinds == ("phase",) and "only channel 1 was used" in found.notes[0]


def test_the_stronger_channel_is_taken(read):
    found = read(np.column_stack([-0.9 * TONE, TONE]))
    np.testing.assert_array_equal(found.wave, TONE)
    assert "channel 2" in found.notes[0]


def others():
    rng = np.random.default_rng(0)
    noise = rng.uniform(-0.5, 0.5, (16000, 64)).astype(np.float32)
    return {
        "unrelated": noise[:, :2],
        "many": noise,
        "one is silent": np.column_stack([TONE, 0 * TONE]),
        "silence": np.zeros((16000, 2), np.float32),
        "half out of phase": np.column_stack([TONE, 0.5 * np.cos(2 * np.pi * 440 * T)]),
        "wide": np.column_stack([TONE + 0.3 * noise[:, 0], TONE - 0.3 * noise[:, 0]]),
    }


@pytest.mark.parametrize("kind", others())
def test_channels_that_do_not_cancel_are_averaged(read, kind):
    x = others()[kind]
    found = read(x)
    np.testing.assert_allclose(found.wave, x.mean(axis=1), atol=1e-6)
    assert found.notes == ()


def test_the_whole_file_decides_not_its_first_block(tmp_path, monkeypatch):
    """Quiet at first: the scale and the channel are those of the end, also where blocks are decoded twice."""
    x = np.concatenate([0 * TONE, TONE * 32767])
    soundfile.write(tmp_path / "x.wav", np.column_stack([x, -x]), 16000, subtype="FLOAT")
    whole = decode(tmp_path / "x.wav")
    monkeypatch.setattr(recording, "KEEP", 0)
    monkeypatch.setattr(sndfile, "VALUES", 3000)
    found = np.concatenate(list(Recording(tmp_path / "x.wav").blocks(16000)))
    np.testing.assert_array_equal(found, whole.wave)
    assert whole.kinds == ("level", "phase") and abs(abs(found).max() - 0.5) < 1e-3
