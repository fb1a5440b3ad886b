"""Mean and standard deviation of a data set's log-mels: what --mean and --std of train mean.

  python -m minast.stats my_sounds/

Over every frame and mel bin of the training clips, padding left out. train measures them by itself. Models that start
from an AudioSet checkpoint keep AudioSet's (-4.2677393, 4.5689974), which is what their weights expect.
"""

import json

from . import cli
from .config import FeatureConfig
from .datasets import open_dataset
from .training.feature_cache import FeatureCache


def main(argv=None):
    p = cli.Parser("stats", __doc__)
    p.add_argument("data", metavar="DATA", help=cli.DATA)
    p.add_argument("--rate", type=int, default=16000, help="sample rate in Hz (default 16000)")
    p.add_argument("--mel-bins", type=int, default=128)
    p.add_argument("--window", choices=("hamming", "hann"), default="hamming")
    p.add_argument("--seed", type=int, default=0, help="of the split, where the data have none: as in training")
    p.add_argument("--fold", type=int, help="test fold of esc10 and esc50 (default 1)")
    p.add_argument("--json", action="store_true", help="one JSON object on standard output")
    p.add_argument("--no-cache", action="store_true", help="do not keep features on disk for next time")
    args = p.parse_args(argv)
    data = open_dataset(args.data, args.seed, args.fold)
    features = FeatureConfig(rate=args.rate, mel_bins=args.mel_bins, window=args.window)
    store = FeatureCache(data.of("train"), features, not args.no_cache)
    (mean, std), lengths = store.mean_std(), store.lengths()
    if args.json:
        print(
            json.dumps(
                {
                    "mean": mean,
                    "std": std,
                    "clips": len(store),
                    "frames": int(lengths.sum()),
                    "longest": int(lengths.max()),
                }
            )
        )
    else:
        print(
            f"mean {mean:.7f}  std {std:.7f}  "
            f"({len(store)} clips, {lengths.sum()} frames, {lengths.min()} to {lengths.max()} a clip)"
        )
    return 0


if __name__ == "__main__":
    cli.run(main)
