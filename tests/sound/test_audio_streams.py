"""mp3 and Ogg: chains, joined files, damage, and lengths that nothing says."""

from pathlib import Path

import numpy as np
import pytest
import soundfile

from minast.audio import decode, mpeg, ogg

FILES = Path(__file__).parent / "files"
FRAME = 144  # bytes of a frame of layer II at 32 kbit/s and 16 kHz, and twice those of layer III


@pytest.fixture
def read(tmp_path):
    """Decode these bytes at their own rate."""

    def decoded(data):
        (tmp_path / "x.wav").write_bytes(data)
        return decode(tmp_path / "x.wav", None)

    return decoded


@pytest.fixture
def encoded(tmp_path):
    """encoded("MP3") -> two seconds of noise"""

    def write(format, subtype=None, rate=16000, seconds=2):
        x = np.random.default_rng(1).uniform(-0.3, 0.3, seconds * rate)
        soundfile.write(tmp_path / "made", x, rate, format=format, subtype=subtype)
        return (tmp_path / "made").read_bytes()

    return write


# -- MPEG ------------------------------------------------------------------------------------------------------


def without_xing(data):
    """An mp3 of libsndfile's without its first frame, which holds no sound but says how many frames there are."""
    return data[mpeg.frame(data[:4]).size :]


def test_an_mp3_of_changing_frame_sizes_is_read_to_its_end():
    """libsndfile guesses 1.36 s from the first frames, and stops in the middle of the tone."""
    found = decode(FILES / "vbr.mp3")
    assert soundfile.info(FILES / "vbr.mp3").frames < 2 * 16000
    assert len(found.wave) == 97344 and found.notes == ()
    loud = [np.abs(np.fft.rfft(found.wave[s : s + 16000])).argmax() == 440 for s in (8000, 40000, 72000)]
    assert loud == [True, False, False]  # the tone, then noise


@pytest.mark.parametrize(("name", "frames"), [("layer2.mp2", 16128), ("inside.wav", 17280)])
def test_whole_files_of_other_makers_are_not_accused(tmp_path, name, frames):
    for copy in (name, "x.wav", "x.ogg"):
        (tmp_path / copy).write_bytes((FILES / name).read_bytes())
        found = decode(tmp_path / copy)
        assert len(found.wave) == frames and found.notes == ()


@pytest.mark.parametrize("name", ["vbr.mp3", "layer2.mp2", "inside.wav"])
def test_cut_within_a_frame(read, name):
    data = (FILES / name).read_bytes()
    found = read(data[: len(data) * 2 // 3 - 5])
    assert found.cut and "cut short" in found.notes[0] and len(found.wave) > 8000


def test_the_xing_header_says_what_is_missing(read, encoded):
    data = encoded("MP3")
    assert read(data).notes == () and len(read(data).wave) == 32000
    found = read(data[: len(data) // 2])
    assert found.cut and "of the 2.00 s that its header promises" in found.notes[0]


@pytest.mark.parametrize("header", [True, False])
def test_tags_at_the_end_are_no_sound(read, encoded, header):
    data = encoded("MP3") if header else without_xing(encoded("MP3"))
    whole, id3 = read(data), b"TAG" + bytes(125)
    footer = b"APETAGEX" + (2000).to_bytes(4, "little") + (100).to_bytes(4, "little") + bytes(16)
    for tags in (id3, bytes(68) + footer, bytes(68) + footer + id3, bytes(4000)):
        found = read(data + tags)
        assert found.notes == ()
        np.testing.assert_array_equal(found.wave, whole.wave)


@pytest.mark.parametrize("size", [50, 3_000_000])
def test_tags_at_the_beginning_are_no_sound(read, encoded, size):
    """A picture of the cover may be larger than what is searched for a frame."""
    bits = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    tag = b"ID3\x04\x00\x00" + bits + bytes(range(256)) * (size // 256) + bytes(size % 256)
    data = encoded("MP3")
    found = read(tag + data)
    assert found.notes == () and len(found.wave) == 32000
    assert read(tag + data[:6000]).cut
    assert len(read(tag + data + tag + data).wave) == 64000


def test_joined_mp3s_are_read_one_after_another(read, encoded):
    data = encoded("MP3")
    one = read(data).wave
    found = read(data + data + data)
    np.testing.assert_array_equal(found.wave, np.tile(one, 3))
    assert found.notes == () and len(read(without_xing(data) * 2).wave) > 64000


def test_another_rate_in_the_middle(read, encoded):
    data = encoded("MP3") + encoded("MP3", rate=44100)
    found = read(data)
    assert found.rate == 16000 and abs(len(found.wave) - 64000) < 1200 and found.notes == ()
    found = read(without_xing(encoded("MP3")) + without_xing(encoded("MP3", rate=44100)))
    assert abs(len(found.wave) - 64000) < 3000 and found.notes == ()


@pytest.mark.parametrize("hole", [600, 5000])
def test_a_hole_in_an_mp3_is_noticed_and_passed(read, encoded, hole):
    data = bytearray(without_xing(encoded("MP3", seconds=4)))
    whole, at = read(data), len(data) // 2
    data[at : at + hole] = bytes(hole)
    found = read(data)
    assert found.cut and 0.6 * len(whole.wave) < len(found.wave) < len(whole.wave)
    np.testing.assert_allclose(found.wave[-8000:], whole.wave[-8000:], atol=1e-3)


def test_frames_are_found():
    data = (FILES / "layer2.mp2").read_bytes()
    assert mpeg.frame(data[:4]) == mpeg.Frame(FRAME * 2, 1152, (2, 2, 16000))
    assert mpeg.frame(bytes.fromhex("fffb9064")).size == 417 and mpeg.frame(bytes.fromhex("fffb9264")).size == 418


@pytest.mark.parametrize(
    "header",
    [
        *("7ffb9064", "ff1b9064"),  # no sync
        *("ffeb9064", "fff99064"),  # a version, a layer that is reserved
        *("fffb0064", "fffbf064", "fffb9c64"),  # bit rates "free" and "bad", a rate that is reserved
        *("fffb90", "52494646"),  # three bytes, "RIFF"
    ],
)
def test_what_is_no_frame(header):
    """Each, but for the last two, is fffb9064 with one field changed."""
    assert mpeg.frame(bytes.fromhex(header)) is None


# -- Ogg -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_chain_is_read_link_by_link(read, encoded, subtype):
    data = encoded("OGG", subtype)
    one = read(data).wave
    found = read(data + data)
    np.testing.assert_array_equal(found.wave, np.tile(one, 2))
    assert len(one) == 32000 and found.notes == ()


def test_links_may_differ_in_rate(read, encoded):
    found = read(encoded("OGG", "VORBIS") + encoded("OGG", "VORBIS", rate=44100))
    assert found.rate == 16000 and abs(len(found.wave) - 64000) <= 1 and found.notes == ()


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_damaged_page_is_noticed(read, encoded, subtype):
    """libogg leaves out a page that fails its checksum, and says nothing."""
    data = bytearray(encoded("OGG", subtype, seconds=10))
    data[len(data) * 2 // 3] ^= 1
    found = read(data)
    assert found.cut and "1 page is damaged or missing" in found.notes[0] and len(found.wave) > 80000


def test_a_missing_page_is_noticed(read, encoded):
    data = encoded("OGG", "VORBIS", seconds=10)
    starts = [i for i in range(len(data)) if data[i : i + 4] == b"OggS"]
    found = read(data[: starts[6]] + data[starts[7] :])
    assert found.cut and "1 page is damaged or missing" in found.notes[0]


def test_junk_between_and_behind_pages(read, encoded):
    data = encoded("OGG", "VORBIS")
    assert read(data + bytes(3000)).notes == ()
    found = read(data + bytes(3000) + data)
    assert len(found.wave) == 64000 and found.notes == ()


def test_the_checksum_of_a_page(encoded):
    data = encoded("OGG", "VORBIS")
    second = data.index(b"OggS", 4)
    assert ogg.crc(data[:second]) == int.from_bytes(data[22:26], "little")
    flipped = bytes([data[second - 1] ^ 1])
    assert ogg.crc(data[: second - 1] + flipped) != int.from_bytes(data[22:26], "little")
