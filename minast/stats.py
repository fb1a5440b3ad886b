"""Mean and standard deviation of a data set's log-mels: the values for train's --mean and --std.

  python -m minast.stats my_sounds/

They are taken over every frame and mel bin of the training clips, without padding. train measures them automatically.
Models that start from an AudioSet checkpoint keep AudioSet's (-4.2677393, 4.5689974), which their weights expect.
"""

from . import cli
from .config import WINDOWS, FeatureConfig
from .console.arguments import FOLDS, SEEDS, whole
from .datasets import open_dataset, summary, understood
from .text import counted
from .training.bad_files import say_notes, usable
from .training.feature_cache import FeatureCache


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    data = open_dataset(args.data, args.seed, args.fold, skip_bad=True, alike=True)
    features = FeatureConfig(rate=args.rate, mel_bins=args.mel_bins, window=args.window)
    bad = []
    clips = FeatureCache(data.of("train"), features, not args.no_cache, bad=bad)
    usable(data, bad, args.skip_bad, training=True)
    say_notes(clips)
    (mean, std), lengths = clips.mean_std(), clips.lengths()
    if args.json:
        counts = {"clips": len(clips), "frames": int(lengths.sum()), "longest": int(lengths.max())}
        cli.print_json({"mean": mean, "std": std, **counts, "understood": summary.as_json(data)})
    else:
        print("\n".join(understood(data)))
        print(
            f"mean {mean:.7f}  std {std:.7f}  "
            f"({counted(len(clips), 'clip')}, {lengths.sum()} frames, {lengths.min()} to {lengths.max()} per clip)"
        )
    return 0


def parser():
    """The command line."""
    p = cli.Parser("stats", __doc__)
    cli.add_data(p)
    p.add_argument(
        "--rate",
        type=whole(100, 768000),
        metavar="HZ",
        default=16000,
        help="resample audio to this rate in Hz (default: 16000)",
    )
    p.add_argument(
        "--mel-bins", type=whole(4, 4096), metavar="N", default=128, help="number of mel filters (default: 128)"
    )
    p.add_argument("--window", choices=WINDOWS, default="hamming", help="window of the STFT (default: hamming)")
    p.add_argument(
        "--seed",
        type=whole(0, SEEDS),
        metavar="N",
        default=0,
        help="seed of the split, if the data have none (default: 0)",
    )
    p.add_argument("--fold", type=whole(0, FOLDS), metavar="N", help=f"{cli.FOLD} (default: the first)")
    cli.add_skip_bad(p)
    p.add_argument("--json", action="store_true", help="print one JSON object")
    p.add_argument("--no-cache", action="store_true", help="do not cache features on disk")
    cli.add_threads(p)
    return p


if __name__ == "__main__":
    cli.run(main)
