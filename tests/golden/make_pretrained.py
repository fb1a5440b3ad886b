"""Writes tests/golden/pretrained/: what transformers and torch answer for the models of pretrained_cases.py.

  python tests/golden/make_pretrained.py        needs torch and transformers; the tests need neither

Answers (answers.npz), a Hugging Face folder as save_pretrained writes it, and files of torch.save in both its formats.
"""

import shutil
import sys
import tempfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
import transformers
from safetensors.torch import load_file
from torch.nn.functional import interpolate

HERE = Path(__file__).parent
OUT = HERE / "pretrained"
sys.path.insert(0, str(HERE))
import pretrained_cases as cases  # noqa: E402  a script finds its neighbour


def main():
    torch.set_grad_enabled(False)
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir()
    answers = {}
    audio_model(answers)
    image_model(answers)
    distilled_model(answers)
    official_model(answers)
    positions(answers)
    odd_tensors(answers)
    np.savez_compressed(OUT / "answers.npz", **answers)
    files = sorted(p for p in OUT.rglob("*") if p.is_file())
    for p in files:
        print(f"{p.stat().st_size:8d}  {p.relative_to(HERE)}")
    print(f"{sum(p.stat().st_size for p in files):8d}  in all")
    print(f"torch {torch.__version__}, transformers {transformers.__version__}")


def tensors(arrays):
    return {name: torch.from_numpy(np.array(x)) for name, x in arrays.items()}


def saved_names_agree(model, arrays):
    """save_pretrained writes exactly the names and numbers that pretrained_cases.py says it does."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        saved = load_file(f"{folder}/model.safetensors")
    assert sorted(saved) == sorted(arrays), set(saved) ^ set(arrays)
    for name, x in arrays.items():
        assert np.array_equal(saved[name].numpy(), x), name


def ast_model(dim, depth, heads, mel_bins, frames, fstride, tstride, classes, **more):
    return transformers.ASTForAudioClassification(
        transformers.ASTConfig(
            hidden_size=dim, num_hidden_layers=depth, num_attention_heads=heads, intermediate_size=4 * dim,
            num_mel_bins=mel_bins, max_length=frames, frequency_stride=fstride, time_stride=tstride, num_labels=classes,
            **more,
        )
    ).eval()  # fmt: skip


def audio_model(answers):
    """Hugging Face's AST; its folder, in bfloat16, is kept as save_pretrained writes it."""
    model = ast_model(**cases.AST, problem_type="multi_label_classification")
    root, w = "audio_spectrogram_transformer.", cases.ast_weights()
    model.load_state_dict(tensors(cases.to_hf(w, root, old=False)), strict=True)
    saved_names_agree(model, cases.to_hf(w, root, old=True))
    x = torch.from_numpy(cases.spectrogram(2, cases.AST["frames"], cases.AST["mel_bins"]))
    answers["ast_logits"] = model(x).logits.numpy()
    model.config.id2label = dict(enumerate(cases.LABELS))
    model.config.label2id = {name: i for i, name in enumerate(cases.LABELS)}
    model.bfloat16().save_pretrained(OUT / "hf_ast")
    transformers.ASTFeatureExtractor(
        num_mel_bins=cases.AST["mel_bins"], max_length=cases.AST["frames"], mean=-5.5, std=3.25
    ).save_pretrained(OUT / "hf_ast")


def image_model(answers):
    """Hugging Face's ViT on a picture with three equal channels, in both kinds of GELU, eps 1e-6 as in the original."""
    side, w = cases.VIT["side"], cases.vit_weights()
    x = cases.spectrogram(2, side, side)  # (B, T, F); a picture is (B, channels, height = F, width = T)
    pixels = torch.from_numpy(np.repeat(x.transpose(0, 2, 1)[:, None], 3, axis=1))
    for activation in ("gelu", "gelu_pytorch_tanh"):
        config = transformers.ViTConfig(
            hidden_size=cases.VIT["dim"], num_hidden_layers=cases.VIT["depth"], image_size=side, patch_size=16,
            num_attention_heads=cases.VIT["heads"], intermediate_size=4 * cases.VIT["dim"], hidden_act=activation,
            layer_norm_eps=1e-6,
        )  # fmt: skip
        model = transformers.ViTModel(config, add_pooling_layer=False).eval()
        model.load_state_dict(tensors(cases.to_hf(w, "", old=False)), strict=True)
        saved_names_agree(model, cases.to_hf(w, "", old=True))
        answers[f"vit_tokens_{activation}"] = model(pixels).last_hidden_state.numpy()


def adapted(pos, prefix, grid, new):
    """The official code's steps, for any grid: time, then frequency; cut from the middle or interpolated by torch."""
    x = torch.from_numpy(pos[:, prefix:]).reshape(1, *grid, -1).permute(0, 3, 1, 2)  # (1, D, f, t)
    if new[1] <= grid[1]:
        start = grid[1] // 2 - new[1] // 2
        x = x[..., start : start + new[1]]
    else:
        x = interpolate(x, size=(grid[0], new[1]), mode="bilinear")
    if new[0] <= grid[0]:
        start = grid[0] // 2 - new[0] // 2
        x = x[:, :, start : start + new[0]]
    else:
        x = interpolate(x, size=(new[0], new[1]), mode="bilinear")
    x = x.flatten(2).transpose(1, 2)
    return torch.cat([torch.from_numpy(pos[:, :prefix]), x], dim=1)


def distilled_model(answers):
    """A DeiT file, adapted by torch and heard by Hugging Face's AST with DeiT's eps."""
    d, w = cases.DEIT, cases.deit_weights()
    torch.save({"model": OrderedDict(tensors(w))}, OUT / "deit.pth")
    grid = (d["mel_bins"] - 16) // d["stride"] + 1, (d["frames"] - 16) // d["stride"] + 1
    audio = {name: x for name, x in w.items() if not name.startswith("head")}
    audio["patch_embed.proj.weight"] = w["patch_embed.proj.weight"].sum(axis=1, keepdims=True)
    audio["pos_embed"] = adapted(w["pos_embed"], 2, (d["grid"], d["grid"]), grid).numpy()
    model = ast_model(
        d["dim"], d["depth"], d["heads"], d["mel_bins"], d["frames"], d["stride"], d["stride"], 2, layer_norm_eps=1e-6
    )
    model.audio_spectrogram_transformer.load_state_dict(tensors(cases.to_hf(audio, "", old=False)), strict=True)
    x = torch.from_numpy(cases.spectrogram(2, d["frames"], d["mel_bins"]))
    answers["deit_tokens"] = model.audio_spectrogram_transformer(x).last_hidden_state.numpy()


def official_model(answers):
    """An official AST's state dict with torch's `_metadata` pinned to it; eps 1e-6, and 1e-5 in the head."""
    o, w = cases.OFFICIAL, cases.official_weights()
    state = OrderedDict(tensors(w))
    state._metadata = OrderedDict({"": {"version": 1}, "module": {"version": 1}})
    torch.save(state, OUT / "ast.pth")
    model = ast_model(o["dim"], o["depth"], o["heads"], 128, o["frames"], 10, 10, o["classes"], layer_norm_eps=1e-6)
    model.classifier.layernorm.eps = 1e-5
    plain = {name.removeprefix("module.").removeprefix("v."): x for name, x in w.items()}
    plain = {name: x for name, x in plain.items() if not name.startswith("head")}
    model.load_state_dict(tensors(cases.to_hf(plain, "audio_spectrogram_transformer.", old=False)), strict=True)
    x = torch.from_numpy(cases.spectrogram(2, o["frames"], 128))
    answers["official_logits"] = model(x).logits.numpy()


def positions(answers):
    """Eleven grids, in float64: up, down and mixed."""
    for old, new in cases.GRIDS:
        pos = cases.numbers(f"positions {old}", (1, 2 + old[0] * old[1], 3)).astype(np.float64)
        answers[f"positions_{old}_{new}"] = adapted(pos, 2, old, new)[0].numpy()


def odd_tensors(answers):
    """What a state dict may hold: other precisions, transposed, sliced, shared, single, empty, parameters."""
    base = torch.from_numpy(cases.numbers("odd", (6, 5, 4)))
    odd = OrderedDict(
        plain=base,
        transposed=base.permute(2, 0, 1),
        slice=base[1:4, ::2],
        column=base[:, 2, 3],
        expanded=base[:1, 0].expand(3, 4),
        half=base.half(),
        bfloat=base.bfloat16().T if base.ndim == 2 else base.bfloat16().transpose(0, 2),
        double=base.double(),
        parameter=torch.nn.Parameter(base[0].clone()),
        single=torch.tensor(1.5),
        empty=torch.zeros(0, 3),
        count=torch.tensor(7),
    )
    for name, x in odd.items():
        answers[f"odd_{name}"] = x.detach().to(torch.float64 if name == "double" else torch.float32).numpy()
    whole = {"epoch": 3, "state_dict": odd, "history": [(0.5, None), "text", True]}
    torch.save(whole, OUT / "odd.pth")
    torch.save(whole, OUT / "odd_stream.pth", _use_new_zipfile_serialization=False)


if __name__ == "__main__":
    main()
