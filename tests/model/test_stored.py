"""Archives and files that claim more than they hold: refused before memory is asked for."""

import io
import os
import tracemalloc
import zipfile

import numpy as np
import pytest

import minast
from minast.storage import stored
from minast.storage.npz import BROKEN, Archive, load_npy

MIB = 2**20


def archive(path, method=zipfile.ZIP_STORED, **bodies):
    with zipfile.ZipFile(path, "w") as out:
        for name, body in bodies.items():
            out.writestr(zipfile.ZipInfo(f"{name}.npy"), body, method)
    return path


def npy(array):
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def refused(path, match):
    tracemalloc.start()
    with pytest.raises(minast.Error, match=match) as caught, Archive(path) as file:
        for name in file.names:
            file.read(name)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 * MIB and str(path) in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_is_refused(tmp_path, method):
    refused(archive(tmp_path / "a.npz", method, x=npy(np.zeros(4))), "'x.npy' is packed by method")


def test_a_zip_bomb_is_refused_unread(tmp_path):
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=npy(np.zeros(80 * MIB, np.uint8)), y=npy(np.ones(3)))
    assert path.stat().st_size < MIB
    refused(path, "it would unpack to 83886.* bytes, more than 64 times its size")


def test_deflated_arrays_are_read(tmp_path):
    x = np.random.default_rng(0).standard_normal(2**16)
    path = archive(tmp_path / "a.npz", zipfile.ZIP_DEFLATED, x=npy(x), zeros=npy(np.zeros(8 * MIB // 8)))
    with Archive(path) as file:
        assert np.array_equal(file.read("x"), x) and not file.read("zeros").any()


def test_two_members_of_a_name(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as out, pytest.warns(UserWarning):
        out.writestr("x.npy", npy(np.ones(3)))
        out.writestr("x.npy", npy(np.zeros(3)))
    refused(tmp_path / "a.npz", "it has two members 'x.npy'")


def test_a_name_without_end(tmp_path):
    refused(archive(tmp_path / "a.npz", **{"x" * 5000: npy(np.ones(3))}), "a member's name has 5004 characters")


@pytest.mark.parametrize(
    ("offset", "value", "match"),
    [
        (6, 99, "not a complete .npz file"),  # "zip file version 9.9"
        (8, 1, "'x' cannot be read"),  # encrypted
        (10, 14, "packed by method 14"),
        (10, 99, "packed by method 99"),
        (20, 2**31, "claim 2147483648 bytes"),  # its packed size
        (24, 2**31, "it would unpack to 2147483648 bytes"),
        (42, 2**30, "'x' cannot be read|not a complete"),  # where it begins
    ],
)
def test_zip_records_that_lie(tmp_path, offset, value, match):
    path = archive(tmp_path / "a.npz", x=npy(np.ones(3)))
    raw = bytearray(path.read_bytes())
    at = raw.index(b"PK\x01\x02") + offset
    size = 4 if value > 2**16 else 2
    raw[at : at + size] = value.to_bytes(size, "little")
    path.write_bytes(raw)
    refused(path, match)


@pytest.mark.parametrize("shape", ["(1000000000, 16)", "(4294967296, 4294967296)", "(" + "2, " * 40 + ")"])
def test_a_shape_that_does_not_fit_its_member(tmp_path, shape):
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}\n".encode()
    body = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + bytes(64)
    refused(archive(tmp_path / "a.npz", x=body), "'x' cannot be read .*announces|claims 40 dimensions")


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': 0, 'shape': (1,), }",
        "{'descr': '<f4', 'fortran_order': False, 'shape': (" + "(" * 3000,
        "-" * 9000 + "1",
        "{'descr': '<f3', 'fortran_order': False, 'shape': (1,), }",
        "{'descr': '<U999999', 'fortran_order': False, 'shape': (1,), }",
        "__import__('os').getpid()",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (4,), }\xa0",
        "",
    ],
)
def test_headers_of_no_array_of_numbers(tmp_path, header):
    body = b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header.encode("latin-1") + bytes(4)
    refused(archive(tmp_path / "a.npz", x=body), "'x' cannot be read")
    (tmp_path / "x.npy").write_bytes(body)
    with pytest.raises(BROKEN):
        load_npy(tmp_path / "x.npy")


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_headers_of_every_version_of_npy(tmp_path, version):
    x = np.asfortranarray(np.arange(6, dtype=">f8").reshape(2, 3))
    with open(tmp_path / "x.npy", "wb") as file:
        np.lib.format.write_array(file, x, version)
    assert np.array_equal(load_npy(tmp_path / "x.npy"), x)


def test_a_header_as_other_programs_write_it(tmp_path):
    header = b"{ 'descr':'|u1','fortran_order':False,'shape':(2L,2L) }"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\0" + len(header).to_bytes(2, "little") + header + b"\1\2\3\4")
    assert load_npy(tmp_path / "x.npy").tolist() == [[1, 2], [3, 4]]


def sparse(path, start, size):
    with open(path, "wb") as file:
        file.write(start)
        file.truncate(size)
    if stored.bytes_on_disk(path) > size // 2:
        pytest.skip("this file system has no sparse files")
    return path


def test_a_file_that_was_never_written(tmp_path):
    path = sparse(tmp_path / "a.npz", b"PK\x03\x04", 6 * 2**30)
    with pytest.raises(minast.Error, match="of its 6442450944 bytes almost none were ever written: the download"):
        minast.load(path)
    with pytest.raises(minast.Error, match="almost none were ever written"):
        minast.pretrained.load(path, classes=3)
    header = npy(np.zeros(3, np.float32)).replace(b"(3,), }        ", b"(1600000000,), ")
    path = sparse(tmp_path / "x.npy", header, len(header) - 12 + 6_400_000_000)
    with pytest.raises(BROKEN):
        load_npy(path)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are Unix's")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.npz")
    for read in (minast.load, minast.pretrained.load):
        with pytest.raises(minast.Error, match="this is no regular file"):
            read(tmp_path / "pipe.npz")


def test_bytes_on_disk(tmp_path):
    (tmp_path / "whole").write_bytes(os.urandom(300_000))
    assert stored.bytes_on_disk(tmp_path / "whole") >= 300_000
    (tmp_path / "empty").touch()
    assert stored.bytes_on_disk(tmp_path / "empty") == 0


def test_whatever_a_decoder_raises_is_one_sentence():
    for kind in (RecursionError, OverflowError, NotImplementedError, KeyError, zipfile.BadZipFile, SyntaxError):
        match = r"^it cannot be read \(.*\): the file is damaged\.$"
        with pytest.raises(minast.Error, match=match), stored.decoding("it cannot be read"):
            raise kind("a\nb")
    with pytest.raises(MemoryError), stored.decoding("it cannot be read"):
        raise MemoryError
