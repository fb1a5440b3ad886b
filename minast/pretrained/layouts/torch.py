"""Layouts of PyTorch state dicts: timm's names (DeiT, the official AST), Hugging Face's two namings (ViT, DeiT, AST).

In all of them linear weights are (out, in), as in minast: an import is a copy. The official AST is saved under
`module.v.` (DataParallel around a model that has timm's as `v`), with its ImageNet heads still inside, never used.
"""

from dataclasses import dataclass

from ...config import CLASSES
from ...errors import Error
from .base import CHANNELS, Layout, Part, count_blocks, shape_of, size, split_heads


@dataclass(frozen=True)
class Names:
    """How a naming calls what minast's weights are made of; all but the head's begin with `root`."""

    root: str
    patch: str
    positions: str
    cls_token: str
    dist_token: str
    norm: str
    block: str  # blocks are {block}0., {block}1., ...
    layers: dict[str, str]  # inside a block: minast's name (q, k, v where they are separate) -> theirs
    head: tuple[str, str]  # layer norm, linear layer


TIMM_ROOTS = ("module.v.", "v.", "module.", "")
TIMM_LAYERS = {name: name for name in ("norm1", "attn.qkv", "attn.proj", "norm2", "mlp.fc1", "mlp.fc2")}
HF_ROOTS = ("audio_spectrogram_transformer.", "vit.", "deit.", "")
HF_OLD = {  # inside encoder.layer.i., as files on the Hub have it
    "norm1": "layernorm_before", "q": "attention.attention.query", "k": "attention.attention.key",
    "v": "attention.attention.value", "attn.proj": "attention.output.dense", "norm2": "layernorm_after",
    "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense",
}  # fmt: skip
HF_NEW = HF_OLD | {  # inside layers.i., transformers 5's names in memory
    "q": "attention.q_proj", "k": "attention.k_proj", "v": "attention.v_proj", "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip


def timm_layout(file, heads=None):
    """-> Layout of a DeiT, a timm ViT or an official AST, or None if the names are others."""
    root = next((root for root in TIMM_ROOTS if root + "patch_embed.proj.weight" in file), None)
    if root is None:
        return None
    outer = root.removesuffix("v.")
    names = Names(
        root=root,
        patch="patch_embed.proj",
        positions="pos_embed",
        cls_token="cls_token",
        dist_token="dist_token",
        norm="norm",
        block="blocks.",
        layers=TIMM_LAYERS,
        head=(outer + "mlp_head.0", outer + "mlp_head.1"),
    )
    layout = _layout(file, names, heads)
    model = "an AST" if layout.audio else "a distilled DeiT" if layout.prefix_tokens == 2 else "a ViT"
    layout.kind = f"{model} with timm's names"
    return layout


def hf_layout(file, heads=None):
    """-> Layout of a Hugging Face ViT, DeiT or AST, in its naming on disk or in memory; None for other names."""
    root = next((root for root in HF_ROOTS if root + "embeddings.patch_embeddings.projection.weight" in file), None)
    if root is None:
        return None
    old = f"{root}encoder.layer.0.layernorm_before.weight" in file
    names = Names(
        root=root,
        patch="embeddings.patch_embeddings.projection",
        positions="embeddings.position_embeddings",
        cls_token="embeddings.cls_token",
        dist_token="embeddings.distillation_token",
        norm="layernorm",
        block="encoder.layer." if old else "layers.",
        layers=HF_OLD if old else HF_NEW,
        head=("classifier.layernorm", "classifier.dense"),
    )
    layout = _layout(file, names, heads)
    model = "AST" if layout.audio else "DeiT" if layout.prefix_tokens == 2 else "ViT"
    layout.kind = f"a Hugging Face {model}, {'encoder.layer.*' if old else 'layers.*'} names"
    layout.eps = layout.head_eps = 1e-12  # their default for both; a config.json overrides it
    return layout


def _layout(file, names, heads):
    """-> Layout without its kind; sizes from the shapes"""
    filters, rows = _shapes(file, names)
    D, at = size(file, "dim", filters[0]), names.root
    prefix = 2 if at + names.dist_token in file else 1
    layout = Layout(
        kind="a state dict",
        dim=D,
        depth=count_blocks(file, at + names.block, f".{names.layers['norm1']}.weight"),
        heads=split_heads(file, D, heads),
        prefix_tokens=prefix,
        patch=Part(f"{at}{names.patch}.weight", filters),
        positions=Part(at + names.positions, (1, rows, D), lambda x: x[0]),
        position_prefix=prefix,
        head=names.head[1] + ".weight" in file,
        audio=filters[1] == 1 and prefix == 2,  # one channel, two prefix tokens: an AST; images have three channels
    )
    if heads is None:
        layout.assumed.append(f"{layout.heads} heads, each 64 wide as in all published models (see heads=, --heads)")
    tokens = {"cls_token": names.cls_token, "dist_token": names.dist_token}
    for own, theirs in list(tokens.items())[:prefix]:
        layout.parts[own] = [Part(at + theirs, (1, 1, D), lambda x: x.reshape(-1))]
    layout.parts |= _pair("patch_embed.proj", [at + names.patch], (D,), weight=False)
    for i in range(layout.depth):
        layout.parts |= _block(f"blocks.{i}.", f"{at}{names.block}{i}.", names.layers, D)
    layout.parts |= _pair("norm", [at + names.norm], (D,))
    if layout.head:
        norm, linear = names.head
        layout.classes = size(file, "classes", (shape_of(file, linear + ".weight") or (0,))[0], CLASSES)
        layout.parts |= _pair("mlp_head.0", [norm], (D,)) | _pair("mlp_head.1", [linear], (layout.classes, D))
    return layout


def _shapes(file, names):
    """-> (shape of the patch filters (D, channels, 16, 16), rows of the positions)"""
    filters = shape_of(file, f"{names.root}{names.patch}.weight")
    if len(filters) != 4 or filters[2:] != (16, 16):
        raise Error(
            f"{file.path}: '{names.root}{names.patch}.weight' is {filters}: minast's patches are 16 x 16, "
            "(D, channels, 16, 16)."
        )
    size(file, "channels", filters[1], CHANNELS)
    positions = shape_of(file, names.root + names.positions)
    if len(positions) != 3 or positions[0] != 1:
        raise Error(
            f"{file.path}: the positions {names.root + names.positions!r} are {positions}: (1, rows, {filters[0]}) is "
            "needed."
        )
    return filters, positions[1]


def _block(own, at, layers, D):
    """Parts of one block's weights."""
    qkv = [at + layers["attn.qkv"]] if "attn.qkv" in layers else [at + layers[which] for which in "qkv"]
    return {
        **_pair(own + "norm1", [at + layers["norm1"]], (D,)),
        **_pair(own + "attn.qkv", qkv, (3 * D // len(qkv), D)),
        **_pair(own + "attn.proj", [at + layers["attn.proj"]], (D, D)),
        **_pair(own + "norm2", [at + layers["norm2"]], (D,)),
        **_pair(own + "mlp.fc1", [at + layers["mlp.fc1"]], (4 * D, D)),
        **_pair(own + "mlp.fc2", [at + layers["mlp.fc2"]], (D, 4 * D)),
    }


def _pair(name, sources, shape, weight=True):
    """Weight and bias of a layer, from an array each or from several that are stacked."""
    out = {f"{name}.weight": [Part(f"{source}.weight", shape) for source in sources]} if weight else {}
    return out | {f"{name}.bias": [Part(f"{source}.bias", shape[:1]) for source in sources]}
