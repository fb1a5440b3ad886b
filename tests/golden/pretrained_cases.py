"""Small models whose weights come from a seed, and the layouts that the world saves them in. NumPy alone.

Shared by make_pretrained.py, which loads the weights into other people's code and keeps what that code answers, and by
the tests, which write them to files of each layout and compare. Weights are whole multiples of 2^-9 up to 1/4 (those of
layer norms: of 2^-6 around 1), exact in float16 and bfloat16: one answer fits files of every precision.
"""

import json
import zlib

import numpy as np

AST = {"dim": 32, "depth": 2, "heads": 2, "mel_bins": 64, "frames": 96, "fstride": 10, "tstride": 12, "classes": 7}
VIT = {"dim": 32, "depth": 3, "heads": 4, "side": 64}  # a 4 x 4 grid of 16 x 16 patches
DEIT = {"dim": 16, "depth": 1, "heads": 2, "grid": 5, "frames": 100, "mel_bins": 48, "stride": 10}
OFFICIAL = {"dim": 16, "depth": 1, "heads": 2, "frames": 36, "classes": 5}  # 12 x 3 patches, strides 10, 128 mel bins
LABELS = ["rain", "dog, barking", "Sirène", "engine", "clock", "laughter", "wind"]
GRIDS = [  # a ViT's or an AST's grid, another one: cut and stretched, in both axes, odd and even
    ((24, 24), (12, 101)), ((24, 24), (12, 50)), ((24, 24), (12, 9)), ((14, 14), (12, 101)), ((14, 14), (20, 31)),
    ((37, 37), (8, 64)), ((12, 101), (12, 50)), ((12, 101), (16, 33)), ((12, 12), (12, 101)), ((7, 5), (9, 13)),
    ((4, 4), (8, 3)),
]  # fmt: skip


def numbers(name, shape, scale=0.25):
    """Uniform in +-scale on a grid of 2^-9, by the name: independent of every other array."""
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    step = 2.0**-9
    return (np.round(scale * (2 * rng.random(shape) - 1) / step) * step).astype(np.float32)


def weights(dim, depth, patches, prefix=2, channels=1, classes=None):
    """A model by timm's names: {name: array}, with biases that are not zero, since zeros hide mistakes."""
    D = dim
    shapes = {"cls_token": (1, 1, D), "pos_embed": (1, prefix + patches, D)}
    if prefix == 2:
        shapes["dist_token"] = (1, 1, D)
    shapes |= {"patch_embed.proj.weight": (D, channels, 16, 16), "patch_embed.proj.bias": (D,)}
    for i in range(depth):
        for layer, shape in (
            ("attn.qkv", (3 * D, D)),
            ("attn.proj", (D, D)),
            ("mlp.fc1", (4 * D, D)),
            ("mlp.fc2", (D, 4 * D)),
        ):
            shapes |= {f"blocks.{i}.{layer}.weight": shape, f"blocks.{i}.{layer}.bias": shape[:1]}
        for norm in ("norm1", "norm2"):
            shapes |= {f"blocks.{i}.{norm}.weight": (D,), f"blocks.{i}.{norm}.bias": (D,)}
    shapes |= {"norm.weight": (D,), "norm.bias": (D,)}
    if classes:
        shapes |= {"mlp_head.0.weight": (D,), "mlp_head.0.bias": (D,)}
        shapes |= {"mlp_head.1.weight": (classes, D), "mlp_head.1.bias": (classes,)}
    out = {name: numbers(name, shape) for name, shape in shapes.items()}
    for name in out:
        if name.endswith("weight") and out[name].ndim == 1:
            out[name] = 1 + np.round(64 * out[name]) / 64  # of a layer norm
    return out


def ast_weights():
    rows, columns = (AST["mel_bins"] - 16) // AST["fstride"] + 1, (AST["frames"] - 16) // AST["tstride"] + 1
    return weights(AST["dim"], AST["depth"], rows * columns, classes=AST["classes"])


def vit_weights():
    return weights(VIT["dim"], VIT["depth"], 16, prefix=1, channels=3)


def deit_weights():
    """With the two ImageNet heads that such a file has."""
    w = weights(DEIT["dim"], DEIT["depth"], DEIT["grid"] ** 2, channels=3)
    for head in ("head", "head_dist"):
        w |= {f"{head}.weight": numbers(head, (4, DEIT["dim"])), f"{head}.bias": numbers(head, (4,))}
    return w


def official_weights():
    """An official AST's state dict: DataParallel around a model with timm's as `v`, ImageNet heads included."""
    w = weights(OFFICIAL["dim"], OFFICIAL["depth"], 36, classes=OFFICIAL["classes"])
    for head in ("head", "head_dist"):
        w |= {f"{head}.weight": numbers(head, (4, OFFICIAL["dim"])), f"{head}.bias": numbers(head, (4,))}
    return {("module." if name.startswith("mlp_head") else "module.v.") + name: x for name, x in w.items()}


def spectrogram(clips, frames, mel_bins):
    return numbers(f"spectrogram {clips} {frames} {mel_bins}", (clips, frames, mel_bins), 1.0)


# -- layouts -------------------------------------------------------------------------------------------------------


def to_hf(w, root, old):
    """Hugging Face's names: on disk (`encoder.layer.*`), or in memory since transformers 5 (`layers.*`)."""
    plain = {
        "cls_token": "embeddings.cls_token", "dist_token": "embeddings.distillation_token",
        "pos_embed": "embeddings.position_embeddings", "norm.weight": "layernorm.weight", "norm.bias": "layernorm.bias",
        "patch_embed.proj.weight": "embeddings.patch_embeddings.projection.weight",
        "patch_embed.proj.bias": "embeddings.patch_embeddings.projection.bias",
    }  # fmt: skip
    layers = {"norm1": "layernorm_before", "norm2": "layernorm_after"}
    if old:
        qkv = [f"attention.attention.{name}" for name in ("query", "key", "value")]
        layers |= {"attn.proj": "attention.output.dense", "mlp.fc1": "intermediate.dense", "mlp.fc2": "output.dense"}
    else:
        qkv = ["attention.q_proj", "attention.k_proj", "attention.v_proj"]
        layers |= {"attn.proj": "attention.o_proj", "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2"}
    out = {}
    for name, x in w.items():
        if name.startswith("mlp_head."):
            out[name.replace("mlp_head.0", "classifier.layernorm").replace("mlp_head.1", "classifier.dense")] = x
        elif name.startswith("blocks."):
            _, i, rest = name.split(".", 2)
            layer, _, kind = rest.rpartition(".")
            at = root + (f"encoder.layer.{i}." if old else f"layers.{i}.")
            if layer == "attn.qkv":
                for part, third in zip(qkv, np.split(x, 3), strict=True):
                    out[f"{at}{part}.{kind}"] = third
            else:
                out[f"{at}{layers[layer]}.{kind}"] = x
        else:
            out[root + plain[name]] = x
    return out


def to_jax(w, heads, style="official"):
    """The official ViT .npz; style "big_vision" or "stacked" for its successor's, where [CLS] has no position."""
    D = w["cls_token"].shape[-1]
    attention, norm2, mlp = (
        ("MultiHeadDotProductAttention_1", "LayerNorm_2", "MlpBlock_3")
        if style == "official"
        else ("MultiHeadDotProductAttention_0", "LayerNorm_1", "MlpBlock_0")
    )
    out = {
        "cls": w["cls_token"],
        "embedding/kernel": w["patch_embed.proj.weight"].transpose(2, 3, 1, 0),
        "embedding/bias": w["patch_embed.proj.bias"],
        "Transformer/encoder_norm/scale": w["norm.weight"],
        "Transformer/encoder_norm/bias": w["norm.bias"],
    }
    if style == "official":
        out["Transformer/posembed_input/pos_embedding"] = w["pos_embed"]
    else:
        out["pos_embedding"] = w["pos_embed"][:, 1:]
        out["cls"] = w["cls_token"] + w["pos_embed"][:, :1]
    blocks = []
    for i in range(sum(name.endswith("norm1.weight") for name in w)):
        b = {name.removeprefix(f"blocks.{i}."): x for name, x in w.items() if name.startswith(f"blocks.{i}.")}
        block = {"LayerNorm_0/scale": b["norm1.weight"], "LayerNorm_0/bias": b["norm1.bias"]}
        block |= {f"{norm2}/scale": b["norm2.weight"], f"{norm2}/bias": b["norm2.bias"]}
        for k, name in enumerate(("query", "key", "value")):
            block[f"{attention}/{name}/kernel"] = np.split(b["attn.qkv.weight"], 3)[k].T.reshape(D, heads, D // heads)
            block[f"{attention}/{name}/bias"] = np.split(b["attn.qkv.bias"], 3)[k].reshape(heads, D // heads)
        block[f"{attention}/out/kernel"] = b["attn.proj.weight"].T.reshape(heads, D // heads, D)
        block[f"{attention}/out/bias"] = b["attn.proj.bias"]
        for k in (0, 1):
            block[f"{mlp}/Dense_{k}/kernel"] = b[f"mlp.fc{k + 1}.weight"].T
            block[f"{mlp}/Dense_{k}/bias"] = b[f"mlp.fc{k + 1}.bias"]
        blocks.append(block)
    if style == "stacked":
        return out | {f"Transformer/encoderblock/{name}": np.stack([b[name] for b in blocks]) for name in blocks[0]}
    return out | {f"Transformer/encoderblock_{i}/{name}": x for i, b in enumerate(blocks) for name, x in b.items()}


def write_safetensors(path, arrays, dtype="F32", header_change=None):
    """A .safetensors of float32 arrays in another precision; `header_change` may spoil the header first."""
    convert = {
        "F32": lambda x: x.astype("<f4"),
        "F16": lambda x: x.astype("<f2"),
        "BF16": lambda x: (x.astype("<f4").view("<u4") >> 16).astype("<u2"),
    }[dtype]
    header, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, x in arrays.items():
        raw = convert(np.ascontiguousarray(x)).tobytes()
        header[name] = {"dtype": dtype, "shape": list(x.shape), "data_offsets": [at, at + len(raw)]}
        blobs.append(raw)
        at += len(raw)
    if header_change:
        header_change(header)
    text = json.dumps(header).encode()
    with open(path, "wb") as f:
        f.write(len(text).to_bytes(8, "little") + text + b"".join(blobs))
