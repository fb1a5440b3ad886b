"""Readers of weight files: safetensors and .npz, options that make no sense; test_pth.py has what torch.save writes."""

import io
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

import minast
from minast import convert, pretrained
from minast.pretrained import open_tensors
from tests.golden import pretrained_cases as cases
from tests.pretrained.test_pth import Command, refused

FILES = Path(__file__).parents[1] / "golden" / "pretrained"
VIT = {"classes": 3, "frames": 64, "mel_bins": 64, "fstride": 16, "tstride": 16}


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
    for name, raw, match in (
        ("empty.pth", b"", "this file is empty"),
        ("text.npz", b"hello, this is text", "none of the formats"),
        ("one.npy", b"\x93NUMPY\x01\x00", "none of the formats"),
        (
            "lfs.safetensors",
            b"version https://git-lfs.github.com/spec/v1\noid sha256:12\nsize 9\n",
            "git lfs pull",
        ),
        ("page.pth", b"\n<!DOCTYPE html><html>", "it is a web page"),
        ("sound.npz", b"RIFF\x00\x00\x00\x00WAVE", "it is a sound"),
        ("weights.tar.gz", b"\x1f\x8b\x08", "unpack it first"),
    ):
        (tmp_path / name).write_bytes(raw)
        refused(tmp_path / name, match)
    refused(tmp_path / "absent.npz", "there is no such file")
    refused(tmp_path / "*.wav", "no file matches this pattern")
    refused(tmp_path / "*.pth", "the shell did not expand this pattern: write it without quotes")
    refused(tmp_path, "no model.safetensors or pytorch_model.bin in this folder: give one of its files, as .*empty.pth")
    (tmp_path / "nothing").mkdir()
    refused(tmp_path / "nothing", "there are no weights in it at all")


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
        ({"source_grid": 3}, "grid is 3"),
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
    for out, match in (
        (str(path), "the source itself"),
        ("", "OUT.npz is empty"),
        (str(tmp_path), "is a folder: name the checkpoint"),
        (str(tmp_path / "out.onnx"), "minast.export CHECKPOINT .*out.onnx writes ONNX"),
        *((str(tmp_path / f"out{end}"), "call it .*out.npz") for end in (".pth", ".safetensors", "")),
    ):
        with pytest.raises(minast.Error, match=match):
            convert.main([str(path), out, "--classes", "3", "--heads", str(cases.VIT["heads"])])
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["vit.npz"]
    assert convert.main([str(path), str(tmp_path / "OUT.NPZ"), "--classes", "3"]) == 0


def test_a_label_given_twice_is_named(tmp_path):
    with pytest.raises(minast.Error, match="the label 'rain' is given more than once"):
        pretrained.load(saved(tmp_path, vit_arrays()), labels=["rain", "dog", "rain"], heads=cases.VIT["heads"])
