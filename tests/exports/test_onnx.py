"""A checkpoint as an .onnx file, run by onnxruntime: the logits of minast, from log-mels and from waveforms."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from minast import checkpoint
from minast.audio import load_audio
from minast.checkpoint import Info
from minast.config import FeatureConfig, ModelConfig
from minast.datasets.synthetic import generate
from minast.features import log_mel, model_inputs
from minast.model import AST
from minast.scoring import probabilities

onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install '.[onnx]' in the checkout")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed: pip install '.[onnx]' in the checkout")
from minast.exports import onnx_file  # noqa: E402

CLOSE = 1e-4  # of logits
KINDS = {  # fields of the model, of the features, loss
    "plain": ({}, {}, "ce"),
    "official": ({"depth": 4, "prefix_tokens": 2}, {"window": "hann"}, "bce"),
    "tanh": ({"depth": 4, "gelu": "tanh", "fstride": 16, "tstride": 12}, {"rate": 8000}, "bce"),
    "odd": ({"fstride": 7, "tstride": 16, "mel_bins": 64, "depth": 2}, {"rate": 22050, "window": "hann"}, "ce"),
    "one block": ({"depth": 1, "prefix_tokens": 2, "encoder_eps": 1e-3, "head_eps": 1e-2}, {}, "ce"),
}


def made(fields, features, loss, preset="nano", frames=98):
    """A model with weights that leave no bias at 0, and its Info."""
    c = ModelConfig.preset(preset, **{"classes": 7, "frames": frames, **fields})
    model, rng = AST(c, seed=3), np.random.default_rng(5)
    for view in model.w.values():
        view += (0.05 * rng.standard_normal(view.shape)).astype(np.float32)
    f = FeatureConfig(**{"frames": frames, "mel_bins": c.mel_bins, "mean": -5.0, "std": 3.0, **features})
    return model, Info([str(k) for k in range(7)], f, loss)


def segment(wave, f):
    return model_inputs(log_mel(wave, f.rate, f.mel_bins, f.window), f)[:1]


def builtin(rate):
    for name in ("siren", "rain", "engine"):
        x = generate.SOUNDS[name](np.random.default_rng(1), rate, rate)
        yield name, (0.3 * x / np.abs(x).max()).astype(np.float32)


def awkward(rate):
    """Sounds on which a spectrogram in float32 could go wrong."""
    t = np.arange(rate) / rate
    yield "a tone", np.sin(2 * np.pi * 440 * t)
    yield "a quiet tone on an offset", 0.3 + 1e-3 * np.sin(2 * np.pi * 1000 * t)
    yield "silence", np.zeros(rate)
    yield "a click", np.eye(1, rate, rate // 2)[0]
    yield "a frame", np.sin(t[: int(0.025 * rate)] * 1000)
    yield "less than the model hears", 0.1 * np.random.default_rng(0).standard_normal(rate // 3)
    yield "more than the model hears", 0.1 * np.random.default_rng(0).standard_normal(3 * rate)


@pytest.mark.parametrize("kind", KINDS)
def test_logits_and_probabilities(kind):
    model, info = made(*KINDS[kind])
    f = info.features
    from_wave = onnx_file.session(onnx_file.checked_bytes(onnx_file.build(model, info, waveform=True)))
    from_mel = onnx_file.session(onnx_file.checked_bytes(onnx_file.build(model, info)))
    inputs = []
    for name, wave in (*builtin(f.rate), *awkward(f.rate)):
        wave = wave.astype(np.float32)
        x = segment(wave, f)
        inputs.append(x)
        ours = model.forward(x)
        for session, given in ((from_wave, {"waveform": wave[None]}), (from_mel, {"log_mel": x})):
            logits, p = session.run(["logits", "probabilities"], given)
            assert np.abs(logits - ours).max() < CLOSE, name
            assert np.abs(p - probabilities(ours.astype(np.float64), info.loss)).max() < CLOSE, name
    x = np.concatenate(inputs)  # any batch
    assert np.abs(from_mel.run(["logits"], {"log_mel": x})[0] - model.forward(x)).max() < CLOSE
    waves = np.stack([wave for _, wave in builtin(f.rate)])
    logits = from_wave.run(["logits"], {"waveform": waves})[0]
    assert np.abs(logits - model.forward(np.concatenate([segment(wave, f) for wave in waves]))).max() < CLOSE


def test_less_than_a_frame_is_an_error():
    model, info = made({"depth": 1}, {}, "ce")
    session = onnx_file.session(onnx_file.build(model, info, waveform=True).SerializeToString())
    for samples in (1, 200, 399):
        with pytest.raises(Exception, match="out of data bounds"):
            session.run(None, {"waveform": np.zeros((1, samples), np.float32)})


def test_real_clips(trained, shared_data, tmp_path, command):
    """The command's file, as others run it, on recordings."""
    import onnxruntime

    status, out, err = command("export", trained / "best.npz", tmp_path / "a.onnx", "--waveform")
    assert (status, err) == (0, "") and "checked by onnx" in out and "logits differ" in out
    session = onnxruntime.InferenceSession(str(tmp_path / "a.onnx"), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    model, info = checkpoint.load(trained / "best.npz")
    assert json.loads(about["labels"]) == info.labels and about["rate"] == "16000" and "thresholds" not in about
    clips = [*sorted((shared_data / "esc10").glob("*/*.ogg"))[::40], *(shared_data / "audioset").glob("*.wav")]
    assert len(clips) > 5
    for clip in clips:
        wave = load_audio(clip, int(about["rate"]))
        logits = session.run(["logits"], {"waveform": wave[None]})[0]
        assert np.abs(logits - model.forward(segment(wave, info.features))).max() < CLOSE, clip


def test_base(shared_data):
    """87 M weights, 1214 tokens, one file."""
    model, info = made({"prefix_tokens": 2, "classes": 7}, {"window": "hann"}, "bce", "base", 1024)
    data = onnx_file.checked_bytes(onnx_file.build(model, info, waveform=True))
    assert 3.4e8 < len(data) < 2**31
    wave = load_audio(next((shared_data / "audioset").glob("*.wav")))
    logits = onnx_file.session(data).run(["logits"], {"waveform": wave[None]})[0]
    assert np.abs(logits - model.forward(segment(wave, info.features))).max() < CLOSE


def test_calibrated():
    model, info = made({"depth": 1}, {}, "bce")
    decided = SimpleNamespace(slope=0.6, bias=-0.4, calibrates=True, thresholds=[0.5, None, 0.1, 0.2, 0.3, 0.4, 0.9])
    object.__setattr__(info, "decisions", decided)
    proto = onnx_file.build(model, info)
    x = segment(next(builtin(16000))[1], info.features)
    logits, p = onnx_file.session(proto.SerializeToString()).run(["logits", "probabilities"], {"log_mel": x})
    assert np.abs(logits - model.forward(x)).max() < CLOSE  # stay the model's
    assert np.allclose(p, 1 / (1 + np.exp(-(0.6 * logits - 0.4))), atol=1e-6)
    about = {each.key: each.value for each in proto.metadata_props}
    assert about["probabilities"] == "calibrated" and json.loads(about["thresholds"]) == list(decided.thresholds)


def test_int8(trained, tones, tmp_path, command):
    """A quarter of the matrices' bytes, and still the same label for sounds that the model knows."""
    status, out, err = command("export", trained / "best.npz", tmp_path / "a.onnx", "--waveform", "--int8")
    assert (status, err) == (0, "") and "int8" in out
    status, out, err = command("export", trained / "best.npz", tmp_path / "b.onnx", "--waveform")
    proto = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(proto, full_check=True)
    kinds = [node.op_type for node in proto.graph.node]
    assert kinds.count("MatMulInteger") == 2 * 6  # q, k, v, proj, fc1, fc2 of two blocks
    assert "weights" in {each.key for each in proto.metadata_props}
    _, info = checkpoint.load(trained / "best.npz")
    int8, full = (onnx_file.session(str(tmp_path / name)) for name in ("a.onnx", "b.onnx"))
    for label in info.labels:
        wave = load_audio(tones / label / "3.wav")[None]
        rows = [session.run(["probabilities"], {"waveform": wave})[0][0] for session in (int8, full)]
        assert info.labels[rows[0].argmax()] == info.labels[rows[1].argmax()] == label
        assert np.abs(rows[0] - rows[1]).max() < 0.05
    sizes = [
        sum(len(each.raw_data) for each in onnx.load(tmp_path / name).graph.initializer)
        for name in ("a.onnx", "b.onnx")
    ]
    assert sizes[0] < sizes[1]


def test_another_function_is_not_written(trained, tmp_path, command, monkeypatch):
    """Whatever goes wrong on the way: what onnxruntime computes is compared before the file is there."""
    monkeypatch.setattr("minast.exports.network.SQRT_HALF", 0.9)
    status, out, err = command("export", trained / "best.npz", tmp_path / "a.onnx")
    assert (status, out) == (2, "") and "is not written" in err and not list(tmp_path.iterdir())
    monkeypatch.setattr(onnx_file, "difference", lambda *_: float("nan"))
    status, out, err = command("export", trained / "best.npz", tmp_path / "a.onnx", "--int8")
    assert (status, out) == (2, "") and "is not written" in err and not list(tmp_path.iterdir())


def test_convert_names_export(trained, tmp_path, command):
    status, _, err = command("convert", trained / "best.npz", tmp_path / "out.onnx")
    assert status == 2 and "minast.export" in err and not list(tmp_path.iterdir())


def test_without_the_package(trained, tmp_path, command, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "onnx", None)
    status, _, err = command("export", trained / "best.npz", tmp_path / "a.onnx")
    assert status == 2 and "pip install '.[onnx]' in the checkout" in err and not list(tmp_path.iterdir())


def test_more_than_an_onnx_file_can_hold(trained, tmp_path, command, monkeypatch):
    monkeypatch.setattr("minast.exports.graph.LARGEST", 10**5)
    status, _, err = command("export", trained / "best.npz", tmp_path / "a.onnx")
    assert status == 2 and "an ONNX file cannot hold as much" in err and not list(tmp_path.iterdir())
