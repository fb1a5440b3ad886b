"""The twin of a minast model: transformers' ASTForAudioClassification with the same weights."""

from collections.abc import Iterator

import numpy as np

from ...backend import to_numpy
from ..libraries import errors_as_skips
from . import runtime

SETTINGS = {"prefix_tokens": 2, "encoder_eps": 1e-12, "head_eps": 1e-12}  # a ModelConfig that transformers can match

BLOCK = {  # ours -> theirs, inside a block
    "norm1": "layernorm_before",
    "attn.proj": "attention.o_proj",
    "norm2": "layernorm_after",
    "mlp.fc1": "mlp.fc1",
    "mlp.fc2": "mlp.fc2",
}
HEAD = {"norm": "{}layernorm", "mlp_head.0": "classifier.layernorm", "mlp_head.1": "classifier.dense"}
V = "audio_spectrogram_transformer."


def twin(model, attention: str = "sdpa"):
    """The twin of anything that has `config` and the weights `w` of a minast model. Raises Skip without transformers.

    attention: "sdpa", or "eager", the form of the official code, which computes and keeps all scores.
    """
    runtime.with_transformers()
    with errors_as_skips():  # transformers imports much only now
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


def pairs(depth: int) -> Iterator[tuple[str, list[str]]]:
    """(our name, [their names]) of every weight; ours is theirs concatenated along the first axis."""

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


def copy_weights(w, theirs, depth: int) -> None:
    """Copy the weights w, by our names, into a twin of this depth."""
    import torch

    state = theirs.state_dict()
    for ours, names in pairs(depth):
        flat = np.array(to_numpy(w[ours])).ravel()
        for name, part in zip(names, np.split(flat, len(names)), strict=True):
            state[name].copy_(torch.from_numpy(part).reshape(state[name].shape))


def gradients(theirs, depth: int) -> dict[str, np.ndarray]:
    """{our name: gradient, flat float32 NumPy} of a twin after its backward pass."""
    weights = dict(theirs.named_parameters())
    return {
        ours: np.concatenate([runtime.to_host(weights[name].grad).ravel() for name in names])
        for ours, names in pairs(depth)
    }


def save_pretrained(model, folder: str) -> None:
    """Write a model's twin and its feature extractor into a folder, as transformers' `from_pretrained` reads them.

    Raises Skip without transformers, and where its extractor does not load: it imports torchaudio if that is installed.
    """
    theirs = twin(model)
    with errors_as_skips():
        from transformers import ASTFeatureExtractor

        ASTFeatureExtractor().save_pretrained(folder)
        theirs.save_pretrained(folder)
