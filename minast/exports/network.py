"""encoder.py and the head as operators of an ONNX graph: normalised log-mel (B, T, F) -> logits and probabilities."""

import numpy as np

from ..checkpoint import Info
from ..layers import SQRT_2_OVER_PI, SQRT_HALF
from ..model import AST
from ..params import prefix_names
from .graph import Graph

LOGITS, PROBABILITIES = "logits", "probabilities"


def add_network(g: Graph, x: str, model: AST, info: Info) -> None:
    """The outputs `logits` and `probabilities` (B, K).   x: the name of (B, T, F)

    Probabilities are calibrated where the checkpoint has decisions. As in minast, the last block computes only the
    prefix tokens.
    """
    c, w = model.config, {name: model.numpy(view).astype(np.float32) for name, view in model.w.items()}
    with g.inside("patches"):
        x = _tokens(g, x, w, c)
    for i in range(c.depth):
        with g.inside(f"block.{i}"):
            block = {name.split(".", 2)[2]: each for name, each in w.items() if name.startswith(f"blocks.{i}.")}
            x = _block(g, x, block, c, i == c.depth - 1)
    with g.inside("head"):
        x = _norm(g, x, w, "norm", c.encoder_eps)
        x = g.op("ReduceMean", x, axes=[1], keepdims=0)  # of the prefix tokens: (B, D)
        x = _norm(g, x, w, "mlp_head.0", c.head_eps)
        x = g.op("MatMul", x, w["mlp_head.1.weight"].T)
        g.op("Add", x, w["mlp_head.1.bias"], out=LOGITS)
        _probabilities(g, info)


def _probabilities(g, info):
    x, decisions = LOGITS, getattr(info, "decisions", None)
    if decisions is not None and decisions.calibrates:
        x = g.op("Mul", x, np.float32(decisions.slope))
        if info.loss == "bce":
            x = g.op("Add", x, np.float32(decisions.bias))
    g.op(
        "Softmax" if info.loss == "ce" else "Sigmoid",
        x,
        out=PROBABILITIES,
        **({"axis": -1} if info.loss == "ce" else {}),
    )


def _tokens(g, x, w, c):
    """Patches, prefix tokens in front, positions.   (B, T, F) -> (B, P + N, D)"""
    x = g.op("Unsqueeze", g.op("Transpose", x, perm=[0, 2, 1]), [1])  # (B, 1, F, T)
    filters = w["patch_embed.proj.weight"].reshape(c.dim, 1, 16, 16)
    x = g.op("Conv", x, filters, w["patch_embed.proj.bias"], strides=[c.fstride, c.tstride], kernel_shape=[16, 16])
    x = g.op("Transpose", g.op("Reshape", x, [0, c.dim, -1]), perm=[0, 2, 1])  # (B, N, D)
    prefix = np.stack([w[name] for name in prefix_names(c)])[None]
    shape = g.op("Concat", g.op("Shape", x, start=0, end=1), [c.prefix_tokens, c.dim], axis=0)
    x = g.op("Concat", g.op("Expand", prefix, shape), x, axis=1)
    return g.op("Add", x, w["pos_embed"][None])


def _block(g, x, w, c, last):
    """x += proj(attention(norm1(x))), x += fc2(gelu(fc1(norm2(x)))).   (B, T, D) -> (B, T, D), of the last (B, P, D)"""
    D, weight, bias = c.dim, w["attn.qkv.weight"], w["attn.qkv.bias"]
    h = _norm(g, x, w, "norm1", c.encoder_eps)
    first = (lambda x: g.op("Slice", x, [0], [c.prefix_tokens], [1])) if last else (lambda x: x)
    parts = []
    for k, each in enumerate((first(h), h, h)):  # q, k, v
        rows = slice(k * D, (k + 1) * D)
        y = g.op("Add", g.op("MatMul", each, weight[rows].T), bias[rows])
        parts.append(g.op("Reshape", y, [0, -1, c.heads, D // c.heads]))  # (B, T, H, d)
    q, k, v = (
        g.op("Transpose", y, perm=p) for y, p in zip(parts, ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3]), strict=True)
    )
    q = g.op("Mul", q, np.float32((D // c.heads) ** -0.5))
    h = g.op("MatMul", g.op("Softmax", g.op("MatMul", q, k), axis=-1), v)
    h = g.op("Reshape", g.op("Transpose", h, perm=[0, 2, 1, 3]), [0, -1, D])
    x = g.op("Add", _linear(g, h, w, "attn.proj"), first(x))
    h = _linear(g, _norm(g, x, w, "norm2", c.encoder_eps), w, "mlp.fc1")
    return g.op("Add", _linear(g, _gelu(g, h, c.gelu), w, "mlp.fc2"), x)


def _gelu(g, x, kind):
    if kind == "tanh":
        inner = g.op("Mul", g.op("Mul", g.op("Mul", x, x), x), np.float32(0.044715))
        inner = g.op("Tanh", g.op("Mul", g.op("Add", x, inner), np.float32(SQRT_2_OVER_PI)))
    else:
        inner = g.op("Erf", g.op("Mul", x, np.float32(SQRT_HALF)))
    return g.op("Mul", g.op("Mul", x, g.op("Add", inner, np.float32(1))), np.float32(0.5))


def _linear(g, x, w, name):
    return g.op("Add", g.op("MatMul", x, w[f"{name}.weight"].T), w[f"{name}.bias"])


def _norm(g, x, w, name, eps):
    return g.op("LayerNormalization", x, w[f"{name}.weight"], w[f"{name}.bias"], axis=-1, epsilon=eps)
