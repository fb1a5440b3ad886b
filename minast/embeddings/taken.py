"""The encoder that embeddings are taken from, as a model of its own: fewer blocks, or the mean over all tokens.

A transformer's last block serves what it was trained for; for another task a middle one may hold more, and so may the
mean of all tokens. Whatever is chosen is an ordinary AST, so a head that is fitted to its embeddings makes an ordinary
checkpoint. With t the tokens after block n, c the first of them (with two prefix tokens, the mean of two such terms):

    prefix   LN(c)                    a model of depth n, its final norm with weight 1 and bias 0: the source's is for
                                      its last block, and stays where that is taken
    mean     LN(mean LN(t))           one more block
    both     LN(LN(c) + mean LN(t))   two more blocks

The block that takes the mean: its attention is uniform, since queries and keys are 0, and copies, since values and
projection are the identity, the latter times S = 1000; its MLP gives 0. So c becomes c + S mean LN(t), of which c is
left with a share of about 1/S. For `both` a block comes before it whose attention gives 0 and whose MLP, also by
gelu(u) - gelu(-u) = u, gives S LN(t): then the c that is left is S LN(c), as large as the mean.
"""

import hashlib
import json
from dataclasses import asdict, replace

import numpy as np

from ..checkpoint import config_from, description, info_from, open_checkpoint
from ..config import ModelConfig
from ..errors import Error
from ..model import AST

POOLS = ("prefix", "mean", "both")
SHARE = 1000.0  # S
MORE = {"prefix": 0, "mean": 1, "both": 2}  # blocks


def taken_from(model: AST, block: int | None = None, pool: str = "prefix", classes: int | None = None) -> AST:
    """The model whose embeddings are those of `model` after block number `block`, from 1 (default: the last one).

    pool: see the head of the module. classes: of its head (default: the model's); where it has other classes it is
    zero. The model itself is returned where nothing changes. Raises minast.Error for a block that it does not have.
    """
    c = model.config
    block = checked_block(c, block)
    config = replace(c, depth=block + MORE[pool], classes=classes or c.classes)
    if (block, pool, config.classes) == (c.depth, "prefix", c.classes):
        return model
    found = AST(config, model.backend.name, None, model.compute_dtype)
    for name, view in found.w.items():
        if name in model.w and model.w[name].shape == view.shape:
            view[...] = model.w[name]
    if (block, pool) != (c.depth, "prefix"):
        found.w["norm.weight"][...], found.w["norm.bias"][...] = 1, 0
    if pool == "both":
        _only_norms(found, block)
        _make_normalise(found, block)
    if pool != "prefix":
        _only_norms(found, config.depth - 1)
        _make_average(found, config.depth - 1)
    found.weights_changed()
    return found


def _only_norms(model, i):
    """Block i, from 0, changes nothing, and its norms have weight 1 and bias 0."""
    for name, view in model.w.items():
        if name.startswith(f"blocks.{i}."):
            view[...] = 1 if name.endswith(("norm1.weight", "norm2.weight")) else 0


def _make_normalise(model, i):
    """Block i adds S LN(t) to each token t."""
    w, d = model.w, model.config.dim
    identity = model.xp.asarray(np.eye(d), model.dtype)
    w[f"blocks.{i}.mlp.fc1.weight"][:d], w[f"blocks.{i}.mlp.fc1.weight"][d : 2 * d] = identity, -identity
    w[f"blocks.{i}.mlp.fc2.weight"][:, :d] = SHARE * identity
    w[f"blocks.{i}.mlp.fc2.weight"][:, d : 2 * d] = -SHARE * identity


def _make_average(model, i):
    """Block i adds S mean LN(t), over all tokens t, to each."""
    w, d = model.w, model.config.dim
    identity = model.xp.asarray(np.eye(d), model.dtype)
    w[f"blocks.{i}.attn.qkv.weight"][2 * d :] = identity
    w[f"blocks.{i}.attn.proj.weight"][...] = SHARE * identity


def checked_block(config: ModelConfig, block: int | None) -> int:
    """The block's number, from 1. Raises minast.Error for one that the model does not have."""
    if block is None:
        return config.depth
    if not 1 <= block <= config.depth:
        raise Error(f"--block is {block}: the model has blocks 1 to {config.depth}.")
    return block


def digest_of_encoder(path: str) -> str:
    """SHA-256 of all that embeddings depend on: a checkpoint's encoder, its sizes, its features.

    Not its head, labels, calibration or history: with another head the embeddings are the same.
    """
    with open_checkpoint(path) as archive:
        about = description(archive)
        config, info = asdict(config_from(archive.path, about)), info_from(archive.path, about)
        settings = {"model": {k: v for k, v in config.items() if k not in ("classes", "head_eps")}}
        text = json.dumps({**settings, "features": asdict(info.features)}, sort_keys=True)
        found = hashlib.sha256(text.encode())
        for name in sorted(name for name in archive.names if name.startswith("w/")):
            if not name.startswith("w/mlp_head."):
                array = np.ascontiguousarray(archive.read(name))
                found.update(f"{name} {array.dtype.str} {array.shape}".encode())
                found.update(array.data)
    return found.hexdigest()
