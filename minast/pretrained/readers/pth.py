"""Reader of .pth, .pt and .bin, what torch.save writes: tensors described by a pickle, their numbers beside it.

Since torch 1.6 the file is a zip: `<name>/data.pkl`, and each storage as `<name>/data/<key>`. Before that it was a
stream: five pickles (a magic number, a version, the machine's sizes, the object, the keys of the storages), then each
storage after its length. A tensor is a view of a storage, with an offset and strides; several may share one.
"""

import io
import os
import zipfile
import zlib

import numpy as np

from ...bfloat16 import to_float32
from ...errors import Error, reason
from .base import Tensors
from .unpickle import Refused, Tensor, Unpickler

MAGIC = 0x1950A86A20F9469CFC6C  # of the stream format
LARGEST_PICKLE = 2**26  # bytes; that of a 12-layer model has about 50 000
WRAPPERS = ("model", "state_dict", "model_state_dict", "module")  # where training scripts put the state dict
BROKEN = (zipfile.BadZipFile, zlib.error, EOFError, OSError, ValueError, NotImplementedError, RuntimeError, KeyError)


class PthFile(Tensors):
    """Tensors of a state dict by name."""

    def __init__(self, path):
        super().__init__(path)
        self._file = open(path, "rb")  # noqa: SIM115  closed by close()
        try:
            zipped = self._file.read(2) == b"PK"
            self._file.seek(0)
            self._storages = Zip(path, self._file) if zipped else Stream(path, self._file)
            self._tensors = state_dict(path, self._storages.root)
            self.shapes = {name: t.shape for name, t in self._tensors.items()}
            self._last = None, None
        except Error:
            self._file.close()
            raise

    def _read(self, name):
        t = self._tensors[name]
        if self._last[0] != t.storage:  # tensors that share a storage usually follow one another
            self._last = None, None
            self._last = t.storage, decode(self._storages.read(t.storage), t.storage.dtype)
        numbers = self._last[1]
        last = t.offset + sum((n - 1) * s for n, s in zip(t.shape, t.strides, strict=True))
        if 0 not in t.shape and last >= len(numbers):
            raise Error(f"{self.path}: the tensor {name!r} reaches to item {last} of a storage of {len(numbers)}.")
        strides = [s * numbers.itemsize for s in t.strides]
        return np.lib.stride_tricks.as_strided(numbers[t.offset :], t.shape, strides, writeable=False)


def decode(raw, dtype):
    """Bytes of a storage -> its numbers."""
    return to_float32(np.frombuffer(raw, "<u2")) if dtype == "bf16" else np.frombuffer(raw, dtype)


def state_dict(path, root):
    """The dictionary of tensors in what was saved: all of it, or what is under "model" (DeiT) and the like."""
    for key in WRAPPERS:
        if isinstance(root, dict) and isinstance(root.get(key), dict):
            root = root[key]
            break
    tensors = {str(k): v for k, v in root.items() if isinstance(v, Tensor)} if isinstance(root, dict) else {}
    if not tensors:
        names = ", ".join(map(str, list(root)[:5])) or "nothing" if isinstance(root, dict) else ""
        what = f"a dictionary with {names}" if names else f"an object of type {type(root).__name__}"
        raise Error(f"{path}: there is no state dict in it (it holds {what}): a dictionary of tensors is needed.")
    return tensors


class Zip:
    """The zip format: `root` is what was saved, `read` fetches a storage; zipfile verifies its checksum."""

    def __init__(self, path, f):
        self.path = path
        try:
            self.zip = zipfile.ZipFile(f)
        except BROKEN as error:
            raise Error(
                f"{path}: this is not a complete .pth file ({reason(error)}): it is truncated or has another format."
            ) from None
        pickles = [name for name in self.zip.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise Error(f"{path}: a file written by torch.save has one data.pkl, this zip has {len(pickles)}.")
        self.folder = pickles[0].removesuffix("data.pkl")
        if f"{self.folder}byteorder" in self.zip.NameToInfo and self._member("byteorder", 16) != b"little":
            raise Error(f"{path}: its numbers are big-endian: save it again on a little-endian machine.")
        self.root = Unpickler(path, io.BytesIO(self._member("data.pkl", LARGEST_PICKLE))).load()

    def read(self, storage):
        """The bytes of one storage. Raises minast.Error if they are missing or too few."""
        raw = self._member(f"data/{storage.key}", _bytes(storage))
        if len(raw) != _bytes(storage):
            raise Error(f"{self.path}: storage {storage.key!r} has {len(raw)} bytes instead of {_bytes(storage)}.")
        return raw

    def _member(self, name, largest):
        """The bytes of an entry; one that would unpack to more than `largest` bytes is refused before it does."""
        try:
            entry = self.zip.getinfo(self.folder + name)
            if entry.file_size > largest:
                raise Error(
                    f"{self.path}: the entry {name!r} has {entry.file_size} bytes, more than the {largest} expected."
                )
            if entry.compress_type != zipfile.ZIP_STORED:
                raise Error(f"{self.path}: the entry {name!r} is compressed, which torch.save never does.")
            return self.zip.read(self.folder + name)
        except Error:
            raise
        except BROKEN as error:
            raise Error(
                f"{self.path}: the entry {name!r} cannot be read ({reason(error)}): the file is damaged."
            ) from None


class Stream:
    """The format before torch 1.6: pickles in a row, then the storages; opening finds where each of them is."""

    def __init__(self, path, f):
        self.path, self.file = path, f
        try:
            magic = Unpickler(path, f).load()
        except Refused:
            raise
        except Error:
            raise Error(f"{path}: this was not written by torch.save: neither a zip nor the older stream.") from None
        if magic != MAGIC:
            raise Error(f"{path}: this was not written by torch.save: it is a bare pickle of {type(magic).__name__}.")
        _version, machine, self.root, keys = (Unpickler(path, f).load() for _ in range(4))
        if not isinstance(machine, dict) or machine.get("little_endian") is not True or not isinstance(keys, list):
            raise Error(f"{path}: its numbers are big-endian, or its header is damaged.")
        sizes = {t.storage.key: _bytes(t.storage) for t in _tensors_in(self.root)}
        self.at = {}
        for key in keys:
            if key not in sizes:
                raise Error(f"{path}: no tensor uses storage {key!r}: the file is damaged.")
            self.at[key] = f.tell() + 8  # after its length in items
            f.seek(8 + sizes[key], os.SEEK_CUR)
        if f.tell() > os.fstat(f.fileno()).st_size:
            raise Error(f"{path}: the file is truncated: its tensors end at byte {f.tell()}.")

    def read(self, storage):
        """The bytes of one storage. Raises minast.Error if they are missing or too few."""
        if storage.key not in self.at:
            raise Error(f"{self.path}: storage {storage.key!r} is missing.")
        self.file.seek(self.at[storage.key] - 8)
        size = int.from_bytes(self.file.read(8), "little")
        raw = self.file.read(_bytes(storage))
        if size != storage.size or len(raw) != _bytes(storage):
            raise Error(f"{self.path}: storage {storage.key!r} is incomplete: the file is truncated or damaged.")
        return raw


def _bytes(storage):
    return storage.size * (2 if storage.dtype == "bf16" else np.dtype(storage.dtype).itemsize)


def _tensors_in(root):
    """All tensors in nested dictionaries and lists, which may contain each other."""
    waiting, seen = [root], set()
    while waiting:
        value = waiting.pop()
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, (dict, list, tuple)) and id(value) not in seen:
            seen.add(id(value))
            waiting += value.values() if isinstance(value, dict) else value
