"""Reader of .pth, .pt and .bin, what torch.save writes: tensors described by a pickle, their numbers beside it.

Since torch 1.6 the file is a zip: `<name>/data.pkl`, and each storage as `<name>/data/<key>`. Before that it was a
stream: five pickles (a magic number, a version, the machine's sizes, the object, the keys of the storages), then each
storage after its length. A tensor is a view of a storage, with an offset and strides; several may share one.
"""

import io
import os
import zipfile
from math import prod

import numpy as np

from ...bfloat16 import to_float32
from ...errors import Error
from ...storage.stored import decoding, open_zip
from ...text import visible
from . import unpickle
from .base import Tensors
from .unpickle import LARGEST_PICKLE, Left, Refused, Tensor

MAGIC = 0x1950A86A20F9469CFC6C  # of the stream format
WRAPPERS = ("model", "state_dict", "model_state_dict", "module")  # where training scripts put the state dict


class PthFile(Tensors):
    """Tensors of a state dict by name."""

    def __init__(self, path):
        super().__init__(path)
        self._file = open(path, "rb")  # noqa: SIM115  closed by close()
        try:
            zipped = self._file.read(2) == b"PK"
            self._file.seek(0)
            self._storages = Zip(path, self._file) if zipped else Stream(path, self._file)
            self._tensors = state_dict(path, self._storages.root, self.notes)
            self.set_shapes({name: t.shape for name, t in self._tensors.items()})
            self._last = None, None
        except BaseException:
            self._file.close()
            raise

    def _read(self, name):
        t = self._tensors[name]
        check_view(self.path, name, t)
        if self._last[0] != t.storage:  # tensors that share a storage usually follow one another
            self._last = None, None
            self._last = t.storage, decode(self._storages.read(t.storage), t.storage.dtype)
        numbers = self._last[1]
        strides = [s * numbers.itemsize for s in t.strides]
        return np.lib.stride_tricks.as_strided(numbers[t.offset :], t.shape, strides, writeable=False)


def check_view(path, name, t):
    """Raises minast.Error for a tensor that reaches beyond its storage, or whose numbers share places in it."""
    if 0 in t.shape:
        return
    last = t.offset + sum((n - 1) * s for n, s in zip(t.shape, t.strides, strict=True))
    if last >= t.storage.size:
        raise Error(f"{path}: the tensor {name!r} reaches to item {last} of a storage of {t.storage.size}.")
    reach = 1  # a step along an axis must be longer than all that lies within it
    for stride, n in sorted((s, n) for n, s in zip(t.shape, t.strides, strict=True) if n > 1):
        if stride < reach:
            raise Error(
                f"{path}: numbers of the tensor {name!r}, {prod(t.shape)} in shape {t.shape}, share places in its "
                "storage: save it again as a tensor of its own: .contiguous().clone()."
            )
        reach += (n - 1) * stride


def decode(raw, dtype):
    """Bytes of a storage -> its numbers."""
    return to_float32(np.frombuffer(raw, "<u2")) if dtype == "bf16" else np.frombuffer(raw, dtype)


def state_dict(path, root, notes):
    """The dictionary of tensors in what was saved: all of it, or what is under "model" (DeiT) and the like.

    notes: a list that is told which entry it was, where others hold tensors as well.
    """
    whole, holding = root, []
    if isinstance(root, dict):
        holding = [k for k, v in root.items() if isinstance(v, dict) and any(isinstance(t, Tensor) for t in v.values())]
        chosen = next((k for k in WRAPPERS if isinstance(root.get(k), dict)), None)
        root = root if chosen is None else root[chosen]
        if chosen is not None and (others := [visible(str(k), 60) for k in holding if k != chosen]):
            notes.append(f"the weights are those under {chosen!r}; the file also has some under {', '.join(others)}")
    tensors = {k: v for k, v in root.items() if isinstance(v, Tensor)} if isinstance(root, dict) else {}
    if not tensors:
        raise Error(f"{path}: there is no state dict in it (it holds {kind_of(whole)}): {wanted(holding)}.")
    if strange := [k for k in tensors if not isinstance(k, str)]:
        raise Error(f"{path}: a tensor is called {strange[0]!r}, a number: the names of weights are texts.")
    if left := sorted({v.name for v in (whole if isinstance(whole, dict) else {}).values() if isinstance(v, Left)}):
        notes.append(f"left out, unread: an object of type {', '.join(left)}")
    return tensors


def kind_of(root):
    """What was saved, in words, for a message."""
    if isinstance(root, Left):
        return f"an object of type {root.name}"
    if not isinstance(root, dict):
        return f"an object of type {type(root).__name__}"
    return (
        f"a dictionary with {', '.join(visible(str(k), 60) for k in list(root)[:5])}" if root else "an empty dictionary"
    )


def wanted(holding):
    """What is needed instead, for a message; holding: entries with tensors, under names that are not known."""
    if holding:
        names = ", ".join(repr(visible(str(k), 60)) for k in holding[:5])
        return f"save the one that you mean alone: there are tensors under {names}"
    return "a dictionary of tensors is needed"


class Zip:
    """The zip format: `root` is what was saved, `read` fetches a storage; zipfile verifies its checksum."""

    def __init__(self, path, f):
        self.path, self.zip = path, open_zip(path, f, ".pth")
        pickles = [name for name in self.zip.namelist() if name.rpartition("/")[2] == "data.pkl"]
        if len(pickles) != 1:
            raise Error(f"{path}: a file written by torch.save has one data.pkl, this zip has {len(pickles)}.")
        self.folder = pickles[0].removesuffix("data.pkl")
        if f"{self.folder}byteorder" in self.zip.NameToInfo and self._member("byteorder", 16) != b"little":
            raise Error(f"{path}: its numbers are big-endian: save it again on a little-endian machine.")
        self.root = unpickle.load(path, io.BytesIO(self._member("data.pkl", LARGEST_PICKLE)))

    def read(self, storage):
        """The bytes of one storage. Raises minast.Error if they are missing or too few."""
        raw = self._member(f"data/{storage.key}", _bytes(storage))
        if len(raw) != _bytes(storage):
            raise Error(f"{self.path}: storage {storage.key!r} has {len(raw)} bytes instead of {_bytes(storage)}.")
        return raw

    def _member(self, name, largest):
        """The bytes of an entry; one that would unpack to more than `largest` bytes is refused before it does."""
        with decoding(f"{self.path}: the entry {visible(name, 80)!r} cannot be read"):
            entry = self.zip.getinfo(self.folder + name)
            if entry.file_size > largest:
                raise Error(
                    f"{self.path}: the entry {visible(name, 80)!r} has {entry.file_size} bytes, more than the "
                    f"{largest} expected."
                )
            if entry.compress_type != zipfile.ZIP_STORED:
                raise Error(f"{self.path}: the entry {visible(name, 80)!r} is compressed, which torch.save never does.")
            return self.zip.read(self.folder + name)


class Stream:
    """The format before torch 1.6: pickles in a row, then the storages; opening finds where each of them is."""

    def __init__(self, path, f):
        self.path, self.file = path, f
        try:
            magic = unpickle.load(path, f)
        except Refused:
            raise
        except Error:
            raise Error(f"{path}: this was not written by torch.save: neither a zip nor the older stream.") from None
        if magic != MAGIC:
            raise Error(f"{path}: this was not written by torch.save: it is a bare pickle of {type(magic).__name__}.")
        _version, machine, self.root, keys = (unpickle.load(path, f) for _ in range(4))
        if not isinstance(machine, dict) or machine.get("little_endian") is not True or not isinstance(keys, list):
            raise Error(f"{path}: its numbers are big-endian, or its header is damaged.")
        sizes = {t.storage.key: _bytes(t.storage) for t in _tensors_in(self.root)}
        self.at = {}
        for key in keys:
            if type(key) is not str or key not in sizes or key in self.at:
                raise Error(f"{path}: the list of storages does not fit the tensors: the file is damaged.")
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
