"""The whole way: a file of some format -> an AST, one step a line."""

import os
from collections import Counter

import numpy as np

from .. import init
from ..config import ModelConfig, grid_shape
from ..errors import Error
from ..model import AST
from .adapt import adapt_positions, merge_rgb, square_grid
from .describe import describe, heard
from .layouts.jax import jax_layout
from .layouts.layout import fetch, fill
from .layouts.own import own_layout
from .layouts.torch import hf_layout, timm_layout
from .readers.npz import NpzFile
from .readers.pth import PthFile
from .readers.safetensors import SafetensorsFile
from .report import Report
from .settings import Settings, geometry_of, official_grid, read_labels, settings_beside

GEOMETRY = ("mel_bins", "frames", "fstride", "tstride")


def from_pretrained(path, **options):
    """-> AST with the weights of a pretrained ViT, DeiT or AST; what was done is in `model.report`.

    Options: those of `load`, as classes=10, frames=512, rgb="sum", backend="fast".
    """
    return load(path, **options)[0]


def load(
    path, *, classes=None, labels=None, fresh_head=False, loss=None, frames=None, fstride=None, tstride=None,
    mel_bins=None, rgb="sum", gelu=None, heads=None, source_grid=None, seed=0, backend=None, dtype="float32",
):  # fmt: skip
    """-> (model, Info, Report).

    path: the official ViT .npz (also big_vision's), a DeiT or official AST .pth, a Hugging Face ViT, DeiT or AST
        (.safetensors or .bin, or its folder with config.json), or a minast checkpoint.
    classes, labels: of the head; labels are names, or a file of them. The source's own head is kept if it has as many
        classes, or if neither is given; else, or with fresh_head, a new one is drawn by `seed`.
    loss: "bce" or "ce", how the head is to be read; default: as the source says or is known to have been trained.
    frames, fstride, tstride, mel_bins: of the new model; default: the source's, for a ViT 1024, 10, 10 and 128.
    rgb: "sum" or "mean", see `merge_rgb`.
    gelu: "erf" or "tanh"; default: the config.json's, else "erf". Google's ViTs were trained with "tanh" (flax's
        default); the two differ by less than 5e-4, and timm runs those weights, as the official AST does, with "erf".
    heads: where the file does not tell; default: heads of width 64.
    source_grid: (rows, columns) of the source's positions, where neither a square nor a published AST's is right.
    Raises minast.Error where anything is missing, misshapen, not finite, or would have to be guessed.
    """
    if loss not in (None, "bce", "ce"):
        raise Error(f'loss is {loss!r}: it must be "bce" or "ce".')
    if not isinstance(seed, (int, np.integer)) or seed < 0:
        raise Error(f"seed is {seed!r}: it must be a whole number of at least 0.")
    labels = read_labels(labels) if isinstance(labels, (str, os.PathLike)) else labels
    twice = [name for name, times in Counter([] if labels is None else labels).items() if times > 1]
    if twice:
        raise Error(f"the labels name {twice[0]!r} more than once: a class has a name of its own.")
    with open_tensors(path) as file:
        layout, settings = identify(file, heads)
        layout.check(file)
        keep = keeps_head(layout, classes, labels, fresh_head)
        wanted = dict(zip(GEOMETRY, (mel_bins, frames, fstride, tstride), strict=True))
        geometry, grid = find_grid(file.path, layout, settings, source_grid)
        config = ModelConfig(
            dim=layout.dim,
            depth=layout.depth,
            heads=layout.heads,
            classes=_classes(file.path, layout, classes, labels, keep),
            prefix_tokens=layout.prefix_tokens,
            encoder_eps=layout.eps if settings.eps is None else settings.eps,
            head_eps=(layout.head_eps if settings.eps is None else settings.eps) if keep else ModelConfig.head_eps,
            gelu=gelu or settings.gelu or layout.gelu,
            **{name: geometry[name] if value is None else value for name, value in wanted.items()},
        )
        model = AST(config, backend=backend, seed=None, dtype=dtype)
        report = Report(os.path.basename(os.path.normpath(path)), layout.kind)
        copy_weights(model, file, layout, keep, report)
        copy_patches(model, file, layout, rgb, report)
        copy_positions(model, file, layout, grid, report)
        if not keep:
            make_head(model, seed, report)
        report.ignored = [name for name in layout.ignored(file) if name != "minast"]
    model.report = report
    return model, describe(config, layout, settings, keep, labels, loss, report), report


# -- opening -------------------------------------------------------------------------------------------------------


def open_tensors(path):
    """The reader that fits the content, whatever the file is called; of a Hugging Face folder, its weights."""
    path = os.fspath(path)
    if os.path.isdir(path):
        path = _weights_in(path)
    try:
        with open(path, "rb") as f:
            start = f.read(9)
    except OSError as error:
        raise Error(f"{path}: this cannot be opened: {error.strerror or error}.") from None
    if start[:2] == b"PK":
        return NpzFile(path) if _is_npz(path) else PthFile(path)
    if start[:1] == b"\x80":
        return PthFile(path)
    if start[8:] == b"{":
        return SafetensorsFile(path)
    known = ".npz (ViT, minast), .pth (DeiT, AST) and .safetensors (Hugging Face)"
    raise Error(f"{path}: this file of {os.path.getsize(path)} bytes has none of the formats that are read: {known}.")


def _is_npz(path):
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            return not any(name.rpartition("/")[2] == "data.pkl" for name in archive.namelist())
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return path.lower().endswith(".npz")  # the reader says what is wrong with it


def _weights_in(folder):
    for name in ("model.safetensors", "pytorch_model.bin"):
        if os.path.exists(os.path.join(folder, name)):
            return os.path.join(folder, name)
    split = [name for name in os.listdir(folder) if name.endswith(".index.json")]
    hint = f" (the weights are split, see {split[0]}, which is not read)" if split else ""
    raise Error(
        f"{folder}: there is no model.safetensors or pytorch_model.bin in this folder{hint}: give the file itself."
    )


def audio_features(path):
    """The FeatureConfig that an audio model's weights expect, its frames at the default; None for an image model."""
    with open_tensors(path) as file:
        return heard(*identify(file))


def identify(file, heads=None):
    """-> (the Layout whose names the file has, Settings from inside it or from the .json files beside it)"""
    settings = settings_beside(file.path) if isinstance(file, (SafetensorsFile, PthFile)) else Settings()
    layout = recognise(file, settings.heads if heads is None else heads)
    return layout, file.settings or settings


def recognise(file, heads=None):
    """The Layout whose names the file has."""
    for layout in (own_layout, jax_layout, timm_layout, hf_layout):
        found = layout(file, heads)
        if found is not None:
            return found
    some = ", ".join(list(file.shapes)[:3]) or "nothing"
    raise Error(
        f"{file.path}: these are not the weights of a ViT, DeiT or AST that is known here (it holds {some}, ...)."
    )


# -- decisions -----------------------------------------------------------------------------------------------------


def keeps_head(layout, classes, labels, fresh_head):
    """Whether the file's own head stays."""
    asked = len(labels) if labels is not None else classes
    return layout.head and not fresh_head and asked in (None, layout.classes)


def _classes(path, layout, classes, labels, keep):
    if labels is not None and classes not in (None, len(labels)):
        raise Error(f"there are {len(labels)} labels for {classes} classes.")
    if classes is None and labels is None and not layout.head:
        raise Error(
            f"{path}: {layout.kind} brings no audio head: say how many classes the new one has (classes=, --classes)."
        )
    return layout.classes if keep else classes or (len(labels) if labels else layout.classes)


def find_grid(path, layout, settings, given=None):
    """Where the source's positions lie.   -> (mel bins, frames and strides that they stand for, (rows, columns))

    As `given`, else as the source's settings say, else by their count: an image model's are a square. It leaves mel
    bins, frames and strides to the caller: AST base's, if nothing else is asked for.
    """
    rows, prefix = layout.positions.shape[-2], layout.position_prefix
    geometry, why = {name: getattr(ModelConfig, name) for name in GEOMETRY}, "as they were said to lie"
    try:
        if given is not None:
            grid = _pair(given)
            geometry = geometry_of(grid) if layout.audio else geometry
        elif not layout.audio:
            grid = square_grid(rows, prefix)
        elif len(settings.geometry) == len(GEOMETRY):
            geometry, grid = settings.geometry, grid_shape(**settings.geometry)
            why = "as {frames} frames of {mel_bins} mel bins at strides {fstride} and {tstride} make them".format(
                **geometry
            )
        else:
            grid = official_grid(rows - prefix)
            geometry = geometry_of(grid)
    except Error as error:
        raise Error(f"{path}: {error}") from None
    if rows != prefix + grid[0] * grid[1]:
        raise Error(
            f"{path}: the positions have {rows} rows, not {prefix} + {grid[0]} x {grid[1]} = "
            f"{prefix + grid[0] * grid[1]}, {why}."
        )
    return geometry, grid


def _pair(grid):
    """(rows, columns), if that is what was given."""
    if not isinstance(grid, (tuple, list)) or len(grid) != 2 or not all(isinstance(n, int) and n > 0 for n in grid):
        raise Error(f"source_grid is {grid!r}: it must be two whole numbers above 0, (rows, columns).")
    return tuple(grid)


# -- weights -------------------------------------------------------------------------------------------------------


def copy_weights(model, file, layout, keep, report):
    """Everything that stays as it is: prefix tokens, blocks, norms, and the head if it is kept."""
    for name, parts in layout.parts.items():
        if keep or not name.startswith("mlp_head."):
            fill(model.w[name], file, parts, model.xp)
            report.taken.append(name)


def copy_patches(model, file, layout, rgb, report):
    """Patch filters, their colours merged."""
    name, filters = "patch_embed.proj.weight", fetch(file, layout.patch)
    merged = merge_rgb(filters.astype(np.float32, copy=False), rgb)
    model.w[name][...] = model.xp.asarray(merged, model.dtype)
    if filters.shape[1] == 1:
        report.taken.append(name)
    else:
        report.changed[name] = f"{filters.shape[1]} colour channels to one, by {rgb}"


def copy_positions(model, file, layout, grid, report):
    """Positions, brought to the new model's grid."""
    name, prefix, new = "pos_embed", layout.position_prefix, model.config.grid
    pos = fetch(file, layout.positions).astype(np.float32, copy=False)
    out = adapt_positions(pos, prefix, grid, new)
    done = [
        f"{axis} {a} -> {b} ({'cut' if b < a else 'stretched'})"
        for axis, a, b in zip(("frequency", "time"), grid, new, strict=True)
        if a != b
    ]
    if prefix < layout.prefix_tokens:  # tokens that were never given a position: adding zero is the same
        out = np.concatenate([np.zeros((layout.prefix_tokens - prefix, out.shape[1]), out.dtype), out])
        done.append("[CLS], which has no position in this file, at zero")
    model.w[name][...] = model.xp.asarray(out, model.dtype)
    if done:
        report.changed[name] = (
            f"{layout.prefix_tokens} prefix + {grid[0]} x {grid[1]} -> {new[0]} x {new[1]}: {', '.join(done)}"
        )
    else:
        report.taken.append(name)


def make_head(model, seed, report):
    """A new head, random by `seed`: it has to be trained before its scores mean anything."""
    c = model.config
    for name, values in init.head(c.classes, c.dim, np.random.default_rng(seed)).items():
        model.w[name][...] = model.xp.asarray(values, model.dtype)
        report.fresh.append(name)
