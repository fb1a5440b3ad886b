"""The way from a file of pretrained weights to a model: read, recognise, decide, fill, describe."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from ..checkpoint import LABELS, Info
from ..config import CLASSES, TRAINING, FeatureConfig, ModelConfig
from ..errors import Error
from ..model import AST
from ..storage.schema import Whole, checked
from ..text import visible
from .describe import assumed_function, describe, expected_features, read_labels
from .grid import find_grid
from .layouts import recognise
from .readers import NpzFile, open_tensors
from .report import Report
from .settings import GEOMETRY, Settings, settings_beside
from .weights import POSITIONS, copy_patches, copy_positions, copy_weights, make_head


def from_pretrained(path: str | os.PathLike, **options) -> AST:
    """A model with the weights of a pretrained ViT, DeiT or AST; `model.report` says what became of every array.

        model = minast.from_pretrained("ViT-B_16.npz", classes=10, frames=512, backend="fast")
        print(model.report)

    options: as for `minast.pretrained.load`, which also returns labels and feature settings. Raises as it does.
    Source of the adaptation: AST, section 2.2, and the official code (src/models/ast_models.py).
    """
    return load(path, **options)[0]


def load(
    path: str | os.PathLike,
    *,
    classes: int | None = None,
    labels: Sequence[str] | str | os.PathLike | None = None,
    fresh_head: bool = False,
    loss: str | None = None,
    frames: int | None = None,
    fstride: int | None = None,
    tstride: int | None = None,
    mel_bins: int | None = None,
    depth: int | None = None,
    rgb: str = "sum",
    positions: str = "cut",
    gelu: str | None = None,
    heads: int | None = None,
    grid: tuple[int, int] | None = None,
    seed: int = 0,
    backend: str | None = None,
    dtype: str = "float32",
    source_grid: tuple[int, int] | None = None,
) -> tuple[AST, Info, Report]:
    """A model with pretrained weights, what a checkpoint says about it, and what became of every array.

        model, info, report = minast.pretrained.load("ast_folder/")       # a Hugging Face AST with its labels
        minast.save("ast.npz", model, info.labels, info.features, info.loss)

    path: the official ViT .npz (also big_vision's), a DeiT or official AST .pth, a Hugging Face ViT, DeiT or AST
      (.safetensors or .bin, or its folder with config.json), or a minast checkpoint.
    classes, labels: of the head; labels are names, or a file of them (`read_labels`). The source's head is kept if it
      has as many classes, or if neither is given; otherwise, or with fresh_head, a new one is drawn by `seed`.
    loss: "bce" or "ce", how the head's scores are read; default: as the source says or is known to have been trained.
    frames, fstride, tstride, mel_bins: of the new model (a frame is 10 ms); default: the source's, for a ViT 1024, 10,
      10 and 128.
    depth: keep the lowest blocks, this many, and the norm after the last; default: all.
    rgb: "sum" or "mean", see `merge_rgb`.
    positions: for another grid of patches, "cut" takes the middle of an axis that becomes shorter and interpolates one
      that becomes longer (AST); "interpolate" does so with both; "fresh" draws new ones by `seed`.
    gelu: "erf" or "tanh"; default: the config.json's, else "erf". Google's ViTs were trained with "tanh" (flax's
      default); the two differ by less than 5e-4, and timm runs those weights, as does the official AST, with "erf".
    heads: number of attention heads, if the file does not say; default: heads of width 64.
    grid: (rows, columns) of the source's positions, if they are neither a square nor as many as a published AST's.
    backend, dtype: as for AST. source_grid: what `grid` was called in version 0.1.

    What the source does not say and had to be assumed is in `report.assumed`.

    Raises minast.Error if anything is missing, misshapen, not finite, or would have to be guessed.
    """
    if loss not in (None, "bce", "ce"):
        raise Error(f'loss is {loss!r}: it must be "bce" or "ce".')
    if positions not in POSITIONS:
        raise Error(f"positions is {positions!r}: it must be one of {', '.join(POSITIONS)}.")
    seed = checked(TRAINING["seed"], seed, "seed")
    if classes is not None:
        classes = checked(CLASSES, classes, "classes")
    labels = distinct_labels(labels)
    with open_tensors(path) as file:
        layout, settings = identify(file, heads)
        if depth is not None:
            layout, whole = layout.lowest_blocks(checked(Whole(1, layout.depth), depth, "depth")), layout.depth
            fresh_head = fresh_head or depth < whole  # the file's head is for what its last block says
        layout.check(file)
        keep = keeps_head(layout, classes, labels, fresh_head)
        geometry, grid, assumed = find_grid(file.path, layout, settings, source_grid if grid is None else grid)
        wanted = dict(zip(GEOMETRY, (mel_bins, frames, fstride, tstride), strict=True))
        config = replace(
            layout.config or ModelConfig(),  # a field that only minast has is kept
            dim=layout.dim,
            depth=layout.depth,
            heads=layout.heads,
            classes=number_of_classes(file.path, layout, classes, labels, keep),
            prefix_tokens=layout.prefix_tokens,
            encoder_eps=layout.eps if settings.eps is None else settings.eps,
            head_eps=(layout.head_eps if settings.eps is None else settings.eps) if keep else ModelConfig.head_eps,
            gelu=gelu or settings.gelu or layout.gelu,
            **{name: geometry[name] if value is None else value for name, value in wanted.items()},
        )
        model = AST(config, backend=backend, seed=None, dtype=dtype)
        report = Report(os.path.basename(os.path.normpath(path)), layout.kind, heard=layout.audio and settings.heard)
        report.assumed += [*file.notes, *layout.assumed, *assumed, *assumed_function(config, layout, settings, gelu)]
        copy_weights(model, file, layout, keep, report)
        copy_patches(model, file, layout, rgb, report)
        copy_positions(model, file, layout, grid, positions, seed, report)
        if not keep:
            make_head(model, seed, report)
        report.ignored = [name for name in layout.ignored(file) if name != "minast"]
    model.report = report
    return model, describe(config, layout, settings, keep, labels, loss, report), report


def audio_features(path: str | os.PathLike) -> FeatureConfig | None:
    """The features that the weights at `path` were trained on, `frames` at its default; None for an image model.

        minast.pretrained.audio_features("ast_folder/").rate     # 16000 Hz

    Reads names, shapes and settings only. Raises minast.Error if the file is not one that `load` reads.
    """
    with open_tensors(path) as file:
        return expected_features(*identify(file))


# -- decisions -----------------------------------------------------------------------------------------------------


def identify(file, heads=None):
    """-> (the Layout whose names the file has, Settings from inside it or from the .json files beside it)"""
    beside = Settings() if isinstance(file, NpzFile) else settings_beside(file.path)
    layout = recognise(file, beside.heads if heads is None else heads)
    return layout, layout.settings or beside


def distinct_labels(labels):
    """A list of names, read from a file if `labels` is a path; None stays None."""
    if labels is None:
        return None
    labels = read_labels(labels) if isinstance(labels, (str, os.PathLike)) else list(labels)
    twice = [name for name, times in Counter(map(str, labels)).items() if times > 1]
    if twice:
        raise Error(
            f"the label {visible(twice[0], 80)!r} is given more than once: every class needs a name of its own."
        )
    return checked(LABELS, labels, "labels")


def keeps_head(layout, classes, labels, fresh_head):
    """Whether the file's own head is kept."""
    asked = len(labels) if labels is not None else classes
    return layout.head and not fresh_head and asked in (None, layout.classes)


def number_of_classes(path, layout, classes, labels, keep):
    """Classes of the new model's head."""
    if labels is not None and classes not in (None, len(labels)):
        raise Error(f"there are {len(labels)} labels for {classes} classes.")
    if classes is None and labels is None and not layout.head:
        raise Error(
            f"{path}: {layout.kind} has no audio head: say how many classes the new one needs (classes=, --classes)."
        )
    return layout.classes if keep else classes or (len(labels) if labels else layout.classes)
