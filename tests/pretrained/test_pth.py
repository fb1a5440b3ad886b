"""What torch.save writes: every kind of tensor, and files that are damaged, lie, or want to run something."""

import os
import pickle
import struct
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minast
from minast import pretrained
from minast.pretrained import open_tensors
from minast.pretrained.readers.pth import MAGIC
from tests.golden import pretrained_cases as cases

FILES = Path(__file__).parents[1] / "golden" / "pretrained"


def refused(path, match, **options):
    """One sentence, with the file's name in it. -> the sentence"""
    with pytest.raises(minast.Error, match=match) as caught:
        pretrained.load(path, **{"classes": 3, **options})
    sentence = str(caught.value)
    assert os.path.basename(path) in sentence and "\n" not in sentence and sentence.endswith(".")
    return sentence


# -- torch.save ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["odd.pth", "odd_stream.pth"])
def test_every_kind_of_tensor(name):
    answers = np.load(FILES / "answers.npz")
    with open_tensors(FILES / name) as file:
        wanted = {key[4:]: answers[key] for key in answers.files if key.startswith("odd_")}
        assert set(file.shapes) == set(wanted)
        for key, x in wanted.items():
            assert file.shapes[key] == x.shape
            if key in ("count", "expanded"):
                match = "'count' is int64" if key == "count" else r"'expanded', 12 in shape \(3, 4\), share places"
                with pytest.raises(minast.Error, match=match):
                    file.read(key)
            else:
                assert np.array_equal(file.read(key), x), key


def test_deit_and_ast_files_hold_what_was_saved():
    for name, wanted in (("deit.pth", cases.deit_weights()), ("ast.pth", cases.official_weights())):
        with open_tensors(FILES / name) as file:
            assert list(file.shapes) == list(wanted)
            assert all(np.array_equal(file.read(key), x) for key, x in wanted.items())


# -- pickles that want more ----------------------------------------------------------------------------------------


class Command:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"echo ran > {self.marker}",)


class Evaluated:
    def __reduce__(self):
        return eval, ("__import__('os').getpid()",)


def pth(path, data, storages=(), compress=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compress) as archive:
        archive.writestr("archive/data.pkl", data)
        archive.writestr("archive/byteorder", "little")
        for key, raw in storages:
            archive.writestr(f"archive/data/{key}", raw)
    return path


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize("wrap", ["zip", "bare"])
def test_a_pickle_that_runs_a_command_is_refused_by_name_and_nothing_runs(tmp_path, capsys, wrap, protocol):
    marker = tmp_path / "marker"
    data = pickle.dumps({"model": {"weight": Command(marker)}}, protocol)
    path = tmp_path / "evil.pth"
    if wrap == "zip":
        pth(path, data)
    else:
        path.write_bytes(data)
    sentence = refused(path, r"asks for \w+\.system")
    assert "nothing was run" in sentence and not marker.exists()


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (pickle.dumps({"weight": Evaluated()}, 0), "DICT"),
        (b"(X\x04\x00\x00\x00trueo.", "OBJ"),
        (b"(X\x04\x00\x00\x00trueios\nsystem\n.", "INST"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.", "BYTEARRAY8"),
    ],
)
def test_other_ways_to_make_objects_are_refused_by_name(tmp_path, data, name):
    refused(pth(tmp_path / "x.pth", data), f"instruction {name}, ")


def test_a_pickle_cannot_reserve_memory(tmp_path):
    refused(pth(tmp_path / "x.pth", b"\x80\x02}r\xff\xff\xff\x7f."), "an empty dictionary")


@pytest.mark.parametrize("name", ["os system", "builtins eval", "torch.nn Module", "collections Counter", "torch load"])
def test_any_other_name_is_refused(tmp_path, name):
    module, what = name.split()
    data = b"\x80\x02c" + f"{module}\n{what}\n".encode() + b"."
    refused(pth(tmp_path / "x.pth", data), rf"asks for {module}\.{what}")


def test_dotted_names_do_not_reach_into_what_is_allowed(tmp_path):
    """Protocol 4 can ask for attributes of a name: OrderedDict.__init__.__globals__ is not OrderedDict."""
    data = b"\x80\x04\x8c\x0bcollections\x8c\x19OrderedDict.__init__.pop_\x93."
    refused(pth(tmp_path / "x.pth", data), r"asks for collections\.OrderedDict\.__init__")


def test_a_pickle_cannot_write_to_what_it_is_given(tmp_path):
    from minast.pretrained.readers import unpickle

    before = dict(unpickle.FUNCTIONS)
    data = b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n}X\x09\x00\x00\x00_functionX\x01\x00\x00\x00xsb."
    refused(pth(tmp_path / "x.pth", data), "writes to a function")
    assert before == unpickle.FUNCTIONS


def test_eval_is_refused_inside_a_stream_file(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"".join(pickle.dumps(x, 2) for x in (MAGIC, 1001, {"little_endian": True}, Evaluated(), [])))
    refused(path, r"asks for \w+\.eval")


# -- damaged .pth --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.02, 0.3, 0.7, 0.999])
@pytest.mark.parametrize("name", ["ast.pth", "odd_stream.pth"])
def test_truncated(tmp_path, name, share):
    whole = (FILES / name).read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    if name == "ast.pth":
        refused(path, "not a complete .pth file .*truncated", heads=2)
    else:
        with pytest.raises(minast.Error), open_tensors(path) as file:
            for key in file.shapes:
                if key != "count":
                    file.read(key)


def test_one_flipped_bit_is_found(tmp_path):
    raw = bytearray((FILES / "ast.pth").read_bytes())
    raw[len(raw) // 2] ^= 1
    path = tmp_path / "flipped.pth"
    path.write_bytes(raw)
    refused(path, "cannot be read .*damaged", heads=2, grid=(12, 3))


def tensor_pickle(numel=4, offset=0, shape=(4,), strides=(1,)):
    """A state dict with one tensor, as torch writes it, by hand."""

    def number(n):
        return b"\x8a\x08" + struct.pack("<q", n)

    def text(s):
        return b"X" + struct.pack("<I", len(s)) + s.encode()

    def many(values):
        return b"(" + b"".join(map(number, values)) + b"t"

    storage = b"(" + text("storage") + b"ctorch\nFloatStorage\n" + text("0") + text("cpu") + number(numel) + b"tQ"
    tensor = b"ctorch._utils\n_rebuild_tensor_v2\n(" + storage + number(offset) + many(shape) + many(strides)
    return b"\x80\x02}" + text("w") + tensor + b"\x89ccollections\nOrderedDict\n)RtRs."


def read_tensor(path):
    with open_tensors(path) as file:
        return file.read("w")


def test_windows_on_a_storage_stay_inside_it(tmp_path):
    raw = np.arange(4, dtype=np.float32).tobytes()
    path = tmp_path / "x.pth"

    def saved(storage=raw, **kind):
        return pth(path, tensor_pickle(**kind), [("0", storage)])

    assert read_tensor(saved(offset=1, shape=(2,), strides=(2,))).tolist() == [1, 3]
    assert read_tensor(saved(shape=(2, 2), strides=(1, 2))).tolist() == [[0, 2], [1, 3]]
    for kind in ({"shape": (2,), "strides": (0,)}, {"shape": (3, 2), "strides": (1, 1)}):
        with pytest.raises(minast.Error, match="share places in its storage"):
            read_tensor(saved(**kind))
    for kind in (
        {"shape": (5,)},
        {"offset": 1},
        {"shape": (2, 2), "strides": (3, 1)},
        {"shape": (2,), "strides": (2**40,)},
    ):
        with pytest.raises(minast.Error, match=r"'w' reaches to item .* of a storage of 4"):
            read_tensor(saved(**kind))
    for kind in ({"strides": (-1,)}, {"offset": -1}, {"shape": (2, 2)}, {"shape": (-4,)}):
        with pytest.raises(minast.Error, match="file is damaged"):
            read_tensor(saved(**kind))
    with pytest.raises(minast.Error, match="storage '0' has 16 bytes instead of 40"):
        read_tensor(saved(numel=10))
    with pytest.raises(minast.Error, match="'data/0' has 16 bytes, more than the 8"):
        read_tensor(saved(numel=2, shape=(2,)))
    with pytest.raises(minast.Error, match="which torch"):
        read_tensor(pth(path, tensor_pickle(), [("0", raw)], zipfile.ZIP_DEFLATED))
    with pytest.raises(minast.Error, match="'data/0' cannot be read"):
        read_tensor(pth(path, tensor_pickle()))


def test_garbage_where_the_pickle_should_be(tmp_path):
    rng = np.random.default_rng(0)
    for i in range(200):
        data = bytearray(tensor_pickle())
        for at in rng.integers(0, len(data), 3):
            data[at] = rng.integers(256)
        path = pth(tmp_path / f"{i}.pth", bytes(data), [("0", bytes(16))])
        try:
            with open_tensors(path) as file:
                for name in file.shapes:
                    file.read(name)
        except minast.Error as error:
            assert str(path) in str(error)


def test_files_without_a_state_dict(tmp_path):
    refused(pth(tmp_path / "list.pth", pickle.dumps([1, 2], 2)), "no state dict .*an object of type list")
    refused(pth(tmp_path / "words.pth", pickle.dumps({"epoch": 3}, 2)), "no state dict .*a dictionary with epoch")
    (tmp_path / "bare.pth").write_bytes(pickle.dumps({"a": 1}, 2))
    refused(tmp_path / "bare.pth", "a bare pickle of dict")


# -- pickles that attack by their structure ------------------------------------------------------------------------


def in_time(path, match, seconds=5):
    """Refused in one sentence, before `seconds` are over."""
    began = time.process_time()
    refused(path, match)
    assert time.process_time() - began < seconds


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x80\x02})" + b"2\x86" * 50 + b"K\x01s.", "a key of a dictionary is a tuple|instruction DUP"),
        (b"\x80\x02})" + b"\x85" * 50 + b"K\x01s.", "a key of a dictionary is a tuple, not a text"),
        (b"\x80\x02})" + b"q\x00h\x00\x86" * 50 + b"K\x01s.", "a key of a dictionary is a tuple, not a text"),
        (b"\x80\x02}NK\x01s.", "a key of a dictionary is a NoneType"),
        (b"\x80\x02)" + b"\x85" * 400_000 + b".", "an object of type tuple"),
        (b"\x80\x02)" + b"\x85" * 1_000_000 + b".", "more than 524288 instructions"),
        (b"\x80\x02]" + b"]a" * 200_000 + b".", "an object of type list"),
        (b"\x80\x02" + b"(" * 2**21 + b".", "more than 524288 instructions"),
        (b"\x80\x02" + b"(" * 1000 + b".", "takes more from its stack than there is"),
        (b"\x80\x02ccollections\nOrderedDict\n]\x85R.", "cannot be read"),
        (b"\x80\x02h\x07.", "place 7 before anything is in it"),
        (b"\x80\x02}X\x01\x00\x00\x00as.", "takes more from its stack|has no value"),
        (b"\x80\x02K\x01Q.", "not described as torch does"),
        (b"\x80\x02", "it ends or goes on with no instruction"),
        (b"\x80\x02\xff.", "it ends or goes on with no instruction"),
        (b"\x80\x02X\xff\xff\xff\x7fabc.", "cannot be read"),
    ],
    ids=range(16),
)
@pytest.mark.parametrize("wrap", ["zip", "stream"])
def test_programs_that_hang_or_crash_other_machines(tmp_path, data, match, wrap):
    path = tmp_path / "x.pth"
    if wrap == "zip":
        pth(path, data)
    else:
        head = b"".join(pickle.dumps(x, 2) for x in (MAGIC, 1001, {"little_endian": True}))
        path.write_bytes(head + data + pickle.dumps([], 2))
    in_time(path, match)


@pytest.mark.parametrize(
    ("kind", "match"),
    [
        ({"numel": 2**63 - 1}, "no size that makes sense"),
        ({"numel": -1}, "no size that makes sense"),
        ({"numel": 2**39}, "has 16 bytes instead of 2199023255552"),
        ({"offset": 2**62}, "not whole numbers from 0 up"),
        ({"shape": (2**40,), "strides": (0,)}, "share places"),
        ({"shape": (1,) * 9, "strides": (1,) * 9}, "a shape of at most 8 numbers"),
    ],
)
def test_sizes_that_nobody_has(tmp_path, kind, match):
    with pytest.raises(minast.Error, match=match):
        read_tensor(pth(tmp_path / "x.pth", tensor_pickle(**kind), [("0", bytes(16))]))


def test_a_width_of_0(tmp_path):
    w = cases.weights(16, 1, 36, classes=5)
    w["patch_embed.proj.weight"] = w["patch_embed.proj.weight"][:0]
    cases.write_safetensors(tmp_path / "w.safetensors", w)
    refused(tmp_path / "w.safetensors", "by the shapes of its arrays, dim is 0")
    w = cases.to_jax(cases.vit_weights(), cases.VIT["heads"])
    np.savez(tmp_path / "vit.npz", **w | {"embedding/kernel": np.zeros((16, 16, 0, 32), np.float32)})
    refused(tmp_path / "vit.npz", "channels is 0: it must be a whole number from 1 to 64")


def test_numbers_in_place_of_names(tmp_path):
    data = tensor_pickle().replace(b"X\x01\x00\x00\x00w", b"K\x07")
    refused(pth(tmp_path / "x.pth", data, [("0", bytes(16))]), "a tensor is called 7, a number")


def with_extra(extra):
    """{"model": {"w": tensor}, "args": <extra>} as a pickle; extra: its instructions"""
    inner = tensor_pickle().removeprefix(b"\x80\x02").removesuffix(b".")
    return b"\x80\x02}(X\x05\x00\x00\x00model" + inner + b"X\x04\x00\x00\x00args" + extra + b"u."


@pytest.mark.parametrize(
    ("extra", "name"),
    [
        (b"cargparse\nNamespace\n)\x81}X\x02\x00\x00\x00lrG?PbM\xd2\xf1\xa9\xfcsb", "argparse.Namespace"),
        (b"ctorch\nSize\n(K\x01K\x02t\x85R", "torch.Size"),
        (b"cnumpy.core.multiarray\nscalar\ncnumpy\ndtype\nX\x02\x00\x00\x00f8\x85RC\x0812345678\x86R",
         "numpy.core.multiarray.scalar"),
        (b"ccollections\ndefaultdict\ncbuiltins\nset\n\x85RK\x01K\x02s", "collections.defaultdict"),
    ],
)  # fmt: skip
def test_plain_data_beside_the_weights_is_left_out_unseen(tmp_path, extra, name):
    raw = np.arange(4, dtype=np.float32).tobytes()
    path = pth(tmp_path / "x.pth", with_extra(extra), [("0", raw)])
    with open_tensors(path) as file:
        assert file.read("w").tolist() == [0, 1, 2, 3]
        assert file.notes == [f"left out, unread: an object of type {name}"]
    for other in (b"cos\nsystem\n)\x81", b"cbuiltins\neval\nX\x01\x00\x00\x001\x85R"):
        refused(pth(path, with_extra(other), [("0", raw)]), "nothing was run")


def test_which_entry_the_weights_are_from_is_said(tmp_path):
    inner = tensor_pickle().removeprefix(b"\x80\x02").removesuffix(b".")
    data = b"\x80\x02}(" + b"".join(
        b"X" + struct.pack("<I", len(name)) + name + inner for name in (b"model", b"model_ema")
    )
    path = pth(tmp_path / "x.pth", data + b"u.", [("0", bytes(16))])
    with open_tensors(path) as file:
        assert file.notes == ["the weights are those under 'model'; the file also has some under model_ema"]
    data = b"\x80\x02}X\x07\x00\x00\x00teacher" + inner + b"s."
    refused(pth(path, data, [("0", bytes(16))]), "save the one that you mean alone: there are tensors under 'teacher'")
