"""Checkpoints: what goes in comes out, and what is damaged or foreign is refused with a sentence."""

import json
import zipfile
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
    refused(tmp_path / "c.npz", "this is not a .npz file: it is empty or has another format")
    (tmp_path / "d.npz").touch()
    refused(tmp_path / "d.npz", "this is not a .npz file: it is empty")


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
        (about(labels=None), "labels do not match its 3 classes"),
        (about(model={"dim": 7, "heads": 3}), "multiple of the heads"),
        (about(model={"colour": 3}), "colour"),
        (about(features=None), "FeatureConfig"),
    ]:
        path.write_bytes(whole)
        rewritten(path, change)
        refused(path, match)


def test_save_refuses(tmp_path):
    model = minast.AST(CONFIG)
    with pytest.raises(minast.Error, match="2 distinct labels for the model's 3"):
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
