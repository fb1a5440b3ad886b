"""Mutated files of every format: an array of finite numbers or one sentence, quickly, and nothing on the console."""

import io
import random
from pathlib import Path

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import decode
from tests.sound.test_audio_formats import writable

FILES = Path(__file__).parent / "files"
NUMBERS = (b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff", b"\xff\xff\xff\x7f", b"\0\0\0\x80", b"\x80\0\0\0")


def flip(data, rng):
    """One bit, anywhere."""
    data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)


def header(data, rng):
    """One byte near the beginning."""
    data[rng.randrange(min(len(data), 120))] = rng.randrange(256)


def number(data, rng):
    """Four bytes near the beginning that make a large, negative or empty number."""
    at = rng.randrange(min(len(data), 200))
    data[at : at + 4] = rng.choice(NUMBERS)


def cut(data, rng):
    """The end is missing."""
    del data[rng.randrange(1, len(data)) :]


def shift(data, rng):
    """Some bytes are missing in the middle."""
    at = rng.randrange(len(data))
    del data[at : at + rng.randrange(1, 60)]


@pytest.fixture(scope="module")
def originals():
    wave = np.random.default_rng(0).normal(0, 0.1, (6000, 2)).astype(np.float32)
    found = [path.read_bytes() for path in FILES.iterdir() if path.suffix not in (".py", ".md") and path.is_file()]
    for format, subtype in writable():
        for x in (wave, wave[:, 0]):
            file = io.BytesIO()
            try:
                soundfile.write(file, x, 16000, format=format, subtype=subtype)
            except soundfile.SoundFileError:
                continue
            found.append(file.getvalue())
    return found


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("change", [flip, header, number, cut, shift])
def test_mutated_files(tmp_path, originals, change, capfd):
    rng, path, outcomes = random.Random(change.__name__), tmp_path / "x.wav", set()
    for data in originals:
        data = bytearray(data)
        for _ in range(rng.choice((1, 1, 2, 8)) if change is not cut else 1):
            change(data, rng)
        path.write_bytes(data)
        try:
            found = decode(path)
            assert np.isfinite(found.wave).all() and len(found.wave) < 10**6
            outcomes.add("read")
        except minast.Error as error:
            assert str(error).startswith(f"{path}: ") and "\n" not in str(error) and len(str(error)) < 500
            outcomes.add("refused")
    printed = capfd.readouterr()
    assert printed.out == "" and "Traceback" not in printed.err and "cffi" not in printed.err
    assert "read" in outcomes
