"""A simulated AudioSet: `python -m tests.training.large FOLDER --rows 2000000` trains on it for some steps.

Two million rows with paths, two labels of 527 each and a split stand for as many files; behind them are 4000 files of
noise of one second, so that the disk holds them. The run is `minast train`, from its command line on. Prints a JSON
object: seconds until the first step was done, seconds a step, the share of the time in which the loop waited for
batches, and the largest resident memory of the process.
"""

import argparse
import contextlib
import json
import os
import resource
import sys
import time
from pathlib import Path

import numpy as np

FILES, CLASSES, HELD_OUT = 4000, 527, 20_000


def write_sounds(folder: Path, files: int = FILES) -> None:
    """Noise at different levels, 16 bits at 16 kHz."""
    import soundfile

    rng = np.random.default_rng(0)
    noise = rng.standard_normal(16000 + files).astype(np.float32)
    for i in range(files):
        path = folder / f"{i % 100:02d}" / f"{i:05d}.wav"
        path.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(path, noise[i : i + 16000] * 0.1 * rng.random(), 16000)


def simulated(folder: str, rows: int, files: int = FILES):
    """The data set: `rows` training clips and HELD_OUT others."""
    from minast.datasets import Dataset
    from minast.datasets.clips import CODES, Clips, Columns
    from minast.datasets.ragged import Ragged, Texts, starts_of

    n = rows + HELD_OUT
    first, further = np.random.default_rng(0).integers(0, CLASSES - 1, (2, n))
    labels = np.stack([first, (first + 1 + further) % CLASSES], axis=1)
    columns = Columns(
        Ragged(starts_of(np.full(n, 2)), labels.ravel().astype(np.int32)),
        np.where(np.arange(n) < rows, CODES["train"], CODES["test"]).astype(np.int8),
        [f"{folder}/{k:02d}/" for k in range(100)],
        (np.arange(n) % files % 100).astype(np.int32),
        Texts(f"{i % files:05d}.wav" for i in range(n)),
    )
    return Dataset("simulated", [f"class {k}" for k in range(CLASSES)], Clips(columns), multilabel=True)


def main() -> None:
    """The command."""
    p = argparse.ArgumentParser(prog="python -m tests.training.large", description=__doc__)
    p.add_argument("folder", type=Path)
    p.add_argument("--rows", type=int, default=2_000_000)
    p.add_argument("--steps", type=int, default=300)
    args, rest = p.parse_known_args()
    sounds = args.folder / "sounds"
    if not sounds.exists():
        write_sounds(sounds)
    began = time.perf_counter()
    from minast.datasets.registry import Source, register
    from minast.training import loop
    from minast.training.learner import Learner

    register(Source("simulated", "a simulated AudioSet", lambda path, seed: simulated(path, args.rows)))
    times, prefetchers, step = [], [], Learner.step

    def counted(self, *arguments):
        result = step(self, *arguments)
        times.append((time.perf_counter(), prefetchers[0].waited, time.process_time()))
        if len(times) > args.steps:
            raise KeyboardInterrupt
        return result

    class Watched(loop.Prefetcher):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            prefetchers.append(self)

    Learner.step, loop.Prefetcher = counted, Watched
    from minast import train

    with contextlib.suppress(KeyboardInterrupt), contextlib.redirect_stdout(sys.stderr):
        train.main([f"simulated:{sounds}", "--out", str(args.folder / "run"), *rest])
    (first, waited, busy), (last, waited_in_all, _) = times[0], times[-1]
    scale = 2**20 if sys.platform != "darwin" else 2**30
    found = {
        "rows": args.rows,
        "first_step_s": round(first - began, 2),
        "first_step_cpu_s": round(busy, 2),
        "step_s": round((last - first) / (len(times) - 1), 4),
        "waiting": round((waited_in_all - waited) / (last - first), 4),
        "memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / scale, 3),
    }
    print(json.dumps(found), flush=True)
    os._exit(0)  # threads that prepare batches are not waited for


if __name__ == "__main__":
    main()
