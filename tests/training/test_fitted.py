"""What the clips suggest: their rate, their length, epochs and augmentation by their number, and how long it takes."""

import re
import shutil
from collections import Counter

import numpy as np
import pytest

import minast
from minast.config import ModelConfig, TrainConfig
from minast.datasets import open_dataset
from minast.training import building, choice, estimate, fitted
from minast.training.result import Result, quoted, remarks


@pytest.mark.parametrize(
    ("files", "rate"),
    [
        ({8000: 10}, 8000),
        ({44100: 10}, 16000),
        ({8000: 4, 44100: 6}, 16000),  # half of the files reach it
        ({8000: 6, 44100: 4}, 8000),
        ({8000: 5, 11025: 3, 48000: 2}, 11025),
        ({}, 16000),
    ],
)
def test_the_highest_rate_that_most_files_have(files, rate):
    assert fitted.fitting_rate(Counter(files)) == rate


def test_rates_come_from_the_files_heads(tmp_path):
    import soundfile

    for i, rate in enumerate((8000, 8000, 22050)):
        (tmp_path / "a").mkdir(exist_ok=True)
        soundfile.write(tmp_path / "a" / f"{i}.wav", np.zeros(rate // 2), rate)
    (tmp_path / "a" / "3.wav").write_bytes(b"RIFF\0\0\0\0WAVE")  # reading it will say what is wrong
    assert fitted.rates(open_dataset(str(tmp_path), training=False).clips) == {8000: 2, 22050: 1}


def test_what_is_said_of_rates():
    found = Counter({8000: 3, 44100: 7})
    said = fitted.rate_words(found, 16000, fitted=True, asked=False)
    assert said[0].startswith("sample rate 16000 Hz, the highest without --rate; the files have 44100 Hz (7 files), ")
    assert "3 of 10 files are below 16000 Hz" in said[1] and len(said) == 2
    assert "most files have a higher rate than 8000 Hz" in fitted.rate_words(found, 8000, fitted=False, asked=True)[0]
    assert fitted.rate_words(Counter({16000: 5}), 16000, fitted=False, asked=True) == []
    assert fitted.rate_words(Counter({44100: 5}), 16000, fitted=False, asked=False) == []  # what a recipe says


def test_what_is_said_of_lengths():
    said = fitted.length_words([100, 200, 300, 1050], 200, 16000)
    assert said[0].startswith("2 of 4 clips are longer than the input of 2.00 s (the longest has 10.5 s): they are")
    assert fitted.length_words([10, 20], 20, 16000) == []


def test_epochs_by_the_number_of_clips():
    """A few clips are seen more often; FSDD's 2700 are seen about as often as its own recipe says."""
    epochs = {n: fitted.to_count(n, 100, 16, False)["epochs"] for n in (50, 300, 2700, 30_000, 2_000_000)}
    assert epochs == {50: 100, 300: 100, 2700: 15, 30_000: 10, 2_000_000: 10}
    fine = {n: fitted.to_count(n, 100, 16, True)["epochs"] for n in (30, 320, 5000)}
    assert fine == {30: 40, 320: 8, 5000: 8}


def test_augmentation_fits_the_clips_and_gives_way_to_flags():
    config, _ = choice.recipe("own", False, {}, clips=300, frames=500)
    assert (config.freq_mask, config.time_mask, config.roll, config.augment_from) == (24, 93, 62, 3)
    config, _ = choice.recipe("own", False, {"roll": 5}, clips=300, frames=500)
    assert (config.roll, config.augment_from) == (5, 0)  # what is asked for begins at once
    config, _ = choice.recipe("own", False, {"pretrained": "vit.npz"}, clips=300, frames=500)
    assert (config.freq_mask, config.mixup) == (0, 0.5)
    esc = choice.recipe("esc", False, {})
    assert choice.recipe("esc", False, {}, clips=300, frames=500) == esc  # a data set with values of its own


def test_8_khz_is_trained_at_8_khz(tones, tmp_path, command):
    """The digits of a new user: no word was said, and 66.7 % instead of 81.7 % were right."""
    import soundfile

    for path in tones.glob("*/*.wav"):
        (tmp_path / "d" / path.parent.name).mkdir(parents=True, exist_ok=True)
        soundfile.write(tmp_path / "d" / path.parent.name / path.name, soundfile.read(path)[0][::2], 8000)
    flags = ["--out", tmp_path / "run", "--epochs", "1", "--depth", "1"]
    status, said, _ = command("train", tmp_path / "d", *flags)
    assert status == 0 and "sample rate 8000 Hz, from the files' own: 8000 Hz" in said
    assert minast.load(tmp_path / "run" / "best.npz")[1].features.rate == 8000
    status, said, _ = command("train", tmp_path / "d", *flags[2:], "--out", tmp_path / "x", "--rate", "16000")
    assert "are below 16000 Hz" in said


def test_clips_that_are_cut_are_counted(tones, tmp_path, command):
    status, said, _ = command(
        "train", tones, "--out", tmp_path / "run", "--epochs", "1", "--depth", "1", "--frames", "32"
    )
    assert status == 0 and "note: 30 of 30 clips are longer than the input of 0.32 s" in said


# -- time ----------------------------------------------------------------------------------------------------------


def test_an_estimate_is_near_the_time_of_a_step():
    shape = ModelConfig.preset("nano", classes=10, frames=200)
    config = TrainConfig(batch=8)
    each = estimate.seconds_per_clip(shape, config, "fast")
    whole = estimate.pass_seconds(shape, config, "fast", 8) / 8
    assert whole / 3 < each < whole * 3  # two runs beside others: within a factor
    found = estimate.estimate(shape, config, "fast", clips=100, scored=20, last=10)
    assert found.run == pytest.approx(found.epoch * config.epochs, rel=0.1)
    assert re.fullmatch(r"one epoch takes about \d+ (s|min), the run about [\d.]+ (s|min|h)", str(found))


def test_sizes_to_try():
    assert list(estimate.coarser("small", 10, 10)) == [
        ("small", 10, 10),
        ("small", 16, 16),
        ("tiny", 16, 16),
        ("nano", 16, 16),
    ]
    assert list(estimate.coarser(None, 16, 16)) == [(None, 16, 16)]


@pytest.mark.parametrize("asked", [[], ["--fstride", "10"]])
def test_a_default_that_is_too_slow_gives_way_unless_it_was_asked_for(tones, tmp_path, command, monkeypatch, asked):
    """By as many hours as the model has tokens / 10: 40 tokens are 4 hours, 12 are 1.2."""

    def slow(shape, config, backend, clips, scored, last):
        return estimate.Estimate(1, shape.tokens * 360)

    monkeypatch.setattr(building, "estimate", slow)
    status, said, _ = command("train", tones, "--out", tmp_path / "run", "--epochs", "1", *asked)
    model, _ = minast.load(tmp_path / "run" / "best.npz")
    assert status == 0 and (model.config.fstride, model.config.tstride) == ((10, 10) if asked else (16, 16))
    replaced = (
        "strides of 16 mel bins\nand 16 frames are used instead; --fstride 10 --tstride 10 trains it all the same"
    )
    assert (replaced in said) == (not asked) and "the run about" in said


# -- chance --------------------------------------------------------------------------------------------------------


def result(scores, targets, loss="ce"):
    names = [str(i) for i in range(len(scores))]
    labels = [f"class {k}" for k in range(targets.shape[1])]
    return Result(scores, targets, names, [""] * len(names), labels, "test", loss, 1, 1, 1.0)


def test_chance_is_said():
    rng, targets = np.random.default_rng(0), np.eye(4)[np.arange(80) % 4]
    noise = rng.random((80, 4))
    for loss in ("ce", "bce"):
        said = remarks(result(noise, targets, loss))
        assert len(said) == 1 and said[0].startswith("This is chance level: AUC 0.") and "--pretrained" in said[0]
        assert remarks(result(noise + targets, targets, loss)) == []


def test_classes_without_clips_are_named_and_the_sentence_ends_once():
    targets = np.eye(30)[np.arange(60) % 5]
    (said,) = remarks(result(targets * 0.8 + 0.1, targets))
    assert said.startswith("25 classes have no test clip, and means leave them out: 'class 5', 'class 6', ")
    assert said.endswith("'class 24' and 5 more.")


def test_one_group_has_no_interval():
    targets = np.eye(2)[np.arange(10) % 2]
    found = result(targets * 0.8 + 0.1, targets)
    found.groups = ["one speaker"] * 10
    assert quoted(found).startswith("accuracy 100.00% (no interval), mAP") and quoted(found).endswith("of 1 group")


def test_classes_without_test_clips_are_named():
    scores = np.random.default_rng(0).random((20, 3))
    targets = np.eye(3)[np.arange(20) % 2]
    said = remarks(result(scores + targets, targets))
    assert said == ["1 class has no test clip, and means leave it out: 'class 2'."]


def test_the_headline_of_a_run_names_clips_and_interval(trained, command, tmp_path):
    shutil.copytree(trained, tmp_path / "run")
    status, said, _ = command("train", "--resume", tmp_path / "run")
    line = next(line for line in said.splitlines() if line.startswith("test: "))
    form = r"test: accuracy [\d.]+% \(95% interval [\d.]+% to [\d.]+%\), mAP [\d.]+, AUC [\d.]+ on 6 test clips, "
    assert status == 0 and re.match(form + "scored once; epoch [123] of 3 was chosen on 6 validation clips", line), line
