"""The reader of .npz archives: every kind of array, straight into given memory, and files that are damaged."""

import struct
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

import minast
from minast.storage.npz import BROKEN, Archive, load_npy, write_arrays


def test_every_kind_of_array(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        "matrix": rng.standard_normal((3, 5)).astype(np.float32),
        "columns first": np.asfortranarray(rng.standard_normal((3, 5, 2))),
        "scalar": np.array(2.5),
        "text": np.array("Sirène"),
        "empty": np.zeros((0, 4), np.int16),
        "big-endian": np.arange(5, dtype=">f4"),
        "a/b": np.array([True, False]),
        "long": rng.standard_normal(2**19),
    }
    for write in (np.savez, np.savez_compressed):
        write(tmp_path / "a.npz", **arrays)
        with Archive(tmp_path / "a.npz") as archive:
            assert archive.names == list(arrays)
            for name, x in arrays.items():
                got = archive.read(name)
                assert archive.shape(name) == x.shape and got.dtype == x.dtype and np.array_equal(got, x), name


def test_numbers_go_straight_into_memory_that_fits(tmp_path):
    x = np.arange(12, dtype=np.float32).reshape(3, 4)
    np.savez(tmp_path / "a.npz", x=x, columns=np.asfortranarray(x))
    with Archive(tmp_path / "a.npz") as archive:
        out = np.zeros((3, 4), np.float32)
        assert archive.read("x", out) is out and np.array_equal(out, x)
        for other in (np.zeros((3, 4)), np.zeros((4, 3), np.float32), np.zeros((4, 3), np.float32).T):
            assert archive.read("x", other) is not other and not other.any()
        assert np.array_equal(archive.read("columns", out), x)


@pytest.mark.parametrize("order", ["C", "F"])
def test_a_single_array(tmp_path, order):
    x = np.asarray(np.arange(12.0).reshape(3, 4), order=order)
    np.save(tmp_path / "x.npy", x)
    assert np.array_equal(load_npy(tmp_path / "x.npy"), x)
    for part in (20, 200):  # in the header, in the numbers
        (tmp_path / "short.npy").write_bytes((tmp_path / "x.npy").read_bytes()[:part])
        with pytest.raises(BROKEN):
            load_npy(tmp_path / "short.npy")
    np.save(tmp_path / "o.npy", np.array([object()]), allow_pickle=True)
    with pytest.raises(ValueError, match="pickled"):
        load_npy(tmp_path / "o.npy")


def test_threads_read_side_by_side(tmp_path):
    arrays = {str(i): np.full(40_000, i, np.float32) for i in range(24)}
    np.savez(tmp_path / "a.npz", **arrays)
    wrong = []
    with Archive(tmp_path / "a.npz") as archive:

        def read(names):
            wrong.extend(name for name in names if not np.array_equal(archive.read(name), arrays[name]))

        threads = [threading.Thread(target=read, args=(archive.names[i::4],)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert not wrong


def test_a_file_that_is_replaced_while_threads_read_it(tmp_path):
    """Each thread has the file open for itself: none may read the numbers of another file."""
    np.savez(tmp_path / "x.npz", a=np.zeros(3))
    np.savez(tmp_path / "new.npz", a=np.ones(3))
    with Archive(tmp_path / "x.npz") as archive, ThreadPoolExecutor(1) as pool:
        (tmp_path / "new.npz").replace(tmp_path / "x.npz")
        assert np.array_equal(archive.read("a"), np.zeros(3))
        with pytest.raises(minast.Error, match=r"x\.npz was replaced while it was being read"):
            pool.submit(archive.read, "a").result()


def test_arrays_are_written_as_numpy_does(tmp_path):
    arrays = {"a": np.arange(6.0).reshape(2, 3).T, "b/c": np.array("text"), "file": np.zeros((0, 2), np.int8)}
    with open(tmp_path / "a.npz", "wb") as f:
        write_arrays(f, arrays)
    with open(tmp_path / "b.npz", "wb") as f:
        np.savez(f, **{name: value for name, value in arrays.items() if name != "file"})
    with np.load(tmp_path / "a.npz") as found:
        assert list(found) == list(arrays)
        assert all(np.array_equal(found[name], array) for name, array in arrays.items())
    with open(tmp_path / "a.npz", "wb") as f:
        write_arrays(f, {name: value for name, value in arrays.items() if name != "file"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def rewritten(path, change):
    """The archive's only entry, changed, under a right checksum."""
    with zipfile.ZipFile(path) as archive:
        (name,), body = archive.namelist(), archive.read(archive.namelist()[0])
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(name, change(body))


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda body: body[:-4], "has 12 bytes of numbers, its header announces 16"),
        (lambda body: body + b"1234", "has 20 bytes of numbers, its header announces 16"),
        (lambda body: body.replace(b"(4,)", b"(4,("), "'x' cannot be read"),
        (lambda body: body.replace(b"(4,)", b"(-4)"), "'x' cannot be read"),
        (lambda body: body.replace(b"<f4", b"|O8"), "'x' holds pickled Python objects"),
        (lambda body: body[:6] + b"\x09" + body[7:], "'x' cannot be read"),
        (lambda body: b"", "'x' cannot be read"),
        (lambda body: body[:10] + b"(" * (len(body) - 10), "'x' cannot be read"),
    ],
)
def test_damage_is_one_sentence(tmp_path, change, match):
    path = tmp_path / "a.npz"
    np.savez(path, x=np.ones(4, np.float32))
    rewritten(path, change)
    with Archive(path) as archive:
        for read in (archive.read, lambda name: archive.read(name, np.ones(4, np.float32))):
            with pytest.raises(minast.Error, match=match) as caught:
                read("x")
            assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_header_does_not_reserve_memory(tmp_path):
    """An announced exabyte is compared with the size of the entry first."""
    path, header = tmp_path / "a.npz", b"{'descr': '<f4', 'fortran_order': False, 'shape': (1152921504606846976,), }\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + bytes(16))
    with Archive(path) as archive, pytest.raises(minast.Error, match="its header announces 4611686018427387904"):
        archive.read("x")


def test_garbage(tmp_path):
    path, rng = tmp_path / "a.npz", np.random.default_rng(0)
    np.savez(path, x=np.ones(4, np.float32))
    whole = path.read_bytes()
    for _ in range(300):
        data = bytearray(whole)
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        path.write_bytes(data)
        try:
            with Archive(path) as archive:
                for name in archive.names:
                    archive.read(name)
        except minast.Error as error:
            assert str(path) in str(error)
