"""config.json and preprocessor_config.json beside pretrained weights: what in them is believed, and what is refused."""

import json
import shutil
from pathlib import Path

import pytest

import minast
from minast import pretrained

FILES = Path(__file__).parents[1] / "golden" / "pretrained"


def changed(folder, file, values):
    """A copy of the Hugging Face AST with other values in one of its files."""
    shutil.copytree(FILES / "hf_ast", folder, dirs_exist_ok=True)
    settings = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps(settings | values))


@pytest.mark.parametrize(
    ("file", "name", "value", "match"),
    [
        ("config.json", "layer_norm_eps", float("nan"), "NaN: it must be a number above 0 and below 1"),
        ("config.json", "layer_norm_eps", 0, "0: it must be a number above 0"),
        ("config.json", "layer_norm_eps", -1, "-1: it must be"),
        ("config.json", "layer_norm_eps", None, "null: it must be"),
        ("config.json", "hidden_act", ["gelu"], '["gelu"]: it must be one of gelu, gelu_new'),
        ("config.json", "hidden_act", None, "null: it must be"),
        ("config.json", "hidden_size", "32", '"32": it must be a whole number from 1'),
        ("config.json", "num_attention_heads", 0, "0: it must be a whole number"),
        ("config.json", "num_attention_heads", float("inf"), "Infinity: it must be"),
        pytest.param("config.json", "num_attention_heads", 10**400, f"{10**76}...: it must be", id="huge"),
        ("config.json", "num_attention_heads", True, "true: it must be"),
        ("config.json", "num_attention_heads", None, "null: it must be"),
        ("config.json", "problem_type", 3, "3: it must be one of multi_label_classification, single_label_"),
        ("config.json", "problem_type", ["multi_label_classification"], '["multi_label_classification"]: it must'),
        ("config.json", "problem_type", False, "false: it must be"),
        ("config.json", "problem_type", "multi_label", '"multi_label": it must be'),
        ("config.json", "id2label", ["a", "b"], '["a", "b"]: it must be names by number'),
        ("config.json", "id2label", {"0": "a", "2": "b"}, '"2": "b"}: it must be names by number'),
        ("config.json", "id2label", {"zero": "a"}, "it must be names by number"),
        ("config.json", "id2label", {"0": None}, "it must be names by number"),
        ("config.json", "max_length", 8, "8: it must be a whole number from 16"),
        ("config.json", "max_length", None, "null: it must be"),
        ("config.json", "time_stride", [10], "[10]: it must be"),
        ("config.json", "frequency_stride", "10", '"10": it must be'),
        ("config.json", "num_mel_bins", 64.5, "64.5: it must be"),
        ("preprocessor_config.json", "sampling_rate", float("inf"), "Infinity: it must be a whole number from 100 to"),
        ("preprocessor_config.json", "sampling_rate", 768001, "768001: it must be"),
        ("preprocessor_config.json", "sampling_rate", None, "null: it must be"),
        ("preprocessor_config.json", "mean", "-5.5", '"-5.5": it must be a number'),
        ("preprocessor_config.json", "mean", [1, 2], "[1, 2]: it must be"),
        ("preprocessor_config.json", "std", 0, "0: it must be a number of at least 1e-06"),
        ("preprocessor_config.json", "std", False, "false: it must be"),
        ("preprocessor_config.json", "do_normalize", "false", '"false": it must be true or false'),
        ("preprocessor_config.json", "do_normalize", 0, "0: it must be"),
        ("preprocessor_config.json", "num_mel_bins", "64", '"64": it must be'),
    ],
)
def test_settings_that_make_no_sense(tmp_path, file, name, value, match):
    changed(tmp_path, file, {name: value})
    with pytest.raises(minast.Error) as caught:
        pretrained.load(tmp_path)
    message = str(caught.value)
    assert message.startswith(f"{tmp_path / file}: {name} is ") and match in message and len(message) < 500
    assert message.endswith("; correct it, or download the model's own file again.") and "\n" not in message


def test_settings_that_say_nothing_are_let_pass(tmp_path):
    changed(tmp_path, "config.json", {"problem_type": None, "id2label": None, "num_attention_heads": 2.0})
    _, info, _ = pretrained.load(tmp_path)
    assert info.labels == [str(k) for k in range(7)] and info.loss == "ce"
    changed(tmp_path, "config.json", {"problem_type": "regression", "id2label": {str(k): 6 - k for k in range(7)}})
    assert pretrained.load(tmp_path)[1].labels == list("6543210")


def test_files_of_settings_that_are_none(tmp_path, monkeypatch):
    changed(tmp_path, "config.json", {})
    (tmp_path / "config.json").write_text("[1, 2]")
    with pytest.raises(minast.Error, match=r"config.json: this is JSON, but not an object of settings: download"):
        pretrained.load(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(minast.Error, match=r"^config.json: this is JSON"):  # in the folder at hand, not in /
        pretrained.load("model.safetensors")
    (tmp_path / "config.json").unlink()
    (tmp_path / "config.json").symlink_to("nowhere")
    with pytest.raises(minast.Error, match=r"config.json: this cannot be read: No such file"):
        pretrained.load(tmp_path)
