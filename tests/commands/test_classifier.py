"""minast.Classifier is what the commands do."""

import json

import numpy as np
import pytest

import minast
from minast.audio import resample


@pytest.fixture(scope="module")
def classifier(trained):
    return minast.Classifier.load(trained / "best.npz")


def test_what_it_is(classifier, trained):
    assert classifier.labels == ["high", "low", "middle"] and classifier.head == "softmax"
    assert classifier.features == minast.load(trained / "best.npz")[1].features
    assert "3 labels, softmax" in repr(classifier)


def test_predict_is_the_command(classifier, trained, tones, command):
    files = [tones / "low" / "0.wav", tones / "high" / "1.wav"]
    for options, flags in (({}, []), ({"top": 1, "labels": ["middle", "low"]}, ["--top", 1, "--labels", "middle;low"])):
        _, printed, _ = command("predict", trained / "best.npz", *files, "--json", *flags)
        assert classifier.predict(files, per_segment=True, **options) == json.loads(printed)
        assert classifier.predict(files[0], per_segment=True, **options) == json.loads(printed)[0]
    assert classifier.predict([]) == []


def test_a_waveform_is_its_file(classifier, tones):
    path = tones / "middle" / "0.wav"
    wave = minast.load_audio(path)
    assert classifier.predict(wave) == {**classifier.predict(str(path)), "file": None}
    np.testing.assert_array_equal(classifier.embed(wave), classifier.embed(path))
    assert classifier.predict([wave, path]) == [classifier.predict(wave), classifier.predict(path)]


def test_a_waveform_of_another_rate(classifier, tones):
    wave = minast.load_audio(tones / "high" / "0.wav")
    found = classifier.predict(resample(wave, 16000, 44100), rate=44100)
    assert found["labels"][0]["label"] == "high" and found["seconds"] == 0.5
    assert classifier.predict(wave, rate=16000) == classifier.predict(wave)
    assert classifier.predict(wave.astype(np.float64), rate=16000) == classifier.predict(wave)


def test_what_is_known_about_a_file(classifier, tones, tmp_path):
    (tmp_path / "cut.wav").write_bytes((tones / "low" / "0.wav").read_bytes()[:12000])
    (note,) = classifier.predict(tmp_path / "cut.wav")["notes"]
    assert note.startswith("cut short: 0.37 s")
    for function in (classifier.embed, classifier.read):
        with pytest.warns(UserWarning, match=r"cut\.wav: cut short"):
            function(tmp_path / "cut.wav")
    assert classifier.predict(tones / "low" / "0.wav")["notes"] == []


def test_embed(classifier, tones):
    files = sorted((tones / "low").iterdir())[:3]
    found = classifier.embed(files, batch=2)
    assert found.shape == (3, 96) and found.dtype == np.float32
    np.testing.assert_allclose(found, np.concatenate([classifier.embed(path) for path in files]), atol=1e-5)
    assert classifier.embed(files[0]).shape == (1, 96) and classifier.embed([]).shape == (0, 96)


def test_save_and_load(classifier, tones, tmp_path):
    classifier.save(tmp_path / "copy.npz")
    again = minast.Classifier.load(tmp_path / "copy.npz", backend="numpy")
    assert again.model.backend.name == "numpy" and again.info.history == classifier.info.history
    for mine, theirs in zip(classifier.model.w.values(), again.model.w.values(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    best = again.predict(tones / "low" / "0.wav")["labels"][0]
    assert best["label"] == "low"


def test_fit(tones, tmp_path):
    found = minast.Classifier.fit(tones, out=tmp_path / "run", depth=1, epochs=1, batch=6, backend="numpy")
    assert found.labels == ["high", "low", "middle"] and found.model.backend.name == "numpy"
    assert found.model.config.depth == 1 and (tmp_path / "run" / "best.npz").exists()
    assert found.predict(tones / "low" / "0.wav", top=3)["head"] == "softmax"
    with pytest.raises(minast.Error, match="epoch"):
        minast.Classifier.fit(tones, out=tmp_path / "other", epoch=1)


@pytest.mark.parametrize(
    ("sounds", "options", "words"),
    [
        ("none.wav", {}, "none.wav: there is no such file"),
        (np.zeros(300, np.float32), {}, "^the waveform has 300 samples"),
        (np.full(16000, 32767, np.float32), {}, "^the waveform reaches 32767"),
        (np.zeros((2, 16000), np.float32), {}, "one channel of floats"),
        (np.zeros((2, 16000), np.float32), {"rate": 8000}, "one channel of floats"),
        (np.zeros(16000, np.int16), {"rate": 8000}, "int16"),
        (np.zeros(16000, np.float32), {"rate": 0}, "sample rate is 0: it must be"),
        ([0.5, 0.25], {}, "a sound must be a path .* this is float"),
        (np.zeros(16000, np.float32), {"top": 0}, "top is 0"),
        (np.zeros(16000, np.float32), {"labels": ["lwo"]}, r"best\.npz has no label 'lwo': did you mean low"),
    ],
)
def test_refusals(classifier, sounds, options, words):
    with pytest.raises(minast.Error, match=words):
        classifier.predict(sounds, **options)
