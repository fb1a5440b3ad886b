"""Write esc10.json, the figures of ESC-10 in notebook 6, from finished training runs.

    python tutorials/stored/esc10.py RUNS     RUNS/vit, RUNS/random, and RUNS/vit_seed1, ... for further seeds

Each folder is what these commands leave, with the data and the ViT of ../shared/data (10 minutes a run on one core):

    minast train esc10:ESC-10 --fstride 16 --tstride 16 --seed 0 --out RUNS/vit \\
        --pretrained vit_s16_dinov2_fp16.npz
    minast train esc10:ESC-10 --fstride 16 --tstride 16 --seed 0 --out RUNS/random \\
        --preset small --epochs 8 --lr 2e-4 --layer-decay 0.7 --weight-decay 0 --warmup 20 --mixup 0.5 \\
        --freq-mask 0 --time-mask 0
    minast evaluate RUNS/vit/last.npz esc10:ESC-10 --out RUNS/vit        # and RUNS/random

The second run has all the settings that --pretrained brings with it; only its weights are random.
"""

import csv
import json
import re
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parents[1]))  # this checkout's minast

from minast.storage.files import atomic  # noqa: E402

SAME = "minast train esc10:ESC-10 --fstride 16 --tstride 16 --seed {seed}"
COMMANDS = {
    "vit": f"{SAME} --pretrained vit_s16_dinov2_fp16.npz",
    "random": f"{SAME} --preset small --epochs 8 --lr 2e-4 --layer-decay 0.7 --weight-decay 0 --warmup 20 "
    "--mixup 0.5 --freq-mask 0 --time-mask 0",
}


def rows(path):
    with open(path, newline="", encoding="utf-8") as f:
        return list(csv.DictReader(f))


def right_answers(folder):
    """One character a test clip, by file name: 1 where the likeliest class is the clip's."""
    table = sorted(rows(folder / "scores.csv"), key=lambda row: Path(row["file"]).name)
    classes = [name for name in table[0] if name not in ("file", "labels")]
    return "".join(str(int(max(classes, key=lambda c: float(row[c])) == row["labels"])) for row in table)


def run(folder):
    """One training run as a dictionary."""
    start, seed = re.fullmatch(r"(vit|random)(?:_seed(\d+))?", folder.name).groups()
    history = rows(folder / "history.csv")
    return {
        "start": start,
        "seed": int(seed or 0),
        "command": COMMANDS[start].format(seed=seed or 0),
        "held_out_accuracy": [round(float(row["accuracy"]), 6) for row in history],
        "training_loss": [round(float(row["train_loss"]), 4) for row in history],
        "held_out_loss": [round(float(row["valid_loss"]), 4) for row in history],
        "right_at_the_end": right_answers(folder),
    }


def main(folder):
    found = sorted(p for p in Path(folder).iterdir() if re.fullmatch(r"(vit|random)(_seed\d+)?", p.name))
    data = {
        "what": "ESC-10, 400 clips of 5 s, ten classes; fold 1 of the official five is the test set (80 clips)",
        "made_by": "python tutorials/stored/esc10.py RUNS",
        "runs": [run(p) for p in found],
    }
    with atomic(HERE / "esc10.json", "w", encoding="utf-8", newline="\n") as f:
        f.write(json.dumps(data, indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
