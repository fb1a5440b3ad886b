"""Reader of weights that are split over several files, as Hugging Face saves large models: an index and its parts."""

import json
import os

from ...errors import Error
from ...storage.schema import Record, Text, as_json, checked
from ...storage.stored import decoding
from .base import Tensors

LARGEST_INDEX = 2**24  # bytes
INDEX = Record({"weight_map": Record({}, others=Text(255))}, others=True)


class ShardedFile(Tensors):
    """Arrays by name from the files that NAME.index.json lists, all in its folder.

    open_part: path -> Tensors. Raises minast.Error if the index is no such list, or does not fit the files.
    """

    def __init__(self, path, open_part):
        super().__init__(path)
        self._parts = {}
        try:
            self._where = read_index(path)
            for name in sorted(set(self._where.values())):
                self._parts[name] = open_part(os.path.join(os.path.dirname(path), name))
            self.set_shapes({name: self._shape(name, part) for name, part in self._where.items()})
        except BaseException:
            self.close()
            raise
        self.notes.append(f"the weights are split over {len(self._parts)} files")
        self.notes += [note for part in self._parts.values() for note in part.notes]

    def _shape(self, name, part):
        if name not in self._parts[part]:
            raise Error(f"{self.path}: it says that {name!r} is in {part}, which does not have it: they do not belong.")
        return self._parts[part].shapes[name]

    def _read(self, name):
        return self._parts[self._where[name]].read(name)

    def close(self):
        """Close all files."""
        for part in self._parts.values():
            part.close()


def read_index(path):
    """{array: name of the file that has it}"""
    try:
        with open(path, "rb") as file:
            text = file.read(LARGEST_INDEX + 1)
    except OSError as error:
        raise Error(f"{path}: this cannot be read: {error.strerror or error}.") from None
    if len(text) > LARGEST_INDEX:
        raise Error(f"{path}: this has more than {LARGEST_INDEX} bytes: it is no index of weights.")
    with decoding(f"{path}: this is not a JSON file", "download it again"):
        value = json.loads(text)
    try:
        where = checked(INDEX, value, "the index", as_json)["weight_map"]
    except Error as error:
        raise Error(f"{path}: {error}") from None
    for name in where.values():
        if os.path.basename(name) != name or name in (os.curdir, os.pardir) or "\\" in name:
            raise Error(f"{path}: the index names {name!r}: the parts must be beside it, under plain names.")
    if not where or len(set(where.values())) > 1000:
        raise Error(f"{path}: the index lists {len(set(where.values()))} files: it must be 1 to 1000.")
    return where
