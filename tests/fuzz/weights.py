"""Readers of weights: checkpoints, the ViT's .npz, .pth in both formats, .safetensors with their JSON files."""

import contextlib
import io
import json
import os
import tempfile
from pathlib import Path

import numpy as np

import minast
from minast import pretrained
from minast.pretrained import open_tensors
from minast.pretrained.readers import SafetensorsFile
from tests.golden import pretrained_cases as cases

from . import archives, changes, pickles
from .reader import Reader, digest, same_numbers

GOLDEN = Path(__file__).parents[1] / "golden"
SMALL = minast.ModelConfig(dim=8, depth=2, heads=2, mel_bins=16, frames=48, fstride=16, tstride=16, classes=3)
FEATURES = {"rate": 8000, "mel_bins": 16, "frames": 48, "mean": -5.0, "std": 3.0, "window": "hann"}


def read_checkpoint(folder):
    path = os.path.join(folder, "model.npz")
    model, info = minast.load(path, backend="numpy")
    with np.load(path) as other:
        for name, view in model.w.items():
            same_numbers(name, view, other[f"w/{name}"])
    return digest(model.w.flat, model.config, info)


def read_converted(folder):
    path = os.path.join(folder, "model.npz")
    model, info, _ = pretrained.load(path, backend="numpy")
    with np.load(path) as other:
        for name, view in model.w.items():
            same_numbers(name, view, other[f"w/{name}"])
    return digest(model.w.flat, model.config, info)


def read_vit(folder):
    path = os.path.join(folder, "vit.npz")
    model, _, _ = pretrained.load(path, classes=3, frames=64, mel_bins=64, fstride=16, tstride=16, backend="numpy")
    with np.load(path) as other, open_tensors(path) as file:
        for name in file.shapes:
            with contextlib.suppress(minast.Error):
                same_numbers(name, file.read(name), other[name])
    return digest(model.w.flat, model.config)


def read_pth(folder):
    model, _, _ = pretrained.load(os.path.join(folder, "ast.pth"), heads=2, grid=(12, 3), backend="numpy")
    return digest(model.w.flat, model.config)


def read_hugging_face(folder):
    from safetensors.numpy import load_file

    model, info, report = pretrained.load(folder, backend="numpy")
    for name in os.listdir(folder):
        if name.endswith(".safetensors"):
            other = load_file(os.path.join(folder, name))
            with SafetensorsFile(os.path.join(folder, name)) as file:
                for key, array in other.items():
                    if array.dtype.kind == "f":
                        with contextlib.suppress(minast.Error):
                            same_numbers(key, file.read(key), array)
    return digest(model.w.flat, model.config, info, report.assumed)


def checkpoint_bytes():
    """A small checkpoint in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "model.npz")
        row = {
            "epoch": 1,
            "lr": 1e-3,
            "train_loss": 0.7,
            "train_top1": 0.5,
            "valid_loss": 0.9,
            "accuracy": 0.5,
            "seconds": 1.5,
        }
        notes = {"data": "sounds", "seed": 3, "fold": None, "random_head": False}
        minast.save(
            path, minast.AST(SMALL, "numpy", seed=1), ["rain", "dog, barking", "é"], FEATURES, "ce", [row], notes
        )
        return Path(path).read_bytes()


def safetensors_bytes(arrays):
    """A .safetensors in memory."""
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "x.safetensors")
        cases.write_safetensors(path, arrays)
        return Path(path).read_bytes()


def weights():
    """Readers of weights and checkpoints."""
    free, checked = True, False
    zipped = [
        (changes.plain, checked),
        (archives.zip_of_arrays, free),
        (archives.zip_of_arrays, free),
        (archives.zip_of_arrays, free),
    ]
    own, vit = checkpoint_bytes(), io.BytesIO()
    np.savez(vit, **cases.to_jax(cases.vit_weights(), cases.VIT["heads"]))
    pth = (GOLDEN / "pretrained" / "ast.pth").read_bytes()
    arrays = cases.to_hf(cases.ast_weights(), "audio_spectrogram_transformer.", True)
    folder = GOLDEN / "pretrained" / "hf_ast"
    files = {name: (folder / name).read_bytes() for name in ("config.json", "preprocessor_config.json")}
    names, split, where = list(arrays), {}, {}
    for k in range(2):
        part = f"model-{k + 1:05d}-of-00002.safetensors"
        split[part] = safetensors_bytes({name: arrays[name] for name in names[k::2]})
        where |= dict.fromkeys(names[k::2], part)
    index = "model.safetensors.index.json"
    split[index] = json.dumps({"metadata": {}, "weight_map": where}).encode()
    header = [(changes.plain, free), (archives.safetensors, free), (archives.safetensors, free)]
    settings = [(archives.json_bytes, free)]
    sides = {"config.json": settings, "preprocessor_config.json": settings}
    return {
        "checkpoint": Reader({"model.npz": own}, {"model.npz": zipped}, read_checkpoint),
        "converted checkpoint": Reader({"model.npz": own}, {"model.npz": zipped}, read_converted),
        "vit npz": Reader({"vit.npz": vit.getvalue()}, {"vit.npz": zipped}, read_vit),
        "pth": Reader(
            {"ast.pth": pth}, {"ast.pth": [(changes.plain, checked), *[(pickles.pth_zip, free)] * 3]}, read_pth
        ),
        "pth before 1.6": Reader(
            {"ast.pth": pickles.as_stream(pth)},
            {"ast.pth": [(changes.plain, free), *[(pickles.pth_stream, free)] * 3]},
            read_pth,
        ),
        "safetensors": Reader(
            files | {"model.safetensors": safetensors_bytes(arrays)},
            sides | {"model.safetensors": header},
            read_hugging_face,
        ),
        "split safetensors": Reader(
            files | split, sides | {index: settings, "model-00001-of-00002.safetensors": header}, read_hugging_face
        ),
    }
