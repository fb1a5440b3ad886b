"""Audio in: formats, channels, rates, scales, and everything that can be wrong with a file."""

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import read_audio


def tone(rate=16000, seconds=0.5, hertz=440.0):
    return (0.5 * np.sin(2 * np.pi * hertz * np.arange(int(rate * seconds)) / rate)).astype(np.float32)


@pytest.mark.parametrize("suffix, subtype", [("wav", "PCM_16"), ("flac", "PCM_24"), ("ogg", "VORBIS"), ("mp3", None)])
def test_formats(tmp_path, suffix, subtype):
    path = tmp_path / f"tone.{suffix}"
    soundfile.write(path, tone(), 16000, subtype=subtype)
    wave = minast.load_audio(path)
    assert wave.dtype == np.float32 and wave.ndim == 1
    assert abs(np.sqrt((wave**2).mean()) - 0.5 / np.sqrt(2)) < 0.02


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
def test_every_sample_type_has_the_same_scale(tmp_path, subtype):
    soundfile.write(tmp_path / "a.wav", tone(), 16000, subtype=subtype)
    assert np.abs(minast.load_audio(tmp_path / "a.wav") - tone()).max() < (0.01 if subtype == "PCM_U8" else 1e-4)


@pytest.mark.parametrize("channels", [2, 8])
def test_channels_are_averaged(tmp_path, channels):
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (4000, channels)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", x, 16000, subtype="FLOAT")
    assert np.allclose(minast.load_audio(tmp_path / "a.wav"), x.mean(axis=1), atol=1e-6)


@pytest.mark.parametrize("own", [8000, 11025, 22050, 44100, 48000])
def test_resampling_keeps_pitch_length_and_level(tmp_path, own):
    soundfile.write(tmp_path / "a.wav", tone(own, 1.0, 1000.0), own)
    wave = minast.load_audio(tmp_path / "a.wav", rate=16000)
    assert abs(len(wave) - 16000) <= 1
    spectrum = np.abs(np.fft.rfft(wave[1000:-1000] * np.hanning(len(wave) - 2000)))
    assert abs(spectrum.argmax() * 16000 / (len(wave) - 2000) - 1000) < 2
    assert abs(np.abs(wave[2000:-2000]).max() - 0.5) < 0.01
    assert read_audio(tmp_path / "a.wav", None)[1] == own


def refused(path, *words):
    with pytest.raises(minast.Error) as error:
        minast.load_audio(path)
    message = str(error.value)
    assert str(path) in message and "\n" not in message
    for word in words:
        assert word in message
    return message


def test_missing(tmp_path):
    refused(tmp_path / "none.wav", "no such file")


def test_folder(tmp_path):
    refused(tmp_path, "folder")


def test_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    refused(tmp_path / "a.wav", "empty")


def test_text_called_wav(tmp_path):
    (tmp_path / "a.wav").write_text("this is no sound at all\n" * 20)
    refused(tmp_path / "a.wav", "cannot be decoded")


def test_truncated_flac(tmp_path):
    noise = np.random.default_rng(0).uniform(-0.5, 0.5, 64000)
    soundfile.write(tmp_path / "whole.flac", noise, 16000)
    data = (tmp_path / "whole.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(data[: len(data) // 2])
    refused(tmp_path / "cut.flac", "cut short")
    (tmp_path / "head.flac").write_bytes(data[:20])
    refused(tmp_path / "head.flac", "cannot be decoded")


def test_truncated_wav_header(tmp_path):
    soundfile.write(tmp_path / "whole.wav", tone(), 16000)
    (tmp_path / "cut.wav").write_bytes((tmp_path / "whole.wav").read_bytes()[:30])
    refused(tmp_path / "cut.wav")


def test_no_samples(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.zeros(0, np.float32), 16000)
    refused(tmp_path / "a.wav", "0 samples")


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_not_finite(tmp_path, bad):
    x = tone()
    x[4000] = bad
    soundfile.write(tmp_path / "a.wav", x, 16000, subtype="FLOAT")
    refused(tmp_path / "a.wav", "1 samples are NaN or infinite", "0.250 s")
