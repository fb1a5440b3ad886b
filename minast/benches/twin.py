"""The same model in PyTorch, from transformers, with the same weights. The only module here that needs either."""

import numpy as np

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


def twin(model):
    """transformers' ASTForAudioClassification (SDPA attention) with the weights of a minast model."""
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
        attn_implementation="sdpa",
    )
    theirs = ASTForAudioClassification(config)
    copy_weights(model.w, theirs, c.depth)
    return theirs


def copy_weights(w, theirs, depth):
    import torch

    state = theirs.state_dict()

    def put(name, value):
        state[name].copy_(torch.from_numpy(np.array(value)).reshape(state[name].shape))

    def both(ours, name):
        for kind in (".weight", ".bias"):
            put(name + kind, w[ours + kind])

    e = V + "embeddings."
    put(e + "cls_token", w["cls_token"])
    put(e + "distillation_token", w["dist_token"])
    put(e + "position_embeddings", w["pos_embed"])
    both("patch_embed.proj", e + "patch_embeddings.projection")
    for i in range(depth):
        for ours, name in BLOCK.items():
            both(f"blocks.{i}.{ours}", f"{V}layers.{i}.{name}")
        for kind in (".weight", ".bias"):
            for part, letter in zip(np.split(w[f"blocks.{i}.attn.qkv{kind}"], 3), "qkv", strict=True):
                put(f"{V}layers.{i}.attention.{letter}_proj{kind}", part)
    for ours, name in HEAD.items():
        both(ours, name.format(V))
