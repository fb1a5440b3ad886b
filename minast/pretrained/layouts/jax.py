"""Layout of the official ViT .npz (google-research/vision_transformer), and of its successor big_vision.

Names are paths joined by "/". Kernels are (in, out), attention kernels have separate heads, (D, H, d) in and
(H, d, D) out, and filters are (height, width, channels, D): reshaped first, transposed after.
"""

from ...errors import Error
from .base import CHANNELS, Layout, Part, count_blocks, shape_of, size

NAMES = (  # attention, second norm, MLP: the official repository, then big_vision
    ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3"),
    ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0"),
)
POSITIONS = ("Transformer/posembed_input/pos_embedding", "pos_embedding")


def jax_layout(file, heads=None):
    """-> Layout, or None if the names are others. Sizes and heads are read from the shapes."""
    root = root_of(file)
    if root is None:
        return None
    kernel = _patch_shape(file, root)
    dim = size(file, "dim", kernel[3])
    blocks = root + "Transformer/encoderblock"
    stacked = f"{blocks}/LayerNorm_0/scale" in file  # big_vision with scan=True: one array for all blocks
    if stacked:
        depth = size(file, "depth", (shape_of(file, f"{blocks}/LayerNorm_0/scale") or (0,))[0])
    else:
        depth = count_blocks(file, f"{blocks}_", "/LayerNorm_0/scale")
    first = blocks if stacked else f"{blocks}_0"
    names = NAMES[0] if f"{first}/{NAMES[0][0]}/query/kernel" in file else NAMES[1]
    own_heads, width = _heads(file, f"{first}/{names[0]}/query/kernel", dim, stacked, heads)
    positions, position_prefix = _positions(file, root)
    layout = Layout(
        kind="a ViT .npz" if names is NAMES[0] else "a big_vision ViT .npz",
        dim=dim,
        depth=depth,
        heads=own_heads,
        prefix_tokens=1,
        patch=Part(root + "embedding/kernel", kernel, lambda x: x.transpose(3, 2, 0, 1)),
        positions=Part(positions, shape_of(file, positions), lambda x: x[0]),
        position_prefix=position_prefix,
    )
    layout.parts = {
        "cls_token": [Part(root + "cls", (1, 1, dim), lambda x: x.reshape(-1))],
        "patch_embed.proj.bias": [Part(root + "embedding/bias", (dim,))],
        "norm.weight": [Part(root + "Transformer/encoder_norm/scale", (dim,))],
        "norm.bias": [Part(root + "Transformer/encoder_norm/bias", (dim,))],
    }
    for i in range(depth):
        block = _block(f"{blocks}/" if stacked else f"{blocks}_{i}/", names, dim, own_heads, width)
        for name, parts in block.items():
            if stacked:
                parts = [Part(p.source, (depth, *p.shape), p.arrange, i) for p in parts]
            layout.parts[f"blocks.{i}.{name}"] = parts
    return layout


def root_of(file):
    """What all names begin with: "", "params/", "opt/target/", ...; None for another kind of file."""
    roots = [name.removesuffix("embedding/kernel") for name in file.shapes if name.endswith("embedding/kernel")]
    roots = [root for root in roots if root == "" or root.endswith("/")]
    return min(roots, key=len) if roots else None


def _patch_shape(file, root):
    """-> (16, 16, channels, D); a ViT with other patches, or without [CLS], is refused."""
    kernel = shape_of(file, root + "embedding/kernel")
    if len(kernel) != 4 or kernel[:2] != (16, 16):
        raise Error(
            f"{file.path}: 'embedding/kernel' is {kernel}: minast's patches are 16 x 16, (16, 16, channels, D)."
        )
    size(file, "channels", kernel[2], CHANNELS)
    if root + "cls" not in file:
        raise Error(
            f"{file.path}: this ViT has no {root + 'cls'!r} token (it pools in another way): one with [CLS] is needed."
        )
    return kernel


def _heads(file, name, dim, stacked, wanted):
    """Heads and their width, from the shape of the query kernel: (D, heads, width)."""
    query = shape_of(file, name)[stacked:]
    if len(query) != 3 or query[0] != dim or query[1] * query[2] != dim:
        raise Error(
            f"{file.path}: the query kernel is {query}, (D, heads, width of a head): for width D = {dim} it must be "
            f"({dim}, H, d) with H d = {dim}."
        )
    if wanted not in (None, query[1]):
        raise Error(f"{file.path}: the query kernel {query} has {query[1]} heads, not {wanted}.")
    return query[1:]


def _positions(file, root):
    """-> (name, rows for [CLS]). In big_vision [CLS] is prepended after the positions are added: it has none."""
    for name, prefix in zip(POSITIONS, (1, 0), strict=True):
        if root + name in file:
            shape = file.shapes[root + name]
            if len(shape) != 3 or shape[0] != 1:
                raise Error(f"{file.path}: the positions {root + name!r} are {shape}: (1, rows, D) is needed.")
            return root + name, prefix
    raise Error(f"{file.path}: the array {root + POSITIONS[0]!r} is missing.")


def _block(at, names, D, H, d):
    """Parts of one block's weights, by minast's names."""
    attention, norm2, mlp = (at + name for name in names)
    flat, columns = (lambda x: x.reshape(-1)), (lambda x: x.T)
    query = [f"{attention}/{which}" for which in ("query", "key", "value")]
    return {
        "norm1.weight": [Part(f"{at}LayerNorm_0/scale", (D,))],
        "norm1.bias": [Part(f"{at}LayerNorm_0/bias", (D,))],
        "attn.qkv.weight": [Part(f"{name}/kernel", (D, H, d), lambda x: x.reshape(len(x), -1).T) for name in query],
        "attn.qkv.bias": [Part(f"{name}/bias", (H, d), flat) for name in query],
        "attn.proj.weight": [Part(f"{attention}/out/kernel", (H, d, D), lambda x: x.reshape(-1, x.shape[-1]).T)],
        "attn.proj.bias": [Part(f"{attention}/out/bias", (D,))],
        "norm2.weight": [Part(f"{norm2}/scale", (D,))],
        "norm2.bias": [Part(f"{norm2}/bias", (D,))],
        "mlp.fc1.weight": [Part(f"{mlp}/Dense_0/kernel", (D, 4 * D), columns)],
        "mlp.fc1.bias": [Part(f"{mlp}/Dense_0/bias", (4 * D,))],
        "mlp.fc2.weight": [Part(f"{mlp}/Dense_1/kernel", (4 * D, D), columns)],
        "mlp.fc2.bias": [Part(f"{mlp}/Dense_1/bias", (D,))],
    }
