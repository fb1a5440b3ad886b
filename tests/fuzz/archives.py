"""Changes inside zips, .npy headers and JSON texts. Checksums are computed again, so that the damage gets past them."""

import copy
import io
import json
import struct
import zipfile

import numpy as np

from .changes import HUGE, NASTY, flipped, pick, plain

METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
DTYPES = (
    "<f4", "<f8", ">f4", "<f2", "<f16", "<i4", "|i1", "|b1", "<c8", "|V2", "<U4", "|S4", "|O", "|O8", "<U0", "<M8[s]",
    "[('a','<f4')]", "", "f", "float32", "<f99999",
)  # fmt: skip
SHAPES = (
    "()", "(0,)", "(1,)", "(8,)", "(3, 8)", "(8, 3)", "(24, 8)", "(-1,)", "(1000000000, 16)", "(4294967296,)", "8",
    "(0, 99999999999)", "(1,)*99", "[8]", "(8.0,)", "(True,)", "('a',)", "(8, )", "(" + "1, " * 40 + ")", "(" * 300,
    "-" * 3000 + "1",
)  # fmt: skip


def members(data):
    """[(name, body)] of a zip."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [(entry.filename, archive.read(entry)) for entry in archive.infolist()]


def packed(entries, methods=None):
    """A zip of [(name, body)].   methods: {name: how it is compressed}, stored where nothing is said"""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, body in entries:
            archive.writestr(zipfile.ZipInfo(name), body, (methods or {}).get(name, zipfile.ZIP_STORED), 1)
    return out.getvalue()


# -- JSON ------------------------------------------------------------------------------------------------------------


def changed_json(rng, value):
    """A JSON value in which one to three places hold something else, are missing, or are doubled."""
    value = copy.deepcopy(value)
    for _ in range(int(rng.integers(1, 4))):
        places = list(_places(value))
        if not places:
            break
        holder, key = pick(rng, places)
        what = int(rng.integers(8))
        if what == 0:
            del holder[key]
        elif what == 1:
            _, other = pick(rng, places)
            holder[key] = copy.deepcopy(holder[other]) if _has(holder, other) else None
        elif what == 2 and isinstance(holder, dict):
            holder[pick(rng, ("x", "", "a" * 600, "\x1b[0m"))] = pick(rng, NASTY)
        elif what == 3 and isinstance(holder[key], (int, float)) and not isinstance(holder[key], bool):
            holder[key] = pick(
                rng, (float(holder[key]), -holder[key], holder[key] + 1, holder[key] * 1000, str(holder[key]))
            )
        elif what == 4 and isinstance(holder, list):
            holder.insert(key, copy.deepcopy(holder[key]))
        else:
            holder[key] = pick(rng, NASTY)
    return value


def _has(holder, key):
    return key in holder if isinstance(holder, dict) else isinstance(key, int) and key < len(holder)


def _places(value):
    if isinstance(value, (dict, list)):
        for key, item in value.items() if isinstance(value, dict) else enumerate(value):
            yield value, key
            yield from _places(item)


def json_text(rng, text):
    """A JSON text with changed values, or one that is nested deeply, cut, or no JSON."""
    what = int(rng.integers(12))
    if what == 0:
        return pick(rng, ("[" * 100_000, '{"a":' * 50_000, "[" * 900 + "]" * 900, "", "null", "1", "NaN", '"', "{" * 3))
    if what == 1:
        return text[: int(rng.integers(len(text)))]
    if what == 2:
        return text.replace("{", '{"format": 1, ' * int(rng.integers(1, 4)), 1)
    if what == 3:
        return text.replace(":", ": 1e999 or ", 1) if rng.integers(2) else text.replace("1", "9" * 5000, 1)
    return json.dumps(changed_json(rng, json.loads(text)))


def json_bytes(rng, data):
    """The same for a file."""
    return json_text(rng, data.decode()).encode("utf-8", "replace") if rng.integers(4) else plain(rng, data)


# -- .npy and .npz ---------------------------------------------------------------------------------------------------


def npy(array, version=(1, 0)):
    """A .npy file in memory."""
    out = io.BytesIO()
    np.lib.format.write_array(out, np.asarray(array), version, allow_pickle=True)
    return out.getvalue()


def npy_header(rng, body):
    """Another dtype, shape or order in the header, of the right length; or a wrong length."""
    length = int.from_bytes(body[8:10], "little")
    header, rest = body[10 : 10 + length].decode("latin-1"), body[10 + length :]
    what = int(rng.integers(5))
    if what == 0:
        start = header.index("'descr': ") + 9
        header = header[:start] + repr(pick(rng, DTYPES)) + header[header.index(", 'fortran") :]
    elif what == 1:
        start = header.index("'shape': ") + 9
        header = header[:start] + pick(rng, SHAPES) + ", }"
    elif what == 2:
        header = header.replace("False", pick(rng, ("True", "1", "None", "[]")))
    elif what == 3:
        header = pick(rng, ("", "{}", "{'descr': '<f4'}", "1", "[" * 300, "{'a': " * 90, "\0" * 20, "__import__('os')"))
    else:
        return body[:8] + int(rng.integers(2**16)).to_bytes(2, "little") + body[10:]
    raw = header.encode("latin-1") + b"\n"
    return body[:8] + struct.pack("<H", len(raw)) + raw + rest


def other_numbers(rng, body):
    """Numbers of another kind or size in an array of the same shape."""
    array = np.lib.format.read_array(io.BytesIO(body), allow_pickle=False)
    if array.dtype.kind != "f" or not array.size:
        return npy(np.array(pick(rng, ("", "{}", "x" * 1000))))
    what = int(rng.integers(9))
    if what == 0:
        return npy(array.astype(pick(rng, ("f8", ">f4", "f2", "f16"))))
    if what == 1:
        return npy(array.astype(pick(rng, ("i4", "?", "c8", "u1", "U8", "S8", "O"))))
    if what == 2:
        return npy(np.asfortranarray(array))
    if what == 3:
        return npy(
            np.where(np.arange(array.size).reshape(array.shape) == 0, pick(rng, (1e39, -1e300)), array.astype("f8"))
        )
    if what == 4:
        return npy(array.reshape(pick(rng, ((-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1]))))
    array = array.copy()
    array.flat[int(rng.integers(array.size))] = pick(rng, (np.nan, np.inf, -np.inf, 0.25, 1e30, -1.0))
    return npy(array)


def zip_of_arrays(rng, data):
    """A .npz in which one thing is wrong: its members, their headers, numbers, JSON, compression, or zip records."""
    entries = members(data)
    at = int(rng.integers(len(entries)))
    name, body = entries[at]
    what = int(rng.integers(14))
    if what <= 3:
        about = next((i for i, (n, _) in enumerate(entries) if n == "minast.npy"), None)
        if about is not None:
            text = json_text(rng, str(np.lib.format.read_array(io.BytesIO(entries[about][1]))))
            entries[about] = "minast.npy", npy(np.array(text))
            return packed(entries)
    if what <= 5:
        entries[at] = name, npy_header(rng, body)
    elif what == 6:
        entries[at] = name, other_numbers(rng, body)
    elif what == 7:
        entries[at] = name, plain(rng, body)
    elif what == 8:
        other = int(rng.integers(len(entries)))
        entries[at], entries[other] = (name, entries[other][1]), (entries[other][0], body)
    elif what == 9:
        change = int(rng.integers(4))
        if change == 0:
            del entries[at]
        elif change == 1:
            entries.insert(at, (pick(rng, (name, "w/x.npy", "../x.npy", "a" * 600, "state/m.npy")), body))
        elif change == 2:
            entries[at] = pick(rng, (name.upper(), name + "x", "", "/" + name, name.replace("0", "1"))), body
        else:
            entries = [entries[i] for i in rng.permutation(len(entries))]
    elif what == 10:
        return packed(entries, {name: pick(rng, METHODS)})
    elif what == 11:
        return bomb(rng, entries, at)
    else:
        return zip_record(rng, packed(entries))
    return packed(entries)


def bomb(rng, entries, at):
    """A member that unpacks to 300 MB (deflated) or 4 MB (other methods), under a right checksum."""
    name, body = entries[at]
    method = pick(rng, METHODS[1:])
    size = (300 if method == zipfile.ZIP_DEFLATED else 4) * 2**20
    filling = pick(rng, (bytes(size), b" \0\0\0" * (size // 4), b"[\0\0\0" * (size // 4)))
    head = body[:10] + body[10 : 10 + int.from_bytes(body[8:10], "little")]
    body = pick(rng, (body + filling, head + filling, filling, npy(np.zeros(size // 4, np.float32))))
    if rng.integers(2):
        entries[at] = name, body
    else:
        entries, name = [*entries, ("extra.npy", body)], "extra.npy"
    return packed(entries, {name: method})


def zip_record(rng, data):
    """A field of the zip's own records: versions, flags, methods, checksums, sizes, offsets, names."""
    out = bytearray(data)
    records = [i for sign in (b"PK\x03\x04", b"PK\x01\x02", b"PK\x05\x06") for i in _all(data, sign)]
    at = pick(rng, records) + 4 + 2 * int(rng.integers(20))
    size = pick(rng, (1, 2, 4))
    value = pick(rng, (0, 1, 6, 8, 9, 12, 14, 45, 63, 99, 0xFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, *HUGE[:2])) % 2 ** (
        8 * size
    )
    out[at : at + size] = value.to_bytes(size, "little")
    return bytes(out[: len(data)])


def _all(data, sign):
    at = data.find(sign)
    while at >= 0:
        yield at
        at = data.find(sign, at + 1)


# -- safetensors -----------------------------------------------------------------------------------------------------


def safetensors(rng, data):
    """The JSON header with other values, the right length in front of it."""
    length = int.from_bytes(data[:8], "little")
    header, rest = data[8 : 8 + length].decode(), data[8 + length :]
    what = int(rng.integers(6))
    if what == 0:
        return int(pick(rng, (0, 1, length + 1, 2**24, 2**31, 2**63))).to_bytes(8, "little") + data[8:]
    if what == 1:
        return data[: 8 + length] + flipped(rng, rest)
    text = json_text(rng, header).encode("utf-8", "replace")
    return len(text).to_bytes(8, "little") + text + rest
