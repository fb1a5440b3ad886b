"""Filling a new model's weights from a file: copied, adapted or fresh. Each step tells the report what it did."""

import numpy as np

from .. import init
from .adapt import adapt_positions, merge_rgb
from .layouts import fetch, fill

POSITIONS = ("cut", "interpolate", "fresh")  # how a file's positions become those of another grid


def copy_weights(model, file, layout, keep, report):
    """Everything that stays as it is: prefix tokens, blocks, norms, and the head if it is kept."""
    for name, parts in layout.parts.items():
        if keep or not name.startswith("mlp_head."):
            fill(model.w[name], file, parts, model.xp)
            report.taken.append(name)


def copy_patches(model, file, layout, rgb, report):
    """Patch filters, with the colours merged."""
    name, filters = "patch_embed.proj.weight", fetch(file, layout.patch)
    merged = merge_rgb(filters.astype(np.float32, copy=False), rgb)
    model.w[name][...] = model.xp.asarray(merged, model.dtype)
    if filters.shape[1] == 1:
        report.taken.append(name)
    else:
        report.changed[name] = f"{filters.shape[1]} colour channels to one, by {rgb}"


def copy_positions(model, file, layout, grid, how, seed, report):
    """Positions for the new model's grid, as `how`, one of POSITIONS, says."""
    name, prefix, new = "pos_embed", layout.position_prefix, model.config.grid
    if how == "fresh":
        rows = 0.02 * np.random.default_rng(seed).standard_normal(model.w[name].shape)  # as AST begins without a ViT
        model.w[name][...] = model.xp.asarray(rows, model.dtype)
        report.fresh.append(name)
        return
    pos = fetch(file, layout.positions).astype(np.float32, copy=False)
    out = adapt_positions(pos, prefix, grid, new, cut=how == "cut")
    shorter = "cut" if how == "cut" else "interpolated"
    done = [
        f"{axis} {a} -> {b} ({shorter if b < a else 'stretched'})"
        for axis, a, b in zip(("frequency", "time"), grid, new, strict=True)
        if a != b
    ]
    if prefix < layout.prefix_tokens:  # tokens that never had a position: adding zero is the same
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
    """A new head, random by `seed`: its scores mean nothing until it is trained."""
    c = model.config
    for name, values in init.head(c.classes, c.dim, np.random.default_rng(seed)).items():
        model.w[name][...] = model.xp.asarray(values, model.dtype)
        report.fresh.append(name)
