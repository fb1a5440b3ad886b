"""Layout of minast's own checkpoints, as a source of weights for another task."""

import json
from dataclasses import fields

from ...config import PATCH, ModelConfig
from ...errors import Error
from ..settings import Settings
from .layout import Layout, Part


def own_layout(file, heads=None):
    """-> Layout, or None if `file` is no minast checkpoint. Its settings go to `file.settings`."""
    if "minast" not in file or not hasattr(file, "text"):
        return None
    from ...params import shapes

    about, config = _description(file)
    if heads not in (None, config.heads):
        raise Error(f"{file.path}: the model has {config.heads} heads, not {heads}.")
    D, K = config.dim, config.classes
    parts = {name: [Part(f"w/{name}", shape)] for name, shape in shapes(config).items()}
    del parts["pos_embed"], parts["patch_embed.proj.weight"]
    layout = Layout(
        kind="a minast checkpoint",
        dim=D,
        depth=config.depth,
        heads=config.heads,
        prefix_tokens=config.prefix_tokens,
        patch=Part("w/patch_embed.proj.weight", (D, PATCH * PATCH), lambda x: x.reshape(-1, 1, PATCH, PATCH)),
        positions=Part("w/pos_embed", (config.tokens, D)),
        position_prefix=config.prefix_tokens,
        parts=parts,
        head=True,
        audio=True,
        classes=K,
        eps=config.encoder_eps,
        head_eps=config.head_eps,
        gelu=config.gelu,
    )
    geometry = {name: getattr(config, name) for name in ("mel_bins", "frames", "fstride", "tstride")}
    file.settings = Settings(
        labels=about.get("labels"),
        loss=about.get("loss"),
        features={k: v for k, v in about.get("features", {}).items() if k in ("rate", "window", "mean", "std")},
        geometry=geometry,
        random_head=bool(about.get("notes", {}).get("random_head")),
    )
    return layout


def _description(file):
    try:
        about = json.loads(file.text("minast"))
        known = {f.name for f in fields(ModelConfig)}
        return about, ModelConfig(**{k: v for k, v in about["model"].items() if k in known})
    except (ValueError, TypeError, KeyError, AttributeError):
        raise Error(f"{file.path}: the description in this checkpoint cannot be read: the file is damaged.") from None
