"""predict and evaluate as a user meets them."""

import json
import tracemalloc

import numpy as np
import pytest
import soundfile

import minast
from minast import explain, plots, scoring
from minast.config import FeatureConfig
from minast.datasets import open_dataset
from minast.features import model_inputs
from minast.streaming.sound import OpenSound

BANDS = ((50, 500), (4000, 8000))  # Hz: of the fixture's low and high noises


def test_predict(trained, tones, command):
    status, out, err = command(
        "predict", trained / "best.npz", tones / "low" / "3.wav", tones / "high" / "4.wav", "--top", 2
    )
    lines = out.splitlines()
    assert status == 0 and err == "" and len(lines) == 6
    assert lines[0].endswith("low/3.wav  (0.50 s)") and lines[1].split()[1] == "low" and lines[4].split()[1] == "high"


def test_json(trained, tones, command):
    status, out, _ = command("predict", trained / "best.npz", tones / "middle" / "0.wav", "--json")
    (result,) = json.loads(out)
    assert status == 0 and result["labels"][0]["label"] == "middle" and result["head"] == "softmax"
    assert abs(sum(row["probability"] for row in result["labels"]) - 1) < 1e-5


def test_a_long_file_is_scored_in_segments(trained, tmp_path, command):
    t = np.arange(16000 * 3) / 16000
    soundfile.write(tmp_path / "long.wav", 0.3 * np.sin(2 * np.pi * 250 * t), 16000)
    _, out, _ = command("predict", trained / "best.npz", tmp_path / "long.wav", "--json")
    assert json.loads(out)[0]["segments"] == 7  # 298 frames: six segments of 48, and the last 48


def test_one_bad_file_does_not_hide_the_others(trained, tones, tmp_path, command):
    (tmp_path / "bad.wav").write_text("no sound")
    status, out, err = command("predict", trained / "best.npz", tmp_path / "bad.wav", tones / "low" / "0.wav")
    assert status == 2 and "bad.wav: this cannot be decoded" in err and err.count("\n") == 1 and "low" in out


def test_the_tail_is_heard(trained, tmp_path, command):
    """Half a second of low noise, then 0.2 s of high noise: too short for a segment, and not left out."""
    rng, hertz = np.random.default_rng(1), np.fft.rfftfreq(8000, 1 / 16000)
    low, high = (np.fft.irfft(np.fft.rfft(rng.standard_normal(8000)) * (a < hertz) * (hertz < b)) for a, b in BANDS)
    soundfile.write(tmp_path / "a.wav", 0.1 * np.concatenate([low, high[:3200]]), 16000)
    soundfile.write(tmp_path / "b.wav", 0.1 * low, 16000)
    _, out, _ = command("predict", trained / "best.npz", tmp_path / "a.wav", tmp_path / "b.wav", "--json")
    both, first = json.loads(out)
    assert both["segments"] == 2 and both["seconds"] == 0.7 and first["segments"] == 1
    of_high = [next(row["probability"] for row in r["labels"] if row["label"] == "high") for r in (both, first)]
    assert of_high[0] > of_high[1] + 0.05


def test_what_is_wrong_with_a_file_is_said_once_and_it_is_scored(trained, tones, tmp_path, command):
    data = (tones / "low" / "0.wav").read_bytes()
    (tmp_path / "cut.wav").write_bytes(data[:12000])
    arguments = ("predict", trained / "best.npz", tmp_path / "cut.wav", tones / "low" / "1.wav")
    status, out, err = command(*arguments)
    assert status == 0 and err.count("\n") == 1 and "(0.37 s)" in out
    assert err.startswith("note: ") and "cut.wav: cut short: 0.37 s could be decoded of the 0.50 s" in err
    status, out, err = command(*arguments, "--json")
    assert [len(result["notes"]) for result in json.loads(out)] == [1, 0] and err.count("cut short") == 1


def test_what_is_no_file(trained, tones, tmp_path, command):
    (tmp_path / "x.png").write_bytes(b"\x89PNG" + bytes(99))
    names = (tmp_path / "*.wav", tmp_path, tmp_path / "x.png", tones / "low" / "0.wav")
    status, out, err = command("predict", trained / "best.npz", *names)
    lines = err.splitlines()
    assert status == 2 and len(lines) == 3 and "low/0.wav" in out
    assert "no file matches this pattern" in lines[0] and "no audio files in this folder" in lines[1]
    assert "a PNG picture" in lines[2]


def test_a_long_recording_in_blocks_is_the_waveform_at_once(trained, tmp_path):
    """Longer than what is kept from the first reading, at another rate, in stereo: the same to the last digit."""
    x = np.random.default_rng(0).uniform(-0.3, 0.3, (22050 * 125, 2)).astype(np.float32)
    soundfile.write(tmp_path / "a.wav", x, 22050, subtype="FLOAT")
    classifier, sounds = minast.Classifier.load(trained / "best.npz"), (tmp_path / "a.wav", x.mean(axis=1))
    in_blocks, at_once = (classifier.predict(sound, rate=22050) for sound in sounds)
    assert in_blocks["segments"] == 261 and in_blocks == {**at_once, "file": str(tmp_path / "a.wav")}
    np.testing.assert_array_equal(*(classifier.embed(sound, rate=22050) for sound in sounds))


def test_memory_does_not_grow_with_the_length(tmp_path):
    peaks = []
    for minutes in (1, 4):
        with soundfile.SoundFile(tmp_path / "a.wav", "w", 44100, 2) as f:
            for _ in range(minutes):
                f.write(np.random.default_rng(0).uniform(-0.3, 0.3, (44100 * 60, 2)))
        tracemalloc.start()
        count = sum(1 for _ in OpenSound(tmp_path / "a.wav", FeatureConfig(frames=98)).segments())
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert count == -(-(6000 * minutes - 2) // 98)
    assert peaks[1] < 1.05 * peaks[0] < 60e6


def test_too_short(trained, tmp_path, command):
    soundfile.write(tmp_path / "a.wav", np.zeros(300), 16000)
    status, _, err = command("predict", trained / "best.npz", tmp_path / "a.wav")
    assert status == 2 and "a.wav: the waveform has 300 samples" in err


def test_labels(trained, tones, command):
    file = tones / "low" / "0.wav"
    status, out, _ = command("predict", trained / "best.npz", file, "--labels", "middle;high")
    assert status == 0 and {line.split()[1] for line in out.splitlines()[1:]} == {"middle", "high"}
    status, _, err = command("predict", trained / "best.npz", file, "--labels", "middel")
    assert status == 2 and "no label 'middel': did you mean middle?" in err
    status, _, err = command("predict", trained / "best.npz", file, "--labels", "violin")
    assert status == 2 and "no label 'violin': it has high, low, middle" in err


def test_explain(trained, tmp_path, monkeypatch, command):
    """A low noise, then a high one, and a rest: the map has the file's length, and means where segments overlap."""
    rng, drawn = np.random.default_rng(1), []
    hertz = np.fft.rfftfreq(8000, 1 / 16000)
    halves = [np.fft.irfft(np.fft.rfft(rng.standard_normal(8000)) * (a < hertz) * (hertz < b)) for a, b in BANDS]
    soundfile.write(tmp_path / "a$b.wav", 0.1 * np.concatenate([*halves, halves[0][:2000]]), 16000)
    monkeypatch.setattr(plots, "relevance", lambda axes, mel, values, *a, **k: drawn.append((mel, values)))
    status, _, err = command("predict", trained / "best.npz", tmp_path / "a$b.wav", "--explain", tmp_path / "why.png")
    (mel, values), (_, other) = drawn  # the likeliest label of the file, and the one of its other half
    assert other.shape == values.shape and not np.allclose(other, values)
    assert status == 0 and err == "" and mel.shape == values.shape and values.min() >= 0 and len(mel) == 111
    assert values[:48].any() and values[48:63].any() and values[96:].any()
    model, info = minast.load(trained / "best.npz")
    p = scoring.clip_scores(model, info, [mel])[0]
    maps = []
    for start in (0, 48, 63):
        part = mel[start : start + 48]
        one = scoring.clip_scores(model, info, [part])[0, p.argmax()]
        x = model_inputs(part, info.features)
        maps.append(explain.on_spectrogram(model.config, minast.relevance(model, x, int(p.argmax())))[0] * one)
    assert np.allclose(values[:48], maps[0], rtol=1e-4, atol=1e-7)
    assert np.allclose(values[48:63], maps[1][:15], rtol=1e-4, atol=1e-7)
    assert np.allclose(values[63:96], (maps[1][15:] + maps[2][:33]) / 2, rtol=1e-4, atol=1e-7)
    assert np.allclose(values[96:], maps[2][33:], rtol=1e-4, atol=1e-7)


def test_explain_replaces_nothing_that_is_no_picture(trained, tones, tmp_path, command):
    sound = tmp_path / "a.wav"
    sound.write_bytes((tones / "low" / "0.wav").read_bytes())
    for target in (sound, trained / "best.npz"):
        before = target.read_bytes()
        status, _, err = command("predict", trained / "best.npz", sound, "--explain", target)
        assert status == 2 and "its name must end in .png" in err and target.read_bytes() == before


def test_explain_writes_a_picture_of_one_file(trained, tones, tmp_path, command):
    file = tones / "low" / "0.wav"
    assert command("predict", trained / "best.npz", file, "--explain", tmp_path / "why.png")[0] == 0
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    status, _, err = command(
        "predict", trained / "best.npz", file, tones / "low" / "1.wav", "--explain", tmp_path / "b.png"
    )
    assert status == 2 and "draws one file, there are 2" in err and not (tmp_path / "b.png").exists()


def test_a_random_head_is_said(tmp_path, tones, command):
    model = minast.AST(minast.ModelConfig(dim=12, depth=1, heads=3, frames=48, classes=2))
    minast.save(tmp_path / "m.npz", model, notes={"random_head": True})
    status, _, err = command("predict", tmp_path / "m.npz", tones / "low" / "0.wav")
    assert status == 0 and "head of this model is random" in err


def test_evaluate(trained, tones, tmp_path, command):
    status, out, _ = command("evaluate", trained / "best.npz", tones, "--split", "all", "--out", tmp_path / "report")
    assert status == 0 and "30 clips, 3 classes" in out and "accuracy" in out
    assert sorted(p.name for p in (tmp_path / "report").iterdir()) == ["confusion.png", "reliability.png", "scores.csv"]
    assert len((tmp_path / "report" / "scores.csv").read_text().splitlines()) == 31


def test_evaluate_refuses_labels_that_the_model_lacks(trained, tones, tmp_path, command):
    (tmp_path / "m.csv").write_text(f"file,labels,split\n{tones}/low/0.wav,low,train\n{tones}/low/1.wav,violin,test\n")
    status, _, err = command("evaluate", trained / "best.npz", tmp_path / "m.csv", "--out", tmp_path / "report")
    assert not (tmp_path / "report").exists()
    assert status == 2 and "1 label that" in err and "'violin'" in err


def test_evaluate_some_of_the_models_labels(trained, tones, tmp_path, command):
    rows = [f"{tones}/{name}/{i}.wav,{name},test" for name in ("low", "high") for i in range(3)]
    (tmp_path / "m.csv").write_text("\n".join(["file,labels,split", f"{tones}/low/9.wav,low,train", *rows]))
    status, out, _ = command("evaluate", trained / "best.npz", tmp_path / "m.csv", "--json")
    result = json.loads(out)
    assert status == 0 and result["accuracy"] == 1.0 and [row["label"] for row in result["classes"]] == ["high", "low"]


def test_stats(tones, command):
    status, out, _ = command("stats", tones, "--json")
    result = json.loads(out)
    assert status == 0 and result["clips"] == 18 and result["frames"] == 18 * 48 and result["std"] > 1


def test_evaluate_takes_the_split_of_training(tones, tmp_path, command):
    """With another seed than the default's, the clips that are tested are those that were held out."""
    flags = ["--depth", "1", "--epochs", "1", "--seed", "3"]
    assert command("train", tones, "--out", tmp_path / "run", *flags)[0] == 0
    command("evaluate", tmp_path / "run" / "best.npz", tones, "--out", tmp_path / "report")
    tested = {line.partition(",")[0] for line in (tmp_path / "report" / "scores.csv").read_text().splitlines()[1:]}
    assert tested == {clip.name for clip in open_dataset(str(tones), seed=3).of("test")}


def test_evaluate_takes_pure_test_material(trained, tones, tmp_path, command):
    for i in range(2):  # not the very recordings that the model was trained on
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * soundfile.read(tones / "low" / f"{i}.wav")[0], 16000)
    (tmp_path / "m.csv").write_text("file,labels,split\n0.wav,low,test\n1.wav,low,test\n")
    status, out, err = command("evaluate", trained / "best.npz", tmp_path / "m.csv")
    assert status == 0 and "2 clips, 1 class (" in out, err


def test_empty_choices(trained, tones, command):
    status, _, err = command("predict", trained / "best.npz", tones / "low" / "0.wav", "--labels", ";")
    assert status == 2 and "at least one label" in err
    for verb in ("stats", "train"):
        status, _, err = command(verb, tones, "--seed", -1)
        assert status == 2 and "--seed is -1" in err and err.count("\n") == 1


def test_stored_labels_are_shown_safely(trained, tones, tmp_path, command):
    model, info = minast.load(trained / "best.npz")
    with pytest.raises(minast.Error, match=r"labels\[0\] is 'a\\x1b\[31m'"):
        minast.save(tmp_path / "m.npz", model, ["a\x1b[31m", "b", "c"], info.features)
    minast.save(tmp_path / "m.npz", model, ["a\u202e", "b", "c"], info.features)
    for flags in ([], ["--labels", "nothing"]):
        _, out, err = command("predict", tmp_path / "m.npz", tones / "low" / "0.wav", *flags)
        assert "\u202e" not in out + err and r"a\u202e" in out + err


def test_scores_that_are_no_numbers_are_refused(trained, tones, tmp_path, command):
    model, info = minast.load(trained / "best.npz")
    model.w.flat *= np.float32(1e30)  # finite, and too large to compute with
    minast.save(tmp_path / "huge.npz", model, info.labels, info.features, info.loss)
    with np.errstate(all="ignore"):
        status, out, err = command("predict", tmp_path / "huge.npz", tones / "low" / "0.wav")
    assert status == 2 and "0.wav: the model's scores are not numbers" in err and "%" not in out
