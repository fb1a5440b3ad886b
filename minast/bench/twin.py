"""The same model in PyTorch, from transformers, with the same weights. The only module here that needs either."""

import numpy as np

from ..backend import to_numpy
from .table import Skip

BLOCK = {  # ours -> theirs, inside a block
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
HEAD = {"norm": "{}layernorm", "mlp_head.0": "classifier.layernorm", "mlp_head.1": "classifier.dense"}
V = "audio_spectrogram_transformer."


def torch():
    """PyTorch on as many threads as minast; Skip without it."""
    try:
        import torch
        import transformers  # noqa: F401
    except ImportError as error:
        raise Skip(f"{error.name} is not installed") from None
    from .. import threads

    torch.set_num_threads(threads.count())
    return torch


def twin(model, attention="sdpa"):
    """transformers' ASTForAudioClassification with the weights of a minast model: its `config` and `w` are read.

    attention: "sdpa"; "eager" is the official code's form, which makes and keeps all scores.
    """
    torch()
    from transformers import ASTConfig, ASTForAudioClassification

    c = model.config
    config = ASTConfig(
        hidden_size=c.dim,
        num_hidden_layers=c.depth,
        num_attention_heads=c.heads,
        intermediate_size=4 * c.dim,
        max_length=c.frames,
        num_mel_bins=c.mel_bins,
        frequency_stride=c.fstride,
        time_stride=c.tstride,
        num_labels=c.classes,
        layer_norm_eps=c.encoder_eps,
        attn_implementation=attention,
    )
    theirs = ASTForAudioClassification(config)
    copy_weights(model.w, theirs, c.depth)
    return theirs


def pairs(depth):
    """(our name, [their names]) of every weight; ours is theirs one after the other, along the first axis."""

    def both(ours, *names):
        return [(ours + kind, [name + kind for name in names]) for kind in (".weight", ".bias")]

    e = V + "embeddings."
    yield "cls_token", [e + "cls_token"]
    yield "dist_token", [e + "distillation_token"]
    yield "pos_embed", [e + "position_embeddings"]
    yield from both("patch_embed.proj", e + "patch_embeddings.projection")
    for i in range(depth):
        for ours, name in BLOCK.items():
            yield from both(f"blocks.{i}.{ours}", f"{V}layers.{i}.{name}")
        yield from both(f"blocks.{i}.attn.qkv", *(f"{V}layers.{i}.attention.{letter}_proj" for letter in "qkv"))
    for ours, name in HEAD.items():
        yield from both(ours, name.format(V))


def copy_weights(w, theirs, depth):
    import torch

    state = theirs.state_dict()
    for ours, names in pairs(depth):
        flat = np.array(to_numpy(w[ours])).ravel()
        for name, part in zip(names, np.split(flat, len(names)), strict=True):
            state[name].copy_(torch.from_numpy(part).reshape(state[name].shape))


def gradients(theirs, depth):
    """{our name: gradient, flat NumPy} of a twin after its backward pass."""
    weights = dict(theirs.named_parameters())
    return {
        ours: np.concatenate([weights[name].grad.float().cpu().numpy().ravel() for name in names])
        for ours, names in pairs(depth)
    }
