"""Every format and coding that libsndfile writes: whole, and cut in three places. No false word, no silent loss."""

import numpy as np
import pytest
import soundfile

import minast
from minast.audio import decode

LEFT_OUT = ("RAW", "SD2")  # no header; a header in another file
UNKNOWN = ("PAF", "PVF", "IRCAM", "XI")  # their headers do not say how long they are
REFUSED = (("SDS", ""), ("HTK", ""), ("VOC", "PCM_U8"))  # if cut: libsndfile does, or would make noise of them
EXACT = ("PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAC_16", "ALAC_20", "ALAC_24", "ALAC_32")
FRAMES = 48000


def writable():
    for format in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(format):
            if format not in LEFT_OUT and soundfile.check_format(format, subtype):
                yield format, subtype


@pytest.fixture(scope="module")
def wave():
    t = np.arange(FRAMES) / 16000
    return (0.3 * np.sin(2 * np.pi * 440 * t) + np.random.default_rng(0).normal(0, 0.05, FRAMES)).astype(np.float32)


@pytest.fixture
def written(tmp_path, wave):
    """The bytes of a file, or a skip for the combinations that this libsndfile knows and cannot write."""

    def write(format, subtype):
        path = tmp_path / "whole"
        try:
            soundfile.write(path, wave, 8000 if format == "WVE" else 16000, format=format, subtype=subtype)
        except soundfile.SoundFileError as error:
            pytest.skip(f"libsndfile cannot write it: {error}")
        return path.read_bytes()

    return write


@pytest.mark.parametrize(("format", "subtype"), list(writable()))
def test_a_whole_file_is_read_to_its_end_and_not_accused(tmp_path, wave, written, format, subtype):
    (tmp_path / "x.wav").write_bytes(written(format, subtype))  # its name says nothing
    found = decode(tmp_path / "x.wav", None)
    assert found.notes == () and FRAMES <= len(found.wave) < FRAMES + 1024  # ADPCM fills its last block
    if subtype in EXACT:
        assert abs(found.wave - wave).max() <= 2**-15
    assert np.corrcoef(found.wave[:FRAMES], wave)[0, 1] > 0.9


@pytest.mark.parametrize(("format", "subtype"), list(writable()))
def test_a_cut_file_is_read_as_far_as_it_goes_and_says_so(tmp_path, written, format, subtype):
    data, whole = written(format, subtype), None
    for share in (0.3, 0.66, 0.97) if format != "OGG" else (0.66, 0.8, 0.97):  # its first page of sound is 1 s long
        (tmp_path / "x.wav").write_bytes(data[: int(share * len(data))])
        if (format, subtype) in REFUSED or (format, "") in REFUSED:
            with pytest.raises(minast.Error, match="cannot be decoded"):
                decode(tmp_path / "x.wav", None)
            continue
        found = decode(tmp_path / "x.wav", None)
        assert found.kinds == (() if format in UNKNOWN and (format, subtype) != ("PAF", "PCM_24") else ("cut",))
        assert (share - 0.4) * FRAMES < len(found.wave) < (share + 0.1) * FRAMES
        if whole is None:
            (tmp_path / "whole.wav").write_bytes(data)
            whole = decode(tmp_path / "whole.wav", None).wave
        n = int(0.9 * len(found.wave))  # what a cut block or frame holds may differ
        if subtype not in ("OPUS", "VORBIS"):
            np.testing.assert_allclose(found.wave[:n], whole[:n], atol=1e-6)


@pytest.mark.parametrize("subtype", ["PCM_16", "IMA_ADPCM", "GSM610", "MS_ADPCM", "FLOAT"])
def test_one_byte_less_is_noticed(tmp_path, written, subtype):
    (tmp_path / "x.wav").write_bytes(written("WAV", subtype)[:-1])
    assert decode(tmp_path / "x.wav").cut
