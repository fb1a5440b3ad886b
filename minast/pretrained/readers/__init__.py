"""File formats: a file -> arrays by name, read one at a time, as floats.

  base.py          `Tensors`: what all readers have in common
  npz.py           `NpzFile`: .npz of a ViT or of minast
  safetensors.py   `SafetensorsFile`: .safetensors of Hugging Face
  pth.py           `PthFile`: .pth, .pt and .bin of torch.save, without torch
  unpickle.py      the unpickler for it, which can build tensors and dictionaries and nothing else

`open_tensors(path)` picks the reader by the content of the file.
"""

import os
import zipfile

from ...errors import Error
from .base import Tensors
from .npz import NpzFile
from .pth import PthFile
from .safetensors import SafetensorsFile


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
    try:
        with open(path, "rb") as f:
            start = f.read(9)
    except OSError as error:
        raise Error(f"{path}: this cannot be opened: {error.strerror or error}.") from None
    if start[:2] == b"PK":
        return NpzFile(path) if _is_npz(path) else PthFile(path)
    if start[:1] == b"\x80":
        return PthFile(path)
    if start[8:] == b"{":
        return SafetensorsFile(path)
    known = ".npz (ViT, minast), .pth (DeiT, AST) and .safetensors (Hugging Face)"
    raise Error(f"{path}: this file of {os.path.getsize(path)} bytes has none of the formats that are read: {known}.")


def _is_npz(path):
    """Whether a zip is a .npz, and not a file of torch.save."""
    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return path.lower().endswith(".npz")  # the reader says what is wrong with it


def _weights_in(folder):
    """Path of the weights in a Hugging Face folder."""
    for name in ("model.safetensors", "pytorch_model.bin"):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    split = [name for name in os.listdir(folder) if name.endswith(".index.json")]
    hint = f" (the weights are split, see {split[0]}, which is not supported)" if split else ""
    raise Error(
        f"{folder}: there is no model.safetensors or pytorch_model.bin in this folder{hint}: give the file itself."
    )


__all__ = ["NpzFile", "PthFile", "SafetensorsFile", "Tensors", "open_tensors"]
