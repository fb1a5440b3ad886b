"""What an exported model costs: its size, its time for a segment and its scores, in float32 and int8, beside minast's.

  python -m minast.bench exported best.npz esc10:path/to/ESC-10
  python -m minast.bench exported best.npz my_sounds/ --split valid --json exported.json

Scores are those of the split's clips, with the same features for all three; the times, medians of rounds in which the
three alternate, are of one segment's log-mel. Needs onnx and onnxruntime, and for the times an idle machine. The row
int8 of python -m minast.bench has the times alone, of nano, small and base.
"""

from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from .. import cli, scoring
from ..checkpoint import Info, load
from ..config import FeatureConfig
from ..console.arguments import FOLDS, whole
from ..datasets import open_dataset
from ..errors import Error
from ..exports import onnx_file
from ..features import model_inputs
from ..model import AST
from ..storage.files import writable_file
from ..training.feature_cache import FeatureCache
from . import libraries, machine
from .cpu import models, recordings
from .row import Row, Skip
from .table import write_json
from .timing import interleaved

FULL, INT8 = "onnx", "onnx, int8"


def main(argv=None):
    """The command.   -> exit status"""
    args = parser().parse_args(argv)
    if args.json:
        writable_file(args.json)
    model, info = load(args.checkpoint, args.backend)
    logits, sizes = ways(model, info)
    mels, targets = clips_of(args, info)
    found = {name: scores_of(function, mels, info) for name, function in logits.items()}
    times = times_of(logits, info.features, args.rounds)
    rows, first = [], next(iter(found))
    for (name, scores), seconds in zip(found.items(), times, strict=True):
        result = scoring.measures(scores, targets, info.loss)
        measure, value = next(iter(result.items()))
        apart, same = np.abs(scores - found[first]).max(), np.mean(scores.argmax(1) == found[first].argmax(1))
        size = f"{sizes[name] / 1e6:.1f} MB, " if name in sizes else ""
        note = f"{size}{measure} {value:.4f}; scores differ by {apart:.2g} at most, best label the same in {same:.1%}"
        rows.append(Row(name, float(np.median(seconds)), note=note))
        print(f"{name:16} {1000 * rows[-1].ours:8.1f} ms a segment  {note}")
    if args.json:
        about = {"checkpoint": args.checkpoint, "data": args.data, "clips": len(mels), **machine.facts()}
        write_json(args.json, rows, about)
    return 0


def parser():
    """The command line."""
    p = cli.Parser("bench exported", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=cli.CHECKPOINT)
    cli.add_data(p)
    p.add_argument("--split", choices=("test", "valid", "train"), default="test", help="the clips (default: test)")
    p.add_argument("--fold", type=whole(0, FOLDS), metavar="N", help=f"{cli.FOLD} (default: the model's)")
    p.add_argument("--rounds", type=whole(1, 10000), metavar="N", default=20, help="timed rounds (default: 20)")
    p.add_argument("--json", metavar="FILE", help="write the numbers to FILE")
    cli.add_backend(p)
    return p


def int8(rounds: int) -> Iterator[Row]:
    """Rows of a forward pass of one segment by onnxruntime, int8 against float32. Raises Skip without the packages."""
    for preset, (frames, seconds, _) in recordings.SIZES.items():
        model, _, _ = models.setting(preset, frames, 1)
        labels = [f"label {k}" for k in range(model.config.classes)]
        for package in ("onnx", "onnxruntime"):
            libraries.load(package)
        try:
            logits, sizes = ways(model, Info(labels, FeatureConfig(window="hann", frames=frames), "bce"))
        except Error as error:  # a part of them is missing
            raise Skip(str(error).rstrip(".")) from None
        own, full, small = times_of(logits, FeatureConfig(frames=frames), rounds)
        name, ratio = f"{preset}, {seconds} s, forward, batch 1, ONNX in int8", float(np.median(full / small))
        note = f"{sizes[INT8] / 1e6:.1f} MB instead of {sizes[FULL] / 1e6:.1f}; minast {1000 * np.median(own):.1f} ms"
        yield Row(name, float(np.median(small)), "s", "ONNX in float32", float(np.median(full)), ratio, note=note)


def ways(model: AST, info: Info) -> tuple[dict[str, Callable], dict[str, int]]:
    """{name: log-mels (B, T, F) -> logits (B, K)} of minast, ONNX and int8; {name: bytes} of the last two's files."""
    proto = onnx_file.build(model, info)
    files = {FULL: onnx_file.checked_bytes(proto), INT8: onnx_file.checked_bytes(onnx_file.quantized(proto))}
    own = {f"minast, {model.backend.name}": lambda x: model.numpy(model.forward(x))}
    sessions = {name: of_session(onnx_file.session(data)) for name, data in files.items()}
    return own | sessions, {name: len(data) for name, data in files.items()}


def times_of(logits: dict[str, Callable], features: FeatureConfig, rounds: int) -> np.ndarray:
    """Seconds of each for one segment, in each round.   -> (3, rounds)"""
    x = np.random.default_rng(0).standard_normal((1, features.frames, features.mel_bins)).astype(np.float32)
    return interleaved([lambda each=each: each(x) for each in logits.values()], rounds)


def of_session(session):
    """Log-mels (B, T, F) -> logits (B, K)"""
    return lambda x: session.run([onnx_file.LOGITS], {onnx_file.LOG_MEL: x})[0]


def clips_of(args, info):
    """The log-mels of the split's clips, and targets (n, K) in the model's order."""
    notes = info.notes
    data = open_dataset(
        args.data, notes.get("seed", 0), args.fold, training=False, usual_fold=notes.get("fold"), skip_bad=True
    )
    if lacking := [name for name in data.labels if name not in info.labels]:
        raise Error(f"{data.name} has the label {lacking[0]!r}, which {args.checkpoint} lacks.")
    mels = FeatureCache(data.of(args.split), info.features, bad=[])
    if not len(mels):
        raise Error(f"{data.name} has no clips in the {args.split} split that can be used.")
    targets = np.zeros((len(mels), len(info.labels)), np.float32)
    targets[:, [info.labels.index(name) for name in data.labels]] = data.targets(mels.clips)
    return mels, targets


def scores_of(logits, mels, info):
    """Probabilities of all clips, means over their segments.   -> (n, K)"""

    def scores(x):
        return scoring.probabilities(logits(x).astype(np.float64), info.loss)

    clips = (
        model_inputs(mels[i], info.features) for i in tqdm(range(len(mels)), unit="clip", disable=None, leave=False)
    )
    return np.stack([scoring.clip_mean(rows) for rows in scoring.by_clip(scores, clips)])


if __name__ == "__main__":
    cli.run(main)
