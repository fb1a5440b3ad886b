"""Train an Audio Spectrogram Transformer.

  python -m minast.train                              ten built-in sounds, nothing to download
  python -m minast.train my_sounds/                   a folder with one sub-folder per class
  python -m minast.train clips.csv --preset tiny      a manifest: file,labels[,split]; several labels as a;b
  python -m minast.train fsdd:path/to/fsdd            Free Spoken Digit Dataset, official split
  python -m minast.train esc10:path/to/ESC-10 --fold 1
  python -m minast.train --resume runs/builtin-nano   continue after Ctrl-C, bit for bit

The output folder gets best.npz and last.npz, history.csv, curves.png and confusion.png.
"""

from . import cli
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
        train(parser().parse_args(argv))
    except KeyboardInterrupt as stopped:
        return signals.status_of(stopped)
    return 0


if __name__ == "__main__":
    cli.run(main)
