"""Changes inside the pickles of torch.save: numbers, names, instructions, nesting."""

import io
import pickle
import pickletools
import struct

from .archives import members, packed, zip_record
from .changes import pick, plain

NUMBERS = (0, 1, 2, 3, 255, 2**31 - 1, 2**31, 2**40, 2**62, 2**63, 2**64, -1, -(2**63), 10**60)
NAMES = (
    b"os\nsystem\n", b"builtins\neval\n", b"argparse\nNamespace\n", b"torch\nFloatStorage\n", b"torch\nIntStorage\n",
    b"torch\nBoolStorage\n", b"torch\nComplexFloatStorage\n", b"collections\nOrderedDict\n",
    b"torch._utils\n_rebuild_tensor_v2\n", b"torch._utils\n_rebuild_parameter\n", b"\n\n", b"a" * 5000 + b"\nb\n",
    b"\x1b[31m\nx\n",
)  # fmt: skip
CODES = [code.encode("latin-1") for code in pickletools.code2op]
DEEP = (
    b"(" * 5000,
    b")" + b"\x85" * 60_000,  # nested tuples
    b"]" + b"]a" * 30_000,
    b")" + b"\x85" * 50 + b"K\x01s",  # as a key
    b")" + b"2\x86" * 60 + b"K\x01s",  # that doubles with every level
    b"\x8a\xff" + b"\x7f" * 255,
    b"X\xff\xff\xff\x7f",
    b"\x96\xff\xff\xff\xff\xff\xff\xff\x7f",
    b"r\xff\xff\xff\x7f",
    b"}" * 200_000,
)


def long(number):
    """A whole number as the instruction LONG1."""
    return b"\x8a" + bytes([len(raw := pickle.encode_long(number))]) + raw


def program(rng, data):
    """A pickle in which one to three instructions are others."""
    for _ in range(int(rng.integers(1, 4))):
        data = _one(rng, data)
    return data


def _one(rng, data):
    try:
        found = [(op.name, at) for op, _, at in pickletools.genops(io.BytesIO(data))]
    except Exception:  # it was damaged by the change before
        return plain(rng, data)
    ends = [at for _, at in found[1:]] + [found[-1][1] + 1]
    spans = {"number": [], "name": [], "text": [], "any": []}
    for (name, at), end in zip(found, ends, strict=True):
        kind = {"BININT": "number", "BININT1": "number", "BININT2": "number", "LONG1": "number", "GLOBAL": "name",
                "BINUNICODE": "text"}.get(name, "any")  # fmt: skip
        spans[kind].append((at, end))
        spans["any"].append((at, end))
    kind = pick(rng, ("number", "number", "number", "name", "text", "any", "insert", "drop", "deep", "plain"))
    if kind == "plain":
        return plain(rng, data)
    at, end = pick(rng, spans.get(kind) or spans["any"])
    if kind == "number":
        return data[:at] + long(pick(rng, NUMBERS)) + data[end:]
    if kind == "name":
        return data[:at] + b"c" + pick(rng, NAMES) + data[end:]
    if kind == "text":
        raw = pick(rng, (b"", b"0", b"model", b"state_dict", b"\x1b[31m", b"a" * 700, b"w\nx", b"storage", b"\xff"))
        new = pick(rng, (b"X" + struct.pack("<I", len(raw)) + raw, b"K\x07", b"N", b")", b"]", b"}"))
        return data[:at] + new + data[end:]
    if kind == "drop":
        return data[:at] + data[end:]
    return data[:at] + (pick(rng, DEEP) if kind == "deep" else pick(rng, CODES)) + data[at:]


def pth_zip(rng, data):
    """A .pth of today: its pickle, its storages or its zip records are changed."""
    entries = members(data)
    at = next(i for i, (name, _) in enumerate(entries) if name.endswith("data.pkl"))
    what = int(rng.integers(8))
    if what == 0:
        return zip_record(rng, packed(entries))
    if what == 1:
        at = int(rng.integers(len(entries)))
        entries[at] = entries[at][0], plain(rng, entries[at][1])
    elif what == 2:
        at, other = (int(i) for i in rng.integers(len(entries), size=2))
        entries[at], entries[other] = (entries[at][0], entries[other][1]), (entries[other][0], entries[at][1])
    else:
        entries[at] = entries[at][0], program(rng, entries[at][1])
    return packed(entries)


def stream(root, storages):
    """A .pth from before torch 1.6.   root: the pickle of the state dict; storages: [(key, items, bytes)]"""
    from minast.pretrained.readers.pth import MAGIC

    keys = [key for key, _, _ in storages]
    parts = [pickle.dumps(x, 2) for x in (MAGIC, 1001, {"protocol_version": 1001, "little_endian": True})]
    parts += [root, pickle.dumps(keys, 2)]
    return b"".join(parts) + b"".join(struct.pack("<q", items) + raw for _, items, raw in storages)


def as_stream(data):
    """The .pth of today in the older format; its storages are of float32."""
    entries = dict(members(data))
    folder = next(name for name in entries if name.endswith("data.pkl")).removesuffix("data.pkl")
    keys = sorted(name.removeprefix(f"{folder}data/") for name in entries if name.startswith(f"{folder}data/"))
    return stream(
        entries[f"{folder}data.pkl"], [(k, len(raw) // 4, raw) for k in keys if (raw := entries[f"{folder}data/{k}"])]
    )


def pth_stream(rng, data):
    """An older .pth: one of its five pickles is changed, or what follows."""
    if not rng.integers(4):
        return plain(rng, data)
    file, starts = io.BytesIO(data), [0]
    for _ in range(5):
        for _ in pickletools.genops(file):
            pass
        starts.append(file.tell())
    i = pick(rng, (0, 1, 2, 3, 3, 3, 3, 3, 4))
    return data[: starts[i]] + program(rng, data[starts[i] : starts[i + 1]]) + data[starts[i + 1] :]
