"""predict on many recordings, and with several models: tables, interruptions, ensembles, thresholds."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
import soundfile

import minast
from minast import predict
from minast.checkpoint import keep_decisions
from minast.console.say import JsonList, print_json
from minast.decisions import decide
from minast.ensemble import over
from minast.predictor import Heard
from minast.storage.tables import growing_table


def table(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


# -- many recordings -------------------------------------------------------------------------------------------


def test_folders_patterns_and_lists(trained, tones, tmp_path, monkeypatch, command):
    model = trained / "best.npz"
    wanted = [str(path) for path in sorted((tones / "low").glob("*.wav"))]
    for argument in (tones / "low", tones / "low" / "*.wav", f"{tones}/l*/**/*.wav"):
        status, out, err = command("predict", model, argument, "--top", 1)
        assert (status, err) == (0, "") and [line.split("  (")[0] for line in out.splitlines()[::2]] == wanted
    monkeypatch.setattr(sys, "stdin", io.StringIO("\n".join(wanted[:3]) + "\n"))
    status, out, _ = command("predict", model, "-", "--top", 1)
    assert status == 0 and len(out.splitlines()) == 6
    status, out, _ = command("predict", model, wanted[0], wanted[0], "--top", 1)
    assert len(out.splitlines()) == 2  # each recording once


def test_csv_and_bad_files(trained, tones, tmp_path, command):
    (tmp_path / "bad.wav").write_text("no sound")
    shutil.copy(tones / "high" / "0.wav", tmp_path / "=a, b.wav")
    out = tmp_path / "labels.csv"
    names = (tmp_path, tones / "low" / "0.wav", tmp_path / "gone")
    status, said, err = command("predict", trained / "best.npz", *names, "--top", 2, "--csv", out)
    assert status == 2 and err.count("\n") == 2 and "bad.wav: this cannot be decoded" in err and "gone" in err
    rows = table(out)
    assert [row["file"] for row in rows] == [str(tmp_path / "=a, b.wav")] * 2 + [str(tones / "low" / "0.wav")] * 2
    assert [row["label"] for row in rows[::2]] == ["high", "low"] and {row["seconds"] for row in rows} == {"0.5"}
    assert {row["threshold"] for row in rows} == {""} and f"{out}: 2 files" in said
    (same,) = json.loads(command("predict", trained / "best.npz", names[1], "--json")[1])
    assert float(rows[2]["probability"]) == same["labels"][0]["probability"]


@pytest.mark.parametrize("name", ("labels.txt", "missing/labels.csv"))
def test_a_table_that_cannot_be(trained, tones, tmp_path, command, name):
    status, out, err = command("predict", trained / "best.npz", tones / "low" / "0.wav", "--csv", tmp_path / name)
    assert status == 2 and out == "" and err.count("\n") == 1 and name.partition("/")[0] in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_full_disk_is_one_sentence(tmp_path):
    (tmp_path / "a.csv").symlink_to("/dev/full")
    with (
        pytest.raises(minast.Error, match=r"a\.csv cannot be written: No space left"),
        growing_table(tmp_path / "a.csv", ["a"]),
    ):
        pass


KILLED = """
import os, signal, sys
from minast import classifier, predict
hear, heard, name = classifier.Classifier.hear, [], sys.argv.pop()
def until_the_fourth(self, sound, rate=None):
    heard.append(sound)
    if len(heard) == 4:
        os.kill(os.getpid(), getattr(signal, name))
    return hear(self, sound, rate)
classifier.Classifier.hear = until_the_fourth
from minast import cli
cli.run(predict.main)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals")
@pytest.mark.parametrize("name", ("SIGKILL", "SIGINT"))
def test_an_interrupted_batch_keeps_what_is_done(trained, tones, tmp_path, name):
    arguments = [trained / "best.npz", tones / "low", "--json", "--csv", tmp_path / "a.csv", name]
    done = subprocess.run([sys.executable, "-c", KILLED, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == (-9 if name == "SIGKILL" else 130), done.stderr
    rows = table(tmp_path / "a.csv")
    assert len(rows) == 9 and [row["file"] for row in rows[::3]] == [f"{tones}/low/{i}.wav" for i in range(3)]
    results = json.loads(done.stdout + ("\n]" if name == "SIGKILL" else ""))  # Ctrl-C ends the list, SIGKILL cannot
    assert [row["label"] for result in results for row in result["labels"]] == [row["label"] for row in rows]


@pytest.mark.parametrize("values", ([], [{"a": [1, 2], "b": "x\n"}], [1, "z", {"n": float("nan")}]))
def test_a_list_in_parts_is_the_list(values, capsys):
    print_json(values)
    whole = capsys.readouterr().out
    with JsonList() as output:
        for value in values:
            output.add(value)
    assert capsys.readouterr().out == whole


def test_each_segment_has_its_time(trained, tones, tmp_path, command):
    parts = [soundfile.read(tones / name / "0.wav")[0] for name in ("low", "high", "middle")]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), 16000)
    (result,) = json.loads(command("predict", trained / "best.npz", tmp_path / "a.wav", "--json", "--top", 2)[1])
    frames = minast.load(trained / "best.npz")[1].features.frames
    assert frames == 48 and result["seconds"] == 1.5 and result["segments"] == len(result["per_segment"]) == 4
    assert [each["start"] for each in result["per_segment"]] == [0, 0.48, 0.96, 1.0]
    assert [each["end"] for each in result["per_segment"]] == [0.48, 0.96, 1.44, 1.5]
    assert [each["labels"][0]["label"] for each in result["per_segment"]] == ["low", "high", "middle", "middle"]
    assert all(len(each["labels"]) == 2 for each in result["per_segment"])


def test_explain_says_what_it_wrote(trained, tones, tmp_path, command):
    parts = [soundfile.read(tones / name / "0.wav")[0] for name in ("low", "high", "low")]
    soundfile.write(tmp_path / "a.wav", np.concatenate(parts), 16000)
    arguments = ("predict", trained / "best.npz", tmp_path / "a.wav", "--explain", tmp_path / "why.png")
    status, out, err = command(*arguments)
    assert (status, err) == (0, "") and out.endswith("why.png: where low, high were heard\n")
    assert (tmp_path / "why.png").read_bytes().startswith(b"\x89PNG")
    (result,) = json.loads(command(*arguments, "--json", "--labels", "middle")[1])
    assert result["explained"] == {"picture": str(tmp_path / "why.png"), "labels": ["middle"]}
    status, _, err = command(*arguments[:2], trained / "last.npz", *arguments[2:])
    assert status == 2 and "--explain looks into one model, there are 2" in err


# -- several models --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(trained, tmp_path_factory):
    """The trained model, and another for longer clips at another rate, whose labels have another order."""
    other = tmp_path_factory.mktemp("two") / "other.npz"
    config = minast.ModelConfig.preset("nano", depth=1, frames=64, mel_bins=64, classes=3)
    features = minast.FeatureConfig(rate=8000, frames=64, mel_bins=64, window="hann")
    minast.save(other, minast.AST(config, seed=5), ["middle", "high", "low"], features)
    return [str(trained / "best.npz"), str(other)]


def test_an_ensemble_is_the_mean(two, tones, command):
    files = [tones / "low" / "0.wav", tones / "high" / "1.wav"]
    ensemble = minast.Ensemble.load(two)
    both = [minast.Classifier.load(path).predict(files, top=3) for path in two]
    found = ensemble.predict(files, top=3)
    for i, result in enumerate(found):
        of = [{row["label"]: row["probability"] for row in results[i]["labels"]} for results in both]
        for row in result["labels"]:
            assert row["probability"] == pytest.approx(sum(each[row["label"]] for each in of) / 2, abs=1e-6)
        assert result["file"] == str(files[i]) and sum(row["probability"] for row in result["labels"]) == pytest.approx(
            1
        )
    assert found[0]["labels"] != both[0][0]["labels"]
    status, out, err = command("predict", *two, *files, "--json", "--top", 3)
    assert (status, err) == (0, "") and json.loads(out) == ensemble.predict(files, top=3, per_segment=True)
    assert "2 models, 3 labels" in repr(ensemble)
    one = minast.Ensemble.load(two[:1]).predict(files)
    assert [each["labels"] for each in one] == [
        each["labels"] for each in minast.Classifier.load(two[0]).predict(files)
    ]


def test_segments_of_an_ensemble_are_the_first_models(two, tones):
    wave = np.concatenate([minast.load_audio(tones / name / "0.wav") for name in ("low", "high", "middle")])
    first, other = (minast.Classifier.load(path).hear(wave, 16000) for path in two)
    heard = minast.Ensemble.load(two).hear(wave)
    assert len(first.starts) == 4 and len(other.starts) == 3  # of 0.48 and of 0.64 s
    np.testing.assert_array_equal(heard.starts, first.starts)
    theirs = other.segments[:, [1, 2, 0]]  # in the order of the first: high, low, middle
    np.testing.assert_allclose(heard.segments[0], (first.segments[0] + theirs[0]) / 2)
    np.testing.assert_allclose(heard.scores, (first.scores + other.scores[[1, 2, 0]]) / 2)
    mixed = (0.16 * theirs[0] + 0.32 * theirs[1] + 0.12 * theirs[2]) / 0.6  # 0.48 to 0.96 s; the last begins at 0.84 s
    np.testing.assert_allclose(heard.segments[1], (first.segments[1] + mixed) / 2, rtol=1e-6)


def test_the_mean_over_time_of_a_constant_is_that_constant():
    starts, ends = np.array([0, 0.5, 0.7]), np.array([0.5, 1.0, 1.2])
    other = Heard(1.2, np.array([0, 0.3, 0.6, 0.9]), np.array([0.3, 0.6, 0.9, 1.2]), np.full((4, 2), 0.3), None, [])
    np.testing.assert_allclose(over(starts, ends, other), 0.3)
    rising = other._replace(segments=np.arange(4.0)[:, None])
    np.testing.assert_allclose(over(starts, ends, rising)[:, 0], [0.4, (0.1 + 0.6 + 0.3) / 0.5, (0.4 + 0.9) / 0.5])


def test_models_that_do_not_agree(two, trained, tones, tmp_path, command):
    model, info = minast.load(two[0])
    file = tones / "low" / "0.wav"
    minast.save(tmp_path / "labels.npz", model, ["high", "low", "mid"], info.features)
    status, out, err = command("predict", two[0], tmp_path / "labels.npz", file)
    assert status == 2 and out == "" and "labels.npz lacks 1 of the 3 labels of" in err and "'middle'" in err
    minast.save(tmp_path / "loss.npz", model, info.labels, info.features, loss="bce")
    status, _, err = command("predict", two[0], tmp_path / "loss.npz", file)
    assert status == 2 and "softmax head and" in err and "a sigmoid one" in err
    status, _, err = command("predict", *two)
    assert status == 2 and "PATH is missing" in err and "other.npz is a checkpoint" in err
    with pytest.raises(minast.Error, match="at least one model"):
        minast.Ensemble([])


# -- thresholds ------------------------------------------------------------------------------------------------


@pytest.fixture
def decided(trained, tmp_path):
    """A copy of the trained model that has decisions: a label is given from 0.5 on, but "low" never."""
    path = tmp_path / "decided.npz"
    shutil.copy(trained / "best.npz", path)
    rng = np.random.default_rng(0)
    scores, targets = rng.dirichlet([0.3] * 3, 60), np.eye(3)[rng.integers(0, 3, 60)]
    keep_decisions(path, replace(decide(scores, targets, "ce"), slope=0.5, thresholds=[0.5, None, 0.5]))
    return path


def test_calibrated_probabilities_and_thresholds(decided, trained, tones, command):
    files = [tones / "low" / "0.wav", tones / "high" / "0.wav"]
    plain, fair = (minast.Classifier.load(path).predict(files) for path in (trained / "best.npz", decided))
    for one, other in zip(plain, fair, strict=True):
        p = np.array([row["probability"] for row in one["labels"]]) ** 0.5
        assert [row["probability"] for row in other["labels"]] == pytest.approx(list(p / p.sum()), abs=1e-5)
        assert other["calibrated"] and not one["calibrated"] and "given" not in one["labels"][0]
    low, high = (each["labels"][0] for each in fair)
    assert (low["label"], low["threshold"], low["given"]) == ("low", None, False)
    assert (high["label"], high["threshold"], high["given"]) == ("high", 0.5, True)
    status, out, err = command("predict", decided, *files, "--top", 1, "--csv", decided.with_suffix(".csv"))
    marks = [line[0] for line in out.splitlines() if "%" in line]
    assert status == 0 and marks == [" ", "+"] and err.startswith("note: probabilities are calibrated, and thresholds")
    assert [row["threshold"] for row in table(decided.with_suffix(".csv"))] == ["", "0.5"]
    assert minast.Classifier.load(decided, raw=True).predict(files) == plain
    status, out, err = command("predict", decided, *files, "--raw", "--json")
    assert err == "" and [each["labels"] for each in json.loads(out)] == [each["labels"] for each in plain]


def test_an_ensemble_of_calibrated_models(decided, two, tones, command):
    file = tones / "high" / "0.wav"
    status, out, err = command("predict", decided, decided, file)
    assert status == 0 and "thresholds of single models are not used" in err and "+" not in out
    status, _, err = command("predict", decided, two[1], file)
    assert status == 0 and "of 1 of 2 models are calibrated and those of 1 are not" in err
    assert "--raw" in err and command("predict", decided, two[1], file, "--raw")[2] == ""


def test_what_is_a_checkpoint():
    assert predict.split_arguments("a.npz", ["b.NPZ", "c.wav", "d.npz"]) == (["a.npz", "b.NPZ"], ["c.wav", "d.npz"])


def test_addresses(trained, tones, command):
    fsspec = pytest.importorskip("fsspec", reason="fsspec is not installed")
    with fsspec.open("memory://sounds/a.wav", "wb") as f:
        f.write((tones / "high" / "0.wav").read_bytes())
    status, out, err = command("predict", trained / "best.npz", "memory://sounds/*.wav", "--json", "--top", 1)
    assert (status, err) == (0, "")
    (result,) = json.loads(out)
    assert result["file"].startswith("memory://") and result["labels"][0]["label"] == "high"
