"""What is in these sounds?

  python -m minast.predict runs/builtin-nano/best.npz street.wav
  python -m minast.predict model.npz *.wav --top 3 --json
  python -m minast.predict model.npz street.wav --explain why.png

A file longer than the model's window is scored in windows end to end; probabilities are their mean.
"""

import difflib
import json
import sys

import numpy as np

from . import cli
from .audio import load_audio
from .checkpoint import load
from .errors import Error
from .features import log_mel, segments
from .scoring import clip_scores
from .training.batches import model_inputs


def main(argv=None):
    p = cli.Parser("predict", __doc__)
    p.add_argument("checkpoint", metavar="CHECKPOINT", help=".npz of train or convert")
    p.add_argument("files", nargs="+", metavar="FILE", help="wav, flac, ogg, mp3")
    p.add_argument("--top", type=int, default=5, metavar="K", help="labels a file (default 5)")
    p.add_argument("--labels", metavar="A;B", help="only these labels, separated by semicolons")
    p.add_argument("--json", action="store_true", help="one JSON list on standard output")
    p.add_argument("--explain", metavar="PNG", help="draw where in the one FILE its likeliest label was heard")
    cli.add_backend(p)
    args = p.parse_args(argv)
    if args.top < 1:
        raise Error(f"--top is {args.top}: it must be at least 1.")
    if args.explain and len(args.files) > 1:
        raise Error(f"--explain draws one file, there are {len(args.files)}: give one FILE.")
    model, info = load(args.checkpoint, args.backend)
    model.cuda_graphs = True
    chosen = named(args.labels, info.labels, args.checkpoint) if args.labels else range(len(info.labels))
    if info.notes.get("random_head"):
        print(
            "note: the head of this model is random, not trained yet: these probabilities mean nothing.",
            file=sys.stderr,
        )
    results, failed = [], False
    for path in args.files:
        try:
            result = predict(model, info, path, chosen, args.top)
        except Error as error:
            print(f"minast: {error}", file=sys.stderr)
            failed = True
            continue
        results.append(result)
        if not args.json:
            show(result)
        if args.explain:
            explain(model, info, path, result["labels"][0], args.explain)
    if args.json:
        print(json.dumps(results, ensure_ascii=False, indent=1))
    return 2 if failed else 0


def predict(model, info, path, chosen=None, top=5):
    """-> {"file", "seconds", "windows", "head", "labels": [{"label", "probability"}, ...] best first}"""
    features = info.features
    wave = load_audio(path, features.rate)
    try:
        mel = log_mel(wave, features.rate, features.mel_bins, features.window)
    except Error as error:
        raise Error(f"{path}: {error}") from None
    scores = clip_scores(model, info, [mel])[0]
    if not np.isfinite(scores).all():
        raise Error(f"{path}: the model's scores are not numbers: its weights are damaged or were never trained.")
    chosen = np.array(range(len(scores)) if chosen is None else chosen)
    best = chosen[np.argsort(-scores[chosen], kind="stable")][:top]
    return {
        "file": path,
        "seconds": round(len(wave) / features.rate, 3),
        "windows": len(segments(mel, features.frames)),
        "head": info.head,
        "labels": [{"label": info.labels[k], "probability": round(float(scores[k]), 6)} for k in best],
    }


def explain(model, info, path, best, target):
    """A picture of the relevance for a label over the file's spectrogram, each window's times its probability."""
    from . import plots
    from .explain import on_spectrogram, relevance

    features, k = info.features, info.labels.index(best["label"])
    mel = log_mel(load_audio(path, features.rate), features.rate, features.mel_bins, features.window)
    x = model_inputs(mel, features)  # (W, frames, F)
    share = np.concatenate([clip_scores(model, info, [mel[i * len(x[0]) :][: len(x[0])]])[:, k] for i in range(len(x))])
    maps = on_spectrogram(model.config, relevance(model, x, k)) * share[:, None, None]
    values = np.zeros(mel.shape)
    covered = maps.reshape(-1, mel.shape[1])[: len(mel)]  # without the padding; a short rest has no window
    values[: len(covered)] = covered
    fig = plots.figure(10, 4)
    axes = fig.subplots()
    plots.relevance(axes, mel, values, features.rate, label="relevance")
    title = f"{path}: {best['label']} ({best['probability']:.1%})"
    axes.set_title(plots.plain(title), parse_math=False)
    plots.save_figure(fig, target)


def show(result):
    several = f", mean of {result['windows']} windows" if result["windows"] > 1 else ""
    print(f"{result['file']}  ({result['seconds']:.2f} s{several})")
    for row in result["labels"]:
        print(f"  {row['probability']:6.1%}  {row['label']}")


def named(text, labels, checkpoint):
    """Class numbers of labels given by name; minast.Error for one that the model lacks."""
    wanted = [name.strip() for name in text.split(";") if name.strip()]
    if not wanted:
        raise Error(f"--labels is {text!r}: it must name at least one label.")
    for name in wanted:
        if name not in labels:
            close = difflib.get_close_matches(name, labels, 3, 0.5)
            hint = (
                f"did you mean {', '.join(close)}?"
                if close
                else f"it has {', '.join(labels[:10])}{', ...' if len(labels) > 10 else ''}."
            )
            raise Error(f"{checkpoint} has no label {name!r}: {hint}")
    return [labels.index(name) for name in wanted]


if __name__ == "__main__":
    cli.run(main)
