"""Train an Audio Spectrogram Transformer.

  python -m minast.train                              ten built-in sounds, nothing to download
  python -m minast.train my_sounds/                   a folder with one sub-folder per class
  python -m minast.train clips.csv --preset tiny      a manifest: file,labels[,start,end][,split]; several labels as a;b
  python -m minast.train fsdd:path/to/fsdd            Free Spoken Digit Dataset, official split
  python -m minast.train esc10:path/to/ESC-10 --folds all --seeds 3     cross-validation, 15 runs
  python -m minast.train esc50:path/to/ESC-50 --recipe esc50 --pretrained ast.pth
  python -m minast.train --resume runs/builtin-nano   continue after Ctrl-C, bit for bit
  python -m minast.train --resume runs/builtin-nano --epochs 6          train a finished run longer
  python -m minast.train my_sounds/ --workers 4       four processes; minast/parallel has more, and MPI

A validation split chooses the best epoch and stops a run early (--patience); the test clips are scored once. Without
one nothing is chosen: the last epoch is quoted. The output folder gets best.npz and last.npz, history.csv, curves.png,
report.html with all results, scores.npz and a picture of the results per class; that of --folds and --seeds a folder
for each run, and summary.json. What is not given fits the data, and is printed: sample rate, input length, epochs and
augmentation; preset and strides, where the default would take more than two hours. Of many runs, all have what fits
the first.
"""

from . import cli, parallel
from .console import signals
from .training import flags
from .training.fit import fit, train

__all__ = ["fit"]


def parser() -> cli.Parser:
    """The command line."""
    return flags.parser(__doc__)


def main(argv: list[str] | None = None) -> int:
    """The command.   -> exit status: 0 done; 130, 143 or 129 stopped by Ctrl-C, SIGTERM or SIGHUP"""
    try:
        with parallel.joined():
            train(parser().parse_args(argv))
    except KeyboardInterrupt as stopped:
        return signals.status_of(stopped)
    return 0


if __name__ == "__main__":
    cli.run(main)
