"""The stored figures of ESC-10 in notebook 6: they agree with themselves and with the README; a script made them."""

import csv
import importlib.util
import json
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDER = ROOT / "tutorials" / "stored"
STORED = json.loads((FOLDER / "esc10.json").read_text(encoding="utf-8"))


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("stored_esc10", FOLDER / "esc10.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("run", STORED["runs"], ids=lambda r: f"{r['start']}-{r['seed']}")
def test_each_run_agrees_with_itself(run):
    """80 clips, eight epochs; the answers at the end are those of the last epoch; the command names the seed."""
    answers = run["right_at_the_end"]
    assert len(answers) == 80 and set(answers) <= {"0", "1"} and len(run["held_out_accuracy"]) == 8
    assert answers.count("1") / 80 == pytest.approx(run["held_out_accuracy"][-1], abs=1e-6)
    assert f"--seed {run['seed']} " in run["command"] + " "
    assert ("--pretrained" in run["command"]) == (run["start"] == "vit")


def test_the_readme_quotes_the_last_epoch_from_the_vit():
    readme = (ROOT / "minast" / "README.md").read_text(encoding="utf-8")
    quoted = float(re.search(r"all 12 blocks and 8 epochs: ([\d.]+) % after the last epoch", readme)[1])
    (run,) = [run for run in STORED["runs"] if (run["start"], run["seed"]) == ("vit", 0)]
    assert quoted == pytest.approx(100 * run["held_out_accuracy"][-1], abs=0.06)


def test_starts_come_in_pairs():
    pairs = {(run["start"], run["seed"]) for run in STORED["runs"]}
    assert len(pairs) == len(STORED["runs"]) and {("vit", 0), ("random", 0)} <= pairs
    assert all((other, seed) in pairs for _, seed in pairs for other in ("vit", "random"))


def test_the_script_reads_what_train_and_evaluate_leave(script, tmp_path, monkeypatch):
    folder = tmp_path / "runs" / "vit_seed3"
    folder.mkdir(parents=True)
    (tmp_path / "runs" / "notes").mkdir()
    with open(folder / "history.csv", "w", newline="") as f:
        writer = csv.DictWriter(f, ["epoch", "train_loss", "valid_loss", "accuracy"])
        writer.writeheader()
        writer.writerow({"epoch": 1, "train_loss": 1.25, "valid_loss": 1.0, "accuracy": 0.5})
    with open(folder / "scores.csv", "w", newline="") as f:
        csv.writer(f).writerows(
            [
                ["file", "labels", "Dog bark", "Rain"],
                ["x/2 - b.ogg", "Rain", "0.9", "0.1"],  # wrong, and second by name
                ["y/1 - a.ogg", "Dog bark", "0.6", "0.4"],
            ]
        )
    monkeypatch.setattr(script, "HERE", tmp_path)
    script.main(str(tmp_path / "runs"))
    (run,) = json.loads((tmp_path / "esc10.json").read_text())["runs"]
    assert (run["start"], run["seed"], run["right_at_the_end"]) == ("vit", 3, "10")
    assert run["held_out_accuracy"] == [0.5] and run["training_loss"] == [1.25]
    assert run["command"].endswith("--seed 3 --pretrained vit_s16_dinov2_fp16.npz")
