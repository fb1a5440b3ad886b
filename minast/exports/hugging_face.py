"""A checkpoint as a Hugging Face folder: model.safetensors, config.json and preprocessor_config.json.

transformers' ASTForAudioClassification and ASTFeatureExtractor compute what minast computes, for models that they can
express (`refusals`). Two differences are converted exactly:

- It has one epsilon for all layer norms. With the final norm's weights multiplied by s = sqrt(eps / head_eps), the head
  sees s x, and (s x - mean) / sqrt(s^2 var + eps) = (x - mean) / sqrt(var + eps / s^2): the epsilon that was meant.
- Calibration, softmax(a z) or sigmoid(a z + b), becomes part of the last layer's weights.
"""

import contextlib
import json
import math
import os

import numpy as np

from ..checkpoint import Info
from ..config import PATCH, FeatureConfig, ModelConfig
from ..errors import Error
from ..model import AST
from ..pretrained.layouts.torch import HF_OLD, HF_ROOTS
from ..storage.files import atomic, writable_folder

WEIGHTS, CONFIG, PREPROCESSOR = "model.safetensors", "config.json", "preprocessor_config.json"
ROOT = HF_ROOTS[0]
RATE = 16000  # Hz: without torchaudio the extractor has frames of 400 samples at any rate
ACTIVATIONS = {"erf": "gelu", "tanh": "gelu_pytorch_tanh"}
PROBLEMS = {"ce": "single_label_classification", "bce": "multi_label_classification"}


def refusals(config: ModelConfig, features: FeatureConfig, loss: str) -> list[str]:
    """What of a model transformers cannot express, each the end of "it has ..."; [] if there is nothing."""
    found = []
    if config.prefix_tokens != 2:
        found.append(
            "one prefix token, and transformers' AST two: any second one would take its share of the attention "
            "of all tokens and of the mean that the head reads"
        )
    if loss == "ce" and config.classes == 1:
        found.append("one class in a softmax, whose probability is always 1, and transformers asks for two")
    if features.window != "hann":
        found.append(f"a {features.window.capitalize()} window, and transformers' extractor always Hann's")
    if features.rate != RATE:
        found.append(f"a rate of {features.rate} Hz, and without torchaudio that extractor's frames fit {RATE} Hz only")
    return found


def weights(model: AST, info: Info) -> dict[str, np.ndarray]:
    """The arrays of model.safetensors, under the names that every version of transformers reads."""
    c, w = model.config, {name: model.numpy(view).astype(np.float32) for name, view in model.w.items()}
    scale = np.float32(math.sqrt(c.encoder_eps / c.head_eps))
    slope, bias = calibration(info)
    w |= {f"norm.{kind}": w[f"norm.{kind}"] * scale for kind in ("weight", "bias")}
    w["mlp_head.1.weight"] = w["mlp_head.1.weight"] * np.float32(slope)
    w["mlp_head.1.bias"] = w["mlp_head.1.bias"] * np.float32(slope) + np.float32(bias)
    out = {
        "embeddings.cls_token": w["cls_token"][None, None],
        "embeddings.distillation_token": w["dist_token"][None, None],
        "embeddings.position_embeddings": w["pos_embed"][None],
        "embeddings.patch_embeddings.projection.weight": w["patch_embed.proj.weight"].reshape(-1, 1, PATCH, PATCH),
        "embeddings.patch_embeddings.projection.bias": w["patch_embed.proj.bias"],
    }
    for kind in ("weight", "bias"):
        out[f"layernorm.{kind}"] = w[f"norm.{kind}"]
        for i in range(c.depth):
            at = f"encoder.layer.{i}."
            thirds = np.split(w[f"blocks.{i}.attn.qkv.{kind}"], 3)
            out |= {f"{at}{HF_OLD[which]}.{kind}": third for which, third in zip("qkv", thirds, strict=True)}
            for own, theirs in HF_OLD.items():
                if own not in "qkv":
                    out[f"{at}{theirs}.{kind}"] = w[f"blocks.{i}.{own}.{kind}"]
    out = {ROOT + name: array for name, array in out.items()}
    for kind in ("weight", "bias"):
        out[f"classifier.layernorm.{kind}"] = w[f"mlp_head.0.{kind}"]
        out[f"classifier.dense.{kind}"] = w[f"mlp_head.1.{kind}"]
    return out


def calibration(info: Info) -> tuple[float, float]:
    """The a and b of calibrated probabilities; 1 and 0 without any."""
    decisions = getattr(info, "decisions", None)
    return (1.0, 0.0) if decisions is None else (decisions.slope, decisions.bias if info.loss == "bce" else 0.0)


def config_json(config: ModelConfig, info: Info) -> dict:
    """config.json: the model's shape, its labels, and by problem_type whether scores are softmax's or sigmoid's."""
    c = config
    return {
        "architectures": ["ASTForAudioClassification"],
        "model_type": "audio-spectrogram-transformer",
        "hidden_size": c.dim,
        "num_hidden_layers": c.depth,
        "num_attention_heads": c.heads,
        "intermediate_size": 4 * c.dim,
        "hidden_act": ACTIVATIONS[c.gelu],
        "hidden_dropout_prob": 0.0,
        "attention_probs_dropout_prob": 0.0,
        "initializer_range": 0.02,
        "layer_norm_eps": c.encoder_eps,
        "patch_size": PATCH,
        "qkv_bias": True,
        "frequency_stride": c.fstride,
        "time_stride": c.tstride,
        "max_length": c.frames,
        "num_mel_bins": c.mel_bins,
        "problem_type": PROBLEMS[info.loss],
        "id2label": {str(k): name for k, name in enumerate(info.labels)},
        "label2id": {name: k for k, name in enumerate(info.labels)},
        "torch_dtype": "float32",
    }


def preprocessor_json(features: FeatureConfig) -> dict:
    """preprocessor_config.json: the extractor's settings."""
    return {
        "feature_extractor_type": "ASTFeatureExtractor",
        "feature_size": 1,
        "sampling_rate": features.rate,
        "num_mel_bins": features.mel_bins,
        "max_length": features.frames,
        "padding_side": "right",
        "padding_value": 0.0,
        "do_normalize": True,
        "mean": features.mean,
        "std": features.std,
        "return_attention_mask": False,
    }


def write(folder: str | os.PathLike, model: AST, info: Info) -> None:
    """Write the three files, each whole or not at all. Raises minast.Error for a model with `refusals`.

    A folder without config.json is no model: it goes first and comes last, so that whatever stops this leaves none that
    is half another's.
    """
    if found := refusals(model.config, info.features, info.loss):
        raise Error(f"the model has {'; and it has '.join(found)}.")
    from safetensors.numpy import save

    writable_folder(folder)
    data = save({name: np.ascontiguousarray(x) for name, x in weights(model, info).items()}, {"format": "pt"})
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(folder, CONFIG))
    with atomic(os.path.join(folder, WEIGHTS)) as f:
        f.write(data)
    for name, about in ((PREPROCESSOR, preprocessor_json(info.features)), (CONFIG, config_json(model.config, info))):
        with atomic(os.path.join(folder, name), "w", encoding="ascii", newline="\n") as f:
            f.write(json.dumps(about, indent=2) + "\n")
