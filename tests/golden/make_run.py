"""Write run_0.1/: a training run stopped half-way and how it ended, by code from before the flags changed their names.

It runs only with that code, the last commit in which train has the flag --accumulate, from its root:

    python tests/golden/make_run.py

last.npz      the run after 5 of 8 steps: settings with the old names `clip`, `accumulate` and `recompute`
finished.npz  weights and history after all 8 steps

The sounds are not stored: `write_sounds` makes the same files everywhere, of integers alone.
"""

import json
import os
import shutil
import signal
import sys
import wave
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent / "run_0.1"
STEPS, STOP = 8, 5
FLAGS = "--depth 1 --mel-bins 32 --frames 36 --epochs 4 --batch 6 --lr 3e-4 --warmup 0 --layer-decay 0.8 --mixup 0.5"
FLAGS += " --roll 4 --time-mask 8 --freq-mask 8 --noise --gain 0.5 --backend numpy --threads 1 --seed 3"
OLD_FLAGS = " --clip 0.05 --accumulate 2 --recompute"  # the gradients are longer: clipping is always at work


def write_sounds(folder):
    """Three classes of six noises of 0.4 s (dull, plain, bright; two of each held out) and clips.csv. -> its path"""
    raw, rows = np.random.PCG64(0), ["file,labels,split"]
    for name, kernel in (("bright", (1, -3, 3, -1)), ("dull", (1,) * 16), ("plain", (1,))):
        for i in range(6):
            noise = (raw.random_raw(6400) >> 52).astype(np.int64) - 2**11  # 12 bits
            samples = np.convolve(noise, kernel)[:6400] * 8 // sum(map(abs, kernel))
            with wave.open(str(folder / f"{name}{i}.wav"), "wb") as f:
                f.setparams((1, 2, 16000, 0, "NONE", ""))
                f.writeframes(samples.astype("<i2").tobytes())
            rows.append(f"{name}{i}.wav,{name},{'test' if i > 3 else 'train'}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


def main():
    from minast import checkpoint, config, optim, train

    folder = Path("/tmp/run_0.1")
    folder.mkdir()
    os.chdir(folder)
    write_sounds(folder)
    config.PRESETS["nano"] = {"dim": 12, "heads": 3}  # small enough for git
    step = optim.Adam.step

    def stopping(self, g, lr):
        step(self, g, lr)
        if self.t == STOP:
            os.kill(os.getpid(), signal.SIGINT)

    optim.Adam.step = stopping
    assert train.main(["clips.csv", "--out", "run", "--no-cache", *(FLAGS + OLD_FLAGS).split()]) == 130
    HERE.mkdir(exist_ok=True)
    shutil.copy("run/last.npz", HERE)
    assert train.main(["--resume", "run"]) == 0
    model, info = checkpoint.load("run/last.npz")
    np.savez(HERE / "finished.npz", history=json.dumps(info.history), **dict(model.w))
    assert checkpoint.load_state("run/last.npz")["counters"]["step"] == STEPS
    shutil.rmtree(folder)


if __name__ == "__main__":
    sys.path.insert(0, os.getcwd())
    main()
