"""Layouts of PyTorch state dicts: timm's names (DeiT, the official AST), Hugging Face's two namings (ViT, DeiT, AST).

All hold linear weights as (out, in), as minast does: an import is a copy. The official AST is saved under
`module.v.` (DataParallel around a model that holds timm's as `v`), with its ImageNet heads still inside, never used.
"""

from ...errors import Error
from .layout import Layout, Part, count_blocks, shape_of, split_heads

TIMM_ROOTS = ("module.v.", "v.", "module.", "")
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
    names = {"norm1": "norm1", "attn.qkv": "attn.qkv", "attn.proj": "attn.proj", "norm2": "norm2"}
    names |= {"mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    layout = _layout(
        file,
        root=root,
        patch="patch_embed.proj",
        positions="pos_embed",
        tokens={"cls_token": "cls_token", "dist_token": "dist_token"},
        norm="norm",
        block="blocks.",
        names=names,
        head=(outer + "mlp_head.0", outer + "mlp_head.1"),
        heads=heads,
    )
    model = "an AST" if layout.audio else "a distilled DeiT" if layout.prefix_tokens == 2 else "a ViT"
    layout.kind = f"{model} with timm's names"
    return layout


def hf_layout(file, heads=None):
    """-> Layout of a Hugging Face ViT, DeiT or AST, in its naming on disk or in memory; None for other names."""
    root = next((root for root in HF_ROOTS if root + "embeddings.patch_embeddings.projection.weight" in file), None)
    if root is None:
        return None
    old = f"{root}encoder.layer.0.layernorm_before.weight" in file
    layout = _layout(
        file,
        root=root,
        patch="embeddings.patch_embeddings.projection",
        positions="embeddings.position_embeddings",
        tokens={"cls_token": "embeddings.cls_token", "dist_token": "embeddings.distillation_token"},
        norm="layernorm",
        block="encoder.layer." if old else "layers.",
        names=HF_OLD if old else HF_NEW,
        head=("classifier.layernorm", "classifier.dense"),
        heads=heads,
    )
    model = "AST" if layout.audio else "DeiT" if layout.prefix_tokens == 2 else "ViT"
    layout.kind = f"a Hugging Face {model}, {'encoder.layer.*' if old else 'layers.*'} names"
    layout.eps = layout.head_eps = 1e-12  # their default, for both; a config.json is believed over it
    return layout


def _layout(file, root, patch, positions, tokens, norm, block, names, head, heads):
    filters = shape_of(file, f"{root}{patch}.weight")
    if len(filters) != 4 or filters[2:] != (16, 16):
        raise Error(
            f"{file.path}: '{root}{patch}.weight' is {filters}: minast's patches are 16 x 16, (D, channels, 16, 16)."
        )
    D = filters[0]
    rows = shape_of(file, root + positions)
    if len(rows) != 3 or rows[0] != 1:
        raise Error(f"{file.path}: the positions {root + positions!r} are {rows}: (1, rows, {D}) is needed.")
    heads = split_heads(file, D, heads)
    prefix = 2 if root + tokens["dist_token"] in file else 1
    first_norm = f".{names['norm1']}.weight"
    layout = Layout(
        kind="a state dict",
        dim=D,
        depth=count_blocks(file, root + block, first_norm),
        heads=heads,
        prefix_tokens=prefix,
        patch=Part(f"{root}{patch}.weight", filters),
        positions=Part(root + positions, (1, rows[1], D), lambda x: x[0]),
        position_prefix=prefix,
        head=head[1] + ".weight" in file,
        audio=filters[1] == 1 and prefix == 2,  # one channel, two prefix tokens: an AST; images have three
    )
    for token in ("cls_token", "dist_token")[:prefix]:
        layout.parts[token] = [Part(root + tokens[token], (1, 1, D), lambda x: x.reshape(-1))]
    layout.parts |= _pair("patch_embed.proj", [root + patch], (D,), weight=False)
    for i in range(layout.depth):
        at, own = f"{root}{block}{i}.", f"blocks.{i}."
        qkv = [at + names["attn.qkv"]] if "attn.qkv" in names else [at + names[which] for which in "qkv"]
        layout.parts |= _pair(own + "norm1", [at + names["norm1"]], (D,))
        layout.parts |= _pair(own + "attn.qkv", qkv, (3 * D // len(qkv), D))
        layout.parts |= _pair(own + "attn.proj", [at + names["attn.proj"]], (D, D))
        layout.parts |= _pair(own + "norm2", [at + names["norm2"]], (D,))
        layout.parts |= _pair(own + "mlp.fc1", [at + names["mlp.fc1"]], (4 * D, D))
        layout.parts |= _pair(own + "mlp.fc2", [at + names["mlp.fc2"]], (D, 4 * D))
    layout.parts |= _pair("norm", [root + norm], (D,))
    if layout.head:
        layout.classes = shape_of(file, head[1] + ".weight")[0]
        layout.parts |= _pair("mlp_head.0", [head[0]], (D,)) | _pair("mlp_head.1", [head[1]], (layout.classes, D))
    return layout


def _pair(name, sources, shape, weight=True):
    """Weight and bias of one layer, from one array each or from several that are stacked."""
    out = {f"{name}.weight": [Part(f"{source}.weight", shape) for source in sources]} if weight else {}
    return out | {f"{name}.bias": [Part(f"{source}.bias", shape[:1]) for source in sources]}
