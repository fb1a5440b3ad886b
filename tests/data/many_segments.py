"""`python -m tests.data.many_segments FOLDER N`: open an AudioSet of N training segments, and say what that took.

The tables are written as they are published. The files are names alone: os.walk is replaced, since two million files
would say more about the disk than about minast. Prints JSON: processor seconds and peak memory of the process in bytes.
"""

import json
import os
import resource
import sys
import time

import numpy as np

from minast.datasets import audioset_files, open_dataset
from minast.datasets.targets import Targets

LETTERS = np.frombuffer(b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz-", "u1")
EVALUATED = 20_000
PARTS = 41  # folders, as the unbalanced part is packed


def ids(n, seed):
    """n different ids of videos"""
    made = np.random.default_rng(seed).integers(0, 64, (n, 11))
    return [text.decode() for text in LETTERS[made].view("S11").ravel().tolist()]


def write(path, names, rng):
    """A table of segments with two labels each."""
    labels = rng.integers(0, 527, (len(names), 2))
    with open(path, "w") as f:
        f.write("# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids=...\n")
        f.write("# YTID, start_seconds, end_seconds, positive_labels\n")
        f.writelines(f'{name}, 30.000, 40.000, "/m/{a},/m/{b}"\n' for name, (a, b) in zip(names, labels, strict=True))


def main(folder, n):
    """Write the tables, open them, print what it took."""
    rng, train, test = np.random.default_rng(0), ids(n, 1), ids(EVALUATED, 2)
    write(os.path.join(folder, "unbalanced_train_segments.csv"), train, rng)
    write(os.path.join(folder, "eval_segments.csv"), test, rng)
    with open(os.path.join(folder, "class_labels_indices.csv"), "w") as f:
        f.write("index,mid,display_name\n" + "".join(f'{k},/m/{k},"Class, number {k}"\n' for k in range(527)))
    tables = [name for name in os.listdir(folder) if name.endswith(".csv")]
    have = train[: n - n // 50]  # a fiftieth is missing
    del train

    def walk(path, **options):
        yield path, [], tables
        yield os.path.join(path, "eval"), [], [f"Y{name}.wav" for name in test]
        for part in range(PARTS):
            yield os.path.join(path, f"part{part:02d}"), [], [f"Y{name}.wav" for name in have[part::PARTS]]

    audioset_files.os.walk = walk
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    data = open_dataset(f"audioset-unbalanced:{folder}")
    counts, targets = data.counts(), Targets.of(data.of("train"), 527)
    batch = targets[rng.permutation(len(targets))[:12]]
    took = time.process_time() - start
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
    found = {"seconds": took, "bytes": peak, "train": len(targets), "test": int(counts["test"].sum())}
    print(json.dumps({**found, "missing": len(data.skipped[0].paths), "batch": float(batch.sum())}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
