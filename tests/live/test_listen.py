"""Listening to what is still to come: pipes against scan, a microphone that is played, Ctrl-C, latency."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

from minast.live import pcm
from minast.live.source import Pipe

RATE, ROOT = 16000, Path(__file__).resolve().parents[2]
ORDER = ("low", "high", "middle", "low", "high")


@pytest.fixture(scope="module")
def street(tones):
    """Noises of known lengths, one right after another, and half a segment at the end.   -> (S,) float32"""
    rng, parts = np.random.default_rng(3), []
    for name in ORDER:
        for _ in range(int(rng.integers(3, 7))):
            parts.append(soundfile.read(tones / name / f"{rng.integers(10)}.wav", dtype="float32")[0])
    parts.append(0.1 * rng.standard_normal(3000).astype(np.float32))
    return np.concatenate(parts)


def events_of(text):
    """JSON lines -> sorted events"""
    rows = [json.loads(line) for line in text.splitlines()]
    assert all(list(row) == ["start", "end", "label", "score"] for row in rows)
    return sorted(tuple(row.values()) for row in rows)


def scanned(trained, path, tmp_path, command, flags):
    status, _, err = command("scan", trained / "best.npz", path, "--out", tmp_path / "e.jsonl", *flags)
    assert (status, err) == (0, "")
    rows = [json.loads(line) for line in (tmp_path / "e.jsonl").read_text().splitlines()]
    return sorted((row["start"], row["end"], row["label"], row["score"]) for row in rows)


def same(found, wanted):
    """Times and labels are equal; scores, rounded to 4 digits, too, but for batches of other sizes."""
    assert [row[:3] for row in found] == [row[:3] for row in wanted] and wanted
    assert [row[3] for row in found] == pytest.approx([row[3] for row in wanted], abs=1.01e-4)


STREAMS = {  # file's rate, channels and subtype; None: raw, with its flags; flags of events
    "wav": (RATE, 1, "PCM_16", None, ["--hop", 0.24]),
    "wav 24 bits": (RATE, 1, "PCM_24", None, ["--hop", 0.16, "--min-score", 0.7]),
    "wav stereo 44.1 kHz": (44100, 2, "PCM_16", None, ["--hop", 0.1, "--merge", 0.3]),
    "wav float": (RATE, 1, "FLOAT", None, ["--labels", "low;high", "--min-duration", 0.6]),
    "s16le": (RATE, 1, "PCM_16", ["--format", "s16le"], ["--hop", 0.24]),
    "f32le": (22050, 2, "FLOAT", ["--format", "f32le", "--rate", 22050, "--channels", 2], []),
}


@pytest.mark.parametrize("kind", STREAMS)
def test_a_file_piped_in_gives_what_scan_gives(kind, trained, street, tmp_path, command, monkeypatch):
    import soxr

    rate, channels, subtype, raw, flags = STREAMS[kind]
    wave = soxr.resample(street, RATE, rate) if rate != RATE else street
    x = np.stack([wave * (1 - 0.2 * k) for k in range(channels)], axis=1)
    soundfile.write(tmp_path / "a.wav", x, rate, subtype=subtype)
    wanted = scanned(trained, tmp_path / "a.wav", tmp_path, command, flags)
    if raw:
        data, _ = soundfile.read(tmp_path / "a.wav", dtype="int16" if "s16le" in raw else "float32", always_2d=True)
        (tmp_path / "a.raw").write_bytes(data.tobytes())
    with open(tmp_path / ("a.raw" if raw else "a.wav"), "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        status, out, err = command("listen", trained / "best.npz", "-", *flags, *(raw or []))
    assert status == 0 and "latency" in err and f"{rate} Hz" in err
    same(events_of(out), wanted)


def test_events_come_while_the_sound_goes_on(trained, street, tmp_path, command):
    """Through a real pipe, with half of the file held back: what is over by then is there, as a whole line."""
    soundfile.write(tmp_path / "a.wav", street, RATE)
    wanted = scanned(trained, tmp_path / "a.wav", tmp_path, command, ["--hop", 0.24])
    data = (tmp_path / "a.wav").read_bytes()
    arguments = [sys.executable, "-m", "minast.listen", str(trained / "best.npz"), "-", "--hop", "0.24", "--verbose"]
    child = subprocess.Popen(arguments, cwd=ROOT, **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE))
    try:
        half = 2 * len(data) // 3
        for i in range(0, half, 5000):
            child.stdin.write(data[i : min(i + 5000, half)])
            child.stdin.flush()
        first = child.stdout.readline().decode()
        same(events_of(first), wanted[:1])
        child.stdin.write(data[half:])
        out, err = child.communicate(timeout=60)
    finally:
        child.kill()
    same(events_of(first + out.decode()), wanted)
    assert child.returncode == 0 and "p99" in err.decode() and err.decode().count("latency ") > 20


def test_ctrl_c_writes_the_last_events(trained, street, tmp_path):
    arguments = [sys.executable, "-m", "minast.listen", str(trained / "best.npz"), "-", "--format", "f32le"]
    child = subprocess.Popen(arguments, cwd=ROOT, **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE))
    try:
        piece = street[: 2 * RATE]  # within the first two sounds; the second is still heard
        child.stdin.write(piece.tobytes())
        child.stdin.flush()
        time.sleep(0.1)
        lines = []
        threading.Thread(target=lambda: lines.extend(child.stdout), daemon=True).start()
        while b"samples" not in (line := child.stderr.readline()):  # it listens
            assert line
        time.sleep(2)
        child.send_signal(signal.SIGINT)
        assert child.wait(timeout=30) == 0
        err = child.stderr.read().decode()
    finally:
        child.kill()
    time.sleep(0.1)
    events = events_of(b"".join(lines).decode())
    assert events and max(row[1] for row in events) == pytest.approx(2.0, abs=0.03) and "in 2.0 s of sound" in err


# -- the microphone ------------------------------------------------------------------------------------------------


class Played:
    """A stand-in for the package sounddevice: a microphone that hears a waveform, faster than it is."""

    def __init__(self, wave, rate=RATE, rates=(RATE,), overflow=(), press=None, none=False):
        self.wave, self.rate, self.rates, self.overflow = wave, rate, rates, overflow
        self.press, self.none, self.opened = press, none, []

    def query_devices(self, device, kind):
        if self.none or device == "other":
            raise ValueError("No input device matching 'other'")
        return {"name": "Played", "default_samplerate": float(self.rate)}

    def check_input_settings(self, **settings):
        if settings["samplerate"] not in self.rates:
            raise RuntimeError("Invalid sample rate")

    def InputStream(self, callback, finished_callback, **settings):
        self.opened.append(settings)

        def play():
            for i in range(0, len(self.wave), 1000):
                status = SimpleNamespace(input_overflow=i // 1000 in self.overflow)
                block = self.wave[i : i + 1000, None].copy()
                callback(block, len(block), None, status)
                block[...] = np.nan  # PortAudio uses its buffer again
                time.sleep(0.001)
            if self.press:
                time.sleep(0.5)
                os.kill(os.getpid(), self.press)
            else:
                finished_callback()

        thread = threading.Thread(target=play, daemon=True)
        return SimpleNamespace(start=thread.start, close=lambda: None, latency=0.012)


def test_the_microphone(trained, street, tmp_path, command, monkeypatch):
    soundfile.write(tmp_path / "a.wav", street, RATE, subtype="FLOAT")
    wanted = scanned(trained, tmp_path / "a.wav", tmp_path, command, ["--hop", 0.24])
    fake = Played(street, overflow=(3, 4))
    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    status, out, err = command("listen", trained / "best.npz", "--hop", 0.24, "--device", "Pl")
    assert status == 0
    same(events_of(out), wanted)
    assert fake.opened[0]["samplerate"] == RATE and fake.opened[0]["device"] == "Pl"
    assert "listening to Played" in err and "ran over 2 times" in err and "12 ms in the microphone's buffer" in err
    assert "some sound was lost" in err and "gives no more sound" in err


def test_a_microphone_with_a_rate_of_its_own(trained, street, tmp_path, command, monkeypatch):
    import soxr

    wave = soxr.resample(street, RATE, 48000)
    soundfile.write(tmp_path / "a.wav", wave, 48000, subtype="FLOAT")
    wanted = scanned(trained, tmp_path / "a.wav", tmp_path, command, [])
    monkeypatch.setitem(sys.modules, "sounddevice", Played(wave, 48000, (48000,)))
    status, out, err = command("listen", trained / "best.npz")
    assert status == 0 and "at 48000 Hz" in err
    same(events_of(out), wanted)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_is_stopped(number, trained, street, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Played(street, press=number))
    status, out, err = command("listen", trained / "best.npz", "--hop", 0.24)
    assert status == (0 if number == signal.SIGINT else 128 + number)
    assert max(row[1] for row in events_of(out)) == pytest.approx(len(street) / RATE, abs=1e-3)  # the last one, too
    assert "gives no more sound" not in err and "p99" in err


def test_stopped_before_anything_was_heard(trained, street, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Played(street[:100], press=signal.SIGINT))
    status, out, err = command("listen", trained / "best.npz")
    assert (status, out) == (0, "") and "nothing was heard" in err


def test_no_microphone(trained, command, monkeypatch):
    monkeypatch.setitem(sys.modules, "sounddevice", Played(np.zeros(1), none=True))
    status, _, err = command("listen", trained / "best.npz")
    assert status == 2 and err.startswith("minast: there is no microphone") and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    status, _, err = command("listen", trained / "best.npz")
    assert status == 2 and "pip install '.[live]' in the checkout" in err


def test_nothing_is_read_after_the_end():
    """The file may be closed by then, and its number another file's."""
    reads, comes = [], threading.Event()

    def items():
        for i in range(5):
            comes.wait()
            reads.append(i)
            yield np.zeros((100, 1), np.float32)

    with Pipe(items(), RATE) as source:
        pass
    comes.set()
    source._thread.join(10)
    assert reads == [0] and not source._thread.is_alive()


# -- what cannot be heard --------------------------------------------------------------------------------------------


REFUSED = {  # bytes on standard input, flags, what is said
    "nothing": (b"", [], "no sound came"),
    "flac": (b"fLaC" + bytes(100), [], "a FLAC file"),
    "mp3": (b"ID3\x04" + bytes(100), [], "an mp3|a mp3 file"),
    "raw without flags": (bytes(1000), [], "--format s16le or f32le"),
    "wav with flags": (b"RIFF\0\0\0\0WAVE", ["--format", "s16le"], "leave out --format"),
    "wav without sound": (b"RIFF\0\0\0\0WAVEfmt ", [], "ends before its sound"),
    "a large chunk": (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\x7f", [], "damaged wav file"),
    "coded samples": (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\2\0\1\0" + bytes(8) + b"\4\0\4\0data\0\0\0\0", [], "coded"),
    "a rate of 0": (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0\1\0" + bytes(10) + b"\x10\0data\0\0\0\0", [], "0 Hz"),
    "not a number": (np.full(20000, np.nan, "<f4").tobytes(), ["--format", "f32le"], "NaN"),
    "integers as floats": (np.full(20000, 2e4, "<f4").tobytes(), ["--format", "f32le"], "reaches 20000"),
    "less than a frame": (bytes(200), ["--format", "s16le"], "at least one frame"),
    "overflowing floats": (
        np.full(20000, 3e38, "<f4").tobytes(),
        ["--format", "f32le", "--channels", 2],
        "infinite|3e+38",
    ),
    "flac as raw samples": (b"fLaC" + bytes(100), ["--format", "s16le"], "a FLAC file, and not raw samples"),
    "aiff": (b"FORM" + bytes(100), [], "an? AIFF file"),
    "mp4": (bytes(4) + b"ftypM4A " + bytes(100), [], "an? MP4 file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_no_sound_is_said(what, trained, tmp_path, command, monkeypatch):
    import re

    data, flags, says = REFUSED[what]
    (tmp_path / "x").write_bytes(data)
    with open(tmp_path / "x", "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        status, out, err = command("listen", trained / "best.npz", "-", *flags)
    assert (status, out) == (2, "") and re.search(says, err)
    assert "nothing was heard" not in err and "Warning" not in err


@pytest.mark.parametrize(
    "arguments",
    [["a.wav"], ["--rate", "8000"], ["-", "--device", "1"], ["-", "--channels", "2"], ["-", "--format", "mp3"]],
)
def test_flags_that_do_not_go_together(arguments, trained, command):
    status, out, err = command("listen", trained / "best.npz", *arguments)
    assert (status, out) == (2, "") and err.count("\n") == 1


def test_channels_that_cancel_are_said(trained, street, tmp_path, command, monkeypatch):
    soundfile.write(tmp_path / "a.wav", np.stack([street, -street], 1), RATE)
    with open(tmp_path / "a.wav", "rb") as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        status, _, err = command("listen", trained / "best.npz", "-")
    assert status == 0 and "the 2 channels cancel each other out" in err


def test_samples_are_those_of_libsndfile(tmp_path):
    """Every width, in pieces that cut samples; what follows the sound is not heard."""
    x = np.random.default_rng(0).uniform(-1, 1, (501, 2))
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"):
        for form in ("WAV", "WAVEX", "RF64"):
            soundfile.write(tmp_path / "a.wav", x, 8000, subtype=subtype, format=form)
            data = (tmp_path / "a.wav").read_bytes() + b"LIST\4\0\0\0abcd"
            at = 0

            def read(count, data=data):
                nonlocal at
                piece = data[at : at + min(count, 7)]
                at += len(piece)
                return piece

            kind, before = pcm.understood(read, None)
            found = np.concatenate(list(pcm.blocks(read, kind, before)))
            wanted, rate = soundfile.read(tmp_path / "a.wav", dtype="float32")
            assert (kind.rate, kind.channels) == (rate, 2) and np.array_equal(found, wanted), (subtype, form)
