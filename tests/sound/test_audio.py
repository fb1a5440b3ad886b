"""Audio in: formats, channels, rates, scales, and everything that can be wrong with a file."""

import os
import sys

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import decode, read_audio, recording, sndfile


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
    refused(tmp_path, "folder", "name the files in it, such as", "*.wav")


def test_a_pattern_that_the_shell_left_as_it_was(tmp_path):
    refused(tmp_path / "*.wav", "no such file", "no file matches this pattern")
    (tmp_path / "a.wav").write_bytes(b"")
    refused(tmp_path / "*.wav", "the shell did not expand this pattern: write it without quotes.")
    refused(tmp_path / "[b]*.wav", "no such file", "no file matches this pattern")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no FIFOs here")
def test_a_pipe_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    refused(tmp_path / "a.wav", "device or a pipe")


@pytest.mark.parametrize(
    ("name", "data", "words"),
    [
        ("a.wav", b"\x89PNG\r\n", "a PNG picture"),
        ("a.wav", b"PK\x03\x04", "a zip archive"),
        ("a.flac", b"version https://git-lfs.github.com/spec/v1\noid sha256:00", "git lfs pull"),
        ("a.mp3", b"<!DOCTYPE html><html>", "a web page"),
        ("a.raw", b"", "a .raw file holds samples alone"),
        ("a.VOX", b"", "a .vox file holds samples alone"),
        ("a.gsm", b"", "a .gsm file holds samples alone"),
        ("a.m4a", b"", "`ffmpeg -i IN OUT.wav`"),
        ("a.xyz", b"", "cannot be decoded as audio"),
    ],
)
def test_what_is_no_sound_is_named(tmp_path, name, data, words):
    (tmp_path / name).write_bytes(data + bytes(range(200)) * 20)
    refused(tmp_path / name, words)


@pytest.mark.skipif(os.name == "nt" or sys.platform == "darwin", reason="file names are Unicode here")
def test_a_name_that_is_no_text(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.wav")
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    os.rename(tmp_path / "a.wav", path)
    assert len(minast.load_audio(os.fsdecode(path))) == 8000


def test_memory_that_a_header_asks_for(tmp_path):
    """2**36 samples, 2**31 bytes: nothing is allocated by a number in a header."""
    soundfile.write(tmp_path / "a.flac", tone(), 16000)
    data = bytearray((tmp_path / "a.flac").read_bytes())
    data[21] |= 0x0F
    data[22:26] = b"\xff" * 4
    (tmp_path / "a.flac").write_bytes(data)
    found = decode(tmp_path / "a.flac")
    assert len(found.wave) == 8000 and found.cut and "0.50 s could be decoded of the 4294967.30 s" in found.notes[0]


@pytest.mark.parametrize("rate", [1, 99])
def test_a_rate_that_no_recorder_has(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", tone(), rate)
    refused(tmp_path / "a.wav", f"its header says {rate} Hz", "100 to 768000 Hz")


def test_too_long_for_one_array(tmp_path, monkeypatch):
    soundfile.write(tmp_path / "a.wav", tone(), 16000)
    monkeypatch.setattr(recording, "MOST", 7999)
    refused(tmp_path / "a.wav", "too much to hold in memory at once")


@pytest.mark.parametrize("own", [16000, 44100])
def test_in_blocks_as_at_once(tmp_path, monkeypatch, own):
    """A long file is decoded again, block by block; a short one is kept. The bits are the same."""
    x = np.random.default_rng(0).uniform(-0.5, 0.5, (3 * own + 17, 2))
    soundfile.write(tmp_path / "a.wav", x, own)
    once = minast.load_audio(tmp_path / "a.wav")
    monkeypatch.setattr(recording, "KEEP", 1000)
    monkeypatch.setattr(sndfile, "VALUES", 999)
    blocks = list(recording.Recording(tmp_path / "a.wav").blocks(16000))
    assert len(blocks) > 10
    np.testing.assert_array_equal(np.concatenate(blocks), once)


def test_empty_file(tmp_path):
    (tmp_path / "a.wav").touch()
    refused(tmp_path / "a.wav", "empty")


def test_text_called_wav(tmp_path):
    (tmp_path / "a.wav").write_text("this is no sound at all\n" * 20)
    refused(tmp_path / "a.wav", "cannot be decoded")


def test_what_is_left_of_a_cut_file_is_read_with_a_warning(tmp_path):
    soundfile.write(tmp_path / "whole.wav", tone(), 16000)
    data = (tmp_path / "whole.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[: 44 + 2 * 5000])
    with pytest.warns(UserWarning, match=r"cut\.wav: cut short: 0\.31 s could be decoded of the 0\.50 s that") as seen:
        wave = minast.load_audio(tmp_path / "cut.wav")
    assert len(seen) == 1 and seen[0].filename == __file__
    np.testing.assert_array_equal(wave, minast.load_audio(tmp_path / "whole.wav")[:5000])


def test_a_header_alone(tmp_path):
    soundfile.write(tmp_path / "whole.flac", tone(), 16000)
    data = (tmp_path / "whole.flac").read_bytes()
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
