"""Pretrained weights against other people's code: transformers' AST and ViT, torch's interpolation.

Answers are in golden/pretrained/answers.npz (golden/make_pretrained.py); the weights are made again from their seed.
"""

import json
import shutil
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest

import minast
from minast import ModelConfig, convert, init, predict, pretrained
from minast.pretrained import adapt, grid
from tests.golden import pretrained_cases as cases

FILES = Path(__file__).parents[1] / "golden" / "pretrained"
VIT_SMALL = Path(__file__).parents[3] / "shared" / "data" / "vit_s16_dinov2_fp16.npz"
ROOT = "audio_spectrogram_transformer."
OFFICIAL = {"heads": 2, "grid": (12, 3)}  # of ast.pth, which is too short to be a published one


@pytest.fixture(scope="module")
def answers():
    return np.load(FILES / "answers.npz")


def close(got, wanted, within=1e-5):
    assert got.shape == wanted.shape
    assert np.abs(got - wanted).max() <= within, np.abs(got - wanted).max()


# -- Hugging Face's AST --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", [True, False], ids=["names on disk", "names in memory"])
@pytest.mark.parametrize("dtype", ["F32", "F16", "BF16"])
def test_hugging_face_ast(tmp_path, answers, dtype, old):
    path = tmp_path / "ast.safetensors"
    cases.write_safetensors(path, cases.to_hf(cases.ast_weights(), ROOT, old), dtype)
    shutil.copy(FILES / "hf_ast" / "config.json", tmp_path)
    model, info, report = pretrained.load(path)
    x = cases.spectrogram(2, cases.AST["frames"], cases.AST["mel_bins"])
    close(model.forward(x), answers["ast_logits"])
    assert not (report.fresh or report.changed or report.ignored or info.notes["random_head"])


def test_hugging_face_folder_brings_labels_features_and_loss(answers):
    """The folder that save_pretrained wrote, in bfloat16."""
    model, info, report = pretrained.load(FILES / "hf_ast")
    close(model.forward(cases.spectrogram(2, cases.AST["frames"], cases.AST["mel_bins"])), answers["ast_logits"])
    c, f = model.config, info.features
    assert (c.fstride, c.tstride, c.heads, c.prefix_tokens) == (10, 12, 2, 2)
    assert c.encoder_eps == c.head_eps == 1e-12
    assert (f.window, f.rate, f.frames, f.mel_bins, f.mean, f.std) == ("hann", 16000, 96, 64, -5.5, 3.25)
    assert info.labels == cases.LABELS
    assert info.loss == "bce" and info.head == "sigmoid"
    assert "hf_ast: a Hugging Face AST" in str(report) and "blocks.0-1.attn.qkv.weight" in str(report)


def test_config_is_believed_over_shapes_only_where_they_agree(tmp_path):
    shutil.copytree(FILES / "hf_ast", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"max_length": 108}))
    with pytest.raises(minast.Error, match=r"37 rows, not 2 \+ 5 x 8 = 42, as 108 frames of 64 mel bins"):
        pretrained.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps(config | {"hidden_act": "relu"}))
    with pytest.raises(minast.Error, match='hidden_act is "relu"'):
        pretrained.load(tmp_path)
    (tmp_path / "config.json").write_text("{")
    with pytest.raises(minast.Error, match="not a JSON file"):
        pretrained.load(tmp_path)


# -- ViT -----------------------------------------------------------------------------------------------------------


def vit_file(folder, style="official", root="", extra=(), dtype=np.float32):
    arrays = cases.to_jax(cases.vit_weights(), cases.VIT["heads"], style)
    if dtype == "bfloat16":  # JAX's, which NumPy saves as two raw bytes
        arrays = {
            name: (np.ascontiguousarray(x).view("<u4") >> 16).astype("<u2").view("V2") for name, x in arrays.items()
        }
        dtype = "V2"
    arrays = {root + name: x.astype(dtype) for name, x in arrays.items()}
    np.savez(folder / "vit.npz", **arrays, **{name: np.zeros(3, np.float32) for name in extra})
    return folder / "vit.npz"


SQUARE = {
    "classes": 3,
    "frames": 64,
    "mel_bins": 64,
    "fstride": 16,
    "tstride": 16,
}  # the ViT's own grid: nothing is cut


@pytest.mark.parametrize("activation", ["gelu", "gelu_pytorch_tanh"])
def test_vit_npz_equals_the_image_model_on_equal_channels(tmp_path, answers, activation):
    model = minast.from_pretrained(vit_file(tmp_path), gelu="erf" if activation == "gelu" else "tanh", **SQUARE)
    tokens = model.encode(cases.spectrogram(2, 64, 64))
    close(tokens, answers[f"vit_tokens_{activation}"])
    close(model.embed(cases.spectrogram(2, 64, 64)), answers[f"vit_tokens_{activation}"][:, 0])


@pytest.mark.parametrize(
    ("style", "root"), [("official", "opt/target/"), ("big_vision", "params/"), ("stacked", ""), ("big_vision", "")]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float16, "bfloat16"])
def test_vit_npz_names(tmp_path, answers, style, root, dtype):
    path = vit_file(tmp_path, style, root, extra=("head/kernel", "head/bias", "pre_logits/kernel"), dtype=dtype)
    model, info, report = pretrained.load(path, **SQUARE)
    close(model.encode(cases.spectrogram(2, 64, 64)), answers["vit_tokens_gelu"])
    assert report.ignored == ["head/kernel", "head/bias", "pre_logits/kernel"]
    assert report.fresh == [f"mlp_head.{name}" for name in ("0.weight", "0.bias", "1.weight", "1.bias")]
    assert info.notes["random_head"] and "3 colour channels to one, by sum" in report.changed["patch_embed.proj.weight"]


@pytest.mark.parametrize(("dim", "depth", "heads", "side"), [(8, 16, 2, 5), (24, 32, 3, 3), (40, 1, 5, 7)])
def test_vit_npz_sizes_are_read_from_the_shapes(tmp_path, dim, depth, heads, side):
    w = cases.weights(dim, depth, side * side, prefix=1, channels=3)
    np.savez(tmp_path / "vit.npz", **cases.to_jax(w, heads))
    model = minast.from_pretrained(tmp_path / "vit.npz", classes=2, frames=100)
    c = model.config
    assert (c.dim, c.depth, c.heads, c.prefix_tokens, c.grid) == (dim, depth, heads, 1, (12, 9))
    last = f"blocks.{depth - 1}."
    for name in ("attn.qkv.weight", "attn.proj.weight", "mlp.fc1.weight", "mlp.fc2.bias"):
        assert np.array_equal(model.w[last + name], w[last + name])


@pytest.mark.parametrize("old", [True, False])
@pytest.mark.parametrize("root", ["vit.", ""])
def test_hugging_face_vit(tmp_path, answers, root, old):
    arrays = cases.to_hf(cases.vit_weights(), root, old)
    arrays |= {"classifier.weight": np.zeros((9, 32), np.float32), "classifier.bias": np.zeros(9, np.float32)}
    cases.write_safetensors(tmp_path / "model.safetensors", arrays)
    config = {"hidden_size": 32, "num_attention_heads": 4, "layer_norm_eps": 1e-6, "hidden_act": "gelu"}
    (tmp_path / "config.json").write_text(json.dumps(config))
    model, _, report = pretrained.load(tmp_path, **SQUARE)
    close(model.encode(cases.spectrogram(2, 64, 64)), answers["vit_tokens_gelu"])
    assert report.ignored == ["classifier.weight", "classifier.bias"]
    assert model.config.head_eps == 1e-5


def test_real_vit_small():
    """The whole way on a real file: 37 x 37 positions, float16, one prefix token."""
    if not VIT_SMALL.exists():
        pytest.skip("../shared/data is not here")
    model, _, report = pretrained.load(VIT_SMALL, classes=10, frames=128, tstride=16, fstride=16)
    c = model.config
    assert (c.dim, c.depth, c.heads, c.prefix_tokens, c.grid, c.gelu) == (384, 12, 6, 1, (8, 8), "erf")
    assert not report.ignored and "37 x 37 -> 8 x 8" in report.changed["pos_embed"]
    features = model.embed(cases.spectrogram(3, 128, 128))
    assert np.isfinite(features).all() and 0.5 < features.std() < 5
    assert np.abs(features[0] - features[1]).max() > 0.01


# -- DeiT and the official AST, from files of torch.save -----------------------------------------------------------


def test_deit_adapted_as_torch_does(answers):
    d = cases.DEIT
    size = {"frames": d["frames"], "mel_bins": d["mel_bins"], "fstride": d["stride"], "tstride": d["stride"]}
    model, info, report = pretrained.load(FILES / "deit.pth", classes=2, heads=d["heads"], **size)
    close(model.encode(cases.spectrogram(2, d["frames"], d["mel_bins"])), answers["deit_tokens"])
    assert model.config.prefix_tokens == 2 and info.notes["random_head"]
    assert report.ignored == ["head.weight", "head.bias", "head_dist.weight", "head_dist.bias"]
    assert report.changed["pos_embed"].startswith("2 prefix + 5 x 5 -> 4 x 9: frequency 5 -> 4 (cut), time 5 -> 9")


@pytest.mark.parametrize("name", ["blocks.0.ls1.gamma", "blocks.1.attn.q_norm.weight", "norm_pre.weight"])
def test_what_changes_the_function_is_not_ignored(tmp_path, name):
    """Layer scale, norms of queries, a norm of the patches: files of timm have them under the names of a ViT."""
    weights, d = cases.deit_weights(), cases.DEIT
    weights |= {key.replace(".0.", ".1."): x for key, x in weights.items() if key.startswith("blocks.0.")}
    cases.write_safetensors(tmp_path / "w.safetensors", {**weights, name: np.ones(16, np.float32)})
    size = {"frames": d["frames"], "mel_bins": d["mel_bins"], "fstride": d["stride"], "tstride": d["stride"]}
    with pytest.raises(minast.Error, match=f"it has '{name}', which has no place in minast's model"):
        pretrained.load(tmp_path / "w.safetensors", classes=2, heads=d["heads"], **size)
    if name.startswith("blocks.1"):  # of a block that is not used, nothing matters
        _, _, report = pretrained.load(tmp_path / "w.safetensors", classes=2, heads=d["heads"], depth=1, **size)
        assert name in report.ignored


@pytest.mark.parametrize("old", [True, False])
def test_hugging_face_deit(tmp_path, answers, old):
    d = cases.DEIT
    w = {name: x for name, x in cases.deit_weights().items() if not name.startswith("head")}
    cases.write_safetensors(tmp_path / "w.safetensors", cases.to_hf(w, "deit.", old))
    (tmp_path / "config.json").write_text('{"hidden_size": 16, "num_attention_heads": 2, "layer_norm_eps": 1e-6}')
    size = {"frames": d["frames"], "mel_bins": d["mel_bins"], "fstride": d["stride"], "tstride": d["stride"]}
    model = minast.from_pretrained(tmp_path / "w.safetensors", classes=2, **size)
    close(model.encode(cases.spectrogram(2, d["frames"], d["mel_bins"])), answers["deit_tokens"])


def test_a_file_of_torch_save_in_a_folder(tmp_path):
    shutil.copy(FILES / "deit.pth", tmp_path / "pytorch_model.bin")
    model, _, _ = pretrained.load(tmp_path, classes=2, heads=2)
    assert model.config.prefix_tokens == 2 and model.config.grid == (12, 101)


def test_a_distilled_model_without_its_token_is_no_vit(tmp_path):
    """27 rows are 2 + 5 x 5: taken for a ViT's, every position would be off by one."""
    w = {name: x for name, x in cases.deit_weights().items() if name != "dist_token"}
    cases.write_safetensors(tmp_path / "w.safetensors", w)
    with pytest.raises(minast.Error, match="27 rows: less 1 of the prefix token that is 26"):
        pretrained.load(tmp_path / "w.safetensors", classes=2, heads=2)


def test_official_ast(answers):
    model, info, report = pretrained.load(FILES / "ast.pth", **OFFICIAL)
    c = model.config
    close(model.forward(cases.spectrogram(2, 36, 128)), answers["official_logits"])
    assert (c.frames, c.fstride, c.tstride, c.encoder_eps, c.head_eps) == (36, 10, 10, 1e-6, 1e-5)
    assert info.features.window == "hann" and info.labels == list("01234")
    assert "module.v.head_dist.weight" in report.ignored
    assert any("numbered 0 to 4" in line for line in report.assumed)
    assert not info.notes["random_head"]


def test_head_is_kept_only_where_it_fits():
    kept = pretrained.load(FILES / "ast.pth", **OFFICIAL)[0]
    same = pretrained.load(FILES / "ast.pth", **OFFICIAL, classes=5)[0]
    named, info, _ = pretrained.load(FILES / "ast.pth", **OFFICIAL, labels=list("abcde"), loss="bce")
    other, _, report = pretrained.load(FILES / "ast.pth", **OFFICIAL, classes=4, seed=3)
    again = minast.from_pretrained(FILES / "ast.pth", **OFFICIAL, classes=5, fresh_head=True)
    for model in (same, named):
        assert np.array_equal(model.w.flat, kept.w.flat)
    assert info.labels == list("abcde") and info.loss == "bce"
    assert "mlp_head.1.weight" in report.fresh and other.w["mlp_head.1.weight"].shape == (4, 16)
    fresh = init.head(4, 16, np.random.default_rng(3))
    assert np.array_equal(other.w["mlp_head.1.weight"], fresh["mlp_head.1.weight"].astype(np.float32))
    assert np.array_equal(again.w["norm.weight"], kept.w["norm.weight"])
    assert not np.array_equal(again.w["mlp_head.1.weight"], kept.w["mlp_head.1.weight"])
    with pytest.raises(minast.Error, match="5 labels for 4 classes"):
        pretrained.load(FILES / "ast.pth", **OFFICIAL, labels=list("abcde"), classes=4)


@pytest.mark.parametrize("frames", [26, 36, 66])
def test_official_ast_for_another_length(frames):
    model, info, report = pretrained.load(FILES / "ast.pth", **OFFICIAL, frames=frames)
    assert model.config.frames == info.features.frames == frames
    rows = model.w["pos_embed"]
    assert np.array_equal(rows[:2], cases.official_weights()["module.v.pos_embed"][0, :2])
    assert ("pos_embed" in report.changed) == (frames != 36)


# -- the steps -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("old", "new"), cases.GRIDS)
def test_positions_as_torch_interpolates(answers, old, new):
    pos = cases.numbers(f"positions {old}", (1, 2 + old[0] * old[1], 3))[0]
    close(adapt.adapt_positions(pos.astype(np.float64), 2, old, new), answers[f"positions_{old}_{new}"], 1e-12)
    close(adapt.adapt_positions(pos, 2, old, new), answers[f"positions_{old}_{new}"].astype(np.float32), 1e-6)


def test_positions_interpolated_to_a_smaller_grid():
    """Linear interpolation gives straight lines back, at the new cells' centres."""
    rows = np.add.outer(np.arange(12) * 1.0, np.arange(30) * 100.0).reshape(-1, 1)
    pos = np.concatenate([[[7.0]], rows])
    out = adapt.adapt_positions(pos, 1, (12, 30), (4, 20), cut=False)
    f, t = (np.arange(4) + 0.5) * 3 - 0.5, (np.arange(20) + 0.5) * 1.5 - 0.5
    assert out[0] == 7 and np.allclose(out[1:].reshape(4, 20), np.add.outer(f, t * 100), atol=1e-9)


def test_positions_cut_interpolated_or_fresh(tmp_path):
    path, wanted = vit_file(tmp_path), SQUARE | {"frames": 48}
    models = {how: pretrained.load(path, **wanted, positions=how) for how in ("cut", "interpolate", "fresh")}
    rows = {how: model.w["pos_embed"] for how, (model, _, _) in models.items()}
    assert "time 4 -> 3 (interpolated)" in models["interpolate"][2].changed["pos_embed"]
    assert "pos_embed" in models["fresh"][2].fresh and 0.01 < rows["fresh"].std() < 0.03
    assert not np.array_equal(rows["cut"], rows["interpolate"])
    with pytest.raises(minast.Error, match="positions is 'near': it must be one of cut, interpolate, fresh"):
        pretrained.load(path, **wanted, positions="near")


@pytest.mark.parametrize("style", ["official", "stacked"])
def test_the_lowest_blocks(tmp_path, style):
    path, x = vit_file(tmp_path, style), cases.spectrogram(2, 64, 64)
    whole = minast.from_pretrained(path, **SQUARE)
    model, _, report = pretrained.load(path, depth=1, **SQUARE)
    assert model.config.depth == 1 and whole.config.depth > 1 and (not report.ignored) == (style == "stacked")
    for name, view in model.w.items():
        assert np.array_equal(view, whole.w[name]), name
    assert model.embed(x).shape == (2, 32)
    with pytest.raises(minast.Error, match="depth is 9"):
        pretrained.load(path, depth=9, **SQUARE)


def test_fewer_blocks_take_a_new_head():
    whole, short = (pretrained.load(FILES / "hf_ast", depth=depth, classes=7) for depth in (None, 1))
    assert "mlp_head.1.weight" in short[2].fresh and "mlp_head.1.weight" not in whole[2].fresh
    assert short[1].notes["random_head"] and not whole[1].notes["random_head"]


def test_positions_of_prefix_tokens_stay_and_the_same_grid_changes_nothing():
    pos = cases.numbers("stay", (2 + 12, 4))
    assert np.array_equal(adapt.adapt_positions(pos, 2, (3, 4), (5, 9))[:2], pos[:2])
    assert np.array_equal(adapt.adapt_positions(pos, 2, (3, 4), (3, 4)), pos)
    with pytest.raises(minast.Error, match=r"14 rows: 1 prefix \+ 3 x 4 patches need 13"):
        adapt.adapt_positions(pos, 1, (3, 4), (3, 4))


@pytest.mark.parametrize(("n", "size", "first"), [(24, 12, 6), (24, 9, 8), (14, 12, 1), (101, 50, 25), (37, 8, 14)])
def test_cut_begins_where_the_official_code_cuts(n, size, first):
    assert adapt.cut_middle(np.arange(n), size, 0).tolist() == list(range(first, first + size))


@pytest.mark.parametrize(
    ("rows", "prefix", "left"), [(577, 2, 575), (578, 1, 577), (197, 2, 195), (1, 1, 0), (0, 2, -2)]
)
def test_a_grid_that_does_not_come_out_whole_says_the_counts(rows, prefix, left):
    with pytest.raises(minast.Error, match=f"{rows} rows: less {prefix} .* is {left}, "):
        adapt.square_grid(rows, prefix)
    assert adapt.square_grid(577, 1) == adapt.square_grid(578, 2) == (24, 24)


def test_summed_filters_are_the_colour_model_on_three_equal_channels():
    filters, x = cases.numbers("filters", (8, 3, 16, 16)), cases.numbers("patch", (16, 16))
    colour = np.einsum("dcij,cij->d", filters, np.stack([x] * 3))
    close(adapt.merge_rgb(filters, "sum") @ x.reshape(-1), colour, 1e-6)
    close(3 * (adapt.merge_rgb(filters, "mean") @ x.reshape(-1)), colour, 1e-6)
    grey = filters[:, :1]
    for how in ("sum", "mean"):
        assert np.array_equal(adapt.merge_rgb(grey, how), grey.reshape(8, 256))
    with pytest.raises(minast.Error, match="rgb is 'max'"):
        adapt.merge_rgb(filters, "max")
    with pytest.raises(minast.Error, match="16 x 16"):
        adapt.merge_rgb(filters[..., :14, :14])


@pytest.mark.parametrize(
    ("patches", "stride", "frames"),
    [(1212, 10, 1024), (600, 10, 512), (144, 10, 128), (850, 12, 1024), (657, 14, 1024), (512, 16, 1024)],
)
def test_published_checkpoints_are_known_by_their_patches(patches, stride, frames):
    known = grid.geometry_of(grid.published_grid(patches)[0])
    assert known == {"mel_bins": 128, "frames": frames, "fstride": stride, "tstride": stride}


def test_the_published_numbers_of_patches_differ():
    shapes = [grid.grid_shape(128, frames, stride, stride) for stride, frames in grid.PUBLISHED]
    assert len({rows * columns for rows, columns in shapes}) == len(grid.PUBLISHED)


@pytest.mark.parametrize("patches", [36, 12 * 29, 8 * 18 + 12, 1211, 1])
def test_any_other_number_of_patches_is_asked_for(patches):
    with pytest.raises(minast.Error, match=rf"of {patches} patches, and no published AST has so many.* --grid 12x101"):
        grid.published_grid(patches)


def test_a_given_grid():
    assert grid.geometry_of((12, 29))["frames"] == 16 + 28 * 10
    assert grid.geometry_of((8, 18)) == {"mel_bins": 128, "frames": 288, "fstride": 16, "tstride": 16}
    assert grid.geometry_of((5, 7)) == {"mel_bins": 56, "frames": 76, "fstride": 10, "tstride": 10}
    for name in ("grid", "source_grid"):  # the latter in version 0.1
        model, _, report = pretrained.load(FILES / "ast.pth", heads=2, **{name: (9, 4)})
        assert model.config.grid == (9, 4) and model.config.fstride == 14
        assert "58 frames of 128 mel bins at stride 14: a grid of 9 x 4 alone does not tell" in report.assumed
    with pytest.raises(minast.Error, match=r"38 rows, not 2 \+ 9 x 5 = 47"):
        pretrained.load(FILES / "ast.pth", heads=2, grid=(9, 5))


# -- what had to be assumed ----------------------------------------------------------------------------------------


def without(folder, file, *names):
    """A copy of the Hugging Face AST in which some fields of a JSON file are missing, or the file itself."""
    shutil.copytree(FILES / "hf_ast", folder, dirs_exist_ok=True)
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({k: v for k, v in settings.items() if k not in names}))
    if not names:
        (folder / file).unlink()
    return pretrained.load(folder)[2]


def test_a_whole_folder_leaves_the_window_to_assume(tmp_path):
    assert without(tmp_path, "config.json", "nothing").assumed == [
        "features: window hann, those of the AST for AudioSet, since the source does not say (preprocessor_config.json)"
    ]


@pytest.mark.parametrize(
    ("file", "names", "assumed"),
    [
        ("preprocessor_config.json", (), "features: rate 16000, window hann, mean -4.2677393, std 4.5689974, those of"),
        ("preprocessor_config.json", ("std",), "features: window hann, std 4.5689974, those of"),
        ("config.json", ("id2label",), "the classes have no names, so they are numbered 0 to 6"),
        ("config.json", ("problem_type",), "loss ce (softmax: one class per clip): the source does not say"),
        ("config.json", ("hidden_act",), "gelu erf: the source does not say"),
        ("config.json", ("layer_norm_eps",), "encoder eps 1e-12, as in the models that use these names"),
    ],
)
def test_what_the_source_does_not_say_is_listed(tmp_path, file, names, assumed):
    report = without(tmp_path, file, *names)
    assert any(line.startswith(assumed) for line in report.assumed), report.assumed
    assert f"\n  assumed  {assumed}" in str(report) and report.asdict()["assumed"] == report.assumed


def test_names_for_another_number_of_classes_are_not_used(tmp_path):
    shutil.copytree(FILES / "hf_ast", tmp_path, dirs_exist_ok=True)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {"0": "a", "1": "b"}}))
    _, info, report = pretrained.load(tmp_path)
    assert info.labels == list("0123456")
    said = "the source names 2 classes, not 7, so they are numbered 0 to 6 (see labels=, --labels)"
    assert said in report.assumed
    (tmp_path / "config.json").write_text(json.dumps(config | {"id2label": {str(i): "same" for i in range(7)}}))
    with pytest.raises(minast.Error, match=r"id2label in config.json has 'same' more than once"):
        pretrained.load(tmp_path)


@pytest.mark.parametrize("style", ["official", "big_vision"])
def test_a_vit_was_trained_with_another_gelu(tmp_path, style):
    _, _, report = pretrained.load(vit_file(tmp_path, style), classes=3)
    assert any(line.startswith("gelu erf, although Google's ViTs were trained with tanh") for line in report.assumed)
    assert not pretrained.load(vit_file(tmp_path, style), classes=3, gelu="tanh")[2].assumed[1:]


def test_published_sizes_are_assumed_by_name(tmp_path):
    w = cases.weights(64, 1, 144, classes=35)
    cases.write_safetensors(tmp_path / "w.safetensors", w)
    assumed = pretrained.load(tmp_path / "w.safetensors")[2].assumed
    wanted = [
        "1 heads, each 64 wide as in all published models",
        "a grid of 12 x 12 patches, 128 frames of 128 mel bins at stride 10: so many positions has the published AST "
        "for Speech Commands V2 (see grid=, --grid)",
        "features: rate 16000, window hann, mean -6.845978, std 5.5654526, those of the AST for Speech Commands V2",
        "loss bce (sigmoid: any number of classes at once): 35 classes are taken for Speech Commands V2's",
    ]
    for start in wanted:
        assert any(line.startswith(start) for line in assumed), (start, assumed)


# -- prefixes and parts --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "prefix", ["model.", "net.", "_orig_mod.", "module.", "_orig_mod.module.", "net.model.module."]
)
@pytest.mark.parametrize("names", ["official", "hf"])
def test_a_prefix_of_all_names_is_left_out_and_said(tmp_path, answers, prefix, names):
    if names == "official":
        w, options = cases.official_weights(), OFFICIAL
        w = {name.removeprefix("module."): x for name, x in w.items()}  # v.*, mlp_head.*
        x, wanted = cases.spectrogram(2, 36, 128), answers["official_logits"]
    else:
        w, options = cases.to_hf(cases.ast_weights(), ROOT, True), {}
        shutil.copy(FILES / "hf_ast" / "config.json", tmp_path)
        x, wanted = cases.spectrogram(2, cases.AST["frames"], cases.AST["mel_bins"]), answers["ast_logits"]
    cases.write_safetensors(tmp_path / "w.safetensors", {prefix + name: x for name, x in w.items()})
    model, _, report = pretrained.load(tmp_path / "w.safetensors", **options)
    close(model.forward(x), wanted)
    if names == "official":  # module.v. is how the official names begin
        prefix = prefix.removesuffix("module.")
    assert not prefix or f"the prefix {prefix!r} of all names was left out" in report.assumed


def test_a_prefix_of_some_names_is_no_prefix(tmp_path):
    w = {"model." + name: x for name, x in cases.ast_weights().items()} | {"loss.weight": cases.numbers("loss", (3,))}
    cases.write_safetensors(tmp_path / "w.safetensors", w)
    with pytest.raises(minast.Error, match=r"not the weights of a known kind .*model\.cls_token"):
        pretrained.load(tmp_path / "w.safetensors")


def split(folder, arrays, index="model.safetensors.index.json"):
    """The Hugging Face AST in three parts, and their index."""
    shutil.copytree(FILES / "hf_ast", folder, dirs_exist_ok=True)
    (folder / "model.safetensors").unlink()
    names, where = list(arrays), {}
    for k in range(3):
        part = f"model-{k + 1:05d}-of-00003.safetensors"
        cases.write_safetensors(folder / part, {name: arrays[name] for name in names[k::3]})
        where |= dict.fromkeys(names[k::3], part)
    (folder / index).write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": where}))
    return where


@pytest.mark.parametrize("index", ["model.safetensors.index.json", "pytorch_model.bin.index.json"])
def test_split_weights_are_one_model(tmp_path, answers, index):
    split(tmp_path, cases.to_hf(cases.ast_weights(), ROOT, True), index)
    for path in (tmp_path, tmp_path / index):
        model, info, report = pretrained.load(path)
        close(model.forward(cases.spectrogram(2, cases.AST["frames"], cases.AST["mel_bins"])), answers["ast_logits"])
        assert info.labels == cases.LABELS and "the weights are split over 3 files" in report.assumed
    with pytest.raises(minast.Error, match="one part of weights that are split: give their folder"):
        pretrained.load(tmp_path / "model-00002-of-00003.safetensors")


def test_an_index_that_does_not_fit(tmp_path):
    where = split(tmp_path, cases.to_hf(cases.ast_weights(), ROOT, True))
    index, (first, *_) = tmp_path / "model.safetensors.index.json", where

    def says(value, match):
        index.write_text(json.dumps(value))
        with pytest.raises(minast.Error, match=match) as caught:
            pretrained.load(tmp_path)
        assert "\n" not in str(caught.value)

    says({"weight_map": where | {first: "model-00003-of-00003.safetensors"}}, "which does not have it")
    says({"weight_map": where | {first: "model-00009-of-00003.safetensors"}}, "there is no such file")
    for name in ("../model.safetensors", "/etc/passwd", "..", "a/b"):
        says({"weight_map": where | {first: name}}, "the parts must be beside it")
    says({"weight_map": {}}, "lists 0 files")
    says({"weight_map": [first]}, r"weight_map is \[.*\]: it must be an object")
    says({"weight_map": {first: 3}}, "is 3: it must be a text")
    says([], "the index is")
    says({}, "weight_map is missing")
    index.write_text("[" * 100_000)
    with pytest.raises(minast.Error, match="not a JSON file"):
        pretrained.load(tmp_path)


# -- minast's own checkpoints --------------------------------------------------------------------------------------


def own_checkpoint(folder):
    config = ModelConfig(
        dim=16, depth=1, heads=2, mel_bins=48, frames=60, fstride=10, tstride=8, classes=3, prefix_tokens=2
    )
    model = minast.AST(config, seed=1)
    minast.save(folder / "own.npz", model, labels=["a", "b", "c"], features={"frames": 60, "mel_bins": 48, "mean": 1.5})
    return folder / "own.npz", model


@pytest.mark.parametrize("frames", [30, 60, 95])
def test_load_adapts_the_positions_to_another_length(tmp_path, frames):
    path, saved = own_checkpoint(tmp_path)
    model, info = minast.load(path, frames=frames)
    assert model.config.frames == info.features.frames == frames and info.features.mean == 1.5
    wanted = adapt.adapt_positions(saved.w["pos_embed"], 2, saved.config.grid, model.config.grid)
    for name, view in model.w.items():
        assert np.array_equal(view, wanted if name == "pos_embed" else saved.w[name]), name
    assert model.forward(cases.spectrogram(1, frames, 48)).shape == (1, 3)


def test_an_image_model_expects_no_features_until_it_was_trained(tmp_path):
    """Also when it was converted before, even twice; AudioSet's mean would be that of other sounds."""

    def saved(name, source, **changed):
        model, info, _ = pretrained.load(source, **changed)
        minast.save(tmp_path / name, model, info.labels, info.features, info.loss, notes=info.notes)
        return tmp_path / name

    start = saved("start.npz", vit_file(tmp_path), classes=3, frames=60)
    again = saved("again.npz", start, classes=4)
    assert pretrained.audio_features(start) is pretrained.audio_features(again) is None
    model, info = minast.load(start)
    del info.notes["pretrained"]["heard"]  # as version 0.3 wrote it
    minast.save(tmp_path / "old.npz", model, info.labels, info.features, notes=info.notes)
    assert pretrained.audio_features(tmp_path / "old.npz") is None
    info.notes["random_head"] = False
    minast.save(tmp_path / "trained.npz", model, info.labels, replace(info.features, mean=1.5), notes=info.notes)
    for path in (tmp_path / "trained.npz", saved("more.npz", tmp_path / "trained.npz", classes=5)):
        assert pretrained.audio_features(path).mean == 1.5


def test_load_for_too_short_a_length(tmp_path):
    with pytest.raises(minast.Error, match="frames is 8"):
        minast.load(own_checkpoint(tmp_path)[0], frames=8)


def test_own_checkpoint_as_pretrained_weights(tmp_path):
    path, saved = own_checkpoint(tmp_path)
    model, info, report = pretrained.load(path)
    assert np.array_equal(model.w.flat, saved.w.flat) and model.config == saved.config
    assert info.labels == ["a", "b", "c"] and info.features.window == "hamming" and not report.changed
    other = minast.from_pretrained(path, classes=7, frames=90, seed=2)
    assert other.config.classes == 7 and other.report.fresh and "pos_embed" in other.report.changed
    assert np.array_equal(other.w["blocks.0.attn.qkv.weight"], saved.w["blocks.0.attn.qkv.weight"])


# -- the command ---------------------------------------------------------------------------------------------------


def test_convert_then_predict(tmp_path, capsys):
    """A converted model predicts straight away, by the source's names and features; a random head is said so."""
    import soundfile

    wave = 0.1 * np.random.default_rng(0).standard_normal(16000)
    soundfile.write(tmp_path / "noise.wav", wave, 16000)
    out = str(tmp_path / "ast.npz")
    assert convert.main([str(FILES / "hf_ast"), out]) == 0
    assert "taken" in capsys.readouterr().out
    assert predict.main([out, str(tmp_path / "noise.wav"), "--top", "7", "--json"]) == 0
    printed = capsys.readouterr()
    result = json.loads(printed.out)[0]
    assert result["head"] == "sigmoid" and {row["label"] for row in result["labels"]} == set(cases.LABELS)
    assert "random" not in printed.err

    labels = tmp_path / "labels.txt"
    labels.write_text("yes\nno\n", encoding="utf-8")
    command = [str(FILES / "ast.pth"), out, "--heads", "2", "--labels", str(labels), "--frames", "98"]
    assert convert.main([*command, "--grid", "12x3"]) == 0
    printed = capsys.readouterr().out
    assert "fresh    mlp_head.1.weight" in printed
    assert "assumed  36 frames of 128 mel bins at stride 10: a grid of 12 x 3 alone does not tell" in printed
    assert convert.main([*command, "--source-grid", "12x3"]) == 0  # its name in version 0.1
    capsys.readouterr()
    assert predict.main([out, str(tmp_path / "noise.wav")]) == 0
    printed = capsys.readouterr()
    assert "yes" in printed.out and "random" in printed.err


def test_audioset_sizes_bring_audiosets_settings(tmp_path):
    """527 classes and 1212 patches, as published, with the names of a CSV in AudioSet's format."""
    w = cases.weights(16, 1, 1212, classes=527)
    cases.write_safetensors(
        tmp_path / "w.safetensors", {f"module.v.{k}" if "mlp_head" not in k else f"module.{k}": x for k, x in w.items()}
    )
    rows = [f'{i},/m/{i:04d},"Class, number {i}"' for i in range(527)]
    (tmp_path / "labels.csv").write_text("index,mid,display_name\n" + "\n".join(rows[::-1]) + "\n")
    model, info, _ = pretrained.load(tmp_path / "w.safetensors", heads=2, labels=tmp_path / "labels.csv")
    f = info.features
    assert (f.window, f.frames, f.mean, f.std, f.rate) == ("hann", 1024, -4.2677393, 4.5689974, 16000)
    assert model.config.grid == (12, 101) and info.head == "sigmoid"
    assert info.labels[3] == "Class, number 3" and not info.notes["random_head"]


def test_every_setting_of_a_checkpoint_of_ours_is_kept(tmp_path):
    """A new field of ModelConfig belongs in `other`: else `load` may drop it without a word."""
    other = {"dim": 20, "depth": 2, "heads": 2, "mel_bins": 32, "frames": 40, "fstride": 8, "tstride": 12, "classes": 3}
    other |= {"prefix_tokens": 2, "encoder_eps": 1e-3, "head_eps": 1e-4, "gelu": "tanh"}
    config = ModelConfig(**other)
    assert all(getattr(config, f.name) != f.default for f in fields(ModelConfig))
    minast.save(tmp_path / "a.npz", minast.AST(config, "numpy"))
    assert pretrained.load(tmp_path / "a.npz", backend="numpy")[0].config == config
    changed = pretrained.load(tmp_path / "a.npz", backend="numpy", frames=64, classes=5, fresh_head=True)[0].config
    assert changed == replace(config, frames=64, classes=5, head_eps=ModelConfig.head_eps)
