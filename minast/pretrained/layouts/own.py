"""Layout of minast's own checkpoints, as a source of weights for another task."""

from ...checkpoint import check_arrays, config_from, description, info_from
from ...config import PATCH
from ...errors import Error
from ...params import shapes
from ..readers import NpzFile
from ..settings import GEOMETRY, Settings
from .base import Layout, Part


def own_layout(file, heads=None):
    """-> Layout with its settings, or None if `file` is not a minast checkpoint."""
    if not isinstance(file, NpzFile) or "minast" not in file:
        return None
    config, settings = _description(file)
    if heads not in (None, config.heads):
        raise Error(f"{file.path}: the model has {config.heads} heads, not {heads}.")
    parts = {name: [Part(f"w/{name}", shape)] for name, shape in shapes(config).items()}
    del parts["pos_embed"], parts["patch_embed.proj.weight"]
    return Layout(
        kind="a minast checkpoint",
        dim=config.dim,
        depth=config.depth,
        heads=config.heads,
        prefix_tokens=config.prefix_tokens,
        patch=Part("w/patch_embed.proj.weight", (config.dim, PATCH**2), lambda x: x.reshape(-1, 1, PATCH, PATCH)),
        positions=Part("w/pos_embed", (config.tokens, config.dim)),
        position_prefix=config.prefix_tokens,
        parts=parts,
        head=True,
        audio=True,
        classes=config.classes,
        eps=config.encoder_eps,
        head_eps=config.head_eps,
        gelu=config.gelu,
        config=config,
        settings=settings,
    )


def _description(file):
    """-> (ModelConfig, Settings) from the description of the checkpoint, whose arrays must be those that it needs"""
    about = description(file.archive)
    config, info = config_from(file.path, about), info_from(file.path, about)
    check_arrays(file.archive, config)
    random_head = info.notes.get("random_head", False)
    return config, Settings(
        labels=info.labels,
        loss=info.loss,
        features={name: getattr(info.features, name) for name in ("rate", "window", "mean", "std")},
        geometry={name: getattr(config, name) for name in GEOMETRY},
        heads=config.heads,
        gelu=config.gelu,
        random_head=random_head,
        heard=not random_head or _heard(info.notes.get("pretrained")),
    )


def _heard(source):
    """Whether what the weights were converted from was trained on sound.   source: a `Report` as a dictionary"""
    if not isinstance(source, dict):
        return True
    image = any(name in str(source.get("kind")) for name in ("ViT", "DeiT"))  # all that version 0.3 wrote of it
    return source.get("heard", not image) is not False
