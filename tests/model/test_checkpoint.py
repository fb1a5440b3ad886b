"""Checkpoints: what goes in comes out, and what is damaged or foreign is refused with a sentence."""

import json
import zipfile
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest

import minast
from minast.checkpoint import load_state
from tests.golden import cases

OLD = Path(__file__).parents[1] / "golden" / "checkpoint_0.1.npz"  # written by minast 0.1.0; it is never written again
CONFIG = minast.ModelConfig(dim=12, depth=2, heads=3, mel_bins=32, frames=36, classes=3)


@pytest.fixture
def saved(tmp_path):
    path = tmp_path / "model.npz"
    model = minast.AST(CONFIG, seed=3)
    features = {"rate": 8000, "mel_bins": 32, "frames": 36, "mean": -5.0, "std": 3.0, "window": "hann"}
    minast.save(path, model, ["a", "b", "c"], features, loss="bce", history=[{"epoch": 1, "loss": 0.1 + 0.2}])
    return path, model


def test_round_trip(saved):
    path, model = saved
    again, info = minast.load(path)
    assert np.array_equal(again.w.flat, model.w.flat) and again.config == CONFIG
    assert info.labels == ["a", "b", "c"] == info["labels"] and info.head == "sigmoid"
    assert info.features == minast.FeatureConfig(8000, 32, "hann", 36, -5.0, 3.0)
    assert info.history == [{"epoch": 1, "loss": 0.1 + 0.2}] and info.version == minast.__version__
    x = np.random.default_rng(0).standard_normal((2, 36, 32)).astype(np.float32)
    assert np.array_equal(again.forward(x), model.forward(x))


def test_nothing_in_it_is_pickled(saved):
    with np.load(saved[0], allow_pickle=False) as archive:
        assert all(archive[name].dtype != object for name in archive.files)
        assert json.loads(archive["minast"].item())["format"] == 1


def test_nothing_is_left_beside_it(saved):
    assert [p.name for p in saved[0].parent.iterdir()] == ["model.npz"]


def test_state(tmp_path):
    model = minast.AST(CONFIG)
    minast.save(tmp_path / "a.npz", model, state={"m": model.w.flat * 2, "t": 7, "settings": {"lr": 1e-3}})
    state = load_state(tmp_path / "a.npz")
    assert np.array_equal(state["m"], model.w.flat * 2) and state["t"] == 7 and state["settings"] == {"lr": 1e-3}


def test_a_file_of_the_first_version_loads():
    """Its logits were computed in float64 by the version that wrote it."""
    x = cases.uniform("checkpoint x", (2, 46, 32), -2, 2)
    logits = np.array([[0.01073506, 1.03004072, -0.37312990], [0.84598659, 1.47708661, -0.59162672]])
    model, info = minast.load(OLD, backend="numpy", dtype="float64")
    assert np.abs(model.forward(x) - logits).max() < 1e-6
    assert np.abs(minast.load(OLD)[0].forward(x.astype(np.float32)) - logits).max() < 1e-5
    assert info.labels == ["rain", "dog, barking", "Sirène"] and info.loss == "bce" and info.version == "0.1.0"
    assert info.features == minast.FeatureConfig(8000, 32, "hann", 46, -5.0, 3.25)
    assert info.history == [{"epoch": 1, "loss": 0.75}] and info.notes == {"random_head": True}
    assert info.decisions is None
    state = load_state(OLD)
    assert state["m"].tolist() == [0, 0.125, 0.25, 0.375] and (state["t"], state["settings"]) == (7, {"lr": 0.001})


def test_a_file_of_the_first_version_for_longer_clips():
    x = cases.uniform("checkpoint x", (2, 96, 32), -2, 2)
    logits = np.array([[0.7286314, 1.44083215, -0.6570724], [-0.10987758, -0.01858515, 0.55532165]])
    model, info = minast.load(OLD, backend="numpy", dtype="float64", frames=96)
    assert np.abs(model.forward(x) - logits).max() < 1e-6 and info.features.frames == 96


def refused(path, match):
    with pytest.raises(minast.Error, match=match) as error:
        minast.load(path)
    assert str(path) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("part", [0.02, 0.5, 0.9, 0.999])
def test_truncated(saved, part):
    path, _ = saved
    data = path.read_bytes()
    path.write_bytes(data[: int(part * len(data))])
    refused(path, "truncated|damaged")


def test_flipped_bit(saved):
    path, _ = saved
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 16
    path.write_bytes(data)
    refused(path, "damaged")


def test_missing_and_folder(tmp_path, trained):
    refused(tmp_path / "none.npz", "no such checkpoint")
    refused(trained, "folder.*best.npz")


def test_foreign(tmp_path):
    np.savez(tmp_path / "a.npz", cls=np.zeros(3), head=np.zeros(4))
    refused(tmp_path / "a.npz", "not a minast checkpoint.*cls")
    np.save(tmp_path / "b.npy", np.zeros(3))
    refused(tmp_path / "b.npy", "single array")
    (tmp_path / "c.npz").write_text("not a zip file")
    refused(tmp_path / "c.npz", "this is not a .npz file: it has another format")
    (tmp_path / "d.npz").touch()
    refused(tmp_path / "d.npz", "this file is empty")


def test_object_arrays_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", minast=np.array([{"format": 1}], dtype=object))
    refused(tmp_path / "a.npz", "'minast' holds pickled Python objects: only numbers are read, nothing was run")


def rewritten(path, change):
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    np.savez(path, **arrays)


def test_inconsistent_files(saved):
    path, _ = saved
    whole = path.read_bytes()

    def missing(arrays):
        del arrays["w/blocks.1.norm2.weight"]

    def misshapen(arrays):
        arrays["w/norm.bias"] = np.zeros(5, np.float32)

    def not_finite(arrays):
        arrays["w/norm.bias"] = np.full(12, np.nan, np.float32)

    def about(**changes):
        def change(arrays):
            arrays["minast"] = np.array(json.dumps({**json.loads(arrays["minast"].item()), **changes}))

        return change

    for change, match in [
        (missing, "1 of .* missing.*blocks.1.norm2.weight"),
        (misshapen, r"norm.bias.*\(5,\).*\(12,\)"),
        (not_finite, "norm.bias.*NaN"),
        (about(format=99), "format 99"),
        (about(labels=["a"]), "labels do not match its 3 classes"),
        (about(labels=None), "labels is null: it must be a list"),
        (about(model={**asdict(CONFIG), "dim": 7}), "multiple of the heads"),
        (about(model={**asdict(CONFIG), "colour": 3}), "colour"),
        (about(features=None), "features is null"),
    ]:
        path.write_bytes(whole)
        rewritten(path, change)
        refused(path, match)


def test_save_refuses(tmp_path):
    model = minast.AST(CONFIG)
    with pytest.raises(minast.Error, match="2 labels for the model's 3"):
        minast.save(tmp_path / "a.npz", model, ["a", "b"])
    with pytest.raises(minast.Error, match="frames"):
        minast.save(tmp_path / "a.npz", model, features={"frames": 40, "mel_bins": 32})
    with pytest.raises(minast.Error, match="no field 'hop': they have rate, mel_bins, window, frames, mean, std"):
        minast.save(tmp_path / "a.npz", model, features={"hop": 10})
    with pytest.raises(minast.Error, match="cannot be written"):
        minast.save(tmp_path / "none" / "a.npz", model)
    assert not list(tmp_path.iterdir())


def test_full_disk_leaves_the_old_file(saved, monkeypatch):
    import errno

    path, model = saved
    before = path.read_bytes()

    def full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format, "write_array", full)
    with pytest.raises(minast.Error, match="No space left on device"):
        minast.save(path, model, ["a", "b", "c"])
    assert path.read_bytes() == before and len(list(path.parent.iterdir())) == 1


@pytest.mark.parametrize("change", [lambda body: body[:-4], lambda body: body + b"\0\0\0\0"])
def test_an_array_that_is_not_as_long_as_its_header_says(saved, change):
    """With a right checksum: only the length gives it away."""
    path, other = saved[0], saved[0].with_name("other.npz")
    with zipfile.ZipFile(path) as whole, zipfile.ZipFile(other, "w") as wrong:
        for name in whole.namelist():
            body = whole.read(name)
            wrong.writestr(name, change(body) if name == "w/norm.weight.npy" else body)
    refused(other, "norm.weight.*damaged")


@pytest.mark.parametrize("loss", ["softmax", "", None])
def test_a_loss_that_is_none_is_refused(tmp_path, loss):
    """It would be read back as the wrong head."""
    model = minast.AST(minast.ModelConfig(dim=8, heads=1, depth=1, frames=16, mel_bins=16, classes=2), "numpy")
    with pytest.raises(minast.Error, match="loss is"):
        minast.save(tmp_path / "x.npz", model, loss=loss)
    assert not (tmp_path / "x.npz").exists()


# -- every field of the description --------------------------------------------------------------------------------


def described(path, **changes):
    """The checkpoint with other fields in its description; "model.depth" is a field of a field, DROP takes one away."""
    with np.load(path) as archive:
        arrays = dict(archive)
    about = json.loads(arrays["minast"].item())
    for name, value in changes.items():
        *outer, last = name.split(".")
        holder = about
        for part in outer:
            holder = holder[part]
        if value is DROP:
            del holder[last]
        else:
            holder[last] = value
    np.savez(path, **arrays | {"minast": np.array(json.dumps(about))})


DROP = object()


@pytest.mark.parametrize(
    ("name", "value", "match"),
    [
        ("format", True, "has format true"),
        ("format", DROP, "has format null"),
        ("model.depth", 10**7, "model.depth is 10000000: it must be a whole number from 1 to 1024"),
        ("model.depth", 1, "it has 'w/blocks.1"),
        ("model.depth", True, "model.depth is true"),
        ("model.dim", "12", 'model.dim is "12"'),
        ("model.gelu", DROP, "model.gelu is missing"),
        ("model.encoder_eps", float("nan"), "model.encoder_eps is NaN"),
        ("features.rate", 96.5, "features.rate is 96.5"),
        ("features.frames", 37, "features have 37 frames of 32 mel bins, its model takes 36"),
        ("features.mean", float("inf"), "features.mean is Infinity"),
        ("features.std", 0, "features.std is 0"),
        ("features.window", None, "features.window is null: it must be one of hamming, hann"),
        ("loss", "hinge", 'loss is "hinge": it must be one of bce, ce'),
        ("labels", ["a", "b", "a"], "labels has 'a' more than once"),
        ("labels", ["a", "b", 3], r"labels\[2\] is 3: it must be a text"),
        ("labels", ["a", "b", ""], r'labels\[2\] is "": it must be a text'),
        ("labels", ["a", "b", "\x1b[31m"], r"labels\[2\] is .*none of them a control character"),
        ("labels", ["a", "b", "\udcff"], r"labels\[2\] is .*none of them a control character"),
        ("labels", ["a", "b", "x" * 1001], r"labels\[2\] is .*a text of 1 to 1000 characters"),
        ("labels", ["a", "b"], "2 labels do not match its 3 classes"),
        ("history", None, "history is null: it must be a list"),
        ("history", [3], r"history\[0\] is 3: it must be an object"),
        ("history", [{"epoch": -1}], r"history\[0\].epoch is -1"),
        ("notes", None, "notes is null: it must be an object"),
        ("notes", {"random_head": "no"}, 'notes.random_head is "no": it must be true or false'),
        ("notes", {"seed": 1e308}, "notes.seed is 1e"),
        ("version", 3, "version is 3: it must be a text"),
        ("state", [], r"state is \[\]: it must be an object"),
    ],
)
def test_a_field_that_does_not_fit_is_named(saved, name, value, match):
    described(saved[0], **{name: value})
    refused(saved[0], match)
    with pytest.raises(minast.Error, match=match):
        minast.pretrained.load(saved[0])


def test_whole_numbers_written_as_floats_are_ints(saved):
    described(saved[0], **{"model.dim": 12.0, "features.rate": 8000.0})
    model, info = minast.load(saved[0])
    assert type(model.config.dim) is int and type(info.features.rate) is int and model.config == CONFIG


@pytest.mark.parametrize("text", ["[" * 100_000, "null", "[]", "1", '{"format": 1', "x" * 1000, ""])
def test_a_description_that_is_none(saved, text):
    rewritten(saved[0], lambda arrays: arrays.update(minast=np.array(text)))
    refused(saved[0], "has format null|description cannot be read|description is no text")


@pytest.mark.parametrize("value", [np.array(b"{}"), np.zeros(3), np.array(["{}", "{}"]), np.array(7)])
def test_a_description_that_is_no_text(saved, value):
    rewritten(saved[0], lambda arrays: arrays.update(minast=value))
    refused(saved[0], "description is no text")


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda x: x.astype("i4"), "is int32: it must be of floating-point numbers"),
        (lambda x: x > 0, "is bool"),
        (lambda x: x.astype("c8"), "is complex64"),
        (lambda x: x.astype("U9"), "is <U9"),
        (lambda x: np.where(x == x[0], 1e39, x.astype("f8")), "numbers too large for float32"),
        (lambda x: np.where(x == x[0], -np.inf, x), "NaN or infinite"),
    ],
)
def test_weights_that_are_none(saved, change, match):
    rewritten(saved[0], lambda arrays: arrays.update({"w/norm.weight": change(arrays["w/norm.weight"])}))
    refused(saved[0], f"norm.weight' .*{match}")
    with pytest.raises(minast.Error, match=match):
        minast.pretrained.load(saved[0])


def test_weights_of_other_precision_are_read(saved):
    path, model = saved
    for kind in ("f8", ">f4", "f2"):
        rewritten(path, lambda arrays, kind=kind: arrays.update({"w/norm.bias": arrays["w/norm.bias"].astype(kind)}))
        again, _ = minast.load(path)
        assert np.array_equal(again.w["norm.bias"], model.w["norm.bias"])


def test_what_cannot_be_read_back_is_not_written(tmp_path):
    model = minast.AST(CONFIG)
    for options, match in (
        ({"labels": ["a", "b", "c\x07"]}, "labels.2. is .*control character"),
        ({"labels": ["a", "a", "b"]}, "labels has 'a' more than once"),
        ({"history": [3]}, "history.0. is 3"),
        ({"notes": {"a": {1, 2}}}, "notes.a is"),
    ):
        with pytest.raises(minast.Error, match=match):
            minast.save(tmp_path / "a.npz", model, **options)
    assert not list(tmp_path.iterdir())


def test_a_pointer_of_git_lfs(tmp_path):
    (tmp_path / "a.npz").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n")
    refused(tmp_path / "a.npz", "git-lfs pointer.*git lfs pull")
    refused(tmp_path / "*.npz", "the shell did not expand this pattern: write it without quotes")
    refused(tmp_path / "b*.npz", "there is no such checkpoint, and no file matches this pattern")
