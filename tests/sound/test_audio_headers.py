"""Headers that lie: sizes that were never filled in, sizes that are too large, files behind files."""

import re
import struct

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import decode

FRAMES = 16000


@pytest.fixture
def make(tmp_path):
    """make("WAV") -> the bytes of one second, as 16-bit integers"""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(FRAMES) / 16000)

    def write(format, subtype="PCM_16"):
        soundfile.write(tmp_path / "made", wave, 16000, format=format, subtype=subtype)
        return bytearray((tmp_path / "made").read_bytes())

    return write


@pytest.fixture
def read(tmp_path):
    """Decode these bytes."""

    def decoded(data):
        (tmp_path / "x.wav").write_bytes(data)
        return decode(tmp_path / "x.wav")

    return decoded


SIZES = [  # format, what stands before the size of the sound, bytes between, its struct format, the value for "unknown"
    ("WAV", b"data", 0, "<I", 0xFFFFFFFF),
    ("WAVEX", b"data", 0, "<I", 0x7FFFFFFE),
    ("RF64", b"ds64", 12, "<Q", None),
    ("W64", b"data", 12, "<q", None),
    ("AIFF", b"SSND", 0, ">I", 0xFFFFFFFF),
    ("CAF", b"data", 0, ">q", -1),
    ("AU", b".snd", 4, ">I", 0xFFFFFFFF),
]


@pytest.mark.parametrize(("format", "name", "between", "form", "unknown"), SIZES, ids=[row[0] for row in SIZES])
def test_a_size_that_was_never_filled_in(make, read, format, name, between, form, unknown):
    whole = read(make(format)).wave
    for value in (0, unknown):
        data = make(format)
        at = data.find(name) + 4 + between
        if value is None:
            continue
        data[at : at + struct.calcsize(form)] = struct.pack(form, value)
        found = read(data)
        np.testing.assert_array_equal(found.wave, whole)
        assert found.kinds == ("length",) and "it was read to its end, 1.00 s" in found.notes[0] and not found.cut


@pytest.mark.parametrize(("format", "name", "between", "form", "_"), SIZES, ids=[row[0] for row in SIZES])
def test_a_size_beyond_the_file(make, read, format, name, between, form, _):
    data = make(format)
    at = data.find(name) + 4 + between
    data[at : at + struct.calcsize(form)] = struct.pack(form, 2**31 - 5000)
    found = read(data)
    assert len(found.wave) == FRAMES and found.cut
    assert re.search(r"1\.00 s could be decoded of the 67\d\d\d\.\d\d s", found.notes[0])


def test_joined_files_are_read_one_after_another(make, read):
    wave = read(make("WAV")).wave
    found = read(make("WAV") + make("WAV") + make("WAV"))
    np.testing.assert_array_equal(found.wave, np.tile(wave, 3))
    assert found.notes == ()
    found = read(make("FLAC") + make("FLAC"))
    np.testing.assert_allclose(found.wave, np.tile(wave, 2), atol=1e-4)
    assert found.notes == ()


def test_a_cut_file_behind_a_whole_one(make, read):
    found = read(make("WAV") + make("WAV")[:20044])
    assert len(found.wave) == FRAMES + 10000 and found.cut


def test_a_joined_file_that_cannot_be_decoded(make, read):
    data = make("WAV")
    found = read(data + data[:4] + bytes(4) + b"WAVEfmt " + bytes(40))
    assert len(found.wave) == FRAMES and found.cut and "joined to it at byte 32044 cannot be decoded" in found.notes[0]


def test_other_chunks_and_tags_are_no_lost_sound(make, read):
    for extra in (b"LIST\x04\x00\x00\x00INFO", b"ID3\x03" + bytes(40000), b"TAG" + bytes(125), bytes(10)):
        found = read(make("WAV") + extra)
        assert len(found.wave) == FRAMES and found.notes == ()


def test_bytes_that_may_be_lost_sound_are_mentioned(make, read):
    found = read(make("WAV") + bytes(range(256)) * 200)
    assert found.kinds == ("length",) and "51200 bytes of an unknown kind follow its sound" in found.notes[0]


def test_a_flac_that_does_not_know_its_length(make, read):
    """As a recorder writes it that cannot go back to the header."""
    data = make("FLAC")
    data[21] &= 0xF0
    data[22:26] = bytes(4)
    found = read(data)
    assert len(found.wave) == FRAMES and found.notes == ()
    if soundfile.__libsndfile_version__ >= "1.2.2":  # older ones say nothing of a frame that is not complete
        assert read(data[: len(data) // 2]).cut


def test_a_flac_damaged_in_the_middle(make, read):
    data = make("FLAC")
    data[len(data) // 2] ^= 0xFF
    found = read(data)
    assert 0.2 * FRAMES < len(found.wave) < FRAMES and found.cut and "damaged" in found.notes[0]


def test_an_empty_sound_stays_empty(make, read, tmp_path):
    data = make("WAV")[:44]
    data[40:44] = bytes(4)
    for extra in (b"", b"LIST\x04\x00\x00\x00INFO"):
        with pytest.raises(minast.Error, match="0 samples"):
            read(data + extra)


@pytest.mark.parametrize(
    "data", [b"RIFF", b"RIFF\xff\xff\xff\xffWAVE", b"fLaC" + bytes(99), b"OggS" + bytes(99), b"ID3"]
)
def test_stubs(read, data):
    with pytest.raises(minast.Error, match=r"x\.wav: .*(cannot be decoded|no sound)"):
        read(data)
