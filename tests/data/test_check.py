"""`minast data check`: what it finds, and its exit status. The registry of data sets."""

import json
import shutil

import numpy as np
import pytest
import soundfile

import minast
from minast import datasets, evaluate
from minast.checkpoint import Info, load_state
from minast.datasets import check, duplicates, open_dataset, registry, splits
from minast.datasets.common import Clip, Dataset
from minast.datasets.labels import alike
from minast.datasets.summary import table, understood
from tests.data.sounds import make, several, sound


def test_sound_data_pass(tones, command):
    status, out, err = command("data", "check", tones)
    assert status == 0 and err == ""
    lines = out.splitlines()
    assert lines[0] == (
        f"{tones}: 18 train, 6 valid, 6 test clips, 3 classes; split: a fifth of each class for testing, a fifth of "
        "the rest for validation, drawn with seed 0"
    )
    assert lines[1] == "  each class has 6 train, 2 valid and 2 test: high, low, middle"
    assert "30 files were read, 15 s in all: 0.50 to 0.50 s, median 0.50 s" in lines
    assert "  rates: 16000 Hz (30)" in lines and "  channels: mono (30)" in lines and "  formats: wav (30)" in lines
    assert lines[-1] == "These data can be trained on."


def test_everything_that_is_wrong_is_found(tmp_path, command):
    top = make(tmp_path / "d", [*several("Dog/*.wav", range(12)), *several("dog /*.ogg"), "cat/0.wav", "dog /9.m4a"])
    sound(top / "Dog" / "8k.flac", 0.5, 8000)
    soundfile.write(top / "Dog" / "stereo.wav", np.random.default_rng(0).uniform(-1, 1, (1600, 2)), 16000)
    soundfile.write(top / "Dog" / "silence.wav", np.zeros(1600), 16000)
    soundfile.write(top / "Dog" / "click.wav", np.ones(160) / 2, 16000)
    (top / "Dog" / "broken.wav").write_text("no sound")
    shutil.copy(top / "Dog" / "3.wav", top / "cat" / "dog.wav")
    status, out, _ = command("data", "check", top)
    assert status == 2
    for line in (
        "  rates: 8000 Hz (1), 16000 Hz (19)",
        "  channels: mono (19), 2 channels (1)",
        "  formats: wav (16), ogg (3), flac (1)",
        "files that cannot be read: 2",
        f"  {top}/Dog/click.wav: it lasts 0.010 s, at least 0.025 s are needed.",
        "files of digital silence: 1",
        "labels that look alike: 'Dog', 'dog '",
        "classes with fewer than 10 clips: cat (2), dog  (3)",
    ):
        assert line in out.splitlines(), (line, out)
    assert "skipped: 1 file that needs conversion" in out and "1 recording has several labels in copies" in out
    assert out.splitlines()[-1] == (
        "train stops at these data: 2 files cannot be used; --skip-bad leaves out what cannot be used."
    )
    status, out, _ = command("data", "check", top, "--json")
    found = json.loads(out)
    assert status == 2 and not found["trainable"] and len(found["unreadable"]) == 2
    assert found["rates"] == {"8000": 1, "16000": 19} and found["channels"] == {"1": 19, "2": 1}
    assert found["seconds"]["max"] == 0.5 and found["silent"] == [str(top / "Dog" / "silence.wav")]
    assert found["copies"] == [[str(top / "Dog" / "3.wav"), str(top / "cat" / "dog.wav")]]
    assert found["labels_alike"] == [["Dog", "dog "]] and found["few_clips"] == {"cat": 2, "dog ": 3}
    assert found["skipped"][0]["count"] == 1


def test_copies_across_a_given_split(tmp_path, command):
    files = [f"{s}/{k}/{i}.wav" for s in ("train", "test") for k in "ab" for i in range(2)]
    make(tmp_path / "d", [*files, "test/a/9.wav = train/a/0.wav"])
    status, out, _ = command("data", "check", tmp_path / "d", "--json")
    assert status == 0 and len(json.loads(out)["copies_across_the_split"]) == 1
    assert "1 held-out clip is a copy of a training clip" in command("data", "check", tmp_path / "d")[1]


def test_status_2_where_train_refuses(tmp_path, tones, command):
    make(tmp_path / "one", several("a/*.wav"))
    status, out, _ = command("data", "check", tmp_path / "one")
    assert status == 2 and out.splitlines()[-1].startswith("train refuses these data: ") and "only one class" in out
    make(tmp_path / "two", ["train/0.wav", "test/0.wav"])
    status, out, err = command("data", "check", tmp_path / "two")
    assert status == 2 and out == "" and "hold audio but no class folders" in err
    (tmp_path / "m.csv").write_text(f"file,labels\n{tones}/low/0.wav,a\nnone.wav,b\n")
    status, out, _ = command("data", "check", tmp_path / "m.csv", "--json")
    assert status == 2 and "no file" in json.loads(out)["unreadable"][0]["reason"]


def test_the_built_in_sounds(command, monkeypatch):
    from minast.datasets import builtin

    monkeypatch.setattr(builtin, "COUNTS", {"train": 20, "test": 10})
    status, out, _ = command("data", "check", "builtin")
    assert status == 0 and "formats: synthesised (30)" in out


def test_labels_that_look_alike():
    assert alike(["Dog bark", "dog_bark", "DOG-BARK", "cat", "ﬁre", "fire", "a\u200db", "ab"]) == [
        ["ab", "a\u200db"],
        ["DOG-BARK", "Dog bark", "dog_bark"],
        ["fire", "ﬁre"],
    ]


def test_many_classes_are_summarised():
    labels = [f"class {k:03d}" for k in range(300)]
    lines = table(labels, {"train": np.arange(300), "test": np.arange(300) // 4})
    assert len(lines) == 22 and "... 280 classes with numbers between these ..." in lines[11]
    assert lines[1].split() == ["class", "000", "0", "0"] and lines[-1].split() == ["class", "299", "299", "74"]


def test_labels_are_shown_safely_where_they_were_stored_before():
    data = Dataset("d", ["a\x1b[31m", "b\u202e"], [Clip("x", (0,), "train"), Clip("y", (1,), "test")])
    assert not {"\x1b", "\u202e"} & set("\n".join(understood(data)))


# -- the registry --------------------------------------------------------------------------------------------------


@pytest.fixture
def birds(monkeypatch, tmp_path):
    """A data set with folds that no other module knows: what a new file in minast/datasets does."""
    monkeypatch.setattr(registry, "SOURCES", registry.SOURCES.copy())
    monkeypatch.setattr(datasets, "SOURCES", registry.SOURCES)
    make(tmp_path / "birds", [f"{name}/{fold}-{i}.wav" for name in "ab" for fold in (1, 2, 3) for i in range(2)])

    def read(path, seed):
        files = sorted((tmp_path / "birds").rglob("*.wav"))
        clips = [Clip(str(f), (int(f.parent.name == "b"),), path=str(f), fold=int(f.name[0])) for f in files]
        return Dataset(f"birds:{path}", ["a", "b"], clips, split_from="official", kind="own")

    registry.register(registry.Source("birds", "Birds", read, folds=(1, 2, 3)))
    return f"birds:{tmp_path / 'birds'}"


def test_a_new_data_set_is_one_registration(birds, tmp_path, command):
    assert "birds:PATH" in registry.data_help() and "birds: 1 to 3" in registry.fold_help()
    data = open_dataset(birds, fold=3)
    assert data.fold == 3 and len(data.of("test")) == 4 and data.split_from == "official: fold 3 is the test set"
    with pytest.raises(minast.Error, match="fold is 4: birds has folds 1 to 3"):
        open_dataset(birds, fold=4)
    run = tmp_path / "run"
    assert command("train", birds, "--fold", 2, "--out", run, "--depth", 1, "--epochs", 1)[0] == 0
    assert load_state(run / "last.npz")["settings"]["fold"] == 2
    status, out, err = command("evaluate", run / "best.npz", birds, "--json")
    assert status == 0 and json.loads(out)["clips"] == 4 and json.loads(out)["trained_on"] == 0 and err == ""


def test_evaluate_knows_no_data_set_by_name():
    with open(evaluate.__file__, encoding="utf-8") as f:
        source = f.read()
    code = source[source.index("import os") :]
    assert not [name for name in registry.SOURCES if name in code]


def test_a_name_is_given_once():
    with pytest.raises(ValueError, match="two data sets called 'fsdd'"):
        registry.register(registry.SOURCES["fsdd"])


@pytest.mark.parametrize(
    ("name", "split"),
    [
        *(("train2017", "train"), ("val2017", "valid"), ("TrainAudio", "train"), ("testA", "test"), ("test 1", "test")),
        *(("Training set", "train"), ("TRAIN", "train"), ("test_data", "test"), ("Testing", "test"), ("val", "valid")),
        *(
            ("dev-set", "valid"),
            ("audio_train", "train"),
            ("test wavs", "test"),
            ("FSD50K.dev_audio", None),
            ("Evaluation", "test"),
            ("trainer", None),
            ("labels", None),
            ("", None),
        ),
    ],
)
def test_names_of_splits(name, split):
    assert splits.split_of(name) == split


@pytest.mark.parametrize(
    ("name", "fold"), [("fold1", 1), ("Fold 03", 3), ("FOLD_10", 10), ("folder1", None), ("fold", None), ("1", None)]
)
def test_names_of_folds(name, fold):
    assert splits.fold_of(name) == fold


def test_old_models_take_the_fold_of_their_training_too(tmp_path):
    make(tmp_path, [f"fold{k}/{name}/{i}.wav" for k in (1, 2) for name in "ab" for i in range(2)])
    data = datasets.folder.read(str(tmp_path))
    assert splits.assigned(data, 0, usual_fold=2).fold == 2 and splits.assigned(data, 0, usual_fold=7).fold == 1
    assert splits.assigned(data, 0, usual_fold=2, drawn_by="position").fold == 2
    assert splits.assigned(data, 0, drawn_by="position").fold is None  # version 0.1 knew no folds of own data
    info = Info(["a", "b"], minast.FeatureConfig(), notes={"fold": None, "seed": 0})
    assert info.notes.get("drawn_by", "position") == "position"


def test_contradicting_labels_name_two_files_that_contradict_each_other():
    clips = [Clip(f"{name}.wav", (k,), "train") for name, k in (("a", 0), ("b", 0), ("c", 1))]
    (said, *_) = duplicates.sentences(Dataset("x", ["low", "high"], clips), [[0, 1, 2]])
    assert said == "1 recording has several labels in copies; such as a.wav and c.wav: 'high', 'low'"


def test_imbalance_is_advised_against_unless_something_is_done():
    clips = [Clip(f"{i}.wav", (int(i == 0),), "train") for i in range(21)]
    found = [check.dangers(Dataset("x", ["many", "one"], clips), (), balanced) for balanced in (False, True)]
    assert found[0][-1].endswith("; with --sampler balanced they are trained on more often")
    assert found[1][-1].endswith("20 times fewer: rare classes are recognised less often")
