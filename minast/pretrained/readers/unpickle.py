"""An unpickler that can build tensors and dictionaries, and nothing else.

A pickle is a small program: it may name any function of any module and call it, which is how a weight file can run a
command. Before it runs here, its instructions are checked: only those that torch.save writes are allowed. While it
runs, it reaches the outside world in two ways only: names are looked up by `find_class`, a tensor's bytes by
`persistent_load`. Both accept only what is on a list. What they return are objects of our own, never torch's or
Python's, so that nothing else can be reached through their attributes.
"""

import io
import pickle
import pickletools
from collections import namedtuple

from ...errors import Error, reason

DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bf16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?",
}  # fmt: skip

INSTRUCTIONS = {
    "PROTO", "FRAME", "STOP", "MARK", "EMPTY_DICT", "EMPTY_LIST", "EMPTY_TUPLE", "SETITEM", "SETITEMS", "APPEND",
    "APPENDS", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3", "BINUNICODE", "SHORT_BINUNICODE", "BININT", "BININT1", "BININT2",
    "LONG1", "BINFLOAT", "NONE", "NEWTRUE", "NEWFALSE", "BINPUT", "LONG_BINPUT", "MEMOIZE", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID",
}  # fmt: skip

Storage = namedtuple("Storage", "key dtype size")  # a block of numbers; size in items
Tensor = namedtuple("Tensor", "storage offset shape strides")  # a view of it; offset and strides in items
BROKEN = (pickle.UnpicklingError, EOFError, IndexError, KeyError, TypeError, ValueError, AttributeError, OverflowError)
BROKEN += (MemoryError, RecursionError, ImportError)  # what running a damaged pickle can raise


class Refused(Error):
    """The file asked for a name that is not on the list."""


class Dictionary(dict):
    """Replaces OrderedDict; the attribute that a state dict has (`_metadata`) is dropped."""

    __slots__ = ()

    def __setstate__(self, state):
        pass


class Call:
    """A function that a pickle may call, wrapped so that the pickle cannot write to it."""

    __slots__ = ("_function",)

    def __init__(self, function):
        object.__setattr__(self, "_function", function)

    def __call__(self, *args):
        return self._function(*args)

    def __setattr__(self, name, value):
        raise pickle.UnpicklingError("it writes to a function")

    def __setstate__(self, state):
        raise pickle.UnpicklingError("it writes to a function")


def tensor(storage, offset, shape, strides, *_):
    """torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks); v1 has four arguments."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, Storage) or len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor does not have a storage, a shape and as many strides")
    if not all(type(n) is int and n >= 0 for n in numbers):
        raise pickle.UnpicklingError("a tensor's shape, strides or offset are not whole numbers from 0 up")
    return Tensor(storage, offset, tuple(shape), tuple(strides))


def parameter(data, *_):
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks) -> the tensor"""
    return data


FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_tensor"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("collections", "OrderedDict"): Dictionary,
}


def checked(path, f):
    """The bytes of the pickle that begins at f's position, if all its instructions are allowed; `f` is left at its end.

    Raises Refused for an instruction that torch.save does not write, minast.Error for a damaged pickle.
    """
    start = f.tell()
    try:
        for number, (instruction, value, _) in enumerate(pickletools.genops(f)):
            if instruction.name not in INSTRUCTIONS:
                raise Refused(
                    f"{path}: the pickle in it has an instruction {instruction.name}, which torch.save does not write: "
                    "it was refused and nothing was run."
                )
            if instruction.name == "LONG_BINPUT" and value > number:  # it would reserve memory for all places before
                raise damaged(path, f"place {value} is taken before the others")
    except Error:
        raise
    except BROKEN as error:
        raise damaged(path, error) from None
    size = f.tell() - start
    f.seek(start)
    return f.read(size)


def damaged(path, error):
    """The minast.Error for a pickle that does not run."""
    return Error(f"{path}: the list of tensors in it cannot be read ({reason(error)}): the file is damaged.")


class Unpickler(pickle.Unpickler):
    """`load()` -> numbers, texts, lists, dictionaries, Tensors. Raises minast.Error for any other name.

    path is for messages. `f` is opened by the caller: a file of the older format holds several pickles in a row.
    """

    def __init__(self, path, f):
        super().__init__(io.BytesIO(checked(path, f)), encoding="utf-8")
        self.path = path

    def find_class(self, module, name):
        """The replacement of a name that torch.save writes; minast.Error for any other, never imported."""
        if (module, name) in FUNCTIONS:
            return Call(FUNCTIONS[module, name])
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        raise Refused(
            f"{self.path}: the file asks for {module}.{name}, which is neither a tensor nor a dictionary: it was "
            "refused and nothing was run. If you trust it, save its weights alone: torch.save(model.state_dict(), ...)."
        )

    def persistent_load(self, pid):
        """A tensor's numbers: where they are, not the numbers themselves."""
        kind, dtype, key, _, size = pid[:5]  # the fourth is the device it was on
        if kind != "storage" or dtype not in DTYPES.values() or not isinstance(key, str) or type(size) is not int:
            raise pickle.UnpicklingError("a tensor's storage is not described as torch does")
        return Storage(key, dtype, size)

    def load(self):
        """The object that was saved. Raises minast.Error for a damaged or refused file."""
        try:
            return super().load()
        except Error:
            raise
        except BROKEN as error:
            raise damaged(self.path, error) from None
