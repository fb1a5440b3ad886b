"""Beside another decoder: FFmpeg's, through PyAV. Also what minast reads through it. Skipped where there is no PyAV."""

import contextlib
from pathlib import Path

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import decode, pyav, resample
from tests.sound.test_audio_formats import FRAMES, writable

av = pytest.importorskip("av", reason="PyAV is not installed (pip install av)")

FILES = Path(__file__).parent / "files"
NEAR = {"OPUS": 0.02, "GSM610": 2e-3, "MPEG_LAYER_III": 1e-3, "VORBIS": 1e-4, "IMA_ADPCM": 0.005, "MS_ADPCM": 0.01}
OTHERS = ("G721_32", "G723_24", "G723_40")  # FFmpeg takes their bits in another order


def decoded_by_ffmpeg(path):
    """The mean of the channels, and the rate."""
    frames = []
    with av.open(str(path)) as box, contextlib.suppress(av.FFmpegError):
        for frame in box.decode(box.streams.audio[0]):
            frames.append(frame)
    return np.concatenate([pyav._samples(frame) for frame in frames]).mean(axis=1), frames[0].sample_rate


@pytest.fixture
def make(tmp_path):
    def write(format, subtype):
        t = np.arange(FRAMES) / 16000
        wave = 0.3 * np.sin(2 * np.pi * 440 * t) + np.random.default_rng(0).normal(0, 0.02, FRAMES)
        try:
            soundfile.write(tmp_path / "whole", wave, 16000, format=format, subtype=subtype)
        except soundfile.SoundFileError as error:
            pytest.skip(f"libsndfile cannot write it: {error}")
        return (tmp_path / "whole").read_bytes()

    return write


@pytest.mark.parametrize("share", [1, 0.7])
@pytest.mark.parametrize(("format", "subtype"), list(writable()))
def test_the_same_samples_as_ffmpeg(tmp_path, make, format, subtype, share):
    if subtype in OTHERS:
        pytest.skip("FFmpeg's decoder of it differs")
    data = make(format, subtype)
    (tmp_path / "x").write_bytes(data[: int(share * len(data))])
    try:
        theirs, rate = decoded_by_ffmpeg(tmp_path / "x")
    except (av.FFmpegError, ValueError, IndexError) as error:
        pytest.skip(f"FFmpeg cannot read it: {error}")
    try:
        ours = decode(tmp_path / "x", rate).wave
    except minast.Error:
        pytest.skip("refused: see test_audio_formats.py")
    n = min(len(ours), len(theirs)) - (0 if share == 1 and subtype != "OPUS" else 1024)
    assert abs(len(ours) - len(theirs)) <= (1152 if share == 1 else 5000) * rate // 16000  # a packet; a page
    assert abs(ours[:n] - theirs[:n]).max() <= NEAR.get(subtype, 2**-14)


@pytest.mark.parametrize("name", ["vbr.mp3", "layer2.mp2", "inside.wav"])
def test_the_files_of_ffmpeg(name):
    theirs, rate = decoded_by_ffmpeg(FILES / name)
    ours = decode(FILES / name, rate).wave
    assert len(ours) == len(theirs) and abs(ours - theirs).max() < 1e-4


def test_the_scores_are_those_of_ffmpegs_samples(trained):
    """From the file to the answer."""
    theirs, rate = decoded_by_ffmpeg(FILES / "vbr.mp3")
    classifier = minast.Classifier.load(trained / "best.npz")
    mine, other = classifier.predict(FILES / "vbr.mp3"), classifier.predict(theirs, rate=rate)
    assert mine["segments"] == other["segments"] > 10
    for a, b in zip(mine["labels"], other["labels"], strict=True):
        assert a["label"] == b["label"] and abs(a["probability"] - b["probability"]) < 1e-4


# -- what is read through PyAV ---------------------------------------------------------------------------------


def test_what_libsndfile_cannot_open():
    found = decode(FILES / "sound.m4a")
    theirs, _ = decoded_by_ffmpeg(FILES / "sound.m4a")
    np.testing.assert_array_equal(found.wave, theirs)
    assert found.notes == () and len(found.wave) >= 16000
    assert np.abs(np.fft.rfft(found.wave[-16000:])).argmax() == 440


def test_without_it_the_same_file_gets_advice(monkeypatch):
    monkeypatch.setattr(pyav, "installed", lambda: False)
    with pytest.raises(minast.Error, match=r"sound\.m4a: this cannot.*`ffmpeg -i IN OUT\.wav`.*`pip install av`"):
        decode(FILES / "sound.m4a")


def encoded(path, codec, rate, layout, container=None, seconds=1):
    t = np.arange(rate * seconds) / rate
    wave = np.stack([0.3 * np.sin(2 * np.pi * 440 * t)] * len(av.AudioLayout(layout).channels)).astype(np.float32)
    with av.open(str(path), "w", format=container) as out:
        stream = out.add_stream(codec, rate=rate, layout=layout)
        resampler = av.AudioResampler(stream.codec_context.format.name, layout, rate, stream.codec_context.frame_size)
        frame = av.AudioFrame.from_ndarray(wave, format="fltp", layout=layout)
        frame.rate = rate
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            out.mux(stream.encode(piece))
        out.mux(stream.encode(None))
    return path.read_bytes()


KINDS = [
    *(("a.aac", "aac", 44100, "stereo"), ("a.mp4", "aac", 48000, "mono"), ("a.webm", "libopus", 48000, "stereo")),
    *(("a.mka", "pcm_s16le", 22050, "stereo"), ("a.ac3", "ac3", 48000, "stereo"), ("a.tta", "tta", 16000, "mono")),
    *(("a.wv", "wavpack", 44100, "stereo"), ("a.avi", "mp3", 44100, "stereo")),
]


@pytest.mark.parametrize(("name", "codec", "rate", "layout"), KINDS)
def test_other_containers(tmp_path, name, codec, rate, layout):
    data = encoded(tmp_path / name, codec, rate, layout)
    (tmp_path / "x.wav").write_bytes(data)
    found = decode(tmp_path / "x.wav")
    assert found.notes == () and found.rate == 16000 and abs(len(found.wave) - 16000) < 2500
    middle = found.wave[4000:12000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 220 and 0.15 < np.sqrt((middle**2).mean()) < 0.25


@pytest.mark.parametrize("name", ["a.webm", "a.tta"])
def test_a_cut_container_with_a_length(tmp_path, name):
    row = next(row for row in KINDS if row[0] == name)
    data = encoded(tmp_path / name, *row[1:], seconds=6)
    (tmp_path / name).write_bytes(data[: len(data) // 2])
    found = decode(tmp_path / name)
    assert found.cut and len(found.wave) < 5 * 16000


@pytest.mark.parametrize("text", ["#EXTM3U\nfile:///etc/passwd\n", "ffconcat version 1.0\nfile secret.wav\n"])
def test_lists_of_files_are_not_followed(tmp_path, text):
    """FFmpeg would open what a playlist names."""
    soundfile.write(tmp_path / "secret.wav", np.ones(16000), 16000)
    (tmp_path / "a.wav").write_text(text * 20)
    with pytest.raises(minast.Error, match="cannot be decoded"):
        decode(tmp_path / "a.wav")


def test_pictures_and_films_without_sound(tmp_path):
    from PIL import Image

    Image.new("RGB", (64, 64)).save(tmp_path / "a.bmp")
    with pytest.raises(minast.Error, match="cannot be decoded"):
        decode(tmp_path / "a.bmp")


def test_resampled_as_any_other():
    found, own = decode(FILES / "sound.m4a", 8000), decode(FILES / "sound.m4a", None)
    np.testing.assert_array_equal(found.wave, resample(own.wave, own.rate, 8000))
