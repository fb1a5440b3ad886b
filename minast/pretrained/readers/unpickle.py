"""A machine for the pickles of torch.save that can build tensors, dictionaries and lists, and nothing else.

A pickle is a small program for a stack machine. Python's own machine imports what the program names and calls it, which
is how a weight file can run a command; it can also be made to crash or to hang, by nesting and by keys that are slow to
hash. This one knows the 40 instructions that torch.save writes. A name is looked up in the tables below and never
imported; keys are texts or whole numbers; nothing is ever hashed, compared or printed in depth; and the number of
instructions is bounded, and with it memory and time.

Source: CPython, Lib/pickletools.py, which reads the arguments of the instructions here.
"""

import io
import pickletools
from collections import namedtuple

from ...errors import Error
from ...storage.stored import decoding
from ...text import visible

LARGEST_PICKLE = 2**24  # bytes; that of a 12-layer model has about 50 000
MOST_INSTRUCTIONS = 2**19  # about 40 for a tensor: 13 000 of them
DTYPES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "bf16",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1", "ByteStorage": "<u1",
    "BoolStorage": "?",
}  # fmt: skip
MOST_ITEMS = 2**40  # of a storage
SKIPPED = {  # plain data that training scripts keep beside the weights: what is made of them is left out unseen
    ("argparse", "Namespace"), ("collections", "defaultdict"), ("builtins", "set"), ("__builtin__", "set"),
    ("numpy", "dtype"), ("numpy", "ndarray"), ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"), ("numpy.core.multiarray", "_reconstruct"),
    ("numpy._core.multiarray", "_reconstruct"), ("_codecs", "encode"), ("torch", "Size"), ("torch", "device"),
    ("torch.serialization", "_get_layout"), ("datetime", "datetime"), ("datetime", "timedelta"),
    ("pathlib", "PosixPath"), ("pathlib", "WindowsPath"), ("pathlib._local", "PosixPath"),
    ("yacs.config", "CfgNode"), ("easydict", "EasyDict"),
    *(("torch", name) for name in ("float64", "float32", "float16", "bfloat16", "int64", "int32", "uint8", "bool")),
}  # fmt: skip

Storage = namedtuple("Storage", "key dtype size")  # a block of numbers; size in items
Tensor = namedtuple("Tensor", "storage offset shape strides")  # a view of it; offset and strides in items


class Refused(Error):
    """The file asked for a name or an instruction that is not on the list."""


class Damaged(Exception):
    """The program does not make sense."""


class Left:
    """Stands for an object that is left out; `name` is its class."""

    __slots__ = ("name",)

    def __init__(self, name):
        self.name = name


class Function:
    """Stands for a function or class that may be called. call: one of this module; None: the result is left out."""

    __slots__ = ("call", "name")

    def __init__(self, name, call):
        self.name, self.call = name, call


def tensor(storage, offset, shape, strides, *_):
    """torch._utils._rebuild_tensor_v2(storage, offset, shape, strides, requires_grad, hooks); v1 has four arguments."""
    if not isinstance(storage, Storage) or type(shape) is not tuple or type(strides) is not tuple:
        raise Damaged("a tensor does not have a storage, a shape and strides")
    if len(shape) != len(strides) or len(shape) > 8:
        raise Damaged("a tensor does not have a shape of at most 8 numbers and as many strides")
    if not all(type(n) is int and 0 <= n < 2**62 for n in (offset, *shape, *strides)):
        raise Damaged("a tensor's shape, strides or offset are not whole numbers from 0 up")
    return Tensor(storage, offset, shape, strides)


def parameter(data, *_):
    """torch._utils._rebuild_parameter(tensor, requires_grad, hooks) -> the tensor"""
    return data


def ordered():
    """collections.OrderedDict() -> dict; its items follow as instructions."""
    return {}


FUNCTIONS = {
    ("torch._utils", "_rebuild_tensor_v2"): tensor,
    ("torch._utils", "_rebuild_tensor"): tensor,
    ("torch._utils", "_rebuild_parameter"): parameter,
    ("collections", "OrderedDict"): ordered,
}


def key(value):
    """A dictionary's key: a text or a whole number. Hashing anything else can take forever."""
    if type(value) not in (str, int):
        raise Damaged(f"a key of a dictionary is a {type(value).__name__}, not a text")
    return value


def load(path, file):
    """The object that the pickle at the file's position builds; the file is left behind it.

    -> numbers, texts, tuples, lists, dictionaries, Tensors, and `Left` for objects that are left out.
    path: for messages. Raises Refused for other names and instructions, minast.Error for a damaged pickle.
    """
    start = file.tell()
    program = io.BytesIO(file.read(LARGEST_PICKLE))
    with decoding(f"{path}: the list of tensors in it cannot be read"):
        value = Machine(path).run(program)
    file.seek(start + program.tell())
    return value


class Machine:
    """The stack, the marks on it, and the memo: values by number, to be used again."""

    def __init__(self, path):
        self.path, self.stack, self.marks, self.memo = path, [], [], {}

    def run(self, program):
        """Carry out the instructions up to STOP.   -> what is on the stack then"""
        for _ in range(MOST_INSTRUCTIONS):
            byte = program.read(1)
            instruction = pickletools.code2op.get(byte.decode("latin-1")) if byte else None
            if instruction is None:
                raise Damaged("it ends or goes on with no instruction")
            act = INSTRUCTIONS.get(instruction.name)
            if act is None:
                raise self.refused(f"has an instruction {instruction.name}, which torch.save does not write")
            value = instruction.arg.reader(program) if instruction.arg else None
            if instruction.name == "STOP":
                return self.pop()
            act(self, value)
        raise Damaged(f"it has more than {MOST_INSTRUCTIONS} instructions")

    def refused(self, what):
        return Refused(f"{self.path}: the pickle in it {what}: it was refused and nothing was run.")

    def push(self, value):
        self.stack.append(value)

    def pop(self):
        if len(self.stack) <= (self.marks[-1] if self.marks else 0):
            raise Damaged("it takes more from its stack than there is")
        return self.stack.pop()

    def top(self, kind):
        """The uppermost value, which must be a list or a dictionary; None if it is left out."""
        value = self.pop()
        self.push(value)
        if isinstance(value, Left):
            return None
        if type(value) is not kind:
            raise Damaged(f"it adds to a {type(value).__name__}")
        return value

    def since_mark(self):
        """All values above the last mark, which goes away."""
        if not self.marks:
            raise Damaged("a mark is missing")
        at = self.marks.pop()
        values, self.stack[at:] = self.stack[at:], []
        return values

    def recall(self, number):
        if number not in self.memo:
            raise Damaged(f"it uses place {number} before anything is in it")
        self.push(self.memo[number])

    def add(self, values):
        """Values to the list below them."""
        if (target := self.top(list)) is not None:
            target.extend(values)

    def set(self, values):
        """Key, value, key, value ... into the dictionary below them."""
        target = self.top(dict)
        if len(values) % 2:
            raise Damaged("a key has no value")
        for name, value in zip(values[::2], values[1::2], strict=True):
            if target is not None:
                target[key(name)] = value

    def name(self, module, name):
        """A function or a type of storage by its name; nothing is imported."""
        if type(module) is not str or type(name) is not str:
            raise Damaged("a name is no text")
        if (module, name) in FUNCTIONS:
            return Function(name, FUNCTIONS[module, name])
        if module == "torch" and name in DTYPES:
            return DTYPES[name]
        if (module, name) in SKIPPED:
            return Function(f"{module}.{name}", None)
        raise Refused(
            f"{self.path}: the file asks for {visible(f'{module}.{name}', 100)}, which is neither a tensor nor a "
            "dictionary: it was refused and nothing was run. If you trust it, save its weights alone: "
            "torch.save(model.state_dict(), ...)."
        )

    def call(self, new=False):
        """The function below its arguments, as a call or as a class that is made anew."""
        arguments, function = self.pop(), self.pop()
        if type(function) is not Function or type(arguments) is not tuple:
            raise Damaged("it calls something that is no function")
        if function.call is None:
            self.push(Left(function.name))
        elif new:
            raise self.refused("has an instruction NEWOBJ, which torch.save does not write")
        else:
            self.push(function.call(*arguments))

    def build(self):
        """Attributes of an object: what is left out has none, and those of a dictionary (`_metadata`) are dropped."""
        self.pop()
        value = self.pop()
        if not (type(value) is dict or isinstance(value, Left)):
            raise Damaged(f"it writes to a {'function' if type(value) is Function else type(value).__name__}")
        self.push(value)

    def storage(self):
        """A tensor's numbers: where they are, not the numbers themselves."""
        pid = self.pop()
        if type(pid) is not tuple or len(pid) < 5:
            raise Damaged("a tensor's storage is not described as torch does")
        kind, dtype, name, _, size = pid[:5]  # the fourth is the device it was on
        if kind != "storage" or type(dtype) is not str or dtype not in DTYPES.values() or type(name) is not str:
            raise Damaged("a tensor's storage is not described as torch does")
        if type(size) is not int or not 0 <= size < MOST_ITEMS:
            raise Damaged("a tensor's storage has no size that makes sense")
        self.push(Storage(name, dtype, size))


def _tuple(count):
    return lambda m, _: m.push(tuple([m.pop() for _ in range(count)][::-1]))


def _constant(make):
    return lambda m, _: m.push(make())


def _nothing(machine, value):
    pass


INSTRUCTIONS = {
    "PROTO": _nothing, "FRAME": _nothing, "STOP": _nothing,
    "MARK": lambda m, _: m.marks.append(len(m.stack)),
    "EMPTY_DICT": _constant(dict), "EMPTY_LIST": _constant(list), "EMPTY_TUPLE": _constant(tuple),
    "NONE": _constant(lambda: None), "NEWTRUE": _constant(lambda: True), "NEWFALSE": _constant(lambda: False),
    **dict.fromkeys(
        ("BINUNICODE", "SHORT_BINUNICODE", "BINBYTES", "SHORT_BINBYTES", "BININT", "BININT1", "BININT2", "LONG1",
         "BINFLOAT"), lambda m, value: m.push(value)),
    "TUPLE": lambda m, _: m.push(tuple(m.since_mark())), "TUPLE1": _tuple(1), "TUPLE2": _tuple(2), "TUPLE3": _tuple(3),
    "APPEND": lambda m, _: m.add([m.pop()]), "APPENDS": lambda m, _: m.add(m.since_mark()),
    "SETITEM": lambda m, _: m.set([m.pop(), m.pop()][::-1]), "SETITEMS": lambda m, _: m.set(m.since_mark()),
    **dict.fromkeys(("BINPUT", "LONG_BINPUT"), lambda m, number: m.memo.update({number: m.stack[-1]})),
    "MEMOIZE": lambda m, _: m.memo.update({len(m.memo): m.stack[-1]}),
    **dict.fromkeys(("BINGET", "LONG_BINGET"), lambda m, number: m.recall(number)),
    "GLOBAL": lambda m, names: m.push(m.name(*names.split(" ", 1))),
    "STACK_GLOBAL": lambda m, _: m.push(m.name(*[m.pop(), m.pop()][::-1])),
    "REDUCE": lambda m, _: m.call(), "NEWOBJ": lambda m, _: m.call(new=True), "BUILD": lambda m, _: m.build(),
    "BINPERSID": lambda m, _: m.storage(),
}  # fmt: skip
