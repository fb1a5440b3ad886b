"""Readers of weight files: what torch.save writes, and files that are damaged, lie, or want to run something."""

import io
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import minast
from minast import convert, pretrained
from minast.pretrained import open_tensors
from tests.golden import pretrained_cases as cases

FILES = Path(__file__).parents[1] / "golden" / "pretrained"
VIT = {"classes": 3, "frames": 64, "mel_bins": 64, "fstride": 16, "tstride": 16}


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
            if key == "count":
                with pytest.raises(minast.Error, match="'count' is int64"):
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
        (b"(cos\nsystem\nX\x04\x00\x00\x00trueo.", "OBJ"),
        (b"(X\x04\x00\x00\x00trueios\nsystem\n.", "INST"),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "NEWOBJ"),
        (b"\x80\x02\x82\x01.", "EXT1"),
        (b"\x80\x05\x96\x01\x00\x00\x00\x00\x00\x00\x00x.", "BYTEARRAY8"),
    ],
)
def test_other_ways_to_make_objects_are_refused_by_name(tmp_path, data, name):
    refused(pth(tmp_path / "x.pth", data), f"instruction {name}, ")


def test_a_pickle_cannot_reserve_memory(tmp_path):
    refused(pth(tmp_path / "x.pth", b"\x80\x02}r\xff\xff\xff\x7f."), "place 2147483647 is taken")


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
    from minast.pretrained.readers.pth import MAGIC

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
    refused(path, "cannot be read .*damaged", heads=2)


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

    assert read_tensor(saved(offset=3, shape=(2,), strides=(0,))).tolist() == [3, 3]
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


# -- safetensors ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.float64])
def test_a_file_that_the_safetensors_library_wrote(tmp_path, dtype):
    rng = np.random.default_rng(0)
    arrays = {"a": rng.standard_normal((3, 5)), "b": np.zeros((0, 4)), "scalar": np.array(2.5), "é": np.arange(7.0)}
    arrays = {name: x.astype(dtype) for name, x in arrays.items()}
    save_file(arrays, tmp_path / "x.safetensors", {"format": "pt"})
    with open_tensors(tmp_path / "x.safetensors") as file:
        assert file.shapes == {name: x.shape for name, x in arrays.items()}
        for name, x in arrays.items():
            got = file.read(name)
            assert got.dtype == max(np.float32, dtype, key=lambda d: np.dtype(d).itemsize)
            assert np.array_equal(got, x), name


def test_bfloat16_in_a_safetensors_file(tmp_path):
    """NumPy has no bfloat16: arrays of odd sizes, one after the other, in any order."""
    shapes = {"a": (3, 5), "b": (0, 4), "c": (), "é": (7,)}
    arrays = {name: cases.numbers(name, shape) for name, shape in shapes.items()}
    cases.write_safetensors(tmp_path / "x.safetensors", arrays, "BF16")
    with open_tensors(tmp_path / "x.safetensors") as file:
        for name in ("é", "c", "b", "a"):
            assert file.read(name).dtype == np.float32 and np.array_equal(file.read(name), arrays[name])


def test_a_header_that_lies(tmp_path):
    """The library compares header and file when the file is opened."""
    path = tmp_path / "x.safetensors"
    arrays = {"a": np.ones(4, np.float32), "b": np.ones((2, 3), np.float32)}

    def lie(name, key, value):
        cases.write_safetensors(path, arrays, header_change=lambda header: header[name].update({key: value}))
        return path

    invalid = "not a valid .safetensors file .*: it is damaged or truncated"
    for offsets in ([16, 4000], [16, 36], [0, 24], [40, 16], [-8, 16], "16-40"):
        refused(lie("b", "data_offsets", offsets), invalid)
    for shape in ([2**40, 2**40], [2, 3.0], [2, 4]):
        refused(lie("b", "shape", shape), invalid)
    refused(lie("b", "dtype", ["F32"]), invalid)
    cases.write_safetensors(path, arrays, header_change=lambda header: header.pop("b"))
    refused(path, invalid)
    cases.write_safetensors(path, arrays)
    path.write_bytes(path.read_bytes()[:-1])
    refused(path, invalid)
    for raw in (struct.pack("<Q", 10**12) + b"{}", struct.pack("<Q", 4) + b"{abc", struct.pack("<Q", 2) + b"{"):
        path.write_bytes(raw)
        refused(path, invalid)


def test_other_numbers_are_refused_only_where_they_are_needed(tmp_path):
    path = tmp_path / "x.safetensors"
    arrays = {"a": np.ones(4, np.float32), "b": np.ones((2, 3), np.float32)}
    for dtype, shape in (("I64", [3]), ("F8_E4M3", [24])):
        change = {"dtype": dtype, "shape": shape}
        cases.write_safetensors(path, arrays, header_change=lambda header, change=change: header["b"].update(change))
        with open_tensors(path) as file:
            assert file.read("a").tolist() == [1] * 4
            with pytest.raises(minast.Error, match=f"'b' has dtype {dtype}: weights are F64, F32, F16, BF16"):
                file.read("b")


def test_the_library_is_imported_with_the_first_file_only():
    code = "import sys, minast.pretrained; assert 'safetensors' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


# -- npz -----------------------------------------------------------------------------------------------------------


def vit_arrays():
    return cases.to_jax(cases.vit_weights(), cases.VIT["heads"])


def saved(folder, arrays):
    np.savez(folder / "vit.npz", **arrays)
    return folder / "vit.npz"


def test_object_arrays_are_refused_and_nothing_runs(tmp_path):
    marker = tmp_path / "marker"
    objects = np.array([Command(marker)], dtype=object)
    path = saved(tmp_path, vit_arrays() | {"cls": objects})
    assert "nothing was run" in refused(path, "'cls' holds pickled Python objects")
    assert not marker.exists()


def test_vit_whose_width_is_no_multiple_of_its_heads(tmp_path):
    at = "Transformer/encoderblock_0/MultiHeadDotProductAttention_1/query/kernel"
    path = saved(tmp_path, vit_arrays() | {at: np.zeros((32, 5, 6), np.float32)})
    refused(path, r"\(32, 5, 6\), .* H d = 32")
    refused(FILES / "ast.pth", "width is 16, which is not a multiple of its 3 heads", heads=3)
    refused(FILES / "ast.pth", "width is 16, which is not a multiple of 64, .* say how many heads")
    refused(saved(tmp_path, vit_arrays()), "has 4 heads, not 8", heads=8)


def test_missing_and_misshapen_arrays_are_named(tmp_path):
    name = "Transformer/encoderblock_1/MlpBlock_3/Dense_0/kernel"
    arrays = vit_arrays()
    refused(saved(tmp_path, {k: x for k, x in arrays.items() if k != name}), f"1 of .* missing, the first is '{name}'")
    refused(saved(tmp_path, arrays | {name: np.zeros((32, 64), np.float32)}), rf"'{name}' has shape \(32, 64\)")
    refused(saved(tmp_path, arrays | {name: np.full((32, 128), np.nan, np.float32)}), f"'{name}' holds NaN")
    refused(saved(tmp_path, arrays | {name: np.zeros((32, 128), np.int32)}), f"'{name}' is int32")
    refused(saved(tmp_path, {k: x for k, x in arrays.items() if k != "cls"}), "no 'cls' token")
    refused(saved(tmp_path, arrays | {"embedding/kernel": np.zeros((14, 14, 3, 32))}), "patches are 16 x 16")
    positions = {"Transformer/posembed_input/pos_embedding": np.zeros((1, 18, 32), np.float32)}
    refused(
        saved(tmp_path, arrays | positions), "18 rows: less 1 of the prefix token that is 17, which is not a square"
    )


def test_foreign_files(tmp_path):
    path = tmp_path / "foreign.npz"
    np.savez(path, x=np.zeros(3), y=np.zeros(2))
    refused(path, "not the weights of a known kind of ViT, DeiT or AST .the file holds x, y")
    path.write_bytes(path.read_bytes()[:-30])
    refused(path, "not a complete .npz file")
    for name, raw in (("empty.pth", b""), ("text.npz", b"hello, this is text"), ("one.npy", b"\x93NUMPY\x01\x00")):
        (tmp_path / name).write_bytes(raw)
        refused(tmp_path / name, "none of the formats")
    refused(tmp_path / "absent.npz", "cannot be opened: No such file")
    refused(tmp_path, "no model.safetensors or pytorch_model.bin")
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    refused(tmp_path, "split, see model.safetensors.index.json, which is not supported")


def test_an_image_model_needs_the_number_of_classes(tmp_path):
    refused(saved(tmp_path, vit_arrays()), "a ViT .npz has no audio head: say how many", classes=None)


def test_labels_files(tmp_path):
    path = tmp_path / "labels.csv"
    read = pretrained.read_labels
    path.write_text("\ufeffone\n two \n\nthree, with comma\n", encoding="utf-8")
    assert read(path) == ["one", "two", "three, with comma"]
    path.write_text('index,mid,display_name\n1,/m/b,"B, b"\n0,/m/a,A\n')
    assert read(path) == ["A", "B, b"]
    for text, match in (
        ("index,mid,display_name\n0,x,A\n2,y,B\n", "0, 1, 2"),
        ("", "no labels"),
        ("\n\n", "no labels"),
    ):
        path.write_text(text)
        with pytest.raises(minast.Error, match=match):
            read(path)
    with pytest.raises(minast.Error, match="No such file"):
        read(tmp_path / "absent")
    path.write_bytes(b"caf\xe9\n")
    with pytest.raises(minast.Error, match="not UTF-8 text"):
        read(path)


def test_convert_writes_nothing_where_it_fails(tmp_path, capsys):
    with pytest.raises(minast.Error):
        convert.main([str(saved(tmp_path, vit_arrays())), str(tmp_path / "out.npz")])
    assert not (tmp_path / "out.npz").exists() and capsys.readouterr().out == ""


def test_nothing_but_headers_is_read_on_opening(tmp_path):
    """Shapes come from headers: opening a file does not depend on the size of its arrays."""
    path = saved(tmp_path, vit_arrays())
    with open_tensors(path) as file:
        assert file.shapes["cls"] == (1, 1, 32)
        file._file.zip.fp = io.BytesIO()  # whatever is read from now on fails
        with pytest.raises(minast.Error, match="'cls' cannot be read"):
            file.read("cls")


# -- options that make no sense ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"seed": -1}, "seed is -1"),
        ({"source_grid": 3}, "source_grid is 3"),
        ({"loss": "mse"}, "loss is 'mse'"),
        ({"heads": 0}, "has 4 heads, not 0"),
    ],
)
def test_options_that_make_no_sense(tmp_path, options, match):
    path = saved(tmp_path, vit_arrays())
    with pytest.raises(minast.Error, match=match):
        pretrained.load(path, **({"classes": 3, "heads": cases.VIT["heads"]} | options))


def test_a_weight_too_large_for_float32(tmp_path):
    arrays = vit_arrays()
    arrays["cls"] = arrays["cls"].astype(np.float64)
    arrays["cls"].flat[0] = 1e300
    refused(saved(tmp_path, arrays), "'cls' holds numbers too large for float32", heads=cases.VIT["heads"])


def test_convert_does_not_overwrite_its_source(tmp_path):
    path = saved(tmp_path, vit_arrays())
    before = path.read_bytes()
    for out, match in ((str(path), "the source itself"), ("", "OUT.npz is empty")):
        with pytest.raises(minast.Error, match=match):
            convert.main([str(path), out, "--classes", "3", "--heads", str(cases.VIT["heads"])])
    assert path.read_bytes() == before


def test_a_label_given_twice_is_named(tmp_path):
    with pytest.raises(minast.Error, match="the label 'rain' is given more than once"):
        pretrained.load(saved(tmp_path, vit_arrays()), labels=["rain", "dog", "rain"], heads=cases.VIT["heads"])
