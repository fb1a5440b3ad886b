"""File formats: a file -> arrays by name, read one at a time, as floats.

  base.py          `Tensors`: what all readers have in common
  npz.py           `NpzFile`: .npz of a ViT or of minast
  safetensors.py   `SafetensorsFile`: .safetensors of Hugging Face
  pth.py           `PthFile`: .pth, .pt and .bin of torch.save, without torch
  unpickle.py      the stack machine for it, which can build tensors and dictionaries and nothing else
  sharded.py       `ShardedFile`: several of these with an index.json

`open_tensors(path)` picks the reader by the content of the file.
"""

import os
import re
import zipfile

from ...errors import Error
from ...storage.stored import first_bytes, unlike
from .base import Tensors
from .npz import NpzFile
from .pth import PthFile
from .safetensors import SafetensorsFile
from .sharded import ShardedFile

WEIGHTS = ("model.safetensors", "pytorch_model.bin")  # in a Hugging Face folder; the first that is there
PART = re.compile(r"-\d{5}-of-(?!00001)\d{5}\.")
ENDINGS = (".safetensors", ".bin", ".pth", ".pt", ".npz")


def open_tensors(path: str | os.PathLike) -> Tensors:
    """The reader that fits the content of a file, whatever its name; for a Hugging Face folder, of its weights.

    Raises minast.Error if there is no such file, or if it has none of the formats.

        with open_tensors("ViT-B_16.npz") as file:
            print(file.shapes)                   # {name: shape}
            x = file.read("cls")                 # float32
    """
    path = os.fspath(path)
    if os.path.isdir(path):
        path = _weights_in(path)
    if path.endswith(".index.json"):
        return ShardedFile(path, _open_file)
    if PART.search(os.path.basename(path)):
        raise Error(f"{path}: this is one part of weights that are split: give their folder, or the .index.json in it.")
    return _open_file(path)


def _open_file(path):
    start = first_bytes(path, 64)
    if start[:2] == b"PK":
        return NpzFile(path) if _is_npz(path) else PthFile(path)
    if start[:1] == b"\x80":
        return PthFile(path)
    if start[8:9] == b"{":
        return SafetensorsFile(path)
    known = "this has none of the formats that are read: .npz (ViT, minast), .pth (DeiT, AST), .safetensors"
    raise Error(f"{path}: {unlike(start) or known}.")


def _is_npz(path):
    """Whether a zip is a .npz, and not a file of torch.save; the reader says what is wrong with a damaged one."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except Exception:  # as in stored.decoding
        return path.lower().endswith(".npz")


def _weights_in(folder):
    """Path of the weights in a Hugging Face folder, or of the index of split ones."""
    for name in WEIGHTS:
        for ending in ("", ".index.json"):
            if os.path.exists(os.path.join(folder, name + ending)):
                return os.path.join(folder, name + ending)
    try:
        found = sorted(name for name in os.listdir(folder) if name.lower().endswith(ENDINGS))
    except OSError as error:
        raise Error(f"{folder}: this folder cannot be read: {error.strerror or error}.") from None
    hint = (
        f"give one of its files, as {os.path.join(folder, found[0])}" if found else "there are no weights in it at all"
    )
    raise Error(f"{folder}: there is no {' or '.join(WEIGHTS)} in this folder: {hint}.")


__all__ = ["NpzFile", "PthFile", "SafetensorsFile", "ShardedFile", "Tensors", "open_tensors"]
