"""A checkpoint as a Hugging Face folder, against what transformers computed from such folders and wav files."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from minast import checkpoint, pretrained
from minast.checkpoint import Info
from minast.config import FeatureConfig, ModelConfig
from minast.exports import hugging_face
from minast.features import log_mel, model_inputs
from minast.model import AST
from minast.streaming.work import digest_of
from tests.golden import export_cases as cases

GOLDEN = Path(__file__).parents[1] / "golden" / "exports.npz"
FILES = ("model.safetensors", "config.json", "preprocessor_config.json")


@pytest.fixture(scope="module")
def golden():
    return dict(np.load(GOLDEN))


def input_of(info, sound):
    f = info.features
    return model_inputs(log_mel(cases.wave(sound), f.rate, f.mel_bins, f.window), f)[:1]


@pytest.mark.parametrize("case", cases.CASES)
def test_transformers_gives_the_same_probabilities(case, golden, tmp_path):
    """From the wav file, to 1e-5; the files are those that transformers read, byte for byte."""
    model, info = cases.model_of(case)
    hugging_face.write(tmp_path / "hf", model, info)
    assert sorted(path.name for path in (tmp_path / "hf").iterdir()) == sorted(FILES)
    for name in FILES:
        assert digest_of(tmp_path / "hf" / name) == golden[f"{case}/{name}"], (
            f"run tests/golden/make_exports.py: {name}"
        )
    for sound in cases.SECONDS:
        ours = cases.probabilities(case, model.forward(input_of(info, sound))[0])
        assert np.abs(ours - golden[f"{case}/{sound}"]).max() < 1e-5
        assert ours.max() - ours.min() > 0.3  # it says something


def test_convert_reads_it_back(tmp_path):
    model, info = cases.model_of("softmax")
    hugging_face.write(tmp_path, model, info)
    back, about, _ = pretrained.load(tmp_path, backend="numpy")
    x = input_of(info, "exact")
    assert np.abs(back.forward(x) - model.forward(x)).max() < 2e-5
    assert (about.labels, about.loss, about.features) == (info.labels, info.loss, info.features)


def test_epsilons_that_matter_are_kept():
    """With eps 1e-4 in the encoder and 0.1 in the head, one epsilon would be wrong by far more than 1e-5."""
    model, info = cases.model_of("temperature")
    w = hugging_face.weights(model, info)
    scale = (1e-4 / 0.1) ** 0.5
    ours = w["audio_spectrogram_transformer.layernorm.weight"]
    assert np.allclose(ours, model.w["norm.weight"] * scale, rtol=1e-6)


REFUSED = {
    "prefix": ({"prefix_tokens": 1}, {}, "one prefix token"),
    "window": ({}, {"window": "hamming"}, "a Hamming window"),
    "rate": ({}, {"rate": 8000}, "a rate of 8000 Hz"),
    "one class": ({"classes": 1}, {}, "one class in a softmax"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_transformers_cannot_express_is_refused(what, tmp_path, command):
    fields, features, says = REFUSED[what]
    model = AST(ModelConfig.preset("nano", **{"depth": 1, "frames": 32, "classes": 2, "prefix_tokens": 2, **fields}))
    loss = "ce" if what == "one class" else "bce"
    checkpoint.save(tmp_path / "a.npz", model, features={"frames": 32, "window": "hann", **features}, loss=loss)
    status, out, err = command("export", tmp_path / "a.npz", tmp_path / "hf")
    assert (status, out) == (2, "") and says in err and err.count("\n") == 1 and "OUT.onnx" in err
    assert not (tmp_path / "hf").exists()


@pytest.mark.parametrize("number", range(3))
def test_stopped_anywhere_it_leaves_no_half_of_another_model(number, tmp_path, monkeypatch):
    model, info = cases.model_of("sigmoid")
    hugging_face.write(tmp_path, model, info)
    atomic, done = hugging_face.atomic, []

    def until(*arguments, **options):
        if len(done) == number:
            raise KeyboardInterrupt
        done.append(1)
        return atomic(*arguments, **options)

    monkeypatch.setattr(hugging_face, "atomic", until)
    with pytest.raises(KeyboardInterrupt):
        hugging_face.write(tmp_path, model, info)
    assert not (tmp_path / "config.json").exists()


def test_the_command(tmp_path, command):
    model, info = cases.model_of("sigmoid")
    checkpoint.save(tmp_path / "a.npz", model, info.labels, info.features, info.loss)
    status, out, err = command("export", tmp_path / "a.npz", tmp_path / "hf")
    assert (status, err) == (0, "") and "model.safetensors" in out and "sigmoid" in out
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config["problem_type"] == "multi_label_classification" and config["id2label"]["2"] == "Sirène"
    assert json.loads((tmp_path / "hf" / "preprocessor_config.json").read_text())["max_length"] == 98
    names = load_file(tmp_path / "hf" / "model.safetensors")
    assert names["classifier.dense.weight"].shape == (5, 96)
    status, _, err = command("export", tmp_path / "a.npz", tmp_path / "hf")
    assert status == 0 and "is replaced" in err
    for flag in ("--waveform", "--int8"):
        status, _, err = command("export", tmp_path / "a.npz", tmp_path / "hf", flag)
        assert status == 2 and flag in err
    for wrong in ("x.pt", "x.safetensors", ""):
        status, _, err = command("export", tmp_path / "a.npz", wrong)
        assert status == 2 and ".onnx" in err
    (tmp_path / "plain").write_text("a file")
    assert command("export", tmp_path / "a.npz", tmp_path / "plain")[0] == 2
    assert (tmp_path / "plain").read_text() == "a file"


def test_calibration_moves_into_the_last_layer():
    model, info = cases.model_of("calibrated")
    w, (a, b) = hugging_face.weights(model, info), (0.7, -0.3)
    assert np.allclose(w["classifier.dense.weight"], a * model.w["mlp_head.1.weight"], rtol=1e-6)
    assert np.allclose(w["classifier.dense.bias"], a * model.w["mlp_head.1.bias"] + b, rtol=1e-5, atol=1e-6)
    plain = Info(info.labels, FeatureConfig(window="hann", frames=98), "bce")
    assert hugging_face.calibration(plain) == (1.0, 0.0)
