"""calibrate and evaluate as a user meets them: several labels, thresholds, intervals, classes without clips."""

import json
import os
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile

import minast
from minast import metrics, scoring
from minast.calibrate import cautions_of_precision
from minast.checkpoint import keep_decisions
from minast.decisions import decide
from minast.decisions.reliability import calibration_error

BANDS = {"low": (50, 500), "middle": (1000, 2000), "high": (4000, 7000)}


@pytest.fixture(scope="module")
def mixtures(tmp_path_factory):
    """A manifest of 60 half-second mixtures of three noises; class "none" has no clip but in training."""
    folder, rng = tmp_path_factory.mktemp("mixtures"), np.random.default_rng(0)
    hertz, lines = np.fft.rfftfreq(8000, 1 / 16000), ["file,labels,split"]
    for i in range(60):
        labels = [name for name in BANDS if rng.random() < 0.5] or ["low"]
        wave = 0.004 * rng.standard_normal(8000)  # with it the model makes mistakes
        for name in labels:
            low, high = BANDS[name]
            band = np.fft.rfft(rng.standard_normal(8000)) * ((hertz > low) & (hertz < high))
            wave += 10 ** rng.uniform(-2.7, -1) * np.fft.irfft(band)
        soundfile.write(folder / f"{i}.wav", wave, 16000)
        split = ("train", "valid", "test")[i % 3]
        if i == 0:
            labels.append("none")
        lines.append(f"{i}.wav,{';'.join(labels)},{split}")
    (folder / "m.csv").write_text("\n".join(lines) + "\n")
    return folder / "m.csv"


@pytest.fixture(scope="module")
def model(mixtures, tmp_path_factory):
    """A model of the mixtures, trained for a few epochs."""
    from minast import train

    out = tmp_path_factory.mktemp("run") / "mixtures"
    flags = ["--depth", "2", "--epochs", "3", "--batch", "5", "--lr", "1e-3", "--out", str(out)]
    assert train.main([str(mixtures), *flags]) == 0
    keep_decisions(out / "best.npz", None)  # which training may have found
    return out / "best.npz"


@pytest.fixture
def copy(model, tmp_path):
    return shutil.copy(model, tmp_path / "copy.npz")


def report(command, *arguments):
    status, out, err = command("evaluate", *arguments, "--json")
    assert status == 0, err
    return json.loads(out), err


# -- calibrate -------------------------------------------------------------------------------------------------


def test_calibrate_then_evaluate(copy, mixtures, tmp_path, command):
    before, _ = report(command, copy, mixtures)
    status, out, err = command("calibrate", copy, mixtures, "--picture", tmp_path / "r.png")
    assert (status, err) == (0, "") and "20 clips of the valid split" in out and "Platt's scaling, slope" in out
    assert "There is no clip of 'none': the threshold is 0.5." in out and "calibration error" in out
    assert (tmp_path / "r.png").read_bytes().startswith(b"\x89PNG")
    loaded, info = minast.load(copy)
    first, _ = minast.load(copy.with_name("copy.npz"))
    np.testing.assert_array_equal(loaded.w.flat, first.w.flat)
    assert info.decisions.goal == "F1" and info.decisions.clips[info.labels.index("none")] == 0

    after, err = report(command, copy, mixtures)
    assert "probabilities are calibrated, and thresholds are the checkpoint's" in err and after["calibrated"]
    assert after["mAP"] == before["mAP"] and after["AUC"] == before["AUC"]  # the order of the clips stays
    assert sum(after["reliability"]["count"]) == 60 and len(after["reliability"]["share"]) == 15
    assert after["ECE"] < before["ECE"] and after["ECE_raw"] == before["ECE"] and "ECE_raw" not in before
    own = dict(zip(info.labels, info.decisions.thresholds, strict=True))
    assert [row["threshold"] for row in after["classes"]] == [own[row["label"]] for row in after["classes"]]
    raw, err = report(command, copy, mixtures, "--raw")
    assert err == "" and {**raw, "checkpoint": ""} == {**before, "checkpoint": ""}
    _, out, _ = command("evaluate", copy, mixtures)
    assert "F1 is that of the checkpoint's thresholds, chosen on 20 clips of the valid split of" in out


@pytest.mark.parametrize(("goal", "clips", "given", "said"), [
    ("precision", 19, 2, True), ("precision", 19, 10, False), ("F1", 19, 2, False),
    ("precision", 3, 2, False),  # which another sentence is about
    ("precision", 19, 0, False),  # never given, and said
])  # fmt: skip
def test_a_precision_of_few_clips_is_no_promise(goal, clips, given, said):
    found = cautions_of_precision(SimpleNamespace(goal=goal), [{"label": "owl", "clips": clips, "given": given}])
    assert found == ["Fewer than 10 clips are given 'owl': on other clips the precision may be far lower."] * said


def test_calibrated_scores_are_what_is_written_and_measured(copy, mixtures, tmp_path, command):
    command("calibrate", copy, mixtures)
    result, _ = report(command, copy, mixtures, "--out", tmp_path / "out")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "average_precision.png",
        "reliability.png",
        "scores.csv",
    ]
    lines = (tmp_path / "out" / "scores.csv").read_text().splitlines()
    labels = lines[0].split(",")[2:]
    scores = np.array([line.split(",")[2:] for line in lines[1:]], float)
    targets = np.array([[name in line.split(",")[1].split(";") for name in labels] for line in lines[1:]])
    limits = minast.load(copy)[1].decisions.limits
    assert labels == minast.load(copy)[1].labels and scores.shape == (20, 4)
    expected = metrics.measures(scores, targets, "bce", limits)
    for name, value in expected.items():
        assert result[name] == pytest.approx(value, abs=1e-4), name
    assert result["ECE"] == pytest.approx(calibration_error(scores, targets, "bce"), abs=1e-4)


def test_a_precision_that_is_not_reached(copy, mixtures, command):
    model, info = minast.load(copy)
    worse = {"labels": ["middle", "low", "high", "none"]}  # another order: every label means something else
    assert set(worse["labels"]) == set(info.labels) and worse["labels"] != info.labels
    minast.save(copy, model, worse["labels"], info.features, info.loss, notes=info.notes)
    status, out, _ = command("calibrate", copy, mixtures, "--precision", 1, "--json")
    result = json.loads(out)
    assert status == 0 and result["goal"] == "precision" and result["wanted"] == 1
    never = [row["label"] for row in result["classes"] if row["threshold"] is None]
    assert never
    status, out, _ = command("calibrate", copy, mixtures, "--precision", 1)
    assert f"No threshold reaches a precision of 1 for {', '.join(map(repr, never))}: these are never given." in out
    status, out, _ = command("calibrate", copy, mixtures, "--recall", 0.9, "--json")
    rows = [row for row in json.loads(out)["classes"] if row["clips"]]
    assert status == 0 and all(row["recall"] >= 0.9 for row in rows)
    status, _, err = command("evaluate", copy, mixtures)
    assert status == 0 and "thresholds are the checkpoint's" in err


@pytest.fixture
def quieter(tones, tmp_path):
    """A manifest of test clips alone, which no model has seen: the tones at half their level."""
    rows = ["file,labels,split"]
    for name in BANDS:
        for i in range(4):
            soundfile.write(tmp_path / f"{name}{i}.wav", 0.5 * soundfile.read(tones / name / f"{i}.wav")[0], 16000)
            rows.append(f"{name}{i}.wav,{name},test")
    (tmp_path / "m.csv").write_text("\n".join(rows) + "\n")
    return tmp_path / "m.csv"


def test_without_a_validation_split_it_says_so(trained, quieter, tmp_path, command):
    shutil.copy(trained / "best.npz", tmp_path / "m.npz")
    status, out, err = command("calibrate", tmp_path / "m.npz", quieter)
    assert status == 0 and "thresholds are chosen on the test clips: figures on the same clips" in err
    assert "12 clips of the test split" in out and "There are fewer than 10 clips of" in out
    _, out, _ = command("evaluate", tmp_path / "m.npz", quieter)
    assert "Accuracy and F1 are those of the likeliest label of each clip" in out and "threshold 0." in out
    found = minast.load(tmp_path / "m.npz")[1].decisions
    assert found.loss == "ce" and found.bias == 0 and len(found.thresholds) == 3


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--precision", 0.9, "--recall", 0.9], "not allowed with"),
        (["--precision", 0], "--precision is 0"),
        (["--picture", "a.jpg"], "its name must end in .png"),
        (["--split", "train"], "--split is"),
    ],
)
def test_what_calibrate_refuses(copy, mixtures, command, flags, words):
    before = copy.read_bytes()
    status, out, err = command("calibrate", copy, mixtures, *flags)
    assert (status, out) == (2, "") and words in err and err.count("\n") == 1 and copy.read_bytes() == before


def test_convert_leaves_decisions_out(copy, mixtures, tmp_path, command):
    command("calibrate", copy, mixtures)
    status, _, err = command("convert", copy, tmp_path / "c.npz", "--frames", 96)
    assert status == 0 and "calibration and thresholds are left out" in err
    assert minast.load(tmp_path / "c.npz")[1].decisions is None
    status, _, err = command("convert", tmp_path / "c.npz", tmp_path / "d.npz", "--frames", 48)
    assert "left out" not in err


# -- evaluate --------------------------------------------------------------------------------------------------


def test_classes_without_clips_are_named_and_left_out(model, mixtures, tmp_path, command):
    result, _ = report(command, model, mixtures)
    assert result["left_out"] == ["none"] and [row["label"] for row in result["classes"]] == ["high", "low", "middle"]
    assert result["mAP"] == pytest.approx(np.mean([row["AP"] for row in result["classes"]]))
    assert result["F1"] == pytest.approx(np.mean([row["F1"] for row in result["classes"]]))
    _, out, _ = command("evaluate", model, mixtures, "--out", tmp_path)
    assert "Means are over 3 of 4 classes; without a clip here: 'none'." in out
    assert "F1 is that of a threshold of 0.5 for each class; " in out and "minast.calibrate finds better ones" in out
    assert (tmp_path / "average_precision.png").exists() and not (tmp_path / "confusion.png").exists()


def test_intervals(model, mixtures, command):
    result, _ = report(command, model, mixtures)
    assert set(result["intervals"]) == {"mAP", "AUC", "d_prime", "F1", "F1_micro"} and result["groups"] is None
    for name in ("mAP", "AUC", "F1"):
        low, high = result["intervals"][name]
        assert 0 <= low <= result[name] <= high <= 1
    _, out, _ = command("evaluate", model, mixtures)
    assert "95 % interval over 20 clips" in out and "F1, macro" in out and "calibration error" in out


def test_a_checkpoint_that_was_replaced_meanwhile_is_left_alone(copy, model, mixtures, command, monkeypatch):
    """As by a training that goes on, and has a better epoch: its weights are not what was calibrated."""
    real = scoring.clip_scores

    def replaced(*arguments, **options):
        found = real(*arguments, **options)
        shutil.copy(model, f"{copy}.new")
        os.replace(f"{copy}.new", copy)
        return found

    monkeypatch.setattr(scoring, "clip_scores", replaced)
    before = model.read_bytes()
    status, _, err = command("calibrate", copy, mixtures)
    assert status == 2 and "was replaced while its clips were scored" in err
    with open(copy, "rb") as f:
        assert f.read() == before


def test_scores_that_are_no_numbers_are_one_sentence(copy, mixtures, command):
    weights, info = minast.load(copy)
    weights.w["blocks.0.mlp.fc1.weight"][...] = 3e38
    minast.save(copy, weights, info.labels, info.features, info.loss)
    for name in ("calibrate", "evaluate"):
        with np.errstate(all="ignore"):
            status, _, err = command(name, copy, mixtures)
        assert status == 2 and "the model's scores are not numbers" in err and "Traceback" not in err


def test_test_clips_without_any_label(tmp_path, mixtures, command):
    """Kept for false alarms: the run ends, has a page, and is evaluated and compared."""
    rows = []
    for name, labels, split in (row.split(",") for row in mixtures.read_text().splitlines()[1:]):
        rows.append(f"{mixtures.parent / name},{'' if split == 'test' else labels},{split}")
    (tmp_path / "m.csv").write_text("\n".join(["file,labels,split", *rows]) + "\n")
    for name in "ab":
        flags = ["--depth", 1, "--epochs", 1, "--out", tmp_path / name]
        status, _, err = command("train", tmp_path / "m.csv", *flags)
        assert status == 0 and "not drawn" not in err, err
        assert (tmp_path / name / "report.html").exists()
    status, _, err = command("evaluate", tmp_path / "a" / "best.npz", tmp_path / "m.csv")
    assert status == 0, err
    assert command("report", tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c.html")[0] == 0
    assert "none of the tested clips has a label" in (tmp_path / "c.html").read_text()


def test_the_calibration_error_is_that_of_the_head_everywhere(trained, tones, tmp_path, command):
    """A sigmoid head on data with one label a clip: evaluate, calibrate and the report mean the same number."""
    flags = ["--loss", "bce", "--depth", 1, "--epochs", 2, "--out", tmp_path / "run"]
    assert command("train", tones, *flags)[0] == 0
    status, out, err = command("evaluate", tmp_path / "run" / "best.npz", tones, "--json", "--raw")
    assert status == 0, err
    record = json.loads((tmp_path / "run" / "report.json").read_text())
    assert json.loads(out)["ECE"] == pytest.approx(record["calibration"]["before"]["ece"], abs=1e-6)


def test_what_was_written_is_said(mixtures, copy, tmp_path, command, monkeypatch):
    out = tmp_path / "ev"
    status, said, _ = command("evaluate", copy, mixtures, "--out", out)
    names = ["scores.csv", "average_precision.png", "reliability.png"]
    assert status == 0 and said.endswith(f"\n{out}: {', '.join(names)}\n") and {*names} == {*os.listdir(out)}
    assert "scores.csv" not in command("evaluate", copy, mixtures, "--out", out, "--json")[1]
    picture = tmp_path / "r.png"
    assert command("calibrate", copy, mixtures, "--picture", picture)[1].endswith(
        f"\n{picture}: reliability before and after\n"
    )

    def broken(*_):
        raise OSError("no font")

    monkeypatch.setattr("minast.plots.save_figure", broken)
    status, said, err = command("evaluate", copy, mixtures, "--out", out)
    assert status == 0 and said.endswith(f"\n{out}: scores.csv\n") and "is not drawn" in err


def test_chance_level_is_said(mixtures, tmp_path, command):
    model = minast.AST(minast.ModelConfig.preset("nano", depth=1, frames=48, mel_bins=64, classes=4), seed=3)
    features = {"rate": 16000, "frames": 48, "mel_bins": 64}
    minast.save(tmp_path / "m.npz", model, ["high", "low", "middle", "none"], features, "bce")
    result, _ = report(command, tmp_path / "m.npz", mixtures)
    _, out, _ = command("evaluate", tmp_path / "m.npz", mixtures)
    assert result["at_chance"] == ("This is chance level: AUC" in out)
    chance = {"AUC": 0.516}
    said = scoring.chance(chance, {"AUC": (0.48, 0.55)}, "20 clips")
    assert said.startswith("This is chance level: AUC 0.516 (95 % interval 0.480 to 0.550)")
    assert scoring.chance(chance, {"AUC": (0.51, 0.52)}, "20 clips")  # no accident, and of no use
    assert not scoring.chance({"AUC": 0.7}, {"AUC": (0.6, 0.8)}, "20 clips")
    assert not scoring.chance({"AUC": np.nan}, {"AUC": (np.nan, np.nan)}, "20 clips")


def test_an_interval_that_holds_chance_proves_nothing():
    said = scoring.chance({"AUC": 0.792}, {"AUC": (0.22, 0.998)}, "6 clips")
    assert said == (
        "On 6 clips this cannot be told from chance: AUC 0.792 (95 % interval 0.220 to 0.998), and guessing gives 0.5."
    )
    assert not scoring.at_chance({"AUC": 0.792}) and scoring.at_chance({"AUC": 0.54})


@pytest.mark.parametrize(("program", "name"), [("/bin/minast", "minast data"), ("train.py", "python -m minast.data")])
def test_advice_names_commands_as_they_were_started(monkeypatch, program, name):
    monkeypatch.setattr("sys.argv", [program])
    assert f"wrong labels with {name} check DATA." in scoring.chance({"AUC": 0.5}, {"AUC": (0.4, 0.6)}, "9 clips")


def test_an_ensemble_is_evaluated(model, copy, mixtures, tmp_path, command):
    """Two models with labels in another order and another length of input: the mean of their probabilities."""
    network = minast.AST(minast.ModelConfig.preset("nano", depth=1, frames=32, mel_bins=64, classes=4), seed=3)
    features = {"rate": 8000, "frames": 32, "mel_bins": 64}
    minast.save(tmp_path / "other.npz", network, ["none", "middle", "low", "high"], features, "bce")
    alone = [
        report(command, path, mixtures, "--out", tmp_path / f"{i}")[0]
        for i, path in enumerate((model, tmp_path / "other.npz"))
    ]
    both, err = report(command, model, tmp_path / "other.npz", mixtures, "--out", tmp_path / "both")
    assert both["checkpoint"] == [str(model), str(tmp_path / "other.npz")] and both["clips"] == 20 and err == ""
    assert both["mAP"] != alone[0]["mAP"]

    def table(name):
        lines = [line.split(",") for line in (tmp_path / name / "scores.csv").read_text().splitlines()]
        order = np.argsort(lines[0][2:])
        return np.array([line[2:] for line in lines[1:]], float)[:, order]

    np.testing.assert_allclose(table("both"), (table("0") + table("1")) / 2, atol=2e-6)
    same, _ = report(command, model, copy, mixtures)
    assert same["mAP"] == alone[0]["mAP"] and same["intervals"] == alone[0]["intervals"]


def test_an_ensemble_leaves_out_what_any_member_was_trained_on(tones, trained, tmp_path, command):
    """A model of another seed was trained on other clips."""
    flags = ["--depth", "1", "--epochs", "1", "--seed", "3", "--out", tmp_path / "run"]
    assert command("train", tones, *flags)[0] == 0
    alone, _ = report(command, trained / "best.npz", tones)
    both, err = report(command, trained / "best.npz", tmp_path / "run" / "best.npz", tones)
    assert alone["clips"] == 6 and 0 < both["clips"] < 6 and both["trained_on"] == 6 - both["clips"]
    assert "of the test split are left out: a model was trained on them" in err


def test_groups_of_clips_widen_the_intervals(model, mixtures, command, monkeypatch):
    from minast.held_out import Tested

    alone, _ = report(command, model, mixtures)
    monkeypatch.setattr(Tested, "groups", property(lambda self: [i // 5 for i in range(len(self.clips))]))
    grouped, _ = report(command, model, mixtures)
    assert grouped["groups"] == 4 and grouped["intervals"] != alone["intervals"] and grouped["mAP"] == alone["mAP"]
    _, out, _ = command("evaluate", model, mixtures)
    assert "95 % interval over 4 groups" in out
    monkeypatch.setattr(Tested, "groups", property(lambda self: [0] * len(self.clips)))
    _, out, _ = command("evaluate", model, mixtures)
    assert "no 95 % interval: 1 group gives none" in out


def test_a_class_that_every_clip_has(trained, tones, tmp_path, command):
    for i in range(3):
        soundfile.write(tmp_path / f"{i}.wav", 0.5 * soundfile.read(tones / "low" / f"{i}.wav")[0], 16000)
    (tmp_path / "m.csv").write_text("file,labels,split\n" + "".join(f"{i}.wav,low,test\n" for i in range(3)))
    status, out, _ = command("evaluate", trained / "best.npz", tmp_path / "m.csv")
    assert status == 0 and "AUC is not defined for 'low': every clip has this label." in out
    assert "Means are over 1 of 3 classes; without a clip here: 'high', 'middle'." in out and "chance" not in out


def test_decisions_of_a_checkpoint_are_for_its_own_head(copy, mixtures):
    scores, targets = np.full((4, 4), 0.5), np.eye(4)
    with pytest.raises(minast.Error, match="loss ce"):
        keep_decisions(copy, decide(scores, targets, "ce"))
